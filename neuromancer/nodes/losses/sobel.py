"""Loss between the edges of images instead of their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.registry import model_manager
from neuromancer.nodes.conv import Conv
from neuromancer.nodes.losses.common import require_fit, require_tensor
from neuromancer.nodes.losses.regression import AbsLoss
from neuromancer.nodes.node import Node

DERIVATIVE = (1.0, 0.0, -1.0)
SMOOTHING = (0.3, 0.4, 0.3)
LOSSES: dict[str, Callable[..., Node]] = {"abs": AbsLoss}
LABEL = "SobelizedLoss"


def SobelizedLoss(pred: Node, target: Node, loss_type: str = "abs", loss_kwargs: dict[str, Any] | None = None) -> Node:
    """Create a loss between the smoothed derivatives of prediction and target.

    Two constant 'same' convolutions, named ``pred_sobel`` and ``target_sobel``, compute one derivative per feature and
    spatial axis: difference ``[1, 0, -1]`` along the axis, smoothing ``[0.3, 0.4, 0.3]`` along the others (Sobel &
    Feldman 1968, with different smoothing weights). The loss compares the two.

    Parameters
    ----------
    pred : Node
        Images with 1 to 3 spatial axes in layout ``b,f,...``.
    target : Node
        Images of the same shape. Missing values are not supported: NaN is an error.
    loss_type : {'abs'}
        Type of the loss: :class:`AbsLoss`.
    loss_kwargs : dict, optional
        Further arguments of the loss.

    Returns
    -------
    Node
        Loss in the shape of `pred`, with one feature.

    Raises
    ------
    ArgumentError
        If `loss_type` is unknown.
    ShapeError, InputTypeError
        If prediction and target do not match, their number of features is unknown, or their layout is not supported; no
        node is then added to the model.

    Examples
    --------
    >>> from neuromancer import Input
    >>> a, b = (Input((1, 1, 5), "b,f,x", name=n, print_repr=False) for n in "ab")
    >>> SobelizedLoss(a, b, loss_kwargs={"print_repr": False}).shape
    [(1,b), (1,f), (5,x)]
    """
    if loss_type not in LOSSES:
        raise ArgumentError(
            "unknown loss_type",
            where=LABEL,
            got=loss_type,
            expected=f"one of {sorted(LOSSES)}",
            nearest="'abs'",
        )
    require_tensor(pred, LABEL, "the prediction")  # type: ignore[arg-type]
    require_tensor(target, LABEL, "the target")  # type: ignore[arg-type]
    require_fit(LABEL, "target", target, pred)  # type: ignore[arg-type]
    sh = pred.shape
    if not 1 <= sh.ndim <= 3 or sh.spatial_axes != list(range(2, len(sh))) or sh["f"] is None:
        raise ShapeError("needs images", where=LABEL, got=repr(sh), expected="layout b,f,... with 1 to 3 spatial axes")
    kernels = sobel_kernels(sh["f"], sh.ndim)
    with model_manager.all_or_nothing():
        edges = [_convolved(node, kernels, name) for node, name in ((pred, "pred_sobel"), (target, "target_sobel"))]
        return LOSSES[loss_type](*edges, **(loss_kwargs or {}))


def _convolved(node: Node, kernels: np.ndarray, name: str) -> Node:
    return Conv(
        node,
        len(kernels),
        kernels.shape[2:],
        conv_mode="same",
        activation_func="lin",
        name=name,
        print_repr=False,
        w=[kernels, "const"],
        b=[np.zeros(len(kernels)), "const"],
    )


def sobel_kernels(n_f: int, ndim: int) -> np.ndarray:
    """Return the convolution kernels of the derivatives of every feature along every axis.

    Parameters
    ----------
    n_f : int
        Number of features.
    ndim : int
        Number of spatial axes.

    Returns
    -------
    numpy.ndarray, (n_f * ndim, n_f, 3, ...)
        Output k is the derivative of feature ``k // ndim`` along axis ``k % ndim``.
    """
    kernels = np.zeros((n_f, ndim, n_f, *(3,) * ndim))
    for axis in range(ndim):
        kernel = np.ones(())
        for other in range(ndim):
            kernel = np.multiply.outer(kernel, DERIVATIVE if other == axis else SMOOTHING)
        for f in range(n_f):
            kernels[f, axis, f] = kernel
    return kernels.reshape(n_f * ndim, n_f, *(3,) * ndim)
