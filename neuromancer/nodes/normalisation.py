"""Normalisation with running statistics: batch and instance normalisation."""

from __future__ import annotations

from functools import reduce
from operator import mul
from typing import Any

from neuromancer import engine as E
from neuromancer.casts import is_number
from neuromancer.errors import ArgumentError, ShapeError
from neuromancer.nodes.layout import as_float, feature_vector, require_features
from neuromancer.nodes.node import Node
from neuromancer.nodes.standardise import (
    ONE,
    ZERO,
    Moments,
    _Normalisation,
    folded,
    given_moments,
    moments,
    standardised,
)
from neuromancer.variables import VariableParam


class _RunningNormalisation(_Normalisation):
    """Base of nodes that normalise by current statistics, and by running ones in the inference form."""

    mean: Any = None
    var: Any = None
    axes: list[int]
    """Axes of the statistics."""

    def _setup_running(self, momentum: Any, track: Any, mean: Any, var: Any) -> None:
        if not is_number(momentum) or not 0 <= momentum <= 1:
            raise ArgumentError(
                "momentum must be the weight of the current statistics", node=self, got=momentum,
                expected="a number in [0, 1]",
            )  # fmt: skip
        self.momentum = float(momentum)
        self.track_running_stats = self._flag("track_running_stats", track)
        self._refuse_unused("track_running_stats", self.track_running_stats, mean=mean, var=var)

    def _make_running(self, n_f: int, mean: Any, var: Any) -> None:
        if not self.track_running_stats:
            return
        self.mean = self._param("mean", mean, (n_f,), ZERO, train=False, reg=False)
        self.var = self._param("var", var, (n_f,), ONE, train=False, reg=False)
        if hasattr(self.var, "get_value") and (self.var.get_value() < 0).any():
            raise ArgumentError(
                "a variance is negative", node=self, got=f"var={self.var.get_value().min():g}", expected="at least 0"
            )

    @property
    def _uses_running(self) -> bool:
        frozen = any(getattr(p, "constant", False) for p in (self.mean, self.var))
        return self.track_running_stats and (self.build_mode.inference or frozen)

    def _make_output(self) -> None:
        x, axis = as_float(self.parent.output), self.parent.shape.tag2index("f")

        def vector(v: Any) -> Any:
            return None if v is None else feature_vector(v, x.ndim, axis)

        if self._uses_running:
            scale, offset = folded(self.mean, self.var, self.eps, self.gamma, self.beta)
            self.output = x * vector(scale) + vector(offset)
            return
        if self.given_statistics is not None:
            current = given_moments(x, self.parent.shape, self.given_statistics)
            self.output = standardised(current, self.eps, vector(self.gamma), vector(self.beta))
            return
        current = moments(x, self.axes)
        if self.track_running_stats:
            self._track(current, axis)
        self.output = standardised(current, self.eps, vector(self.gamma), vector(self.beta))

    def _track(self, m: Moments, axis: int) -> None:
        """Update the node's own running statistics at every training step."""
        others = [i for i in range(m.origin.ndim) if i != axis]
        x = m.deviations
        count = E.T.cast(reduce(mul, [x.shape[i] for i in self.axes]), "float64")
        unbiased = E.T.cast(count / E.T.maximum(count - 1, 1), x.dtype)
        self._update(self.mean, "mean", (m.origin + m.shift).mean(axis=others))
        # One value has no variance.
        variance = E.T.switch(E.T.gt(count, 1), m.variance.mean(axis=others) * unbiased, self.var)
        self._update(self.var, "var", variance)

    def _update(self, param: Any, key: str, current: Any) -> None:
        own = self.params.get(key) is param and isinstance(param, VariableParam)
        if own and param.updates is None and not param.trained:
            updated = (1 - self.momentum) * param + self.momentum * current
            param.updates = (param, E.T.cast(updated, param.dtype))

    def _repr_extra(self) -> str:
        running = f"momentum={self.momentum:g}, " if self.track_running_stats else "no running statistics, "
        return self._options() + running


