"""Configuration files of the original library, run as they are but for the import line."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.commands.train import main
from neuromancer.errors import ArgumentError
from neuromancer.train.config_file import load_config
from tests.train.nets import parameters

LEGACY = Path(__file__).parents[1] / "reference" / "legacy" / "legacy_2d.mdl"

MODEL = """
def create_model():
    from neuromancer import AggregateLoss, Conv, Errors, Input, Input_like, MultinoulliNLL, Softmax, model_manager

    inp = Input((None, 1, 5, 14, 14), 'b,f,z,x,y', name='raw')
    out = Conv(inp, 4, (1, 3, 3), (1, 2, 2))
    out = Conv(out, 2, (3, 1, 1), activation_func='lin')
    probs = Softmax(out)
    target = Input_like(probs, override_f=1, name='target')
    loss_pix = MultinoulliNLL(probs, target, target_is_sparse=True)
    loss = AggregateLoss(loss_pix, name='loss')
    errors = Errors(probs, target, target_is_sparse=True)
    model = model_manager.getmodel()
    model.designate_nodes(input_node=inp, target_node=target, loss_node=loss, prediction_node=probs,
                          prediction_ext=[loss, errors, probs])
    return model
"""

CUBES = (
    """
import os
import neuromancer as nm

T = nm.T
save_path = SAVE_PATH
save_name = "cubes"
preview_data_path = os.path.join(DATA_PATH, "raw_1.h5")
preview_kwargs = dict(export_class=1, max_z_pred=3)
initial_prev_h = 0.5
prev_save_h = 1.0
data_class = 'BatchCreatorImage'
background_processes = 2
data_init_kwargs = {
    'd_path': DATA_PATH,
    'l_path': DATA_PATH,
    'd_files': [('raw_%i.h5' % i, 'raw') for i in range(2)],
    'l_files': [('lab_%i.h5' % i, 'lab') for i in range(2)],
    'aniso_factor': 2,
    'valid_cubes': [1],
    'cube_prios': [1],
    'h5stream': True,
    'target_discrete_ix': [0],
}
data_batch_args = {
    'grey_augment_channels': [0],
    'warp': 0.5,
    'warp_args': {'sample_aniso': True, 'perspective': False, 'lock_z': False},
    'ignore_thresh': False,
}
n_steps = 12
max_runtime = 24 * 3600
history_freq = 6
monitor_batch_size = 5
optimiser = 'Adam'
optimiser_params = {'lr': 0.01, 'mom': 0.9, 'beta2': 0.999, 'wd': 0.5e-4}
schedules = {'lr': {'dec': 0.995}}
batch_size = 2
"""
    + MODEL
)

OWN = (
    """
from neuromancer import model_manager
import numpy as np

save_path = SAVE_PATH
save_name = "own"


class Squares(object):
    def __init__(self, input_node, target_node, noise=0.1):
        self.shape, self.out = input_node.shape.spatial_shape, target_node.shape.spatial_shape
        self.rng = np.random.RandomState(int(1e6 * np.random.rand()))
        self.noise = noise

    def getbatch(self, batch_size, source='train', bright=1.0):
        assert source in ('train', 'valid')
        labels = self.rng.randint(0, 2, (batch_size, 1, 1, 1, 1))
        raw = bright * labels + self.noise * np.random.randn(batch_size, 1, *self.shape)
        target = np.broadcast_to(labels, (batch_size, 1, *self.out))
        return raw.astype(np.float32), target.astype(np.float32)


