"""ONNX files on disk: data in other files, and files that are damaged, hostile or of other kinds."""

from __future__ import annotations

import os
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

import neuromancer as nm
from neuromancer.errors import FileError, MissingDependencyError, NeuromancerError, TranslationError
from neuromancer.interop.onnx.source import OPERATIONS, PLAIN
from tests.interop.onnx_factories import imported, model, node, weights

IMAGE = (1, 4, 8, 8)
RELU = node("Relu", "x")


def conv(**options) -> onnx.ModelProto:
    return model([node("Conv", "x w b", pads=[1] * 4)], w=weights(6, 4, 3, 3), b=weights(6), **options)


def save(proto: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def outside(tmp_path: Path, location: str | None = None, **entries) -> Path:
    """A model whose kernel is in another file."""
    folder = tmp_path / "model"
    folder.mkdir()
    proto = conv()
    array = numpy_helper.to_array(proto.graph.initializer[0])
    (folder / "weights.bin").write_bytes(b"\0" * 16 + array.tobytes())
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16 + array.tobytes())
    tensor = proto.graph.initializer[0]
    external_data_helper.set_external_data(tensor, location or "weights.bin", 16, array.nbytes)
    for key, value in entries.items():
        next(e for e in tensor.external_data if e.key == key).value = value
    tensor.ClearField("raw_data")
    return save(proto, folder / "net.onnx")


# ---- files that are good
def test_file_and_model_in_memory(tmp_path):
    path = save(conv(), tmp_path / "net.onnx")
    for form in (path, str(path), onnx.load(path)):
        imported(form, IMAGE)
    assert "net.onnx" in imported(path, IMAGE).import_report.source


def test_data_in_another_file(tmp_path):
    path = outside(tmp_path)
    found = imported(path, IMAGE)
    assert found.prediction_node.params["w"].get_value().any()


def test_half_and_double_precision():
    for kind in ("float16", "float64"):
        proto = conv()
        for tensor in proto.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kind), tensor.name))
        element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        for value in (*proto.graph.input, *proto.graph.output):
            value.type.tensor_type.elem_type = element
        imported(proto, IMAGE)


def test_saved_and_loaded(tmp_path):
    found = imported(conv(), IMAGE)
    found.save(tmp_path / "net.h5")
    x = np.random.default_rng(0).standard_normal(IMAGE).astype("float32")
    assert np.array_equal(nm.modelload(tmp_path / "net.h5").predict(x), found.predict(x))


# ---- files that are not ONNX
def test_not_onnx(tmp_path):
    whole = conv().SerializeToString()
    path = tmp_path / "net.onnx"
    contents = [
        b"",
        b"\0",
        b"PK\x03\x04 not a model",
        b"x" * 1000,
        whole[: len(whole) // 2],
        whole[:40],
        whole + b"\xff",
    ]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises((FileError, TranslationError)):
            nm.from_onnx(path)


def test_missing_and_folders(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        nm.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(FileError, match="is not a file"):
        nm.from_onnx(tmp_path)
    with pytest.raises(FileError, match="cannot be read"):
        nm.from_onnx("a\0b")


def test_damaged(tmp_path):
    """Whatever bytes are changed: the package's own error, or a model that was compared."""
    whole = bytearray(
        model([node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])], (1, 2, 4, 4)).SerializeToString()
    )
    rng = np.random.default_rng(0)
    for _ in range(120):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            content[rng.integers(len(content))] = rng.integers(256)
        path = tmp_path / "net.onnx"
        path.write_bytes(content)
        with suppress(NeuromancerError):
            nm.from_onnx(path, print_report=False)


