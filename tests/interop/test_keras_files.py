"""Files of Keras: formats, and files that are damaged or lie."""

from __future__ import annotations

import json
import sys
import zipfile

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, FileError, NeuromancerError, TranslationError

from .keras_models import keras, saved, sequential

L = keras.layers
RNG = np.random.default_rng(0)
KERNEL, BIAS = RNG.standard_normal((3, 3, 1, 2)).astype("float32"), RNG.standard_normal(2).astype("float32")
OUT = RNG.standard_normal((1, 1, 2, 1)).astype("float32")


def conv(name, n_f, size, before, **options):
    config = {"name": name, "filters": n_f, "kernel_size": [size, size], "padding": "same", **options}
    return {"class_name": "Conv2D", "name": name, "config": config, "inbound_nodes": [[[before, 0, 0, {}]]]}


def entry(name="image", shape=(None, 64, 64, 1)):
    config = {"batch_input_shape": list(shape), "dtype": "float32", "name": name}
    return {"class_name": "InputLayer", "name": name, "config": config, "inbound_nodes": []}


def network(*layers, outputs="out"):
    """A network in the form of Keras 2."""
    layers = layers or (entry(), conv("conv", 2, 3, "image", activation="hard_sigmoid"),
                        conv("out", 1, 1, "conv", use_bias=False))  # fmt: skip
    config = {"name": "net", "layers": list(layers), "input_layers": [["image", 0, 0]]}
    return {"class_name": "Functional", "config": {**config, "output_layers": [[outputs, 0, 0]]}}


ARRAYS = {"conv/kernel": KERNEL, "conv/bias": BIAS, "out/kernel": OUT}