data_class = Squares
data_init_kwargs = {'noise': 0.2}
data_batch_args = {'bright': 0.8}
background_processes = True
n_steps = 10
history_freq = 5
monitor_batch_size = 4
optimiser = 'SGD'
optimiser_params = {'lr': 0.01, 'mom': 0.9, 'beta2': 0.99}
lr_schedule = {'dec': 0.5}
schedules = {'mom': {'updates': [(4, 0.8)]}}
batch_size = 2
print_status = False
plot_on = False
device = 0
param_save_h = 0.5
param_save_it = 5
class_weights = [1.0, 3.0]
"""
    + MODEL
)


@pytest.fixture
def data(tmp_path):
    """Two labelled cubes of HDF5; the labels are centred in the raw data."""
    rng = np.random.default_rng(0)
    for number in range(2):
        labels = np.kron(rng.integers(0, 2, (4, 5, 5)), np.ones((3, 4, 4))).astype("int16")
        raw = np.pad(labels, ((2, 2), (6, 6), (6, 6)), mode="edge") * 150 + rng.integers(0, 50, (16, 32, 32))
        with h5py.File(tmp_path / f"raw_{number}.h5", "w") as file:
            file["raw"] = raw.astype("uint8")
        with h5py.File(tmp_path / f"lab_{number}.h5", "w") as file:
            file["lab"] = labels
    return tmp_path


@pytest.fixture
def config(data):
    """Write a configuration, and clean up what executing it leaves."""
    before = set(nm.model_manager.models)

    def write(text: str, name: str = "old_style") -> Path:
        path = data / f"{name}.py"
        path.write_text(text.replace("SAVE_PATH", repr(str(data / "out"))).replace("DATA_PATH", repr(str(data))))
        forget()
        return path

    def forget() -> None:
        for name in set(nm.model_manager.models) - before | {"default"} & set(nm.model_manager.models):
            nm.model_manager.delmodel(name)

    yield write
    forget()
    sys.modules.pop("old_style", None)
    sys.path[:] = [p for p in sys.path if p != str(data)]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def problems(path: Path) -> list[str]:
    """Return the notes of the one error about a file."""
    with pytest.raises(ArgumentError) as caught:
        load_config(path)
    return caught.value.__notes__


def test_cubes_train_with_validation_and_previews(config, data, capsys):
    assert main([str(config(CUBES))]) == 0
    folder = data / "out" / "cubes"
    out = capsys.readouterr().out
    assert "step 12/12" in out and "export_class" in out and "preview_every" in out
    assert [int(row["step"]) for row in rows(folder)] == [6, 12]
    assert all(float(row["val_error"]) <= 1 and float(row["val_loss"]) > 0 for row in rows(folder))
    with h5py.File(folder / "preview-12.h5") as file:
        assert file["raw"].shape == (1, 5, 32, 32) and file["prediction"].shape == (2, 5, 32, 32)
    assert (folder / "cubes-final.h5").exists() and (folder / "old_style.py").exists()


def test_what_the_trainer_gets(config):
    settings = load_config(path := config(CUBES)).settings
    assert settings["minutes"] == 24 * 60 and settings["workers"] == 2
    assert settings["history_every"] == settings["validate_every"] == 6
    configured = load_config(path, {"n_steps": 2, "workers": 1, "max_runtime": 120})
    assert configured.settings["minutes"] == 2 and configured.settings["workers"] == 1
    trainer = configured.trainer(path.parent / "a", resume=False)
    sampler, held_out = trainer.source, trainer.validation.source
    assert trainer.n_steps == 2 and trainer.validation.n_batches == 3 and sampler.batch_size == 2
    assert len(sampler.volumes) == len(held_out.volumes) == 1 and sampler.volumes[0].weight == 1
    assert len(sampler._geometric) == 2 and not held_out._geometric and not held_out._functions
    warp = sampler._geometric[0]
    assert warp.p == 0.5 and warp.spacing == (2, 1, 1) and set(warp.rotation) == {"xy", "zx"}
    assert trainer.model.error_node is trainer.model.prediction_ext[1]


def test_an_interrupted_run_continues_exactly(config, data):
    path = config(CUBES)
    arguments = [str(path), "--quiet", "--set", "n_steps=7"]
    assert main([*arguments, "--set", "background_processes=False"]) == 0
    assert main([str(path), "--quiet"]) == 1  # the folder holds a training run
    config(CUBES)
    assert main([str(path), "--quiet", "--resume"]) == 0
    resumed = parameters(nm.modelload(data / "out" / "cubes" / "cubes-final.h5"))
    shutil.rmtree(data / "out")
    config(CUBES)
    assert main([str(path), "--quiet"]) == 0
    whole = parameters(nm.modelload(data / "out" / "cubes" / "cubes-final.h5"))
    assert all(np.array_equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_an_own_data_class_trains_and_resumes(config, data):
    path = config(OWN)
    folder = data / "out" / "own"
    assert main([str(path), "--quiet", "--steps", "6"]) == 0
    config(OWN)
    assert main([str(path), "--quiet", "--resume"]) == 0
    resumed = nm.modelload(folder / "own-final.h5")
    assert (folder / "own-5.h5").exists() and [int(r["step"]) for r in rows(folder)] == [5, 10]
    assert resumed["nll"].class_weights.get_value().tolist() == [1, 3] and resumed.mom == pytest.approx(0.8)
    shutil.rmtree(folder)
    config(OWN)
    assert main([str(path), "--quiet"]) == 0
    whole = nm.modelload(folder / "own-final.h5")
    assert all(np.array_equal(a, b) for a, b in zip(parameters(whole), parameters(resumed), strict=True))


def test_batches_of_an_own_class_depend_on_the_step_alone(config, data):
    configured = load_config(config(OWN))
    trainer = configured.trainer(data / "x", resume=False)
    assert trainer.loading["workers"] == 1 and "beta2" in " ".join(configured.remarks)
    source, validation = trainer.source, trainer.validation.source
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    third = source.batch(3)
    source.batch(0)
    assert all(np.array_equal(a, b) for a, b in zip(third, source.batch(3), strict=True))
    assert not np.array_equal(third[0], source.batch(4)[0])
    assert not np.array_equal(third[0], validation.batch(3)[0])
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_a_model_of_the_original_library_is_trained_on(config, data):
    text = f"""
