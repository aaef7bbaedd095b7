"""Convolutions and pools of Theano, under `T.nnet` and `T.signal`, compute what SciPy and NumPy do, on both engines."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from neuromancer import engine as E
from tests.engine.theano_names import FILTERS, IMAGE, RNG, values

T = E.T
SINGLE = IMAGE.astype("float32")


def correlate(image: np.ndarray, filters: np.ndarray, stride: int = 1) -> np.ndarray:
    """Return the valid cross-correlation of (b, n_in, *spatial) with (n_out, n_in, *spatial)."""
    result = np.stack(
        [
            np.stack([sum(scipy.signal.correlate(a, w, "valid") for a, w in zip(x, f, strict=True)) for f in filters])
            for x in image
        ]
    )
    return result[(..., *(slice(None, None, stride),) * (image.ndim - 2))]


def padded(image: np.ndarray, *ends: tuple[int, int]) -> np.ndarray:
    return np.pad(image, [(0, 0), (0, 0), *ends])


def turned(filters: np.ndarray) -> np.ndarray:
    return filters[(slice(None), slice(None), *(slice(None, None, -1),) * (filters.ndim - 2))]


@pytest.mark.parametrize(
    ("mode", "ends"),
    [("valid", (0, 0)), ("full", (2, 2)), ("half", (1, 1)), (1, (1, 1)), ((2, 2), (2, 2)), (((0, 2), (0, 2)), (0, 2))],
)
@pytest.mark.parametrize(("flip", "stride"), [(True, 1), (False, 2)])
def test_conv2d(mode, ends, flip, stride):
    def build(x, w):
        return T.nnet.conv2d(
            x, w, (2, 3, 7, 9), (4, 3, 3, 3), border_mode=mode, subsample=(stride, stride), filter_flip=flip
        )

    expected = correlate(padded(IMAGE, ends, ends), turned(FILTERS) if flip else FILTERS, stride)
    np.testing.assert_allclose(values(build, IMAGE, FILTERS), expected, rtol=1e-6, atol=1e-9)


def test_conv2d_with_dilation_and_groups():
    filters = RNG.standard_normal((6, 1, 2, 2))
    found = values(
        lambda x, w: T.nnet.conv2d(x, w, filter_dilation=(2, 2), num_groups=3, filter_flip=False), IMAGE, filters
    )
    wide = np.zeros((6, 1, 3, 3))
    wide[:, :, ::2, ::2] = filters
    expected = np.concatenate([correlate(IMAGE[:, g : g + 1], wide[2 * g : 2 * g + 2]) for g in range(3)], 1)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_separable_conv2d():
    apart, together = RNG.standard_normal((6, 1, 2, 2)), RNG.standard_normal((4, 6, 1, 1))
    found = values(lambda x, a, b: T.nnet.separable_conv2d(x, a, b, 3), IMAGE, apart, together)
    middle = [correlate(IMAGE[:, g : g + 1], turned(apart[2 * g : 2 * g + 2])) for g in range(3)]
    np.testing.assert_allclose(found, correlate(np.concatenate(middle, 1), together), rtol=1e-6, atol=1e-9)


def test_conv3d():
    image, filters = RNG.standard_normal((1, 2, 5, 6, 7)), RNG.standard_normal((3, 2, 2, 3, 3))
    found = values(lambda x, w: T.nnet.conv3d(x, w, border_mode=(0, 1, 1)), image, filters)
    expected = correlate(padded(image, (0, 0), (1, 1), (1, 1)), turned(filters))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("mode", ["valid", "half", (1, 0)])
@pytest.mark.parametrize("stride", [1, 2])
def test_conv2d_transpose_is_the_gradient_of_conv2d(mode, stride):
    options = {"filter_shape": (4, 3, 3, 3), "border_mode": mode}

    def forward(x, w):
        return T.nnet.conv2d(x, w, subsample=(stride, stride), **options)

    result = values(forward, IMAGE, FILTERS)
    weights = RNG.standard_normal(result.shape)
    expected = values(lambda x, w: T.grad((forward(x, w) * weights).sum(), x), IMAGE, FILTERS)

    def build(y, w):
        return T.nnet.conv2d_transpose(y, w, (2, 3, 7, 9), input_dilation=(stride, stride), **options)

    np.testing.assert_allclose(values(build, weights, FILTERS), expected, rtol=1e-6, atol=1e-9)


def test_convolution_of_last_axes():
    image, filters = IMAGE[0], FILTERS[0]
    found = values(lambda x, w: T.signal.conv.conv2d(x, w), image, filters)
    assert found.shape == (3, 3, 5, 7)
    np.testing.assert_allclose(found[1, 2], scipy.signal.convolve2d(image[1], filters[2], "valid"))
    full = values(
        lambda x, w: T.signal.conv.conv2d(x, w, border_mode="full", filter_shape=(3, 3)), image[0], filters[0]
    )
    np.testing.assert_allclose(full, scipy.signal.convolve2d(image[0], filters[0], "full"), atol=1e-12)


def pooled(x: np.ndarray, ws: int, stride: int, pad: int, ignore: bool, mode: str) -> np.ndarray:
    """Pool the last two axes window by window."""
    values = np.pad(x, ((pad, pad),) * 2)
    inside = np.pad(np.ones_like(x), ((pad, pad),) * 2) > 0

    def starts(n: int) -> range:
        if ignore:
            return range(0, n - ws + 1, stride)
        count = (n - 1) // stride + 1 if stride >= ws else max(0, (n - 1 - ws) // stride + 1) + 1
        return range(0, count * stride, stride)

    def one(i: int, j: int) -> float:
        window, known = values[i : i + ws, j : j + ws], inside[i : i + ws, j : j + ws]
        if mode == "average_inc_pad":
            return float(window.mean())
        return float({"max": np.max, "sum": np.sum, "average_exc_pad": np.mean}[mode](window[known]))

    return np.array([[one(i, j) for j in starts(values.shape[1])] for i in starts(values.shape[0])])


@pytest.mark.parametrize("mode", ["max", "sum", "average_inc_pad", "average_exc_pad"])
@pytest.mark.parametrize(("ws", "stride", "pad", "ignore"), [(2, 2, 0, True), (3, 2, 1, True), (2, 2, 0, False),
                                                             (3, 2, 0, False), (2, 3, 0, False)])  # fmt: skip
def test_pool_2d(mode, ws, stride, pad, ignore):
    found = values(lambda x: T.signal.pool.pool_2d(x, (ws, ws), ignore, (stride, stride), (pad, pad), mode=mode), IMAGE)
    assert found.shape[:2] == (2, 3)
    np.testing.assert_allclose(found[1, 2], pooled(IMAGE[1, 2], ws, stride, pad, ignore, mode), rtol=1e-6)


def test_pool_3d():
    volume = RNG.standard_normal((2, 4, 6, 8))
    found = values(lambda x: T.signal.pool.pool_3d(x, (2, 3, 2), ignore_border=True), volume)
    np.testing.assert_allclose(found, volume.reshape(2, 2, 2, 2, 3, 4, 2).max((2, 4, 6)))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", ["valid", "half", "full"])
def test_gradients_of_convolutions(ndim, mode):
    A, stride = T.nnet.abstract_conv, (2, 1, 1)[:ndim]
    image, filters = RNG.standard_normal((2, 2, 6, 5, 4)[: ndim + 2]), RNG.standard_normal((3, 2, 3, 2, 2)[: ndim + 2])
    options = {"border_mode": mode, "subsample": stride}
    conv, for_inputs, for_weights = (
        getattr(A, f"conv{ndim}d{which}") for which in ("", "_grad_wrt_inputs", "_grad_wrt_weights")
    )

    def forward(x, w):
        return conv(x, w, image.shape, filters.shape, **options)

    weights = RNG.standard_normal(values(forward, image, filters).shape)
    for number, build in enumerate(
        (
            lambda x, w, y: for_inputs(y, w, image.shape, filters.shape, **options),
            lambda x, w, y: for_weights(x, y, filters.shape, image.shape, **options),
        )
    ):
        expected = values(
            lambda x, w, y, k=number: T.grad((forward(x, w) * y).sum(), (x, w)[k]), image, filters, weights
        )
        np.testing.assert_allclose(values(build, image, filters, weights), expected, rtol=1e-6, atol=1e-9)


def test_separable_conv3d():
    image = RNG.standard_normal((1, 3, 4, 5, 6))
    apart, together = RNG.standard_normal((6, 1, 2, 2, 3)), RNG.standard_normal((4, 6, 1, 1, 1))
    found = values(lambda x, a, b: T.nnet.abstract_conv.separable_conv3d(x, a, b, 3), image, apart, together)
    middle = [correlate(image[:, g : g + 1], turned(apart[2 * g : 2 * g + 2])) for g in range(3)]
    np.testing.assert_allclose(found, correlate(np.concatenate(middle, 1), together), rtol=1e-6, atol=1e-9)


def test_causal_conv1d():
    series, filters = RNG.standard_normal((2, 3, 11)), RNG.standard_normal((4, 3, 2))
    found = values(
        lambda x, w: T.nnet.abstract_conv.causal_conv1d(x, w, (4, 3, 2), filter_dilation=3, filter_flip=False),
        series,
        filters,
    )
    wide = np.zeros((4, 3, 4))
    wide[:, :, ::3] = filters
    np.testing.assert_allclose(found, correlate(padded(series, (3, 0)), wide), rtol=1e-6, atol=1e-9)


def test_conv3d_with_channels_in_the_middle():
    image, filters = RNG.standard_normal((1, 2, 5, 6, 7)), RNG.standard_normal((3, 2, 2, 3, 3))
    found = values(T.nnet.conv3d2d.conv3d, *(a.transpose(0, 2, 1, 3, 4) for a in (image, filters)))
    expected = correlate(image, turned(filters)).transpose(0, 2, 1, 3, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def interpolated(x: np.ndarray, axis: int, p: int, q: int = 1) -> np.ndarray:
    """Interpolate linearly along an axis at every q / p-th element; beyond the ends, they repeat."""
    places = np.arange(0, x.shape[axis] * p, q) / p - ((p - 1) // 2) / p
    return np.apply_along_axis(lambda v: np.interp(places, np.arange(len(v)), v), axis, x)


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_bilinear_upsampling(ratio):
    found = values(lambda x: T.nnet.abstract_conv.bilinear_upsampling(x, ratio), SINGLE)
    expected = interpolated(interpolated(SINGLE, 2, ratio), 3, ratio)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fractions", [(3, 2), ((3, 2), (4, 2))])
def test_bilinear_upsampling_by_fractions(fractions):
    found = values(
        lambda x: T.nnet.abstract_conv.bilinear_upsampling(x, frac_ratio=fractions, use_1D_kernel=False), SINGLE
    )
    (a, b), (c, d) = fractions if isinstance(fractions[0], tuple) else (fractions, fractions)
    c, d = (2, 1) if (c, d) == (4, 2) else (c, d)
    np.testing.assert_allclose(found, interpolated(interpolated(SINGLE, 2, a, b), 3, c, d), rtol=1e-5, atol=1e-6)


def windows(x: np.ndarray, size: tuple[int, int], step: tuple[int, int]) -> np.ndarray:
    found = np.lib.stride_tricks.sliding_window_view(x, size, (2, 3))[:, :, :: step[0], :: step[1]]
    return found.reshape(-1, size[0] * size[1])


@pytest.mark.parametrize(
    ("mode", "size", "step", "ends"),
    [
        ("valid", (2, 3), None, 0),
        ("valid", (2, 3), (1, 3), 0),
        ("ignore_borders", (4, 2), None, 0),
        ("half", (3, 3), (1, 1), 1),
        ("full", (2, 2), (1, 1), 1),
    ],
)
def test_windows_of_images(mode, size, step, ends):
    image = IMAGE[:, :, :6]
    found = values(lambda x: T.nnet.neighbours.images2neibs(x, size, step, mode), image)
    np.testing.assert_array_equal(found, windows(padded(image, (ends, ends), (ends, ends)), size, step or size))


def test_windows_that_wrap_around():
    image = IMAGE[:, :, :6]
    found = values(lambda x: T.nnet.neighbours.images2neibs(x, (3, 3), (2, 3), "wrap_centered"), image)
    wrapped = np.pad(image, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="wrap")
    np.testing.assert_array_equal(found, windows(wrapped, (3, 3), (2, 3)))


@pytest.mark.parametrize("mode", ["valid", "ignore_borders"])
def test_images_of_windows(mode):
    image = IMAGE[:, :, :6] if mode == "valid" else IMAGE
    N = T.nnet.neighbours
    found = values(lambda x: N.neibs2images(N.images2neibs(x, (2, 3), mode=mode), (2, 3), image.shape, mode), image)
    expected = image.copy()
    expected[:, :, 6:] = 0
    np.testing.assert_array_equal(found, expected)


def test_maxima_in_place():
    found = values(lambda x: T.signal.pool.max_pool_2d_same_size(x, (2, 3)), IMAGE[:, :, :6])
    blocks = IMAGE[:, :, :6].reshape(2, 3, 3, 2, 3, 3)
    expected = np.where(blocks == blocks.max((3, 5), keepdims=True), blocks, 0).reshape(2, 3, 6, 9)
    np.testing.assert_allclose(found, expected)
