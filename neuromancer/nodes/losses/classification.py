"""Discrete classes: one-hot encoding, classification, error rates."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.config import config
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.graph.demand import Demand, magnitude
from neuromancer.graph.registry import model_manager
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.nodes.activation import SIGMOID
from neuromancer.nodes.layout import flag, positive_int
from neuromancer.nodes.losses.common import require_fit, require_tensor
from neuromancer.nodes.losses.parts import require_whole_labels
from neuromancer.nodes.losses.targets import (
    IGNORED_NUMBERS,
    Check,
    check_finite,
    check_fractions,
    check_ignored,
    check_labels,
    ignoring,
)
from neuromancer.nodes.node import Node
from neuromancer.nodes.softmax import Softmax, class_count


def one_hot(labels: Any, axis: int, n_class: int, dtype: str) -> Any:
    """Encode every label on `axis` by `n_class` numbers: 1 for its class, 0 for the others.

    Parameters
    ----------
    labels : symbolic variable
        Labels of any rank; integers, possibly in a floating-point dtype.
    axis : int
        Axis whose entries become groups of `n_class`.
    n_class : int
    dtype : str
        Dtype of the result.

    Returns
    -------
    symbolic variable
        Rank of `labels`; `axis` is `n_class` times as long.
    """
    classes = E.constant(np.arange(n_class, dtype="int64").reshape(n_class, *[1] * (labels.ndim - axis - 1)))
    wide = labels.dimshuffle(*range(axis + 1), "x", *range(axis + 1, labels.ndim))
    coded = E.T.cast(E.T.eq(wide, classes), dtype)
    sizes = [labels.shape[i] for i in range(labels.ndim)]
    groups = (E.known_shape(labels) or ())[axis]
    return coded.reshape([*sizes[:axis], (groups or sizes[axis]) * n_class, *sizes[axis + 1 :]])


class OneHot(Node):
    """One-hot encoding of integer labels.

    Parameters
    ----------
    target : Node
        Labels, with size 1 on `axis`. Negative labels mean unlabelled and are encoded as zeros. Labels passed by the
        caller must be integers below `n_class`.
    n_class : int
        Number of classes; size of the result on `axis`.
    axis : str or int
        Tag or position of the axis.
    name : str
    print_repr : bool

    Raises
    ------
    ShapeError
        If the axis does not exist or its size is not 1.
    ArgumentError
        If `n_class` is not a positive integer.
    InputTypeError
        If the target is not a node with a tensor output.

    Notes
    -----
    The output has dtype ``config.floatX``.

    Examples
    --------
    >>> from neuromancer import Input
    >>> labels = Input((2, 1), "b,f", dtype="int16", print_repr=False)
    >>> OneHot(labels, 3, print_repr=False)([[2], [-1]]).tolist()
    [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    """

    def __init__(
        self, target: Node, n_class: int, axis: str | int = "f", name: str = "onehot", print_repr: bool = True
    ) -> None:
        super().__init__(None, name, print_repr)
        require_tensor(target, self, "the target")
        self.parent = target
        self.n_class = positive_int(n_class, "n_class", self)
        self.axis = target.shape.axis(axis)
        if target.shape[self.axis] != 1:
            raise ShapeError(
                "labels must have size 1 on the encoded axis",
                node=self,
                got=repr(target.shape),
                expected=f"size 1 on axis {target.shape.tags[self.axis]!r}",
            )

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        return Demand(numbers=2 * magnitude(arguments.get("n_class")))

    def input_checks(self) -> list[tuple[Node, Check]]:
        """Return the check of the target: labels are classes or negative."""
        return [(self.parent, partial(check_labels, self, n_class=self.n_class))]

    def _make_output(self) -> None:
        self.output = one_hot(self.parent.output, self.axis, self.n_class, config.floatX)

    def _calc_shape(self) -> None:
        self.shape = self.parent.shape.updateshape(self.axis, self.n_class)


class Classification(Node):
    """Predicted class: the most probable one, or for a sigmoid whether it exceeds 0.5.

    Parameters
    ----------
    pred : Node
        Softmax or part of one, layer with a sigmoid, or, with `n_class`, any node whose features are class scores.
    n_class : int or 'auto'
        Number of classes; 'auto' takes it from the Softmax, or 2 for a sigmoid.
    n_indep : int or 'auto'
        Number of independent labels; 'auto' divides the number of features by `n_class`, or for a sigmoid takes all.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError
        If the number of classes cannot be determined from `pred`.
    ShapeError
        If the number of features is not ``n_class * n_indep``.
    InputTypeError
        If `pred` is not a node with a tensor output.

    Notes
    -----
    The output has dtype int32 and one feature per independent label. Ties are resolved in favour of the lowest class.

    Examples
    --------
    >>> from neuromancer import Input, Softmax
    >>> probs = Softmax(Input((1, 3), "b,f", print_repr=False), print_repr=False)
    >>> Classification(probs, print_repr=False)([[0, 4, 1]]).tolist()
    [[1]]
    """

    def __init__(
        self,
        pred: Node,
        n_class: int | str = "auto",
        n_indep: int | str = "auto",
        name: str = "cls",
        print_repr: bool = True,
    ) -> None:
        super().__init__(None, name, print_repr)
        require_tensor(pred, self, "the prediction")
        self.parent = pred
        self.axis = pred.shape.tag2index("f")
        softmax = softmax_of(pred)
        self.binary = softmax is None and getattr(pred, "activation_func", None) in SIGMOID and n_class in ("auto", 2)
        if self.binary:
            self.n_class, self.n_indep = 2, int(pred.shape["f"])
            return
        if softmax is not None and n_class == "auto":
            n_class = softmax.n_class
            require_whole_labels(self, pred, n_class)
        if n_class == "auto":
            raise ArgumentError(
                "cannot determine the number of classes",
                node=self,
                got=f"{type(pred).__name__} {pred.name!r}",
                expected="a Softmax, a layer with a sigmoid, or n_class",
            )
        if n_indep == "auto":
            n_indep = max(1, int(pred.shape["f"]) // positive_int(n_class, "n_class", self))
        self.n_indep = positive_int(n_indep, "n_indep", self)
        self.n_class = class_count(self, pred, n_class, self.n_indep)

    def _make_output(self) -> None:
        x = self.parent.output
        if self.binary:
            self.output = E.T.cast(E.T.gt(x, 0.5), "int32")
            return
        sizes = [x.shape[i] for i in range(x.ndim)]
        groups = x.reshape([*sizes[: self.axis], self.n_indep, self.n_class, *sizes[self.axis + 1 :]])
        self.output = E.T.cast(E.T.argmax(groups, axis=self.axis + 1), "int32")

    def _calc_shape(self) -> None:
        self.shape = self.parent.shape.updateshape("f", self.n_indep)


class ErrorRate(Node):
    """Fraction of labelled pixels with a wrong class; created by :func:`Errors`.

    Parameters
    ----------
    classes : Node
        Predicted classes, e.g. a :class:`Classification`; one feature per independent label.
    target : Node
        Sparse: labels in the shape of `classes`; negative ones are ignored. Dense: `n_class` features per label, of
        which the greatest marks the class; labels whose features are all 0 are ignored. For a sigmoid, dense labels
        have the shape of `classes`: above 0.5 is class 1, negative is ignored.
    n_class : int
        Number of classes.
    target_is_sparse : bool
        Whether the target holds labels instead of one number per class.
    name : str
    print_repr : bool
    ignore_label : int, optional
        Sparse label that is ignored, in addition to negative ones.

    Raises
    ------
    ShapeError
        If the shape of the target does not match.
    ArgumentError
        If `ignore_label` is not an integer, or the target is dense.
    InputTypeError
        If an input is not a node with a tensor output.

    Notes
    -----
    The output is a scalar (0-d); its declared shape is ``[(1,f)]``. It is 0 if nothing is labelled.

    Examples
    --------
    >>> from neuromancer import Input
    >>> a = Input((4, 1), "b,f", name="classes", print_repr=False)
    >>> b = Input((4, 1), "b,f", name="labels", print_repr=False)
    >>> errors = ErrorRate(a, b, 3, target_is_sparse=True, print_repr=False)
    >>> round(float(errors([[0], [1], [2], [0]], [[0], [2], [2], [-1]])), 3)
    0.333
    """

    def __init__(
        self,
        classes: Node,
        target: Node,
        n_class: int,
        target_is_sparse: bool = False,
        name: str = "errors",
        print_repr: bool = True,
        ignore_label: int | None = None,
    ) -> None:
        super().__init__(None, name, print_repr)
        require_tensor(classes, self, "the prediction")
        require_tensor(target, self, "the target")
        self.target, self.target_is_sparse = target, flag(target_is_sparse, "target_is_sparse", self)
        self.ignore_label = check_ignored(self, ignore_label, self.target_is_sparse)
        self.parent = [classes, target]
        self.n_class, self.n_indep = positive_int(n_class, "n_class", self), int(classes.shape["f"])
        # The dense target of a sigmoid is the label itself.
        self.coded = not self.target_is_sparse and target.shape["f"] != self.n_indep
        require_fit(self, "target", target, classes, self.n_indep * (self.n_class if self.coded else 1), optional=())

    def check_labels(self, labels: np.ndarray) -> None:
        """Raise ArgumentError if sparse labels are not classes, or a dense target is not finite or out of range."""
        if self.target_is_sparse:
            check_labels(self, labels, self.n_class, self.ignore_label)
        elif self.coded:
            check_finite(self, "the target", labels)
        else:
            check_fractions(self, "the target", labels, IGNORED_NUMBERS)

    def input_checks(self) -> list[tuple[Node, Check]]:
        """Return the check of the target's labels."""
        return [(self.target, self.check_labels)]

    def _make_output(self) -> None:
        classes, target = self.parent[0].output, self.target.output
        if self.coded:
            axis = self.target.shape.tag2index("f")
            sizes = [target.shape[i] for i in range(target.ndim)]
            groups = target.reshape([*sizes[:axis], self.n_indep, self.n_class, *sizes[axis + 1 :]])
            counts = E.T.gt(E.T.sum(groups, axis=axis + 1), 0)
            target = E.T.argmax(groups, axis=axis + 1)
        else:
            counts = E.T.ge(ignoring(target, self.ignore_label), 0)
            if not self.target_is_sparse:
                target = E.T.gt(target, 0.5)
        counts = E.T.cast(counts, config.floatX)
        wrong = E.T.cast(E.T.neq(classes, target), config.floatX)
        self.output = E.T.sum(wrong * counts) / E.T.maximum(E.T.sum(counts), 1)

    def _calc_shape(self) -> None:
        self.shape = TaggedShape([1], "f")


def Errors(
    pred: Node,
    target: Node,
    target_is_sparse: bool = False,
    n_class: int | str = "auto",
    n_indep: int | str = "auto",
    name: str = "errors",
    print_repr: bool = True,
    ignore_label: int | None = None,
) -> ErrorRate:
    """Create the error rate of a prediction: a :class:`Classification` "cls for errors" and an :class:`ErrorRate`.

    Parameters
    ----------
    pred : Node
        Probabilities, see :class:`Classification`.
    target : Node
        Labels (sparse) or one number per class (dense), see :class:`ErrorRate`. Negative labels and, if dense, labels
        with only zeros are ignored.
    target_is_sparse : bool
        Whether the target holds labels.
    n_class, n_indep : int or 'auto'
        See :class:`Classification`.
    name : str
    print_repr : bool
    ignore_label : int, optional
        Sparse label that is ignored, in addition to negative ones.

    Returns
    -------
    ErrorRate
        Scalar (0-d), fraction of wrong labels; the declared shape is ``[(1,f)]``.

    Raises
    ------
    ArgumentError, ShapeError, InputTypeError
        If prediction and target do not match; no node is then added to the model.

    Examples
    --------
    >>> from neuromancer import Input, Softmax
    >>> probs = Softmax(Input((2, 3), "b,f", name="raw", print_repr=False), print_repr=False)
    >>> labels = Input((2, 1), "b,f", name="labels", print_repr=False)
    >>> errors = Errors(probs, labels, target_is_sparse=True, print_repr=False)
    >>> float(errors([[0, 4, 1], [3, 0, 0]], [[1], [2]]))
    0.5
    """
    with model_manager.all_or_nothing():
        classes = Classification(pred, n_class, n_indep, name="cls for errors", print_repr=False)
        return ErrorRate(classes, target, classes.n_class, target_is_sparse, name, print_repr, ignore_label)


def softmax_of(node: Any) -> Softmax | None:
    """Return the Softmax that a node is or is a part of (by :func:`neuromancer.split`), or None."""
    while not isinstance(node, Softmax):
        if type(node).__name__ != "FromTensor":
            return None
        node = node.parent
    return node