def write_tfjs(folder, config=None, shards=1, specs=None, data=None):
    """Write a model of TensorFlow.js, with its first two arrays in one group and the others in a second."""
    groups = []
    for g, names in enumerate((["conv/kernel", "conv/bias"], ["out/kernel"])):
        blob = data[g] if data else b"".join(ARRAYS[n].tobytes() for n in names)
        cuts = np.linspace(0, len(blob), shards + 1).astype(int)
        paths = [f"group{g}-shard{k}.bin" for k in range(shards)]
        for path, a, b in zip(paths, cuts, cuts[1:], strict=False):
            (folder / path).write_bytes(blob[a:b])
        arrays = [
            {"name": n, "shape": list(ARRAYS[n].shape), "dtype": "float32"} | (specs or {}).get(n, {}) for n in names
        ]
        groups.append({"paths": paths, "weights": arrays})
    topology = {"keras_version": "2.7.0", "model_config": config or network()}
    document = {"format": "layers-model", "modelTopology": topology, "weightsManifest": groups}
    (folder / "model.json").write_text(json.dumps(document))
    return folder / "model.json"


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def reference(x, kernel=KERNEL, bias=BIAS, out=OUT):
    padded = np.pad(x[0, 0], 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    hidden = hard_sigmoid(np.einsum("yxab,abf->fyx", windows, kernel[:, :, 0]) + bias[:, None, None])
    return np.einsum("fyx,fg->gyx", hidden, out[0, 0])[None]


def check(path, **arrays):
    """The network has the hard sigmoid of Keras 2, which Keras 3 does not have, so it is computed here."""
    model = nm.from_keras(path, print_report=False)
    assert "another hard_sigmoid" in model.import_report.reference
    x = np.random.default_rng(1).standard_normal((1, 1, 9, 7)).astype("float32")
    np.testing.assert_allclose(model.prediction_node.infer(x), reference(x, **arrays), atol=1e-5)
    return model


@pytest.mark.parametrize("shards", [1, 3])
def test_tensorflow_js(shards, tmp_path):
    model = check(write_tfjs(tmp_path, shards=shards))
    assert next(iter(model.nodes)) == "image" and "conv.hard_sigmoid" in model.nodes


@pytest.mark.parametrize("write", [lambda p, n: write_tfjs(p, n), lambda p, n: write_h5(p / "old.h5", n)])
def test_files_of_keras_2_are_compared_with_keras_3(write, tmp_path):
    layers = entry(), conv("conv", 2, 3, "image", activation="elu"), conv("out", 1, 1, "conv", use_bias=False)
    report = nm.from_keras(write(tmp_path, network(*layers)), print_report=False).import_report
    assert report.verified and report.largest_difference < 1e-5 and len({c.shape for c in report.checks}) == 2


def test_keras_is_needed_for_the_comparison_only(tmp_path, monkeypatch):
    monkeypatch.setattr("neuromancer.interop.keras.reference.find_spec", lambda name: None)
    report = nm.from_keras(write_tfjs(tmp_path), print_report=False).import_report
    assert not report.verified and "not verified: Keras is not installed" in str(report)


def test_a_folder_stands_for_its_model(tmp_path):
    write_tfjs(tmp_path)
    check(tmp_path)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16"])
def test_quantised_weights(dtype, tmp_path):
    if dtype == "float16":
        stored, quantised = KERNEL.astype("float16"), {"dtype": dtype}
        kernel = stored.astype("float32")
    else:
        scale, low = float(np.ptp(KERNEL) / 250), float(KERNEL.min())
        stored = np.round((KERNEL - low) / scale).astype(dtype)
        quantised, kernel = {"dtype": dtype, "scale": scale, "min": low, "original_dtype": "float32"}, None
        kernel = (stored * np.float32(scale) + np.float32(low)).astype("float32")
    data = [stored.tobytes() + BIAS.tobytes(), OUT.tobytes()]
    check(write_tfjs(tmp_path, specs={"conv/kernel": {"quantization": quantised}}, data=data), kernel=kernel)


def write_h5(path, config=None, arrays=ARRAYS, **attributes):
    """Write a file as Keras 2 did: groups of layers, with the names of their weights."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config or network()).encode()
        file.attrs["keras_version"] = b"2.4.0"
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [b"image", b"conv", b"out"]
        for layer in ("image", "conv", "out"):
            group = weights.create_group(layer)
            names = [n for n in arrays if n.startswith(layer + "/")]
            group.attrs["weight_names"] = [f"{n}:0".encode() for n in names]
            for n in names:
                group.create_dataset(f"{n}:0", data=arrays[n])
        file.attrs.update(attributes)
    return path


def test_hdf5_of_keras_2(tmp_path):
    check(write_h5(tmp_path / "old.h5"))


def test_a_chain_of_keras_2(tmp_path):
    """Before Keras 2.2.3, a Sequential was a list, and the first layer had the shape of the input."""
    first = conv("conv", 2, 3, "", activation="hard_sigmoid")
    first["config"]["batch_input_shape"] = [None, None, None, 1]
    layers = [first, conv("out", 1, 1, "", use_bias=False)]
    check(write_h5(tmp_path / "old.h5", {"class_name": "Sequential", "config": layers}))


def test_networks_whose_first_call_has_the_number_one(tmp_path):
    inner = network(entry("image", [None, None, None, 1]), conv("conv", 2, 3, "image", activation="hard_sigmoid"),
                    outputs="conv")  # fmt: skip
    inner = {**inner, "name": "inner", "inbound_nodes": [[["image", 0, 0, {}]]]}
    out = conv("out", 1, 1, "inner", use_bias=False)
    out["inbound_nodes"] = [[["inner", 1, 0, {}]]]
    check(write_tfjs(tmp_path, network(entry(), inner, out)))


# ---- refused
def refused(path, match, error=NeuromancerError):
    """The import fails, and leaves no model behind."""
    models, current = set(nm.model_manager.models), nm.model_manager.current
    with pytest.raises(error, match=match):
        nm.from_keras(path, print_report=False)
    assert set(nm.model_manager.models) == models and nm.model_manager.current is current


def test_other_files(tmp_path):
    refused(tmp_path / "none.h5", "cannot be read", FileError)
    (tmp_path / "text.json").write_text("hello")
    refused(tmp_path / "text.json", "not a Keras model", FileError)
    (tmp_path / "damaged.json").write_text('{"a": [1, 2')
    refused(tmp_path / "damaged.json", "damaged JSON", FileError)
    (tmp_path / "deep.json").write_text('{"a": ' + "[" * 900 + "]" * 900 + "}")
    refused(tmp_path / "deep.json", "nested too deeply", FileError)
    (tmp_path / "deeper.json").write_text('{"a": ' + "[" * 200_000 + "]" * 200_000 + "}")
    refused(tmp_path / "deeper.json", "damaged JSON", FileError)
    (tmp_path / "graph.json").write_text(json.dumps({"format": "graph-model", "modelTopology": {"node": []}}))
    refused(tmp_path / "graph.json", "graph model", FileError)
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "cannot be read", FileError)
    (tmp_path / "folder/saved_model.pb").write_bytes(b"")
    refused(tmp_path / "folder", "SavedModel", FileError)


def test_only_weights(tmp_path):
    network = sequential((None, None, 1), L.Conv2D(2, 3))
    network.save_weights(tmp_path / "only.weights.h5")
    refused(tmp_path / "only.weights.h5", "holds weights, but not the network", FileError)


def altered(path, change):
    """Change the description in a .keras file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_code_is_not_executed(tmp_path):
    called = []
    network = sequential((None, None, 1), L.Conv2D(2, 3), L.Lambda(lambda x: called.append(1) or x))
    called.clear()
    refused(saved(network, tmp_path), "holds code, which is not executed", TranslationError)
    assert not called
    plain = saved(sequential((None, None, 1), L.Conv2D(2, 3)), tmp_path)
    spec = {"module": "builtins", "class_name": "function", "config": "my_function", "registered_name": "function"}
    refused(altered(plain, lambda c: c["config"]["layers"][1]["config"].update(activation=spec)), "no counterpart")
    marshalled = {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}
    refused(altered(plain, lambda c: c["config"]["layers"][1]["config"].update(activation=marshalled)), "given by code")
    refused(altered(plain, lambda c: c["config"]["layers"][1].update(module="os")), "another package")
    refused(
        altered(plain, lambda c: c["config"]["layers"][1].update(module="keras", class_name="Attention")), "translated"
    )
    refused(altered(plain, lambda c: c["config"]["layers"][1].update(registered_name="mine>Conv2D")), "another package")
    refused(altered(plain, lambda c: c.update(class_name="MyModel")), "defined by code")


def test_keras_is_not_led_to_code(tmp_path):
    """Keras imports the modules of objects in a description, so it gets none with others than its own."""
    plain = saved(sequential((None, None, 1), L.Conv2D(2, 3)), tmp_path)
    spec = {"module": "antigravity", "class_name": "Conv2D", "config": {}, "registered_name": None}
    altered(plain, lambda c: c["config"]["layers"][1]["config"].update(lora_rank=spec))
    report = nm.from_keras(plain, print_report=False).import_report
    assert not report.verified and "object of another kind" in report.reference and "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"filters": 10**12}, "filters must be an integer"),
        ({"filters": 10**9}, "another shape"),
        ({"kernel_size": [3, "x"]}, "kernel_size must hold"),
        ({"kernel_size": [10**6, 10**6]}, "another shape"),
        ({"padding": "reflect"}, "padding has no counterpart"),
        ({"data_format": "channels_first"}, "number of channels|another shape"),
        ({"strides": 0}, "strides must hold"),
        ({"groups": True}, "groups must be an integer"),
        ({"use_bias": "yes"}, "use_bias must be true or false"),
        ({"activation": "swoosh"}, "no counterpart; got .swoosh"),
    ],
)
def test_options_that_do_not_fit(change, match, tmp_path):
    layers = (entry(), conv("conv", 2, 3, "image", **change), conv("out", 1, 1, "conv", use_bias=False))
    refused(write_tfjs(tmp_path, network(*layers)), match, TranslationError)