SEEDS = (
    model(
        [
            node("Conv", "x w b", "h", pads=[0] * 4), node("MaxPool", "h", "p", kernel_shape=[2, 2], strides=[2, 2]),
            node("Shape", "x", "s"), node("Slice", "s two four zero", "hw"), node("Concat", "bc hw", "sizes", axis=0),
            node("Resize", "p - - sizes", "u", mode="linear"), node("Concat", "h u", "y", axis=1),
        ],
        (1, 4, 8, 8), w=weights(4, 4, 1, 1), b=weights(4), two=[2], four=[4], zero=[0], bc=[1, 4],
    ),
    model(
        [
            node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Pad", "t p", "q"), node("Slice", "q s e a", "l"),
            node("Transpose", "l", "m", perm=[0, 3, 1, 2]), node("Reshape", "m g3", "r"),
            node("InstanceNormalization", "r one zero", "i"), node("Shape", "m", "sh"), node("Reshape", "i sh", "k"),
            node("Mul", "k w", "y"),
        ],
        (1, 4, 8, 8), p=[0, 1, 1, 0, 0, 0, 0, 0], s=[1], e=[-1], a=[1], g3=[0, 2, -1], one=[1.0, 1.0],
        zero=[0.0, 0.0], w=weights(4, 1, 1),
    ),
)  # fmt: skip
INTEGERS = (-(1 << 63), -7, -2, -1, 0, 1, 2, 3, 5, 7, 100, 1 << 31, (1 << 63) - 1)
NUMBERS = (0.0, -1.0, float("nan"), float("inf"), 1e30)


def changed(proto: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Change an operation, an attribute, an input, a size or a constant."""
    step = rng.choice(np.array(proto.graph.node, dtype=object))
    tensor = rng.choice(np.array(proto.graph.initializer, dtype=object))
    kind = rng.integers(5)
    if kind == 0:
        step.op_type = str(rng.choice(sorted({*OPERATIONS, *PLAIN, "Where", "TopK", "Loop"})))
        step.ClearField("attribute")
    elif kind == 1 and step.attribute and step.attribute[0].ints:
        step.attribute[0].ints[0] = rng.choice(INTEGERS)
    elif kind == 2:
        names = [t.name for t in proto.graph.initializer] + ["x", *(o for n in proto.graph.node for o in n.output)]
        step.input[rng.integers(len(step.input))] = str(rng.choice(names))
    elif kind == 3:
        dims = proto.graph.input[0].type.tensor_type.shape.dim
        dims[rng.integers(len(dims))].dim_value = rng.choice(INTEGERS)
    else:
        array = numpy_helper.to_array(tensor).copy()
        array.flat[rng.integers(array.size)] = rng.choice(INTEGERS if array.dtype.kind == "i" else NUMBERS)
        forms = array, array[None], array.reshape(-1), array[:0], array.astype("float64"), array.astype(bool)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(forms[rng.integers(6)]), tensor.name))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS, ids=["sizes", "groups"])
def test_changed_contents(seed):
    """Whatever valid messages a file consists of: the package's own error, or a model that was compared."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        proto = onnx.ModelProto()
        proto.CopyFrom(seed)
        for _ in range(rng.integers(1, 3)):
            changed(proto, rng)
        with suppress(NeuromancerError):
            nm.from_onnx(proto, print_report=False)


# ---- data in other files
@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/passwd", "sub/../../secret.bin", "link.bin", "none.bin", ".", "a\0b", "pipe"]
)
def test_data_outside_of_the_folder(tmp_path, location):
    path = outside(tmp_path, location)
    (path.parent / "link.bin").symlink_to(tmp_path / "secret.bin")
    os.mkfifo(path.parent / "pipe")
    with pytest.raises(FileError, match="refers to data"):
        nm.from_onnx(path)


@pytest.mark.parametrize("entries", [{"offset": "-1"}, {"offset": "many"}, {"length": "999999999"}, {"length": "-5"},
                                     {"offset": "10000"}, {"length": "8"}])  # fmt: skip
def test_data_that_are_not_there(tmp_path, entries):
    with pytest.raises(FileError):
        nm.from_onnx(outside(tmp_path, **entries))


def test_data_of_a_model_in_memory(tmp_path):
    proto = onnx.load(outside(tmp_path), load_external_data=False)
    with pytest.raises(FileError, match="another file"):
        nm.from_onnx(proto)