class BatchNorm(_RunningNormalisation):
    """Batch normalisation: every feature is standardised over all other axes.

    Parameters
    ----------
    parent : Node
        Input with an axis f, in any layout.
    affine : bool
        Scale by `gamma` and add `beta`, learned per feature, without weight decay.
    eps : float
        Added to the variance.
    momentum : float
        Weight of the current batch in the running statistics.
    name : str
    print_repr : bool
    gamma, beta, mean, var : optional
        Initial or shared parameters, (n_f,): an array, a variable, ``[array, 'const']`` or ``[array, 'trainable']``. By
        default, `gamma` and `var` are 1, `beta` and `mean` are 0. Constant statistics are used in training, too.
    track_running_stats : bool
        If False, there are no running statistics, and the inference form also uses those of its batch.

    Raises
    ------
    ArgumentError
        For an option of the wrong type or out of range, a negative variance, or parameters that are not used.
    ShapeError
        If the number of features is unknown, or a parameter has the wrong shape.
    InputTypeError
        If the parent is not a node with a tensor output.
    UnknownNameError
        If the parent has no axis f.

    Notes
    -----
    ``gamma * (x - mean) / sqrt(var + eps) + beta`` as in ``torch.nn.BatchNorm3d`` (Ioffe & Szegedy 2015,
    arXiv:1502.03167), by the mean and biased variance of the batch. Training updates the running statistics to
    ``(1 - momentum) * old + momentum * batch``, with the unbiased variance; the inference form uses them. A batch of
    one value per feature leaves the variance unchanged. Shared statistics are updated by the node that owns them.

    See Also
    --------
    Conv : its `batch_normalisation` normalises between convolution and activation function, by standard deviations.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((2, 1), "b,f", print_repr=False)
    >>> norm = BatchNorm(inp, eps=1e-12, print_repr=False)
    >>> norm([[1], [3]]).round(5).tolist(), norm.infer([[1], [3]]).round(5).tolist()
    ([[-1.0], [1.0]], [[1.0], [3.0]])
    """

    def __init__(
        self,
        parent: Node,
        affine: bool = True,
        eps: float = 1e-5,
        momentum: float = 0.1,
        name: str = "batchnorm",
        print_repr: bool = True,
        gamma: Any = None,
        beta: Any = None,
        mean: Any = None,
        var: Any = None,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(parent, name, print_repr)
        n_f = require_features(parent, self)
        self._setup(affine, eps, gamma, beta)
        self._setup_running(momentum, track_running_stats, mean, var)
        self.axes = [i for i, tag in enumerate(parent.shape.tags) if tag != "f"]
        if not track_running_stats and parent.shape.ndim:
            self.equivariant, self.whole_image = False, "normalises by statistics of all images of a batch"
            self.statistic_rows = 3
        self._make_affine((n_f,), gamma, beta)
        self._make_running(n_f, mean, var)


class InstanceNorm(_RunningNormalisation):
    """Instance normalisation: every feature of every image is standardised over the spatial axes.

    Parameters
    ----------
    parent : Node
        Input with an axis f and spatial axes, in any layout.
    affine : bool
        Scale by `gamma` and add `beta`, learned per feature, without weight decay.
    eps : float
        Added to the variance.
    momentum : float
        Weight of the current images in the running statistics.
    track_running_stats : bool
        Keep running statistics, which the inference form uses. Without them, the output depends on the whole image
        (dense prediction: ``statistics="volume"``).
    name : str
    print_repr : bool
    gamma, beta, mean, var : optional
        Initial or shared parameters, (n_f,), as those of :class:`BatchNorm`.

    Raises
    ------
    ArgumentError
        For an option of the wrong type or out of range, a negative variance, or parameters that are not used.
    ShapeError
        If there are no spatial axes, the number of features is unknown, or a parameter has the wrong shape.
    InputTypeError
        If the parent is not a node with a tensor output.
    UnknownNameError
        If the parent has no axis f.

    Notes
    -----
    The formula of :class:`BatchNorm` as in ``torch.nn.InstanceNorm3d`` (Ulyanov, Vedaldi & Lempitsky 2016,
    arXiv:1607.08022), by the mean and biased variance of every image. Running statistics are averages over the images.

    Examples
    --------
    >>> from neuromancer import Input
    >>> inp = Input((1, 1, 2), "b,f,x", print_repr=False)
    >>> InstanceNorm(inp, eps=1e-12, print_repr=False)([[[1, 3]]]).round(5).tolist()
    [[[-1.0, 1.0]]]
    """

    def __init__(
        self,
        parent: Node,
        affine: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        track_running_stats: bool = False,
        name: str = "instancenorm",
        print_repr: bool = True,
        gamma: Any = None,
        beta: Any = None,
        mean: Any = None,
        var: Any = None,
    ) -> None:
        super().__init__(parent, name, print_repr)
        n_f = require_features(parent, self)
        self._setup(affine, eps, gamma, beta)
        self._setup_running(momentum, track_running_stats, mean, var)
        self.axes = parent.shape.spatial_axes
        if not self.axes:
            raise ShapeError(
                "normalises over spatial axes, but there are none",
                node=self,
                got=repr(parent.shape),
                expected="axes tagged z, y or x",
                nearest="LayerNorm or BatchNorm",
            )
        if not track_running_stats:
            self.equivariant, self.whole_image = False, "normalises by statistics of the whole image"
            self.statistic_rows = 3
        self._make_affine((n_f,), gamma, beta)
        self._make_running(n_f, mean, var)
