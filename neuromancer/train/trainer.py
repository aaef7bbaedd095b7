"""The Trainer: arguments of a training, resuming it, and pictures of its data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial as bound
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromancer.errors import ArgumentError
from neuromancer.optim.meta import CLIPS
from neuromancer.optim.optimisers import OPTIMISERS
from neuromancer.places import local_file
from neuromancer.train.arguments import check_loading, check_meta, check_metric, check_needs, check_starts, check_values
from neuromancer.train.batch_picture import plot_batch, save_figure
from neuromancer.train.batches import BatchCheck
from neuromancer.train.binding import BoundSchedule, Schedule
from neuromancer.train.checkpoints import Position
from neuromancer.train.checks import whole
from neuromancer.train.live import LiveValues
from neuromancer.train.loop import TrainingLoop
from neuromancer.train.plots import require_matplotlib
from neuromancer.train.preview import Preview
from neuromancer.train.resume import checkpoint_of, load_checkpoint, require_options, require_schedules, restore
from neuromancer.train.run_files import RunFiles
from neuromancer.train.schedules import make_schedules
from neuromancer.train.sources import LABEL, as_source, fingerprint, made, require_fitting, require_loss, require_used
from neuromancer.train.start import freeze, require_frozen, start_from
from neuromancer.train.stopping import EarlyStopping
from neuromancer.train.validation import Measurements, validation_of

if TYPE_CHECKING:
    from neuromancer.models.model import Model

COLUMNS = ("step", "seconds", "loss", "loss_smooth", "lr", "mom", "step_time", "wait_time")
NEVER = 1 << 62


class Trainer(TrainingLoop):
    """Trains a model, and writes checkpoints from which training can be resumed.

    The trajectory is a function of model, data and seed: validations, previews, checkpoints and interruptions do not
    affect it, and on a CPU a resumed run is bitwise identical to an uninterrupted one. Arguments take effect or are
    refused; all that can be checked before the first step is checked here.

    Parameters
    ----------
    model : Model
        With a loss node; an error and a prediction node are used if designated.
    data : object with ``batch(step)``, tuple of array, iterable of tuples, or callable
        Source of batches: a :class:`PatchSampler` or the like; arrays in the order of the loss's sources, one example
        per index of axis b; an iterator of batches; or a function of the model that returns one of these.
    validation : like `data`, optional
        Held-out data, of which the first `n_validation` batches are evaluated.
    optimiser : {'SGD', 'AdaGrad', 'AdaDelta', 'Adam', 'AdamW'}
    optimiser_params : dict of str to float, optional
        Meta-parameters to set: lr, mom, wd, beta2, clip_value, clip_norm. If lr is set neither here nor on the model,
        it is 0.001 for Adam and AdamW, 0.01 for SGD and AdaGrad, 1 for AdaDelta.
    schedules : dict of str to Schedule, optional
        By target, as for ``make_schedules``.
    pretrained : path, optional
        Model file to start from: parameters and running statistics of nodes of the same names are copied.
    partial : bool
        Leave parameters that do not fit `pretrained` at their initial values, and list them, instead of an error.
    freeze : str or list of str, optional
        Patterns (``fnmatch``) of nodes or parameters that training leaves unchanged, see ``Model.freeze``.
    ema : float, optional
        Decay of moving averages of parameters and running statistics, e.g. 0.999. Validations and previews use them,
        and ``<name>-best-ema.h5`` and ``<name>-final-ema.h5`` hold them.
    folder : path, optional
        Output folder: ``<name>-last.h5``, ``<name>-best.h5``, ``<name>-final.h5``, ``<name>-<step>.h5``,
        ``history.csv``, ``history.h5``, ``history.png``, ``first_batch.png`` and previews. None: nothing is written.
    n_steps : int, optional
        Last step.
    minutes : float, optional
        Time limit, including time before a resume. Without it and `n_steps`, training runs until interrupted.
    batch_size : int, optional
        For arrays only; default: that of the input node, or 1. Other data makes its own batches.
    seed : int
        For arrays only.
    history_every : int
        Steps per row of the history.
    validate_every : int
        Steps between validations, and between measurements of the error of a training batch.
    n_validation : int
        Batches per validation.
    metrics : dict of str to callable, optional
        ``metric(prediction, *targets)`` -> float, evaluated in validations as ``val_<name>``.
    early_stopping : EarlyStopping, optional
        Its metric also decides which checkpoint is the best. The object is not modified.
    checkpoint_minutes : float
        Time between checkpoints.
    keep_every : int, optional
        Steps between checkpoints that are kept permanently.
    preview : array, (raw, labels), or dict of these, optional
        Volumes to predict densely during training.
    preview_every : int
        Steps between previews; the last step has one, too.
    plots : bool, optional
        Plot the first batch, curves and previews. None: if matplotlib is installed.
    tensorboard : bool
        Also write the history, previews and settings to the subfolder ``tensorboard``.
    workers, ahead, processes
        Background loading, see :class:`BackgroundLoader`.
    progress : bool, optional
        Show a bar on a terminal, lines elsewhere. None: only on a terminal.
    name, save_name : str, optional
        Name of the files, by either name; default: that of the model. File names use a safe form of it.
    overwrite : bool
        Start over in a folder that holds a training run, or files that this run would replace.

    Raises
    ------
    GraphError
        Without a loss.
    ArgumentError, InputTypeError, ShapeError, UnknownNameError
        For arguments that are invalid or have no effect, and for data that does not fit.
    FileError
        For a folder that is not writable, or a file `pretrained` that cannot be read.
    MissingDependencyError
        For plots without matplotlib, or `tensorboard` without the package.

    Examples
    --------
    >>> import numpy as np
    >>> import neuromancer as nm
    >>> model = nm.model_manager.newmodel("trainer")
    >>> x = nm.Input((8, 1), "b,f", name="x", print_repr=False)
    >>> y = nm.Perceptron(x, 1, activation_func="lin", name="y", print_repr=False)
    >>> t = nm.Input_like(y, name="t", print_repr=False)
    >>> loss = nm.AggregateLoss(nm.SquaredLoss(y, t, print_repr=False), name="loss", print_repr=False)
    >>> model.designate_nodes("x", target_node="t", loss_node="loss", prediction_node="y")
    >>> data = np.linspace(-1, 1, 50, dtype="float32")[:, None]
    >>> trainer = Trainer(model, (data, 3 * data), n_steps=200, optimiser_params={"lr": 0.05})
    >>> result = trainer.run()
    >>> result.reason, result.steps, bool(model.loss(data[:8], 3 * data[:8]) < 0.1)
    ('steps', 200, True)
    >>> nm.model_manager.delmodel("trainer")
    """

    def __init__(
        self,
        model: Model,
        data: Any,
        *,
        validation: Any = None,
        optimiser: str = "Adam",
        optimiser_params: dict[str, float] | None = None,
        schedules: dict[str, Schedule | dict[str, Any]] | None = None,
        pretrained: str | Path | None = None,
        partial: bool = False,
        freeze: str | list[str] | None = None,
        ema: float | None = None,
        folder: str | Path | None = None,
        n_steps: int | None = None,
        minutes: float | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        history_every: int = 10,
        validate_every: int = 500,
        n_validation: int = 8,
        metrics: Mapping[str, Callable[..., float]] | None = None,
        early_stopping: EarlyStopping | None = None,
        checkpoint_minutes: float = 5.0,
        keep_every: int | None = None,
        preview: Any = None,
        preview_every: int = 1000,
        plots: bool | None = None,
        tensorboard: bool = False,
        workers: int = 1,
        ahead: int = 4,
        processes: bool = False,
        progress: bool | None = None,
        name: str | None = None,
        save_name: str | None = None,
        overwrite: bool = False,
    ) -> None:
        options = {name: value for name, value in locals().items() if name in OPTIONS}
        self.loss, self.model = require_loss(model), model
        check_values(options)
        params, schedules = check_meta(optimiser, optimiser_params, schedules)
        self.name, self.seed, self.optimiser = save_name or name or model.name, seed, optimiser
        self.n_steps, self.minutes = n_steps, minutes
        self.history_every, self.validate_every, self.preview_every = history_every, validate_every, preview_every
        self.checkpoint_minutes, self.keep_every = checkpoint_minutes, keep_every
        self.progress, self.overwrite = progress, overwrite
        self.folder = None if folder is None else local_file(folder, "folder")
        self._read(data, options)
        self._set_files(options)
        self.remarks = self._set_parameters(pretrained, partial, freeze, ema)
        self._set_meta(params, schedules)
        self.position, self._began, self._voxels = Position(), 0, 0
        self._loader = None

    def _read(self, data: Any, options: Mapping[str, Any]) -> None:
        """Set the sources of training and validation batches, after a check of the first ones."""
        batch_size, seed, workers, processes = (options[n] for n in ("batch_size", "seed", "workers", "processes"))
        self.source = as_source(made(data, self.model), self.loss, batch_size, seed)
        require_used(self.source, batch_size, seed)
        if self._in_order:
            check_loading(workers, processes)
        self.loading = {"workers": workers, "ahead": options["ahead"], "processes": processes}
        held_out = made(options["validation"], self.model)
        self.validation = validation_of(
            self.model, held_out, batch_size, seed + 1, options["n_validation"], options["metrics"]
        )
        self.watch = self._watched(options["early_stopping"])
        self._fitting = BatchCheck(self.model, LABEL)
        first = None if self._in_order else require_fitting(self.model, self.source.batch(0), LABEL)
        self.first = None if first is None else fingerprint(self._fitting(first, 0))

    def _set_files(self, options: Mapping[str, Any]) -> None:
        """Set what is measured and written."""
        averaged = None if options["ema"] is None else bound(self.model.averaged, self.optimiser)
        self.plots = self._plotted(options["plots"])
        self.preview = None if options["preview"] is None else Preview(self.model, options["preview"], self.plots)
        self.measured = Measurements(self.model, self.validation, averaged)
        check_needs(options, DEFAULTS, bool(self.measured.names))
        columns, title = [*COLUMNS, *self.measured.names], f"{self.name}, {self.optimiser}"
        self._files = RunFiles(
            self.folder, self.name, title, columns, self.plots, self.preview, averaged, options["tensorboard"]
        )
        self.history = self._files.history

    def _set_parameters(
        self, pretrained: str | Path | None, partial: bool, patterns: Any, ema: float | None
    ) -> list[str]:
        """Copy parameters of another model, freeze parameters and set averages; return what is to be reported."""
        copied = [] if pretrained is None else start_from(self.model, pretrained, partial)
        frozen = freeze(self.model, patterns)
        self.model.ema = ema
        return copied + frozen

    @property
    def _in_order(self) -> bool:
        return bool(getattr(self.source, "in_order", False))

    def _watched(self, early_stopping: EarlyStopping | None) -> EarlyStopping:
        """Return a copy of the stopping rule; without one, a rule that never stops training."""
        watch = replace(early_stopping or EarlyStopping(patience=NEVER))
        if self.validation is not None:
            check_metric(watch.metric, self.validation.names)
        return watch

    @staticmethod
    def _plotted(plots: bool | None) -> bool:
        """Whether to draw plots: by default where matplotlib is installed."""
        if plots is None:
            return find_spec("matplotlib") is not None
        if plots:
            require_matplotlib()
        return bool(plots)

    def _set_meta(self, params: dict[str, float], schedules: dict[str, Any]) -> None:
        """Set meta-parameters, including a default learning rate if nothing else sets one, and bind schedules."""
        meta = self.model.meta
        self.model.set_opt_meta_params(self.optimiser, params)
        self.default_lr = "lr" not in meta.given
        if self.default_lr:
            meta.set({"lr": OPTIMISERS[self.optimiser].default_lr})
            meta.given.discard("lr")
        self._given_params = set(params)
        self.schedules = make_schedules(self.model, schedules)
        check_starts(self.schedules, params)
        if self.n_steps is not None:
            for schedule in self.schedules:
                schedule.check([self.n_steps - 1])
        rule = OPTIMISERS[self.optimiser]
        names = [name for name in (*rule.meta_names, *CLIPS) if name not in rule.unused]
        self.live = LiveValues(self.model, self.schedules, params, names)

    @classmethod
    def resume(
        cls,
        folder: str | Path,
        data: Any,
        *,
        checkpoint: str | Path | None = None,
        functors: Mapping[str, Callable[..., Any]] | None = None,
        **options: Any,
    ) -> Trainer:
        """Return a trainer that resumes from the last checkpoint in a folder.

        Parameters
        ----------
        folder : path
        data : as for the class
            The same data as before: its first batch must be identical. A function of the model is called with the
            loaded model.
        checkpoint : path, optional
            Another checkpoint to resume from.
        functors : mapping of str to callable, optional
            Your own functions that the network uses, see :func:`neuromancer.modelload`.
        **options
            Further arguments of the class. Meta-parameters in `optimiser_params` and start values of `schedules`
            replace those of the checkpoint; all others are kept. `n_steps` and `minutes` count from the start of
            training. A checkpoint records which values were scheduled, but not how: pass the same `schedules`, others,
            or ``{}`` to continue without. Validation, previews, metrics and intervals are not stored either: pass the
            same, or others. Frozen parameters and `ema` are kept; `freeze` may only say what is frozen anyway.

        Raises
        ------
        FileError
            If there is no checkpoint, or it cannot be read.
        ArgumentError
            If optimiser or data differ from those of the checkpoint, `n_steps` is below the steps done, or `schedules`
            is missing although there were some.
        InputTypeError
            For an option that does not exist.
        """
        require_options(options, OPTIONS)
        path = checkpoint_of(local_file(folder, "folder"), checkpoint)
        return cls.from_checkpoint(load_checkpoint(path, functors), path, folder, data, options)

    @classmethod
    def from_checkpoint(
        cls, model: Model, path: Path, folder: str | Path, data: Any, options: Mapping[str, Any]
    ) -> Trainer:
        """Return a trainer that resumes with a model loaded from a checkpoint; see :meth:`resume`."""
        state = model.training_state
        # Values from a checkpoint count as set by the user, even those equal to the defaults.
        model.meta.given |= set(model.meta.params)
        require_schedules(state["starts"], options, state["name"])
        name = {} if options.get("save_name") else {"name": state["name"]}
        options = {**name, "optimiser": state["optimiser"], "ema": state.get("ema"), **options}
        require_frozen(model, options.pop("freeze", None))
        trainer = cls(model, data, folder=folder, **options)
        restore(trainer, state, path)
        return trainer

    def continue_at(self, position: Position, path: Path, same_name: bool) -> None:
        """Continue at the position of a checkpoint."""
        self.position, self._began = position, position.step
        self._files.resume(path, same_name)

    def has_own_start(self, schedule: BoundSchedule) -> bool:
        """Whether a schedule starts at a value passed to this trainer, rather than at that of a checkpoint."""
        return not schedule.from_target or schedule.target in self._given_params

    def show_batch(self, path: str | Path | None = None, step: int = 0, samples: int = 4) -> Any:
        """Draw a batch: raw data, and labels over them where the network predicts.

        The place of labels is that of the prediction in its tagged shape. A 3-D sample is shown by three orthogonal
        sections. Classes are coloured, up to three affinities are red, green and blue. A run writes the picture of its
        first batch to ``first_batch.png``.

        Parameters
        ----------
        path : path, optional
            PNG file to write.
        step : int
            Number of the batch; of an iterator, only 0, before the first run.
        samples : int
            Maximum number of samples.

        Returns
        -------
        matplotlib.figure.Figure
            Displayed by notebooks.

        Raises
        ------
        GraphError
            If the data are no images.
        ArgumentError
            For a batch of an iterator that has been used.
        FileError
            If the file cannot be written.
        MissingDependencyError
            Without matplotlib.

        Examples
        --------
        >>> import numpy as np
        >>> import neuromancer as nm
        >>> model = nm.model_manager.newmodel("shown")
        >>> inp = nm.Input((2, 1, 12, 12), "b,f,y,x", name="raw", print_repr=False)
        >>> out = nm.Conv(inp, 2, (3, 3), (2, 2), activation_func="lin", print_repr=False)
        >>> probs = nm.Softmax(out, name="probs", print_repr=False)
        >>> target = nm.Input_like(probs, override_f=1, dtype="int16", name="target", print_repr=False)
        >>> nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
        >>> model.designate_nodes("raw", target, nm.AggregateLoss([nll], print_repr=False), probs)
        >>> data = np.zeros((9, 1, 12, 12), "float32"), np.ones((9, 1, 5, 5), "int16")
        >>> len(Trainer(model, data).show_batch().axes)  # raw data and labels of two samples
        4
        >>> nm.model_manager.delmodel("shown")
        """
        step, samples = whole(step, "step", "show_batch"), whole(samples, "samples", "show_batch", 1)
        if self._in_order and (step or self.source.next):  # type: ignore[attr-defined]
            raise ArgumentError(
                "an iterator gives its first batch only before it is trained with", where="show_batch",
                got=f"step={step}", expected="step=0, before run()",
            )  # fmt: skip
        batch = self.source.peek() if self._in_order else self.source.batch(step)  # type: ignore[attr-defined]
        grid = None if self.model.prediction_node is None else self.model.prediction_node.shape
        batch = BatchCheck(self.model, LABEL)(batch, step)
        figure = plot_batch(self.loss.input_nodes, batch, grid, f"{self.name}, batch of step {step}", samples)
        if path is not None:
            save_figure(figure, local_file(path, "picture"))
        return figure


_PARAMETERS = inspect.signature(Trainer).parameters
OPTIONS = tuple(name for name in _PARAMETERS if name not in ("model", "data"))
"""Names of a Trainer's keyword arguments."""
DEFAULTS = {name: _PARAMETERS[name].default for name in OPTIONS}
