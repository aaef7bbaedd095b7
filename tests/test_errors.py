"""Errors name what is at fault, what came and what was expected, whatever the values are."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest

from neuromancer.errors import (
    MAX_LENGTH,
    DeviceError,
    EngineError,
    FileError,
    GraphError,
    IncompleteWarning,
    MetadataWarning,
    MissingDependencyError,
    NeuromancerError,
    NeuromancerWarning,
    OutOfMemoryError,
    PredictionError,
    ShapeError,
    TrainingError,
    blame,
    naming,
    nearest_name,
    node_label,
    reason,
    short,
    shown_cause,
    translating,
)


class Layer:
    name = "conv1"


class Other:
    name = "pool"


def test_arguments_are_attributes():
    error = NeuromancerError("is bad", node=None, where="shape", got=0, expected=False, nearest=())
    assert (error.problem, error.node, error.got, error.expected, error.nearest) == ("is bad", "shape", 0, False, ())
    assert str(error) == "'shape': is bad; got 0; expected False; nearest valid: ()"  # only None is left out
    node = Layer()
    assert NeuromancerError("is bad", node=node, where="shape").node is node
    assert str(NeuromancerError("is bad")) == "is bad"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.float32(0.5), "0.5"),
        (np.int64(3), "3"),
        ((np.int64(3), [np.bool_(True)]), "(3, [True])"),
        (Fraction(1, 3), "Fraction(1, 3)"),
        ("text", "text"),
    ],
)
def test_numpy_scalars_are_shown_as_numbers(value, shown):
    assert str(NeuromancerError("is bad", got=value)) == f"is bad; got {shown}"


@pytest.mark.parametrize(
    ("cls", "base"),
    [
        (DeviceError, EngineError),
        (OutOfMemoryError, EngineError),
        (OutOfMemoryError, MemoryError),
        (TrainingError, RuntimeError),
        (PredictionError, RuntimeError),
        (NeuromancerWarning, UserWarning),
        (IncompleteWarning, NeuromancerWarning),
        (MetadataWarning, NeuromancerWarning),
    ],
)
def test_more_specific_classes_derive_from_general_ones(cls, base):
    assert issubclass(cls, base)


def test_errors_are_sent_whole():
    error = FileError("cannot be read", where="a.npy", got=(3, 4), expected="(3, 5)", nearest=6)
    error.errno = 28
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is FileError and str(again) == str(error) and vars(again) == vars(error) and again.errno == 28


def test_helpers_are_replaced_by_the_node_at_fault_but_other_nodes_are_not():
    node, inner = Layer(), Other()
    for given, blamed in ((None, node), ("TaggedShape", node), (inner, inner)):
        with pytest.raises(ShapeError) as caught, blame(node):
            raise ShapeError("does not fit", node=given, got=3)
        assert caught.value.node is blamed and caught.value.got == 3
    with pytest.raises(ShapeError, match="Layer 'conv1'"), blame(node), blame("helper"):
        raise ShapeError("does not fit")
    with pytest.raises(KeyError), blame(node):
        raise KeyError("x")


def test_naming_converts_system_errors_only():
    for error in (ValueError("x"), GraphError("x"), MemoryError()):
        with pytest.raises(type(error)) as caught, naming("a.npy"):
            raise error
        assert caught.value is error
    with pytest.raises(FileError) as caught, naming("a.npy", "cannot be moved"):
        raise PermissionError(13, "Permission denied", "hidden.tmp")
    error = caught.value
    assert (error.node, error.problem, error.got, error.errno) == ("a.npy", "cannot be moved", "Permission denied", 13)
    with naming("a.npy"):
        pass


def test_translating_names_the_library_that_is_missing():
    with pytest.raises(MissingDependencyError) as caught, translating("s3://b/a.zarr", "cannot be read"):
        try:
            raise ModuleNotFoundError("No module named 'botocore.auth'", name="botocore.auth")
        except ImportError as inner:
            raise ImportError("install s3fs to access S3") from inner
    assert caught.value.node == "s3://b/a.zarr" and caught.value.nearest == "pip install botocore"
    with pytest.raises(MissingDependencyError) as caught, translating("a", "cannot be read"):
        raise ImportError("something")
    assert caught.value.nearest is None and caught.value.got == "something"


def test_translating_keeps_the_number_of_system_errors():
    with pytest.raises(FileError) as caught, translating("a", "cannot be read", "an HDF5 file"):
        raise OSError(5, "Input/output error")
    assert (caught.value.errno, caught.value.expected) == (5, "an HDF5 file")
    with pytest.raises(FileError) as caught, translating("a", "cannot be read"):
        raise KeyError("x")
    assert caught.value.errno is None


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("plain"), "plain"),
        (OSError(), "OSError"),
        (FileNotFoundError(2, "No such file\nor directory", "a"), "No such file or directory"),
        (ValueError("two\n  lines"), "two lines"),
        (RuntimeError("lost"), "lost"),
        (ValueError('no codec [tensorstore_spec=\'{"driver": "n5"}\']'), "no codec"),
        (ValueError(), "ValueError"),
        (UnicodeError("bad"), "UnicodeError: bad"),
        (NotImplementedError("yet"), "NotImplementedError: yet"),
    ],
)
def test_reasons_are_one_line(error, text):
    assert reason(error) == text


def test_causes_are_hidden_if_any_of_them_shows_credentials():
    secret = ValueError("https://user:" + "word@host")
    plain, outer = KeyError("x"), KeyError("y")
    assert shown_cause(plain) is plain and shown_cause(secret) is None
    outer.__context__ = secret
    assert shown_cause(outer) is None
    plain.__cause__ = outer
    outer.__context__ = plain  # a circle
    assert shown_cause(plain) is plain


@pytest.mark.parametrize("limit", [5, 20, 200])
@pytest.mark.parametrize("value", ["a" * 9999, b"a" * 9999, [1] * 9999, (np.float64(2),) * 9999, {"a": "b" * 9999}])
def test_representations_are_truncated(value, limit):
    text = short(value, limit)
    plain = tuple(v.item() for v in value) if type(value) is tuple else value
    assert text == repr(plain)[: limit - 3] + "..."
    assert short("ab", 5) == "'ab'" and short("abc", 4) == "'..."


def test_numbers_of_any_size_have_a_representation():
    assert short(-(10**9999)) == "int of 33216 bits" and short([10**9999]).startswith("list")


@pytest.mark.parametrize(
    ("node", "text"), [("raw", "'raw'"), (Layer(), "Layer 'conv1'"), (object(), "object ''"), ("a\n", "'a\\n'")]
)
def test_labels_of_nodes(node, text):
    assert node_label(node) == text


def test_the_nearest_name_is_close():
    names = ["softmax", "conv1", "conv2", ""]
    assert nearest_name("sofmax", names) == "softmax" and nearest_name("conv", names) in ("conv1", "conv2")
    assert nearest_name("upsample", names) is None and nearest_name(7, names) is None and nearest_name("x", []) is None
    assert nearest_name("a" * 10**6, ["a" * MAX_LENGTH, "b"]) == "a" * MAX_LENGTH
    assert nearest_name("a" * 10**6, ["a" * (MAX_LENGTH + 1)]) is None
    assert nearest_name("ab", iter(f"name{k}" for k in range(10**9))) is None  # only the first ones are compared


def test_warnings_are_printable():
    assert str(IncompleteWarning("tile\x1b[2J https://user:" + "word@host")) == "tile\\x1b[2J https://***@host"
