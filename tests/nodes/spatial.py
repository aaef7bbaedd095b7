"""Reference implementations in NumPy of convolutions, pools and interpolations with all their options."""

from __future__ import annotations

from itertools import product

import numpy as np

BORDERS = {"zeros": "constant", "reflect": "reflect", "replicate": "edge"}


def pairs(padding, ndim):
    """(before, after) per axis of a padding given as a number, per axis, or per side."""
    values = (padding,) * ndim if isinstance(padding, int) else padding
    return [(v, v) if isinstance(v, int) else v for v in values]


def padded(x, padding, mode="zeros", value=0.0):
    """Extend the spatial axes of x (b, f, *spatial)."""
    options = {"constant_values": value} if mode == "zeros" else {}
    return np.pad(x, [(0, 0), (0, 0), *pairs(padding, x.ndim - 2)], BORDERS[mode], **options)


def taps(size, kernel, stride, dilation):
    """Per axis and tap of a kernel, the slice of what it multiplies; and the number of windows per axis."""
    counts = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)]
    slices = [
        [slice(i * d, i * d + s * (m - 1) + 1, s) for i in range(k)]
        for k, s, d, m in zip(kernel, stride, dilation, counts, strict=True)
    ]
    return slices, counts


def correlate(x, w, stride, dilation, groups=1):
    """Cross-correlation of x (b, c, *spatial) with w (o, c / groups, *kernel)."""
    slices, counts = taps(x.shape[2:], w.shape[2:], stride, dilation)
    out = np.zeros((x.shape[0], w.shape[0], *counts))
    n_out, n_in = w.shape[0] // groups, w.shape[1]
    for g in range(groups):
        o, c = slice(g * n_out, (g + 1) * n_out), slice(g * n_in, (g + 1) * n_in)
        for k in product(*(range(n) for n in w.shape[2:])):
            window = x[(slice(None), c, *(axis[i] for axis, i in zip(slices, k, strict=True)))]
            out[:, o] += np.einsum("oc,bc...->bo...", w[(o, slice(None), *k)], window)
    return out


def transposed(x, w, stride, dilation, groups=1, padding=0, output_padding=0):
    """Transposed convolution of x (b, c, *spatial) with w (o / groups, c, *kernel)."""
    ndim = x.ndim - 2
    extra = (output_padding,) * ndim if isinstance(output_padding, int) else output_padding
    full = [
        (n - 1) * s + d * (k - 1) + 1 + e
        for n, k, s, d, e in zip(x.shape[2:], w.shape[2:], stride, dilation, extra, strict=True)
    ]
    out = np.zeros((x.shape[0], w.shape[0] * groups, *full))
    n_out, n_in = w.shape[0], x.shape[1] // groups
    for g in range(groups):
        o, c = slice(g * n_out, (g + 1) * n_out), slice(g * n_in, (g + 1) * n_in)
        for k in product(*(range(n) for n in w.shape[2:])):
            place = [
                slice(i * d, i * d + s * (n - 1) + 1, s)
                for i, d, s, n in zip(k, dilation, stride, x.shape[2:], strict=True)
            ]
            out[(slice(None), o, *place)] += np.einsum("oc,bc...->bo...", w[(slice(None), c, *k)], x[:, c])
    cut = [slice(a, n - b) for (a, b), n in zip(pairs(padding, ndim), full, strict=True)]
    return out[(slice(None), slice(None), *cut)]


def pooled(x, size, stride, padding, dilation, ceil, mode):
    """Pool x (b, f, *spatial), window by window; 'average' counts padded voxels, 'exclusive' does not."""
    ndim, ends = x.ndim - 2, pairs(padding, x.ndim - 2)
    counts = []
    for n, k, s, d, (a, b) in zip(x.shape[2:], size, stride, dilation, ends, strict=True):
        room = n + a + b - d * (k - 1) - 1
        m = (-(-room // s) if ceil else room // s) + 1
        counts.append(m - 1 if ceil and (m - 1) * s >= n + a else m)
    out = np.zeros((*x.shape[:2], *counts))
    for place in product(*(range(m) for m in counts)):
        inside, allowed = [], 1
        for axis, i in enumerate(place):
            (a, b), n = ends[axis], x.shape[2 + axis]
            seen = [i * stride[axis] - a + t * dilation[axis] for t in range(size[axis])]
            inside.append([t for t in seen if 0 <= t < n])
            allowed *= sum(-a <= t < n + b for t in seen)
        window = x[np.ix_(range(x.shape[0]), range(x.shape[1]), *inside)]
        axes = tuple(range(2, 2 + ndim))
        if mode == "max":
            value = window.max(axis=axes)
        else:
            value = window.sum(axis=axes)
            value = value / {"sum": 1, "average": allowed, "exclusive": window[0, 0].size}[mode]
        out[(slice(None), slice(None), *place)] = value
    return out


def resized(x, sizes, mode, align_corners=False):
    """Interpolate the spatial axes of x (b, f, *spatial) one after the other."""
    for axis, m in enumerate(sizes, 2):
        n, j = x.shape[axis], np.arange(m)
        if mode == "nearest":
            x = np.take(x, j * n // m, axis)
            continue
        at = j * (n - 1) / max(m - 1, 1) if align_corners else np.clip((j + 0.5) * n / m - 0.5, 0, n - 1)
        low = np.floor(at).astype(int)
        weight = (at - low).reshape([-1 if k == axis else 1 for k in range(x.ndim)])
        x = np.take(x, low, axis) * (1 - weight) + np.take(x, np.minimum(low + 1, n - 1), axis) * weight
    return x