def test_data_in_use_again_and_again(tmp_path):
    path = outside(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    for k in range(50):
        proto.graph.initializer.add().CopyFrom(proto.graph.initializer[0])
        proto.graph.initializer[-1].name = f"w{k}"
    with pytest.raises(FileError, match="more data than there are"):
        nm.from_onnx(save(proto, path))


# ---- contents
def huge(**dims) -> onnx.ModelProto:
    proto = conv()
    proto.graph.initializer[0].dims[:] = dims["dims"]
    return proto


def sparse() -> onnx.ModelProto:
    proto = conv()
    proto.graph.sparse_initializer.add()
    return proto


def with_step(*steps, **constants) -> onnx.ModelProto:
    return model([*steps, RELU], **constants)


def opset(version: int, domain: str = "") -> onnx.ModelProto:
    proto = conv()
    proto.opset_import[0].version, proto.opset_import[0].domain = version, domain
    return proto


def ghost_output() -> onnx.ModelProto:
    proto = conv()
    proto.graph.output[0].name = "ghost"
    return proto


def function() -> onnx.ModelProto:
    proto = conv()
    inner = helper.make_function("own", "Twice", ["a"], ["b"], [node("Add", "a a", "b")], [helper.make_opsetid("", 20)])
    proto.functions.append(inner)
    return proto


def of_ints() -> onnx.ModelProto:
    proto = conv()
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    return proto


def custom() -> onnx.ModelProto:
    return model([helper.make_node("FusedConv", ["x"], ["y"], "place", domain="com.microsoft")])


def text() -> onnx.ModelProto:
    proto = conv()
    proto.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [1], [b"a"]))
    return proto


def attribute(**attributes) -> onnx.ModelProto:
    return model([node("MaxPool", "x", **attributes)])


