"""Maps computed from labels, for losses: signed distances, and weights of the gaps between objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuromancer.casts import exact_cast, is_number
from neuromancer.errors import ArgumentError, InputTypeError, OutOfMemoryError, ShapeError
from neuromancer.nodes.layout import is_int
from neuromancer.utils import as_array

LARGEST = float(np.finfo("float32").max) / 4
"""Bound on weights, so that their sum is finite."""
REACH = 6
"""Distance, in sigmas, beyond which the weight of a gap is below 2e-8 of `w0`."""


def _labels(labels: Any, where: str) -> np.ndarray:
    """Return labels as an integer array; raise an error unless they are integers on 1 to 3 axes."""
    try:
        array = as_array(labels)
    except ValueError:
        raise InputTypeError("labels must be an array", where=where, got=repr(labels)[:100]) from None
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.floor(array)).all():
        array = exact_cast(array, "int64", where, "labels")
    if array.dtype.kind not in "biu":
        raise InputTypeError("labels must be integers", where=where, got=str(array.dtype), expected="integers")
    if not 1 <= array.ndim <= 3 or not array.size:
        raise ShapeError("labels must have 1 to 3 spatial axes", where=where, got=array.shape, nearest="labels[k, 0]")
    return array


def _spacing(sampling: Any, ndim: int, where: str) -> tuple[float, ...]:
    values = [sampling] * ndim if is_number(sampling) else sampling
    good = isinstance(values, (Sequence, np.ndarray)) and len(values) == ndim and not isinstance(values, str)
    if not good or not all(is_number(v) and np.isfinite(v) and v > 0 for v in values):
        raise ArgumentError(
            "sampling must be the size of a voxel", where=where, got=sampling, expected=f"{ndim} numbers > 0"
        )
    return tuple(float(v) for v in values)


def signed_distance(labels: Any, n_class: int, sampling: Any = 1.0) -> np.ndarray:
    """Compute the signed distance of every voxel to the boundary of each class.

    Parameters
    ----------
    labels : array of int, (*spatial)
        Classes of one image of 1 to 3 axes; negative labels belong to no class.
    n_class : int
    sampling : float or sequence of float
        Size of a voxel, per axis.

    Returns
    -------
    numpy.ndarray of float32, (n_class, *spatial)
        Outside a class the distance to its nearest voxel; inside, minus the distance to the nearest voxel outside, plus
        the smallest size of a voxel, so that its outermost voxels have 0 (Kervadec et al. 2019). 0 if the class is
        missing or fills the image.

    Raises
    ------
    ArgumentError, InputTypeError, ShapeError
        If labels are no integers below `n_class`, or an argument does not fit.

    Examples
    --------
    >>> signed_distance([0, 0, 1, 1, 1, 0], 2)[1].tolist()
    [2.0, 1.0, 0.0, -1.0, 0.0, 1.0]
    """
    from scipy.ndimage import distance_transform_edt  # takes a third of a second, and adds a filter of warnings

    where = "signed_distance"
    array = _labels(labels, where)
    if not is_int(n_class) or n_class < 1:
        raise ArgumentError("n_class must be a positive integer", where=where, got=n_class, expected="an int >= 1")
    if array.max() >= n_class:
        raise ArgumentError(
            "labels are not classes", where=where, got=int(array.max()), expected=f"labels below n_class={n_class}"
        )
    spacing = _spacing(sampling, array.ndim, where)
    try:
        result = np.zeros((n_class, *array.shape), "float32")
    except (MemoryError, ValueError):
        raise OutOfMemoryError(
            "not enough memory", where=where, got=f"n_class={n_class} for labels of shape {array.shape}"
        ) from None
    for k in range(n_class):
        inside = array == k
        if inside.any() and not inside.all():
            outer = distance_transform_edt(~inside, sampling=spacing)
            inner = distance_transform_edt(inside, sampling=spacing)
            result[k] = outer - np.where(inside, inner - min(spacing), 0)
    return result


def unet_weights(
    labels: Any, w0: float = 10.0, sigma: float = 5.0, class_weights: Sequence[float] = (1.0, 1.0)
) -> np.ndarray:
    r"""Compute the weights by which U-Net emphasises narrow gaps between objects, to be used as `example_weights`.

    Parameters
    ----------
    labels : array of int, (*spatial)
        Object numbers of one image of 1 to 3 axes; labels below 1 are background.
    w0 : float
        Greatest additional weight, >= 0.
    sigma : float
        Width in voxels, > 0.
    class_weights : (float, float)
        Weight of background and of objects, >= 0.

    Returns
    -------
    numpy.ndarray of float32, (*spatial)

    Raises
    ------
    ArgumentError, InputTypeError, ShapeError
        If an argument does not fit.

    Notes
    -----
    In the background, with the distances d1 and d2 to the two nearest objects:

    .. math:: w = w_c + w_0 \exp\left(-\frac{(d_1 + d_2)^2}{2 \sigma^2}\right)

    (Ronneberger, Fischer & Brox 2015, arXiv:1505.04597). Objects have the weight of their class. Objects farther than 6
    sigma are left out, so each costs only its surroundings; the error is below ``2e-8 * w0``.

    Examples
    --------
    >>> np.round(unet_weights([1, 1, 0, 2, 2, 0, 0, 0], sigma=2).astype(float), 2).tolist()
    [1.0, 1.0, 7.07, 1.0, 1.0, 1.44, 1.02, 1.0]
    """
    where = "unet_weights"
    array = _labels(labels, where)
    for key, value, least in (("w0", w0, 0.0), ("sigma", sigma, np.nextafter(0, 1))):
        if not is_number(value) or not value >= least or not value <= LARGEST:
            raise ArgumentError(
                f"{key} is out of range",
                where=where,
                got=value,
                expected=f"a number {'>' if least else '>='} 0, finite in float32",
            )
    weights = list(class_weights) if isinstance(class_weights, (Sequence, np.ndarray)) else []
    if len(weights) != 2 or not all(is_number(w) and 0 <= w <= LARGEST for w in weights):
        raise ArgumentError(
            "class_weights must be two numbers >= 0, finite in float32",
            where=where,
            got=class_weights,
            expected="(background, objects)",
        )
    background = array < 1
    nearest, second = _two_nearest(array, int(np.ceil(REACH * sigma)))
    gaps = w0 * np.exp(-(((nearest + second) / sigma) ** 2) / 2)
    result: np.ndarray = np.where(background, weights[0] + gaps, weights[1]).astype("float32")
    return result


def _two_nearest(objects: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances of every voxel to the two nearest objects, infinite beyond `reach` of their boxes."""
    from scipy.ndimage import distance_transform_edt, find_objects

    numbers = np.unique(objects[objects > 0])
    # Numbers without gaps, as the boxes are listed for all numbers up to the greatest.
    dense = np.where(objects > 0, np.searchsorted(numbers, objects) + 1, 0)
    nearest, second = np.full((2, *objects.shape), np.inf)
    for k, box in enumerate(find_objects(dense), 1):
        around = tuple(slice(max(0, s.start - reach), s.stop + reach) for s in box)
        distance = distance_transform_edt(dense[around] != k)
        low, high = nearest[around], second[around]  # views
        high[...] = np.minimum(high, np.maximum(low, distance))
        low[...] = np.minimum(low, distance)
    return nearest, second
