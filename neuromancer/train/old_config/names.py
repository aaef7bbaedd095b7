"""Settings of the original library's configuration files."""

from __future__ import annotations

TRANSLATED = {
    "save_path": ("folder",),
    "save_name": ("name",),
    "max_runtime": ("minutes",),
    "history_freq": ("history_every", "validate_every"),
    "monitor_batch_size": ("n_validation",),
    "lr_schedule": (),
    "background_processes": ("workers", "processes"),
    "preview_data_path": ("preview",),
    "preview_kwargs": (),
    "param_save_h": ("checkpoint_minutes",),
    "param_save_it": ("keep_every",),
    "plot_on": ("plots",),
    "print_status": ("progress",),
    "data_class": ("data",),
    "data_init_kwargs": (),
    "data_batch_args": (),
    "model_load_path": (),
    "model_load_args": (),
    "model_load_kwargs": (),
    "class_weights": (),
}
"""Settings with a meaning here, and the Trainer's arguments that say the same."""

WITHOUT_EFFECT = {
    "initial_prev_h": "previews are made every preview_every steps (default 1000), and at the end",
    "prev_save_h": "previews are made every preview_every steps (default 1000), and at the end",
    "device": "ignored; choose the device with --device, e.g. --device cuda:0",
    "gpu": "ignored; choose the device with --device, e.g. --device cuda:0",
    "backupsrc": "ignored; the folder always gets a copy of the configuration",
    "gui_plot": "ignored; plots are files",
    "inspection": "ignored",
    "time_per_step_smoothing_length": "ignored; the last 50 steps",
    "loss_smoothing_length": "ignored; the last 200 steps",
    "use_manual_cudnn_conv": "ignored; neuromancer.config.backend chooses how convolutions are computed",
    "use_manual_cudnn_conv_not_w1": "ignored; neuromancer.config.backend chooses how convolutions are computed",
    "use_manual_cudnn_pool": "ignored; neuromancer.config.backend chooses how pooling is computed",
    "allow_floatX_downcast": "ignored",
    "show_axis_order_warning": "ignored",
    "pad_b_warning_display": "ignored",
}
"""Settings that are accepted, and the remark about each."""

SHARED = ("save_name",)
"""Settings that both have: they do not make a file one of the original library."""

OLD = (*TRANSLATED, *WITHOUT_EFFECT, "use_ortho_init")
"""All names that only the original library's configurations define."""
