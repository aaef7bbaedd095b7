"""Images are joined along the channels from any memory formats, or read in parts by convolutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.engine.pytensor.kernels import joining, layout
from neuromancer.engine.pytensor.kernels.joining import Parts
from neuromancer.engine.pytensor.kernels.rows import RowConv, TiledRowConv
from neuromancer.engine.pytensor.link.torch.convolution import FastConv
from neuromancer.engine.pytensor.ops.conv_epilogue import FusedConv
from neuromancer.engine.pytensor.ops.fused import ConvBias
from neuromancer.engine.pytensor.ops.join_for_conv import JoinForConv
from neuromancer.errors import NeuromancerError
from tests.engine.pytensor.test_fusion import operations
from tests.engine.pytensor.test_rows import agree, convolutions, padded

T = E.T
QUIET = {"print_repr": False}
FORMATS = ("planar", "last", "cropped", "cropped last", "strided")


def last(x):
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def image(shape, form, seed=0):
    """Return random values in a memory format; those around a crop are not numbers."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if form == "strided":
        return x.transpose(-1, -2).contiguous().transpose(-1, -2)
    if form.startswith("cropped"):
        around = torch.full((*shape[:2], *(n + 2 for n in shape[2:])), float("nan"))
        inner = (slice(None), slice(None), *[slice(1, -1)] * (len(shape) - 2))
        around[inner] = x
        return (last(around) if form.endswith("last") else around)[inner]
    return last(x) if form == "last" else x


def steps_of_parts(function):
    """Return the only step that makes parts, and the one that reads them."""
    steps = function.program.steps
    (step,) = (s for s in steps if s.node is not None and isinstance(s.node.op, JoinForConv))
    (reader,) = (s for s in steps if s.inputs[:1] == step.outputs)
    return step, reader


def joins(function):
    return [kind for kind in operations(function) if kind.__name__ == "Join"]


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 2),
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(FORMATS)), min_size=1, max_size=4),
    st.lists(st.integers(1, 20), min_size=2, max_size=3),
    st.integers(1, 3),
    st.sampled_from([True, False, None]),
)
def test_joined_from_any_format(batch, parts, spatial, threads, channels_last):
    images = [image((batch, c, *spatial), form, k) for k, (c, form) in enumerate(parts)]
    before = joining.LARGE, layout.LEAST, layout.SHARE, torch.get_num_threads()
    joining.LARGE, layout.LEAST, layout.SHARE = 0, 1, 1
    torch.set_num_threads(threads)
    try:
        result = Parts(images).joined(channels_last)
    finally:
        joining.LARGE, layout.LEAST, layout.SHARE = before[:3]
        torch.set_num_threads(before[3])
    assert torch.equal(result, torch.cat(images, 1))
    if channels_last is not None:
        assert (result.movedim(1, -1) if channels_last else result).is_contiguous()


def test_the_format_is_that_of_most_values():
    def joined(first, second):
        return Parts([image((1, 20, 40, 40, 40), first), image((1, 30, 40, 40, 40), second)]).joined()

    assert joined("planar", "last").movedim(1, -1).is_contiguous()
    assert joined("last", "planar").is_contiguous()
    assert joined("cropped last", "cropped last").movedim(1, -1).is_contiguous()


@pytest.mark.parametrize("axis", [1, -4, 2, 0])
def test_large_arrays_are_joined_along_any_axis(axis):
    x, y = (E.tensor(name, (None,) * 5, "float32") for name in "xy")
    a, b = (image((2, 20, 30, 40, 40), form, k).numpy() for k, form in enumerate(("last", "planar")))
    joined = E.function([x, y], T.concatenate([x, y], axis))(a, b)
    np.testing.assert_array_equal(joined, np.concatenate([a, b], axis))


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.data(), st.booleans())
def test_rows_read_parts_as_one_image(geometry, data, tiled):
    x_shape, w_shape, stride, dilation, pad, groups = geometry
    stride = (1,) * len(pad) if tiled else stride
    parts, left = [], x_shape[1]
    while left:
        parts.append(data.draw(st.integers(0 if parts else 1, left)))
        left -= parts[-1]
    images = [image((x_shape[0], c, *x_shape[2:]), data.draw(st.sampled_from(FORMATS)), k) for k, c in enumerate(parts)]
    w, bias = torch.randn(w_shape), torch.randn(w_shape[0])
    own = (TiledRowConv if tiled else RowConv)(padded(x_shape, pad), w_shape, stride, dilation, groups)
    found = own.conv(Parts(images), own.transformed(w), bias, pad)
    whole = torch.cat(images, 1)
    assert torch.equal(found, own.conv(whole, own.transformed(w), bias, pad))
    conv = torch.conv2d if whole.ndim == 4 else torch.conv3d
    assert agree(found, conv(whole.double(), w.double(), bias.double(), stride, pad, dilation, groups))