LONG = 10**12
TOO = TranslationError, "a constant is too large"
HOSTILE = {
    "sizes larger than the file": (lambda: huge(dims=[LONG, LONG]), FileError, "declares more than it holds"),
    "negative sizes": (lambda: huge(dims=[-6, -36]), FileError, "declares more than it holds"),
    "other sizes": (lambda: huge(dims=[7, 4, 3, 3]), FileError, "no valid tensor"),
    "sparse weights": (sparse, TranslationError, "sparse"),
    "a cycle": (lambda: model([node("Add", "x b", "a"), node("Relu", "a", "b"), RELU]), FileError, "nothing before"),
    "a value used before": (lambda: model([node("Relu", "h"), node("Relu", "x", "h")]), FileError, "nothing before"),
    "itself": (lambda: model([node("Add", "x y", "y")]), FileError, "nothing before"),
    "computed twice": (lambda: model([node("Relu", "x"), node("Abs", "x")]), FileError, "exists already"),
    "an output of nothing": (ghost_output, FileError, "not computed"),
    "old operators": (lambda: opset(6), TranslationError, "opset 7 to"),
    "operators of the future": (lambda: opset(99), TranslationError, "newer onnx"),
    "operators of others": (lambda: opset(20, "ai.onnx.ml"), TranslationError, "version of the operators"),
    "a custom operation": (custom, TranslationError, "com.microsoft.FusedConv"),
    "an unknown operation": (lambda: model([node("Blur", "x")]), TranslationError, "operation is unknown"),
    "functions": (function, TranslationError, "inline_local_functions"),
    "images of integers": (of_ints, TranslationError, "image of floats"),
    "text": (text, TranslationError, "text"),
    "an unknown attribute": (lambda: attribute(kernel_shape=[2, 2], colour=3), FileError, "not one of its operator"),
    "an attribute of another type": (lambda: attribute(kernel_shape=[2.5, 2.0]), FileError, "not one of its operator"),
    "a missing attribute": (lambda: attribute(strides=[2, 2]), FileError, "lacks an attribute"),
    "too many inputs": (lambda: model([node("Relu", "x x x")]), FileError, "wrong number of inputs"),
    "control flow": (
        lambda: model([helper.make_node("If", ["c"], ["k"], "branch",
                                        then_branch=helper.make_graph([], "a", [], []),
                                        else_branch=helper.make_graph([], "b", [], [])), node("Add", "x k")], c=True),
        TranslationError, "a constant cannot be computed",
    ),
    "a huge constant": (lambda: with_step(node("ConstantOfShape", "s", "c"), s=[LONG, 8]), *TOO),
    "a huge expansion": (lambda: with_step(node("Expand", "a s", "c"), a=[1.0], s=[LONG]), *TOO),
    "a huge tiling": (lambda: with_step(node("Tile", "a s", "c"), a=[1.0], s=[LONG]), *TOO),
    "a huge range": (
        lambda: with_step(node("Range", "a s d", "c"), a=np.int64(0), s=np.int64(LONG), d=np.int64(1)),
        *TOO,
    ),
    "a range without steps": (
        lambda: with_step(node("Range", "a s d", "c"), a=np.int64(0), s=np.int64(1), d=np.int64(0)),
        TranslationError, "a constant cannot be computed",
    ),
    "a huge broadcast": (
        lambda: with_step(node("Add", "a b", "c"), a=np.zeros((40000, 1)), b=np.zeros((1, 40000))),
        *TOO,
    ),
    "many doublings": (
        lambda: with_step(*[node("Concat", f"c{k} c{k}", f"c{k + 1}", axis=0) for k in range(60)], c0=[1.0]),
        *TOO,
    ),
    "a huge image": (lambda: model([node("Relu", "x")], (1, 1 << 62, 8, 8)), NeuromancerError, None),
    "a large image": (lambda: model([RELU], (1, 4, 1 << 30, 1 << 30)), TranslationError, "too large to be compared"),
    "large results": (lambda: model([node("Tile", "x r")], r=[1, 10**6, 1, 1]), TranslationError, "too large to be"),
    "huge pads": (lambda: model([node("Pad", "x p")], p=[0, 0, LONG, 0, 0, 0, 0, 0]), NeuromancerError, None),
    "a huge scale": (lambda: model([node("Resize", "x - f")], f=[1.0, 1, 1e12, 1]), TranslationError, "do not fit"),
    "no scale": (lambda: model([node("Resize", "x - f")], f=[1.0, 1, np.inf, 1]), TranslationError, "do not fit"),
    "huge repeats": (lambda: model([node("Tile", "x r")], r=[1, 1 << 50, 1, 1]), NeuromancerError, None),
    "no operations": (lambda: onnx.ModelProto(ir_version=8), FileError, "is not an ONNX file"),
    "no input": (lambda: model([node("Relu", "c")], inputs={}, c=[1.0]), TranslationError, "no input"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(case, tmp_path):
    make, error, match = HOSTILE[case]
    path = save(make(), tmp_path / "net.onnx")
    known, current = set(nm.model_manager), nm.model_manager.current
    tracemalloc.start()
    try:
        with pytest.raises(error, match=match):
            nm.from_onnx(path, print_report=False)
        assert tracemalloc.get_traced_memory()[1] < 1 << 27
    finally:
        tracemalloc.stop()
    assert set(nm.model_manager) == known and nm.model_manager.current is current


def test_without_onnx(monkeypatch):
    for name in list(sys.modules):
        if name.startswith("neuromancer.interop.onnx."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(nm.interop.onnx, "source", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match="pip install onnx"):
        nm.from_onnx("net.onnx")


def test_without_onnx_runtime(monkeypatch):
    from neuromancer.interop.onnx import run as onnx_run

    monkeypatch.setattr(onnx_run, "find_spec", lambda name: None)
    found = imported(conv(), IMAGE)
    assert found.import_report.reference == "the reference of onnx" and len(found.import_report.checks) == 2


def test_onnx_runtime_that_cannot_read_the_file(monkeypatch):
    import onnxruntime

    def refuse(*args, **kwargs):
        raise RuntimeError("unsupported version")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    assert imported(conv(), IMAGE).import_report.reference == "the reference of onnx"


def test_report_is_printed(capsys):
    nm.from_onnx(conv(), IMAGE)
    assert "differs from ONNX Runtime by at most" in "".join(capsys.readouterr())