from neuromancer import model_manager
import numpy as np

model_load_path = {str(LEGACY)!r}
model_load_args = {{'imposed_batch_size': 1}}
n_steps = 2
history_freq = 1


class Noise:
    def __init__(self, input_node, target_node):
        self.nodes = input_node, target_node

    def getbatch(self, batch_size):
        shapes = [[n or batch_size for n in node.shape.shape] for node in self.nodes]
        return [np.random.rand(*shapes[0]).astype("float32"), np.zeros(shapes[1], "float32")]


data_class = "Noise"
"""
    path = config(text)
    if nm.modelload(LEGACY, name="seen").loss_node is None:
        pytest.skip("the file has no loss")
    assert main([str(path), "--quiet"]) == 0
    [final] = (data / "old_style").glob("*-final.h5")
    assert list(nm.modelload(final).nodes) == list(nm.modelload(LEGACY).nodes)
    start = nm.modelload(final)
    start.save(data / "start.h5")
    again = text.replace(repr(str(LEGACY)), "'start.h5'").replace("model_load_args", "model_load_kwargs")
    assert main([str(config(again)), "--quiet", "--overwrite"]) == 0


def test_old_and_new_settings_mix(config, data):
    text = CUBES.replace("max_runtime = 24 * 3600", "minutes = 3").replace("history_freq = 6", "validate_every = 4")
    text = text.replace("schedules = {'lr': {'dec': 0.995}}", "schedules = {'lr': nm.CosineSchedule(12)}")
    text = text.replace("preview_data_path", "_no_preview").replace("preview_kwargs = ", "PREVIEW = ")
    settings = load_config(config(text)).settings
    assert settings["minutes"] == 3 and "history_every" not in settings and settings["validate_every"] == 4
    assert main([str(config(text)), "--quiet", "--set", "n_steps=2"]) == 0


def test_a_data_class_in_another_file_and_a_linear_decay(config, data):
    head, _, tail = OWN.partition("class Squares")
    body, _, rest = tail.partition("data_class = Squares")
    (data / "own_data.py").write_text(f"import numpy as np\n\n\nclass Squares{body}")
    text = head + "data_class = ('own_data.py', 'Squares')" + rest
    text = text.replace("lr_schedule = {'dec': 0.5}", "lr_schedule = {'lr': {'lindec': [4000, 0.02]}}")
    configured = load_config(config(text))
    assert configured.settings["schedules"]["lr"] == {"lindec": [4000, 0.02]}
    assert "lr" not in configured.settings["optimiser_params"]
    assert main([str(config(text)), "--quiet", "--steps", "3"]) == 0
    assert nm.modelload(data / "out" / "own" / "own-final.h5").lr == pytest.approx(0.02)
    sys.modules.pop("own_data")


def test_digits_of_a_file(config, data):
    rng = np.random.default_rng(0)
    images, digits = rng.integers(0, 255, (30, 28, 28), "uint8"), rng.integers(0, 10, 30)
    np.savez(data / "mnist.npz", x_train=images, y_train=digits, x_test=images[:8], y_test=digits[:8])
    text = """
