"""Arrays of other libraries are converted to NumPy without changing their values."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.arrays import as_array, in_memory
from neuromancer.errors import InputTypeError, NeuromancerError, ShapeError

torch = pytest.importorskip("torch", reason="only installed with the PyTensor engine")

VALUES = np.random.default_rng(0).random((2, 3, 4), dtype="float32")


class Exports:
    """An in-memory array of another library: cannot be sliced, but exports its values."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


class Converts(Exports):
    def __array__(self, dtype=None, copy=None):
        return self.values


class Packs(Exports):
    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


TENSORS = {
    "float": lambda t: t,
    "gradient": lambda t: t.clone().requires_grad_(),
    "parameter": torch.nn.Parameter,
    "half": torch.Tensor.half,
    "bfloat16": torch.Tensor.bfloat16,
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "uint8": lambda t: (255 * t).byte(),
    "bool": lambda t: t > 0.5,
    "sparse": torch.Tensor.to_sparse,
    "turned": lambda t: t.permute(2, 0, 1),
    "expanded": lambda t: t[:1].expand(5, 3, 4),
    "negated": torch._neg_view,
    "quantised": lambda t: torch.quantize_per_tensor(t, 0.01, 0, torch.quint8),
}


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.filterwarnings("ignore")  # torch warns about quantisation
def test_tensors(kind):
    tensor = TENSORS[kind](torch.from_numpy(VALUES.copy()))
    plain = tensor.detach()
    plain = plain.dequantize() if plain.is_quantized else plain.to_dense() if plain.is_sparse else plain
    array = as_array(tensor)
    assert type(array) is np.ndarray and array.shape == tuple(tensor.shape)
    assert array.dtype.name == {"half": "float16", "uint8": "uint8", "bool": "bool"}.get(kind, "float32")
    np.testing.assert_array_equal(array.astype(float), plain.double().numpy())
    np.testing.assert_array_equal(as_array([list(tensor)] if not tensor.is_sparse else tensor).ravel(), array.ravel())


@pytest.mark.parametrize(
    "value",
    [
        Converts(values=VALUES),
        Exports(__array_interface__=VALUES.__array_interface__, values=VALUES),
        Packs(values=VALUES),
        Exports(__cuda_array_interface__={}, get=lambda: VALUES),
        memoryview(VALUES),
        VALUES.tolist(),
        np.asfortranarray(VALUES),
        VALUES.astype(">f4"),
    ],
)
def test_objects_that_export_an_array(value):
    np.testing.assert_array_equal(as_array(value), VALUES)


def test_a_dense_tensor_is_not_copied():
    tensor = torch.zeros(3)
    in_memory(tensor)[1] = 5
    assert tensor.tolist() == [0, 5, 0]


@pytest.mark.parametrize("value", [torch.empty(3, device="meta"), [[1, 2], [3]], Exports(__array_interface__=5)])
def test_invalid_arrays_raise_value_error(value):
    with pytest.raises(ValueError):
        as_array(value)


def test_nodes_and_compiled_functions_accept_them_and_refuse_anything_else():
    node = nm.Perceptron(nm.Input((2, 12), "b,f", name="raw", print_repr=False), 3, print_repr=False)
    function = nm.make_func(node.input_tensors, node.output)
    values = VALUES.reshape(2, 12)
    expected = node(values)
    for value in (torch.from_numpy(values).requires_grad_(), Converts(values=values), list(torch.from_numpy(values))):
        np.testing.assert_array_equal(node(value), expected)
        np.testing.assert_array_equal(function(value), expected)
    for value in (None, "raw", b"raw", {"raw": values}, object(), values * 1j, values.astype(object)):
        for call in (node, function):
            with pytest.raises((InputTypeError, ShapeError), match="raw"):
                call(value)
    with pytest.raises(NeuromancerError, match="meta"):
        node(torch.empty(2, 12, device="meta"))