@pytest.mark.parametrize("kind", [None, RowConv, TiledRowConv])
@pytest.mark.parametrize("lasting", [True, False])
@pytest.mark.parametrize("ndim", [2, 3])
def test_convolutions_read_parts(monkeypatch, kind, lasting, ndim):
    """With bias, with elementwise operations on the result, by an algorithm along rows or by any other one."""
    rng = np.random.default_rng(0)
    counts, taps, space = (3, 2, 4), (3,) * ndim, (9, 11, 40)[:ndim]
    xs = [E.tensor(f"x{k}", (None, c, *(None,) * ndim), "float32") for k, c in enumerate(counts)]
    residual = E.tensor("residual", (None, 5, *(None,) * ndim), "float32")
    values = rng.standard_normal((5, sum(counts), *taps)).astype("float32") / 10
    w = E.SharedVariable(values, "w") if lasting else E.tensor("w", values.shape, "float32")
    b = E.SharedVariable(rng.standard_normal(5).astype("float32"), "b")
    y = E.conv(T.concatenate(xs, 1), w, pad=1) + b.dimshuffle("x", 0, *"x" * ndim)
    arrays = [image((2, c, *space), form, k).numpy() for k, (c, form) in enumerate(zip(counts, FORMATS, strict=False))]
    beside = rng.standard_normal((2, 5, *space)).astype("float32")
    given = [] if lasting else [w]

    def algorithm(self, x, w):
        shape = (*x.shape[:2], *(n + 2 for n in x.shape[2:]))
        return kind and kind(shape, tuple(w.shape), (1,) * ndim, (1,) * ndim)

    monkeypatch.setattr(FastConv, "algorithm", algorithm)
    plain = E.function([*xs, *given], y)
    fused = E.function([*xs, residual, *given], T.tanh(y) + residual)
    conv = torch.conv2d if ndim == 2 else torch.conv3d
    whole = torch.from_numpy(np.concatenate(arrays, 1))
    expected = conv(whole, torch.from_numpy(values), torch.from_numpy(b.get_value()), padding=1).numpy()
    further = [] if lasting else [values]
    for _ in range(2):  # the second time with a cached kernel
        np.testing.assert_allclose(plain(*arrays, *further), expected, atol=1e-4)
        np.testing.assert_allclose(fused(*arrays, beside, *further), np.tanh(expected) + beside, atol=1e-4)
    for function, reader in ((plain, ConvBias), (fused, FusedConv)):
        step, convolution = steps_of_parts(function)
        assert not joins(function) and len(step.inputs) == 4 and isinstance(convolution.node.op, reader)


def test_parts_are_freed_as_early_as_a_joined_image():
    """Parts that are joined are freed before the convolution, others after it."""
    x = E.tensor("x", (None, 4, None, None), "float32")
    w = E.SharedVariable(np.ones((2, 8, 3, 3), "float32"), "w")
    f = E.function([x], E.conv(T.concatenate([T.exp(x), E.pool(x, (1, 1), (1, 1))], 1), w))
    step, reader = steps_of_parts(f)
    assert set(step.inputs[:2]) <= set(step.free) and set(step.outputs) <= set(reader.free)
    a = np.random.default_rng(0).standard_normal((1, 4, 6, 7)).astype("float32")
    sums = sum(np.lib.stride_tricks.sliding_window_view(v, (3, 3), (2, 3)).sum((1, 4, 5)) for v in (np.exp(a), a))
    np.testing.assert_allclose(f(a), np.stack([sums, sums], 1), rtol=1e-4)


