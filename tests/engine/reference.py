"""Slow, obvious numpy definitions of the operations under test."""

from __future__ import annotations

from itertools import product

import numpy as np


def conv(x: np.ndarray, w: np.ndarray, stride: tuple, dilation: tuple, pad: tuple) -> np.ndarray:
    """Cross-correlation by its definition; x (b, c, *spatial), w (o, c, *kernel)."""
    x = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in pad]])
    sizes = [
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], w.shape[2:], stride, dilation, strict=True)
    ]
    y = np.zeros((x.shape[0], w.shape[0], *sizes), x.dtype)
    for tap in product(*map(range, w.shape[2:])):
        window = tuple(
            slice(t * d, t * d + s * (m - 1) + 1, s) for t, d, s, m in zip(tap, dilation, stride, sizes, strict=True)
        )
        y += np.einsum("bc...,oc->bo...", x[(..., *window)], w[(..., *tap)])
    return y


def conv_transpose(x: np.ndarray, w: np.ndarray, stride: tuple, dilation: tuple, pad: tuple) -> np.ndarray:
    """Every input voxel adds its kernel to the output; x (b, c, *spatial), w (c, o, *kernel)."""
    sizes = [
        (n - 1) * s + d * (k - 1) + 1 for n, k, s, d in zip(x.shape[2:], w.shape[2:], stride, dilation, strict=True)
    ]
    y = np.zeros((x.shape[0], w.shape[1], *sizes), x.dtype)
    for tap in product(*map(range, w.shape[2:])):
        window = tuple(
            slice(t * d, t * d + s * (n - 1) + 1, s)
            for t, d, s, n in zip(tap, dilation, stride, x.shape[2:], strict=True)
        )
        y[(..., *window)] += np.einsum("bc...,co->bo...", x, w[(..., *tap)])
    return y[(..., *(slice(p, n - p) for p, n in zip(pad, sizes, strict=True)))]


def pool(x: np.ndarray, size: tuple, stride: tuple, dilation: tuple, mode: str) -> np.ndarray:
    """Maximum, average or sum over all valid windows."""
    sizes = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], size, stride, dilation, strict=True)]
    taps = []
    for tap in product(*map(range, size)):
        window = tuple(
            slice(t * d, t * d + s * (m - 1) + 1, s) for t, d, s, m in zip(tap, dilation, stride, sizes, strict=True)
        )
        taps.append(x[(..., *window)])
    return {"max": np.max, "average": np.mean, "sum": np.sum}[mode](np.stack(taps), axis=0)