def test_graphs_that_do_not_fit(tmp_path):
    a, b = conv("conv", 2, 3, "out"), conv("out", 1, 1, "conv", use_bias=False)
    refused(write_tfjs(tmp_path, network(entry(), a, b)), "circle", TranslationError)
    refused(write_tfjs(tmp_path, network(entry(), conv("conv", 2, 3, "gone"), b)), "a layer is missing")
    refused(write_tfjs(tmp_path, network(entry(), conv("conv", 2, 3, "image"), outputs="nowhere")), "layer is missing")
    refused(write_tfjs(tmp_path, network(entry(), conv("conv", 2, 3, "image"), b, b)), "same name")
    refused(write_tfjs(tmp_path, network(entry(shape=[None, 10**12, 4, 1]), a, b)), "shape of the input")
    many = conv("conv", 2, 3, "image")
    many["inbound_nodes"] = [[["image", 7, 0, {}]]]
    refused(write_tfjs(tmp_path, network(entry(), many, b)), "not called so often")
    bomb = network()
    for k in range(40):
        bomb = {"class_name": "Sequential", "config": {"name": f"n{k}", "layers": [bomb]}}
    refused(write_tfjs(tmp_path, bomb), "nested too deeply")


def test_large_results_are_refused_before_they_are_computed(tmp_path):
    wide = {"class_name": "UpSampling2D", "name": "wide", "config": {"name": "wide", "size": [1000, 1000]}}
    wide["inbound_nodes"] = [[["conv", 0, 0, {}]]]
    layers = entry(), conv("conv", 2, 3, "image"), wide, conv("out", 1, 1, "wide", use_bias=False)
    refused(write_tfjs(tmp_path, network(*layers)), "too large to be compared", TranslationError)
    many = {"class_name": "ReLU", "name": "out", "config": {"name": "out"}, "inbound_nodes": [[["image", 0, 0, {}]]]}
    layers = entry(shape=[None, None, None, 10**9]), many
    refused(write_tfjs(tmp_path, network(*layers)), "too large to be compared", TranslationError)


