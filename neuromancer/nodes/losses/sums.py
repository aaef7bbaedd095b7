"""Weighted sums of the Dice loss with cross-entropy and with the focal loss."""

from __future__ import annotations

from typing import Any

from neuromancer.graph.registry import model_manager
from neuromancer.nodes.losses.aggregate import AggregateLoss
from neuromancer.nodes.losses.focal import Focal
from neuromancer.nodes.losses.region import SoftDice
from neuromancer.nodes.losses.segmentation import SegmentationLoss, number
from neuromancer.nodes.node import Node


def DiceCE(
    pred: Node,
    target: Node,
    ce_weight: float = 1.0,
    dice_weight: float = 1.0,
    target_is_sparse: bool = False,
    class_weights: Any = None,
    ignore_label: int | None = None,
    include_background: bool = True,
    squared: bool = False,
    per_image: bool = False,
    smooth: float = 1e-5,
    name: str = "dice_ce",
    print_repr: bool = True,
) -> AggregateLoss:
    """Create the weighted sum of cross-entropy and Dice loss.

    Parameters
    ----------
    pred, target, target_is_sparse, ignore_label
        See :class:`SoftDice`.
    ce_weight, dice_weight : float
        Weights of the two losses, >= 0.
    class_weights : sequence of float, optional
        One weight per feature of `pred`, for both losses.
    include_background, squared, per_image, smooth
        Options of :class:`SoftDice`; the cross-entropy has all classes.
    name : str
    print_repr : bool

    Returns
    -------
    AggregateLoss
        ``ce_weight * mean(Focal with gamma=0) + dice_weight * SoftDice``, as ``monai.losses.DiceCELoss``. Being a mean,
        it stores twice the weights as ``mixing_weights``.

    Raises
    ------
    ArgumentError, ShapeError, InputTypeError
        See :class:`SoftDice`; no node is then added to the model.

    Examples
    --------
    >>> from neuromancer import Input, Softmax
    >>> probs = Softmax(Input((2, 2), "b,f", name="raw", print_repr=False), print_repr=False)
    >>> labels = Input((2, 1), "b,f", name="labels", print_repr=False)
    >>> loss = DiceCE(probs, labels, target_is_sparse=True, print_repr=False)
    >>> round(float(loss([[0, 0], [0, 0]], [[0], [1]])), 3)  # log 2 + 1/2
    1.193
    """
    with model_manager.all_or_nothing():
        ce = Focal(
            pred, target, 0.0, None, target_is_sparse, class_weights, ignore_label, name=f"{name}_ce", print_repr=False
        )
        dice = SoftDice(
            pred,
            target,
            target_is_sparse,
            class_weights,
            ignore_label,
            include_background,
            squared,
            per_image,
            smooth,
            name=f"{name}_dice",
            print_repr=False,
        )
        return _weighted_sum([ce, dice], {"ce_weight": ce_weight, "dice_weight": dice_weight}, name, print_repr)


def DiceFocal(
    pred: Node,
    target: Node,
    gamma: float = 2.0,
    alpha: float | None = None,
    focal_weight: float = 1.0,
    dice_weight: float = 1.0,
    target_is_sparse: bool = False,
    class_weights: Any = None,
    ignore_label: int | None = None,
    include_background: bool = True,
    squared: bool = False,
    per_image: bool = False,
    smooth: float = 1e-5,
    name: str = "dice_focal",
    print_repr: bool = True,
) -> AggregateLoss:
    """Create the weighted sum of focal and Dice loss.

    Parameters
    ----------
    pred, target, gamma, alpha
        See :class:`Focal`.
    focal_weight, dice_weight : float
        Weights of the two losses, >= 0.
    target_is_sparse, class_weights, ignore_label, include_background, squared, per_image, smooth
        See :func:`DiceCE`.
    name : str
    print_repr : bool

    Returns
    -------
    AggregateLoss
        ``focal_weight * mean(Focal) + dice_weight * SoftDice``. For sigmoids this is ``monai.losses.DiceFocalLoss``,
        whose focal loss is that of sigmoids for a softmax, too. Being a mean, it stores twice the weights as
        ``mixing_weights``.

    Raises
    ------
    ArgumentError, ShapeError, InputTypeError
        See :class:`SoftDice`; no node is then added to the model.

    Examples
    --------
    >>> from neuromancer import Input, Softmax
    >>> probs = Softmax(Input((2, 2), "b,f", name="raw", print_repr=False), print_repr=False)
    >>> labels = Input((2, 1), "b,f", name="labels", print_repr=False)
    >>> loss = DiceFocal(probs, labels, target_is_sparse=True, print_repr=False)
    >>> round(float(loss([[0, 0], [0, 0]], [[0], [1]])), 3)  # log 2 / 4 + 1/2
    0.673
    """
    with model_manager.all_or_nothing():
        focal = Focal(
            pred,
            target,
            gamma,
            alpha,
            target_is_sparse,
            class_weights,
            ignore_label,
            name=f"{name}_focal",
            print_repr=False,
        )
        dice = SoftDice(
            pred,
            target,
            target_is_sparse,
            class_weights,
            ignore_label,
            include_background,
            squared,
            per_image,
            smooth,
            name=f"{name}_dice",
            print_repr=False,
        )
        return _weighted_sum(
            [focal, dice], {"focal_weight": focal_weight, "dice_weight": dice_weight}, name, print_repr
        )


def _weighted_sum(
    losses: list[SegmentationLoss], weights: dict[str, Any], name: str, print_repr: bool
) -> AggregateLoss:
    # The aggregate averages its components, a sum has as many times their weights.
    mixing = [len(losses) * number(losses[0], key, value) for key, value in weights.items()]
    return AggregateLoss([*losses], mixing, name=name, print_repr=print_repr)