def test_other_readers_need_the_joined_image():
    x, y = (E.tensor(name, (None, 4, None, None), "float32") for name in "xy")
    w = E.SharedVariable(np.ones((2, 8, 3, 3), "float32"), "w")
    both = T.concatenate([x, y], 1)
    high = T.concatenate([x, y], 2)
    v = E.SharedVariable(np.ones((2, 4, 3, 3), "float32"), "v")
    wide = T.concatenate([x.astype("float64"), y.astype("float64")], 1)
    for result in ([E.conv(both, w), both], [E.conv(high, v)], [E.conv(wide, w.astype("float64"))]):
        assert joins(E.function([x, y], result))
    assert joins(E.function([x, y], E.grad(E.conv(both, w).sum() ** 2, [w])[0]))
    assert not joins(E.function([x, y], E.conv(both, w)))


def test_parts_that_do_not_fit_are_named():
    x, y = (E.tensor(name, (None, 4, None, None), "float32") for name in "xy")
    w = E.SharedVariable(np.ones((2, 8, 3, 3), "float32"), "w")
    f = E.function([x, y], E.conv(T.concatenate([x, y], 1), w))
    with pytest.raises(NeuromancerError, match=r"Join.*8, 9\)"):
        f(np.zeros((1, 4, 8, 8), "f"), np.zeros((1, 4, 8, 9), "f"))
    with pytest.raises(NeuromancerError, match=r"kernel|window"):
        f(np.zeros((1, 4, 2, 8), "f"), np.zeros((1, 4, 2, 8), "f"))


def test_the_operation_on_numpy_arrays_agrees():
    x, y = (E.tensor(name, (None, 4, None, None), "float32") for name in "xy")
    w = E.SharedVariable(np.random.default_rng(1).standard_normal((2, 8, 3, 3)).astype("f"), "w")
    f = E.function([x, y], T.tanh(E.conv(T.concatenate([x, y], 1), w)))
    a, b = np.random.default_rng(0).standard_normal((2, 1, 4, 6, 7)).astype("float32")
    node, storage = steps_of_parts(f)[0].node, [[None]]
    node.op.perform(node, [a, b, w.get_value()], storage)
    np.testing.assert_array_equal(storage[0][0], np.concatenate([a, b], 1))


def unet(same):
    """Return the last node of a U-Net and, if it does not pad, the crop of its skip connection."""
    mode = {"conv_mode": "same"} if same else {}
    raw = nm.Input((1, 1, None, None, None), "b,f,z,y,x", name="raw", **QUIET)
    high = nm.Conv(raw, 8, (3, 3, 3), **mode, **QUIET)
    low = nm.Conv(nm.Pool(high, (2, 2, 2), **QUIET), 12, (3, 3, 3), **mode, **QUIET)
    up = nm.UpConv(low, 8, (2, 2, 2), **QUIET)
    skip = high if same else nm.Crop(high, (2, 2, 2), **QUIET)
    both = nm.Concat([skip, up], **QUIET)
    return nm.Conv(nm.Conv(both, 8, (3, 3, 3), **mode, **QUIET), 2, (1, 1, 1), activation_func="lin", **QUIET)


@pytest.mark.parametrize("same", [True, False])
def test_a_skip_connection_is_not_joined(same):
    node = unet(same)
    function = E.function(node.input_tensors, node.output)
    assert len(steps_of_parts(function)[0].inputs) == 3 and not joins(function)


@pytest.mark.parametrize("same", [True, False])
def test_skip_connections_in_tiles(monkeypatch, same):
    """Tiles agree with a call on the whole image, by algorithms along rows and as chosen."""
    node = unet(same)
    raw = np.random.default_rng(0).random((1, 48, 48, 48), dtype="float32")
    whole = node(raw[None])[0]
    rows = lambda self, x, w: RowConv(  # noqa: E731
        (*x.shape[:2], *(n + 2 * p for n, p in zip(x.shape[2:], self.op.pad, strict=True))), tuple(w.shape),
        *self.op.geometry[:2],
    )  # fmt: skip
    for chosen in (None, rows):
        if chosen is not None:
            monkeypatch.setattr(FastConv, "algorithm", chosen)
        for tile in ((16, 16, 16), (24, 16, 32)):
            tiles = node.predict_dense(raw, tile=tile)
            np.testing.assert_allclose(tiles, whole, atol=1e-5)