NO_CALLS = [3, [3], [[3]], [[["image", 0]]], [[["image", 0, 0, 7]]], [[["image", 0, 0, {"a": 1}]]], {"args": 3},
            [{"args": 3}], [{"args": [], "kwargs": 5}], [{"args": [{"a": 1}]}], []]  # fmt: skip


@pytest.mark.parametrize("nodes", NO_CALLS)
def test_calls_that_are_damaged(nodes, tmp_path):
    broken = conv("conv", 2, 3, "image")
    broken["inbound_nodes"] = nodes
    refused(write_tfjs(tmp_path, network(entry(), broken, conv("out", 1, 1, "conv"))), ".", TranslationError)


@pytest.mark.parametrize("config", [[], 3, {}, {"layers": 3}, {"layers": []}, {"layers": [3]}, {"layers": [{}]},
                                    {"layers": [{"class_name": "Conv2D"}]},
                                    {"layers": [{"class_name": "InputLayer", "config": {"name": "a"}}]},
                                    {"layers": [{"class_name": "Functional", "config": [], "name": "a"}]}])  # fmt: skip
@pytest.mark.parametrize("kind", ["Sequential", "Functional"])
def test_networks_that_are_damaged(config, kind, tmp_path):
    refused(write_tfjs(tmp_path, {"class_name": kind, "config": config}), ".", TranslationError)


def test_manifests_that_do_not_fit(tmp_path):
    path = write_tfjs(tmp_path)
    document = json.loads(path.read_text())

    def rewritten(change):
        copy = json.loads(json.dumps(document))
        change(copy["weightsManifest"][0])
        path.write_text(json.dumps(copy))
        return path

    for outside in ("../secret.bin", "/etc/hostname", "c:\\x", "", 3):
        refused(rewritten(lambda g, p=outside: g.update(paths=[p])), "binary", FileError)
    refused(rewritten(lambda g: g.update(paths=["gone.bin"])), "a binary is missing", FileError)
    refused(rewritten(lambda g: g["weights"][0].update(shape=[10**12, 10**12])), "described wrongly|another size")
    refused(rewritten(lambda g: g["weights"][0].update(dtype="string")), "described wrongly", FileError)
    refused(rewritten(lambda g: g["weights"].pop()), "another size", FileError)
    refused(rewritten(lambda g: g["weights"][0].update(name="other/kernel")), "missing in the file", TranslationError)
    (tmp_path / "link.bin").symlink_to("/etc/hostname")
    refused(rewritten(lambda g: g.update(paths=["link.bin"])), "outside the folder", FileError)