import neuromancer as nm

data_class = 'MNISTData'
data_init_kwargs = dict(path=DATA_PATH + '/mnist.npz', convert2image=True, shift_augment=False)
batch_size = 4
n_steps = 3
history_freq = 2
monitor_batch_size = 8


def create_model():
    inp = nm.Input((None, 1, 26, 26), 'b,f,y,x', name='raw')
    out = nm.Perceptron(inp, 10, activation_func='lin', flatten=True)
    probs = nm.Softmax(out)
    target = nm.Input_like(probs, override_f=1, name='target', dtype='int16')
    loss = nm.AggregateLoss(nm.MultinoulliNLL(probs, target, target_is_sparse=True), name='loss')
    model = nm.model_manager.getmodel()
    model.designate_nodes(inp, target, loss, probs)
    return model
"""
    assert main([str(config(text)), "--quiet"]) == 0
    assert [row["step"] for row in rows(data / "old_style")] == ["2"]


def test_all_problems_of_a_file_are_one_error(config, data, capsys):
    text = (
        CUBES.replace("max_runtime = 24 * 3600", "max_runtime = 'long'\nminutes = 5")
        .replace("history_freq", "histroy_freq")
        .replace("'raw_%i.h5' % i, 'raw'", "'raw_%i.h5' % i, 'rav'")
        .replace("'ignore_thresh': False", "'ignore_thresh': 0.3, 'force_dnse': True")
        .replace("'perspective': False", "'perspective': True")
        .replace("optimiser = 'Adam'", "optimiser = 'CG'")
        .replace("{'dec': 0.995}", "{'permut': 3}")
        .replace("max_z_pred", "max_zpred")
    )
    path = config(text)
    assert main([str(path)]) == 1
    shown = capsys.readouterr().err
    for part in (
        "max_runtime", "given twice", "'history_freq'", "'raw'", "ignore_thresh", "balance", "'force_dense'",
        "perspective", "'Adam'", "'max_z_pred'", "docs/from-elektronn2.md",
    ):  # fmt: skip
        assert part in shown, part
    assert len(problems(path)) >= 9
    assert not (data / "out").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("save_path = 3", "save_path = 3: needs a string"),
        ("background_processes = -1", "background_processes = -1"),
        ("monitor_batch_size = 0", "at least 1"),
        ("data_class = 'BatchCreaterImage'", "'BatchCreatorImage'"),
        ("data_class = 'PianoData'", "gone"),
        ("data_class = ('nowhere.py', 'A')", "no such Python file"),
        ("data_class = object", "getbatch"),
        ("data_init_kwargs = 4", "needs a dict"),
        ("data_init_kwargs = dict(data_init_kwargs, valid_cubes=[5])", "0 to 1"),
        ("data_init_kwargs = dict(data_init_kwargs, valid_cubes=[0, 1])", "no cube for training"),
        ("data_init_kwargs = dict(data_init_kwargs, l_files=data_init_kwargs['l_files'][:1])", "one per d_files"),
        ("data_init_kwargs = dict(data_init_kwargs, border_mode='0-pad')", "'mirror'"),
        ("data_init_kwargs = dict(data_init_kwargs, target_vec_ix=[1])", "rotate vectors"),
        ("data_init_kwargs = dict(data_init_kwargs, cube_prios=[1, 2, 3])", "one per training cube"),
        ("data_batch_args = {'warp': 7}", "probability"),
        ("data_batch_args = {'affinities': 'malis'}", "AffinityTargets"),
        ("optimiser_params = {'lr': 1, 'moment': 2}", "nearest valid: 'mom'"),
        ("use_ortho_init = True", "initweights"),
        ("model_load_path = 'none.h5'", "no such file"),
        ("model_load_args = {'name': 'a'}", "without model_load_path"),
        ("preview_data_path = 'none.h5'", "no such file"),
        ("lr_schedule = {'dec': 0.9}", "given twice"),
        ("data_class = 'MNISTData'; data_init_kwargs = {'path': 'm.pkl.gz'}", "x_train"),
    ],
)
def test_what_to_write_instead(config, change, expected):
    path = config(f"{CUBES}\n{change}\n")
    [line] = [line for line in problems(path) if expected in line]
    assert ":" in line


def test_own_variables_are_remarked_on(config):
    configured = load_config(config(f"{CUBES}\nzzz = 4\n"))
    assert any(remark.startswith("zzz: not a setting") for remark in configured.remarks)
    assert "zzz" not in configured.settings


def test_class_weights_replace_those_of_the_loss(config, data):
    text = OWN.replace("target_is_sparse=True)\n    loss =", "target_is_sparse=True, class_weights=[5, 5])\n    loss =")
    model = load_config(config(text)).model()
    model["nll"].class_weights.set_value(np.array([9.0, 9.0], nm.config.floatX))
    assert load_config(config(text)).model()["nll"].class_weights.get_value().tolist() == [1, 3]


def test_class_weights_that_are_a_node_stay(config):
    text = OWN.replace(
        "target_is_sparse=True)\n    loss =",
        "target_is_sparse=True,\n        class_weights=ValueNode((2,), 'f', value=(1, 2)))\n    loss =",
    ).replace("Softmax, model_manager\n", "Softmax, ValueNode, model_manager\n")
    with pytest.raises(ArgumentError, match="given twice"):
        load_config(config(text)).model()
    trained = load_config(config(text.replace("class_weights = [", "CLASS_WEIGHTS = ["))).model()
    assert trained["nll"].class_weights.get_value().tolist() == [1, 2]


def changed(text: str, **changes: str) -> str:
    """Append assignments to a configuration, in the order given."""
    return text + "\n" + "\n".join(f"{name} = {value}" for name, value in changes.items()) + "\n"


def test_cubes_in_memory_with_another_axis_order(config, data):
    with h5py.File(data / "raw_0.h5") as raw, h5py.File(data / "lab_0.h5") as labels:
        arrays = raw["raw"][()], labels["lab"][()]
    with h5py.File(data / "turned.h5", "w") as file:
        for name, array in zip(("raw", "lab"), arrays, strict=True):
            file[name] = array.transpose(1, 2, 0)  # (x, y, z)
    text = changed(CUBES, data_init_kwargs="dict(data_init_kwargs, valid_cubes=[], h5stream=False)")
    text = changed(text, data_init_kwargs="dict(data_init_kwargs, cube_prios=None, border_mode='mirror')")
    text = changed(text, data_batch_args="{}", monitor_batch_size="None")
    plain = text + "data_init_kwargs.update(d_files=[('raw_0.h5', 'raw')], l_files=[('lab_0.h5', 'lab')])\n"
    turned = (
        text + "data_init_kwargs.update(d_files=[('turned.h5', 'raw')], l_files=[('turned.h5', 'lab')], zxy=False)\n"
    )
    batches = []
    for source in (plain, turned):
        configured = load_config(config(source))
        model = configured.model()
        sampler, validation = configured.data(model)
        assert validation is None and sampler.pad_raw
        assert isinstance(sampler.volumes[0].raw.array, np.ndarray)
        batches.append(sampler.batch(3))
    assert all(np.array_equal(a, b) for a, b in zip(*batches, strict=True))


def test_dense_targets_need_a_dense_network(config, data):
    configured = load_config(config(changed(CUBES, data_batch_args="{'force_dense': True}")))
    with pytest.raises(ArgumentError, match=r"force_dense.*False"):
        configured.trainer(data / "x", resume=False)
    configured = load_config(
        config(changed(CUBES, data_batch_args="{'force_dense': True}").replace("(1, 2, 2)", "None"))
    )
    assert configured.trainer(data / "x", resume=False).source.batch(0)[1].shape == (2, 1, 3, 12, 12)


def test_settings_with_new_data(config, data):
    text = """
