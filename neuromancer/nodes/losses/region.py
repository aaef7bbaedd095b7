"""Overlap of predicted and true regions: Dice, Tversky."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.layout import feature_vector, flag
from neuromancer.nodes.losses.segmentation import SegmentationLoss, number
from neuromancer.nodes.node import Node


class RegionLoss(SegmentationLoss):
    """Base of losses that compare sums over pixels, class by class."""

    def _set_regions(self, include_background: bool, per_image: bool, smooth: float) -> None:
        """Check and store which classes and pixels belong together."""
        self.include_background = flag(include_background, "include_background", self)
        self.per_image = flag(per_image, "per_image", self)
        self.smooth = number(self, "smooth", smooth, above=True)
        if not self.include_background and self.n_class == 1:
            raise ArgumentError(
                "only a Softmax of two or more classes has a background class",
                node=self,
                got=f"include_background=False for {self.pred.name!r}",
                expected="include_background=True",
            )
        if self.per_image and not self.pred.shape.hastag("b"):
            raise ShapeError("per_image needs an axis b", node=self, got=repr(self.pred.shape))

    def _sum(self, x: Any) -> Any:
        """Sum numbers over the pixels of the batch or of each image; axes are kept."""
        kept = ("b", "f") if self.per_image else ("f",)
        axes = [i for i, t in enumerate(self.pred.shape.tags) if t not in kept]
        return E.T.sum(x, axis=axes, keepdims=True) if axes else x

    def _included(self) -> Any:
        """Return 1 for features that count, 0 for background, along axis f."""
        counts = np.arange(self.n_class * self.n_indep) % self.n_class > (-1 if self.include_background else 0)
        ndim = len(self.pred.shape)
        return feature_vector(E.constant(counts.astype(self.pred.output.dtype)), ndim, self.axis)

    def _mean(self, losses: Any) -> Any:
        """Average the losses of the classes that count, times their weights."""
        left_out = 0 if self.include_background else self.n_indep
        n_f = self.n_class * self.n_indep
        return E.T.mean(self._per_class(losses) * self._included()) * (n_f / (n_f - left_out))

    def _calc_shape(self) -> None:
        self.shape = TaggedShape([1], "f")


class SoftDice(RegionLoss):
    r"""One minus the soft Dice coefficient, averaged over classes.

    Parameters
    ----------
    pred : Node
        Probabilities: a Softmax, a layer with a sigmoid, or a part of one by :func:`neuromancer.split`.
    target : Node
        Sparse: integer labels, one per group of classes; for a sigmoid 0 or 1 in the shape of `pred`. Negative labels
        are ignored. Dense: numbers in [0, 1] in the shape of `pred`. All zeros mean unlabelled for a Softmax, negative
        or NaN for a sigmoid.
    target_is_sparse : bool
        Whether the target holds labels.
    class_weights : sequence of float, optional
        Factor of the loss of every class, one per feature of `pred`; not normalised.
    ignore_label : int, optional
        Sparse label that is ignored, in addition to negative ones.
    include_background : bool
        Whether class 0 counts. Sigmoids have no background class.
    squared : bool
        Square the terms of the denominator (Milletari et al. 2016).
    per_image : bool
        Compute the loss of each image and average. Otherwise sum over the batch ("batch Dice"), which is more stable
        if classes are missing in some images.
    smooth : float
        Added to numerator and denominator, > 0.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError
        If `pred` is neither a Softmax nor a sigmoid, or an argument is out of range.
    ShapeError, InputTypeError
        If target or class weights do not match the prediction.

    Notes
    -----
    For probabilities p and target t of a class, summed over labelled pixels:

    .. math:: l = 1 - \frac{2 \sum p\,t + s}{\sum p^k + \sum t^k + s}

    with k = 2 if `squared`, else 1 (Milletari, Navab & Ahmadi 2016, arXiv:1606.04797; ``monai.losses.DiceLoss``). The
    output is a scalar (0-d); its declared shape is ``[(1,f)]``.

    Examples
    --------
    >>> from neuromancer import Input, Softmax
    >>> probs = Softmax(Input((2, 2), "b,f", name="raw", print_repr=False), print_repr=False)
    >>> labels = Input((2, 1), "b,f", name="labels", print_repr=False)
    >>> dice = SoftDice(probs, labels, target_is_sparse=True, print_repr=False)
    >>> round(float(dice([[9, 0], [0, 9]], [[0], [1]])), 3), round(float(dice([[9, 0], [0, 9]], [[1], [0]])), 3)
    (0.0, 1.0)
    """

    def __init__(
        self,
        pred: Node,
        target: Node,
        target_is_sparse: bool = False,
        class_weights: Any = None,
        ignore_label: int | None = None,
        include_background: bool = True,
        squared: bool = False,
        per_image: bool = False,
        smooth: float = 1e-5,
        name: str = "dice",
        print_repr: bool = True,
    ) -> None:
        super().__init__(None, name, print_repr)
        self._connect(pred, target, target_is_sparse, class_weights, ignore_label)
        self._set_regions(include_background, per_image, smooth)
        self.squared = flag(squared, "squared", self)

    def _make_output(self) -> None:
        t, known = self._coded()
        p, t = self.pred.output * known, t * known
        sizes = self._sum(p**2) + self._sum(t**2) if self.squared else self._sum(p) + self._sum(t)
        self.output = self._mean(1 - (2 * self._sum(p * t) + self.smooth) / (sizes + self.smooth))


class Tversky(RegionLoss):
    r"""One minus the Tversky index, which weighs false positives and false negatives separately.

    Parameters
    ----------
    pred, target, target_is_sparse, class_weights, ignore_label, include_background, per_image, smooth
        See :class:`SoftDice`.
    alpha : float
        Weight of false positives, >= 0.
    beta : float
        Weight of false negatives, >= 0; above `alpha` favours recall.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError, ShapeError, InputTypeError
        See :class:`SoftDice`.

    Notes
    -----
    Summed over labelled pixels, for each class:

    .. math:: l = 1 - \frac{\sum p\,t + s}{\sum p\,t + \alpha \sum p\,(1 - t) + \beta \sum (1 - p)\,t + s}

    (Salehi, Erdogmus & Gholipour 2017, arXiv:1706.05721; ``monai.losses.TverskyLoss``). With alpha = beta = 1/2 this is
    the Dice loss. The output is a scalar (0-d); its declared shape is ``[(1,f)]``.

    Examples
    --------
    >>> from neuromancer import Input, Softmax
    >>> probs = Softmax(Input((2, 2), "b,f", name="raw", print_repr=False), print_repr=False)
    >>> labels = Input((2, 1), "b,f", name="labels", print_repr=False)
    >>> loss = Tversky(probs, labels, 0.3, 0.7, target_is_sparse=True, print_repr=False)
    >>> round(float(loss([[0, 0], [0, 0]], [[0], [1]])), 3)
    0.5
    """

    def __init__(
        self,
        pred: Node,
        target: Node,
        alpha: float = 0.5,
        beta: float = 0.5,
        target_is_sparse: bool = False,
        class_weights: Any = None,
        ignore_label: int | None = None,
        include_background: bool = True,
        per_image: bool = False,
        smooth: float = 1e-5,
        name: str = "tversky",
        print_repr: bool = True,
    ) -> None:
        super().__init__(None, name, print_repr)
        self._connect(pred, target, target_is_sparse, class_weights, ignore_label)
        self._set_regions(include_background, per_image, smooth)
        self.alpha, self.beta = number(self, "alpha", alpha), number(self, "beta", beta)

    def _make_output(self) -> None:
        t, known = self._coded()
        p, t = self.pred.output * known, t * known
        both = self._sum(p * t)
        errors = self.alpha * self._sum(p * (1 - t)) + self.beta * self._sum((1 - p) * t)
        self.output = self._mean(1 - (both + self.smooth) / (both + errors + self.smooth))


class GeneralisedDice(RegionLoss):
    r"""One minus the generalised Dice coefficient: classes weigh as their inverse squared size.

    Parameters
    ----------
    pred, target, target_is_sparse, ignore_label, include_background, per_image, smooth
        See :class:`SoftDice`.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError, ShapeError, InputTypeError
        See :class:`SoftDice`.

    Notes
    -----
    Summed over labelled pixels and over classes c:

    .. math::
        l = 1 - \frac{2 \sum_c w_c \sum p\,t + s}{\sum_c w_c \left(\sum p + \sum t\right) + s},
        \qquad w_c = \left(\sum t\right)^{-2}

    (Sudre et al. 2017, arXiv:1707.03237; ``monai.losses.GeneralizedDiceLoss``). A class without labels gets the
    greatest weight of the others. The output is a scalar (0-d); its declared shape is ``[(1,f)]``.

    Examples
    --------
    >>> from neuromancer import Input, Softmax
    >>> probs = Softmax(Input((2, 2), "b,f", name="raw", print_repr=False), print_repr=False)
    >>> labels = Input((2, 1), "b,f", name="labels", print_repr=False)
    >>> loss = GeneralisedDice(probs, labels, target_is_sparse=True, print_repr=False)
    >>> round(float(loss([[0, 0], [0, 0]], [[0], [1]])), 3)
    0.5
    """

    def __init__(
        self,
        pred: Node,
        target: Node,
        target_is_sparse: bool = False,
        ignore_label: int | None = None,
        include_background: bool = True,
        per_image: bool = False,
        smooth: float = 1e-5,
        name: str = "generalised_dice",
        print_repr: bool = True,
    ) -> None:
        super().__init__(None, name, print_repr)
        self._connect(pred, target, target_is_sparse, None, ignore_label)
        self._set_regions(include_background, per_image, smooth)

    def _make_output(self) -> None:
        t, known = self._coded()
        p, t = self.pred.output * known, t * known
        size, included = self._sum(t), self._included()
        present = E.T.gt(size * included, 0)
        weights = E.T.switch(present, 1 / E.T.switch(present, size, 1) ** 2, 0)
        greatest = E.T.max(weights, axis=self.axis, keepdims=True)
        weights = E.T.switch(present, weights, greatest) * included
        overlap = E.T.sum(weights * self._sum(p * t), axis=self.axis)
        total = E.T.sum(weights * (self._sum(p) + size), axis=self.axis)
        self.output = E.T.mean(1 - (2 * overlap + self.smooth) / (total + self.smooth))