def test_hdf5_that_points_elsewhere(tmp_path):
    path = write_h5(tmp_path / "a.h5")
    other = write_h5(tmp_path / "b.h5")

    def replaced(make):
        write_h5(path)
        with h5py.File(path, "a") as file:
            group = file["model_weights/conv/conv"]
            del group["kernel:0"]
            make(group)
        return path

    link = h5py.ExternalLink(str(other), "/model_weights/conv/conv/kernel:0")
    refused(replaced(lambda g: g.__setitem__("kernel:0", link)), "link leads out", FileError)
    refused(replaced(lambda g: g.__setitem__("kernel:0", h5py.SoftLink("/model_weights"))), "link leads out", FileError)
    raw = [(str(other), 0, h5py.h5f.UNLIMITED)]
    make = lambda g: g.create_dataset("kernel:0", shape=KERNEL.shape, dtype="f4", external=raw)  # noqa: E731
    refused(replaced(make), "another file", FileError)
    layout = h5py.VirtualLayout(KERNEL.shape, "f4")
    layout[...] = h5py.VirtualSource(str(other), "/model_weights/conv/conv/kernel:0", KERNEL.shape)
    refused(replaced(lambda g: g.create_virtual_dataset("kernel:0", layout)), "another file", FileError)
    huge = (3, 3, 1, 10**11)
    make = lambda g: g.create_dataset("kernel:0", shape=huge, dtype="f4", chunks=(3, 3, 1, 64))  # noqa: E731
    refused(replaced(make), "claims more than it holds", FileError)
    refused(replaced(lambda g: g.create_dataset("kernel:0", data=np.bytes_(b"code"))), "not numeric", FileError)
    refused(replaced(lambda g: g.create_group("kernel:0")), "not an array", FileError)
    bad = np.full(KERNEL.shape, np.nan, "float32")
    refused(replaced(lambda g: g.create_dataset("kernel:0", data=bad)), "not finite", TranslationError)


def test_archives_that_lie(tmp_path):
    path = saved(sequential((None, None, 1), L.Conv2D(2, 3)), tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "cannot be read", FileError)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (30 << 20))
    refused(path, "claims more", FileError)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", b"{}")
    refused(path, "no description", FileError)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", b"{}")
    refused(path, "not a Keras archive", FileError)


def test_layers_without_counterpart(tmp_path):
    cases = {
        "works only over the channels": [L.Softmax(axis=1)],
        "threshold": [L.ReLU(threshold=1.0)],
        "order of the axes": [L.Permute((2, 1, 3))],
        "nearest": [L.UpSampling2D(2, interpolation="bicubic")],
        "ends with a flattened image": [L.Conv2D(1, 3), L.Flatten()],
        "slope for every voxel": [L.PReLU()],
        "TimeDistributed": [L.TimeDistributed(L.Dense(1))],
        "changes the axes": [L.Reshape((36, 1))],
    }
    for match, layers in cases.items():
        refused(saved(sequential((6, 6, 1), *layers), tmp_path), match, TranslationError)


def test_instance_norm_of_addons(tmp_path):
    """They divide by sqrt(var + eps); that of keras_contrib by std + eps, which is refused."""
    options = {"name": "norm", "groups": 2, "axis": -1, "epsilon": 0.01, "scale": False, "center": False}
    norm = {"class_name": "Addons>InstanceNormalization", "name": "norm", "config": options}
    norm["inbound_nodes"] = [[["conv", 0, 0, {}]]]
    layers = entry(), conv("conv", 2, 3, "image"), norm, conv("out", 1, 1, "norm", use_bias=False)
    model = nm.from_keras(write_tfjs(tmp_path, network(*layers)), print_report=False)
    x = np.random.default_rng(1).standard_normal((1, 1, 9, 7)).astype("float32")
    h = model["conv"](x)
    expected = (h - h.mean((2, 3), keepdims=True)) / np.sqrt(h.var((2, 3), keepdims=True) + 0.01)
    np.testing.assert_allclose(model["norm"](x), expected, atol=1e-5)
    norm["class_name"] = "InstanceNormalization"
    del norm["config"]["groups"]
    refused(write_tfjs(tmp_path, network(*layers)), "keras_contrib", TranslationError)


def test_arguments(tmp_path):
    path = write_tfjs(tmp_path)
    for example in ("big", (1, 2, 3), (0, 5), [(1, 1, 8, 8), (1, 1, 8, 8)]):
        with pytest.raises(ArgumentError):
            nm.from_keras(path, example=example, print_report=False)
    with pytest.raises(ArgumentError, match="tags"):
        nm.from_keras(path, tags="zyx", print_report=False)


def test_the_report_is_printed(tmp_path, capsys):
    nm.from_keras(write_tfjs(tmp_path), example=np.zeros((1, 1, 16, 16)), name="reported")
    assert "model.json (Keras 2.7.0)" in capsys.readouterr().out
    nm.model_manager.delmodel("reported")