from tests.train import nets

max_runtime = 600
n_steps = 4
history_freq = 2
monitor_batch_size = 6
data_class = None


def create_model():
    return nets.classifier("mixed")


def create_data(model):
    return nets.Squares(), nets.Squares(1)
"""
    trainer = load_config(path := config(text)).trainer(data / "x", resume=False)
    assert trainer.validation.n_batches == 3 and trainer.minutes == 10
    assert main([str(path), "--quiet", "--overwrite"]) == 0
    twice = text.replace("data_class = None", "data_class = nets.Squares")
    assert any("create_data()" in line for line in problems(config(twice)))


def test_no_validation_where_there_is_none(config, data):
    text = (
        changed(OWN, class_weights="None")
        .replace(", source='train'", "")
        .replace("assert source", "assert 1 or source")
    )
    configured = load_config(config(text))
    trainer = configured.trainer(data / "x", resume=False)
    assert trainer.validation is None and any("no validation data" in line for line in configured.remarks)
    unwanted = load_config(config(changed(OWN, validation="None")))
    assert unwanted.trainer(data / "x", resume=False).validation is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data_batch_args": "{'brigt': 2}"}, "nearest valid: 'bright'"),
        ({"data_init_kwargs": "{'sound': 2}"}, "unexpected keyword argument 'sound'"),
        ({"data_class": "'Sqares'"}, "nearest valid: 'Squares'"),
        ({"data_class": "Squares(__import__('neuromancer').Node, 0) if 0 else 3"}, "getbatch"),
        ({"param_save_it": "1.5"}, "whole number"),
        ({"max_runtime": "True"}, "needs a number"),
    ],
)
def test_arguments_of_an_own_class_are_checked(config, changes, expected):
    [line] = [line for line in problems(config(changed(OWN, **changes))) if expected in line]
    assert line


def test_what_getbatch_returns_is_checked(config, data):
    text = OWN.replace("return raw.astype(np.float32), target.astype(np.float32)", "return 7")
    assert main([str(config(text)), "--quiet"]) == 1
    text = OWN.replace("return raw.astype(np.float32), target.astype(np.float32)", "return 1 / 0")
    with pytest.raises(ArgumentError, match=r"'valid'.*ZeroDivisionError.*old_style.py:\d+.*validation = None"):
        load_config(config(text)).trainer(data / "x", resume=False)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("from elektronn2 import neuromancer", "import neuromancer"),
        ("import elektronn2.utils as utils", "import neuromancer"),
        ("import theano.tensor as T", "from neuromancer import T"),
        ("import no_such_module", None),
    ],
)
def test_an_old_import_line_names_the_new_one(config, line, expected, monkeypatch):
    for name in ("elektronn2", "theano"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OSError, match=r"old_style.py:1\b") as caught:
        load_config(config(f"{line}\n{CUBES}"))
    assert (caught.value.expected or "").startswith(expected or "") and bool(expected) is bool(caught.value.expected)


FLAT = """
def create_model():
    import neuromancer

    inp = neuromancer.Input((None, 1, 14, 14), 'b,f,x,y', name='raw')
    probs = neuromancer.Softmax(neuromancer.Conv(inp, 2, (3, 3), (2, 2), activation_func='lin'))
    target = neuromancer.Input_like(probs, override_f=1, name='target')
    loss = neuromancer.AggregateLoss(neuromancer.MultinoulliNLL(probs, target, target_is_sparse=True), name='loss')
    model = neuromancer.model_manager.getmodel()
    model.designate_nodes(inp, target, loss, probs)
    return model
"""


@pytest.mark.parametrize("zxy", [True, False])
def test_a_flat_network_is_trained_on_slices(config, data, zxy):
    if not zxy:
        for path, key in ((data / "raw_0.h5", "raw"), (data / "lab_0.h5", "lab")):
            with h5py.File(path, "a") as file:
                array = file[key][()]
                del file[key]
                file[key] = array.transpose(1, 2, 0)
    text = changed(CUBES.replace(MODEL, FLAT), preview_data_path="None")
    text += f"data_init_kwargs.update(valid_cubes=[], cube_prios=None, zxy={zxy})\n"
    text += "data_init_kwargs['d_files'], data_init_kwargs['l_files'] = [('raw_0.h5', 'raw')], [('lab_0.h5', 'lab')]\n"
    configured = load_config(config(text))
    sampler, _ = configured.data(configured.model())
    assert sampler.volumes[0].sizes == (16, 32, 32) and sampler.batch(0)[0].shape == (2, 1, 14, 14)
