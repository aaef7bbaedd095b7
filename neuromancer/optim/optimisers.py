"""Gradient descent: SGD, AdaGrad, AdaDelta, Adam and AdamW.

All update rules are symbolic: one call of an optimiser evaluates loss, gradient and update on the device, and
parameters and state stay there. Notation of the formulas: p parameter, g its gradient, lr learning rate, mom
momentum, wd weight decay, and ``R = wd * a * p``, where a is the parameter's ``apply_reg``: 1 for weights ``w``; 3 for
``gamma`` of batch normalisation, as in the original library, whose trainings go on unchanged; 0 for biases (the slopes
of prelu among them), ValueNode and InitialState_like. Where a limit is set, g is clipped before: element by element to
+-clip_value, then as a whole to a Euclidean norm of at most clip_norm (Pascanu, Mikolov & Bengio 2013).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import exact_cast
from neuromancer.errors import ArgumentError, ShapeError, UnknownNameError
from neuromancer.graph.function import LazyFunction
from neuromancer.optim.meta import CLIPS, MetaParams
from neuromancer.variables import VariableParam

Updates = list[tuple[Any, Any]]

EPS = 1e-5
"""Added under the roots of AdaDelta and Adam."""

EPS_W = 1e-8
"""Added to the root of AdamW."""


class Optimiser:
    """A way of changing parameters along the gradient; the base of all of them.

    State is allocated and the step compiled at the first use.

    Parameters
    ----------
    inputs : list of symbolic variable
        What the loss depends on, in calling order.
    loss : symbolic variable
        Scalar.
    grads : list of symbolic variable
        Gradient of the loss for every parameter.
    params : list of parameter
        What is trained, in the same order.
    meta : MetaParams, optional
        Meta-parameters; shared with other optimisers of a model. Default: new ones.
    extra_updates : list of (parameter, expression)
        Carried out with every step (running statistics of batch normalisation).
    debug_outputs : list of symbolic variable
        Also evaluated with every step.
    history : int
        Number of past parameter sets kept on the device for :meth:`repair`; 0 keeps none.
    name : str
        For messages and plots.

    Raises
    ------
    ArgumentError
        If `params` and `grads` differ in number.

    Examples
    --------
    >>> import numpy as np
    >>> from neuromancer import engine as E
    >>> from neuromancer.variables import VariableParam
    >>> w = VariableParam(np.array([3.0]), name="w")
    >>> loss = (w * w).sum()
    >>> step = SGD([], loss, E.grad(loss, [w]), [w], MetaParams(lr=0.25, mom=0.0))
    >>> [float(step()[0]) for _ in range(3)]
    [9.0, 2.25, 0.5625]
    """

    meta_names: ClassVar[tuple[str, ...]] = ("lr", "mom", "wd")
    unused: ClassVar[tuple[str, ...]] = ()
    """Meta-parameters that may be set, as all optimisers of a model share them, but are not in the formula."""
    default_lr: ClassVar[float]
    """Learning rate of a :class:`neuromancer.Trainer` that is given none; that of a model is 1, as it always was."""

    def __init__(
        self,
        inputs: Sequence[Any],
        loss: Any,
        grads: Sequence[Any],
        params: Sequence[Any],
        meta: MetaParams | None = None,
        extra_updates: Sequence[tuple[Any, Any]] = (),
        debug_outputs: Sequence[Any] = (),
        history: int = 0,
        name: str = "",
    ) -> None:
        self.name = name or type(self).__name__
        if len(grads) != len(params):
            raise ArgumentError(
                "every parameter needs a gradient",
                node=self.name,
                got=f"{len(grads)} gradients, {len(params)} parameters",
            )
        self.inputs, self.loss, self.debug_outputs = list(inputs), loss, list(debug_outputs)
        self.grads, self.params = list(grads), list(params)
        self.extra_updates = list(extra_updates)
        self.meta = meta or MetaParams(self.name)
        self.history = history
        self.state: dict[str, VariableParam] = {}
        self._changed = list({id(v): v for v in (*params, *(v for v, _ in self.extra_updates))}.values())
        self._history: deque[list[Any]] = deque(maxlen=history)
        self._common: dict[tuple[str, int], Any] = {}  # expressions, of the step that is being built
        self._steps: dict[tuple[bool, ...], LazyFunction] = {}

    # ---- the rule
    def _update(self, i: int, p: Any, g: Any) -> Updates:
        """Updates of parameter number i and of its state."""
        raise NotImplementedError

    def _common_updates(self) -> Updates:
        """Updates of state that all parameters share; runs before those of the parameters."""
        return []

    def _once(self, key: str, like: Any, make: Callable[[], Any]) -> Any:
        """A scalar expression that the updates of many parameters have in common, to be computed with one of them.

        Copies of it would be the same to the step, but not to the compiler, which compares each with all others.
        """
        place = (key, like.ndim)
        if place not in self._common:
            scalar = make()
            self._common[place] = scalar.dimshuffle(*["x"] * like.ndim) if like.ndim else scalar
        return self._common[place]

    def _value(self, key: str, like: Any) -> Any:
        """A meta-parameter."""
        return self._once(key, like, lambda: self.meta.params[key])

    def _rest(self, key: str, like: Any) -> Any:
        """1 - a meta-parameter."""
        return self._once(f"1 - {key}", like, lambda: 1 - self.meta.params[key])

    def _decay(self, p: Any) -> Any:
        """R of the formulas."""
        a = float(p.apply_reg)
        return self._once(f"wd * {a}", p, lambda: self.meta.params["wd"] * a) * p

    def _state(self, key: str, like: Any = None) -> VariableParam:
        """State variable, zeros like a parameter or a scalar 0 at first."""
        if key not in self.state:
            value = self.meta.params["lr"].get_value() * 0 if like is None else np.zeros_like(like.get_value())
            self.state[key] = VariableParam(np.asarray(value), name=key, apply_train=False, apply_reg=False)
        return self.state[key]

    # ---- running
    def _build(self) -> LazyFunction:
        self._common = {}
        with E.building():
            updates = self._common_updates()
            for i, (p, g) in enumerate(zip(self.params, self._clipped_grads(), strict=True)):
                updates += [(v, _cast(new, v)) for v, new in self._update(i, p, g)]
            known = {id(v) for v, _ in updates}
            updates += [(v, _cast(new, v)) for v, new in self.extra_updates if id(v) not in known]
        return LazyFunction(self.inputs, [self.loss, *self.debug_outputs], updates=updates, name=f"{self.name} step")

    def _clipped_grads(self) -> list[Any]:
        """The gradients within the limits that are on; those that are off leave no trace in the graph."""
        grads = self.grads
        by_value, by_norm = self.meta.clipping
        if by_value:
            limit = self.meta.params["clip_value"]
            grads = [E.T.clip(g, -limit, limit) for g in grads]
        if by_norm and grads:
            limit = self.meta.params["clip_norm"]
            norm = E.T.sqrt(sum(E.T.sum(g**2) for g in grads))
            scale = limit / E.T.maximum(norm, limit)
            grads = [g * self._once("clip", g, lambda: scale) for g in grads]
        return grads

    @property
    def step(self) -> LazyFunction:
        """The compiled step; one for every combination of clipping on and off."""
        key = self.meta.clipping
        if key not in self._steps:
            self._steps[key] = self._build()
        return self._steps[key]

    def __call__(self, *args: Any) -> list[Any]:
        """Do one step.

        Parameters
        ----------
        *args : array
            One per input.

        Returns
        -------
        list
            Loss before the update, then the debug outputs.
        """
        before = [variable.snapshot() for variable in self._changed] if self.history else []
        results: list[Any] = self.step(*args)
        self._history.append(before)
        return results

    def set_opt_meta_params(self, values: dict[str, float]) -> None:
        """Set meta-parameters by name (``lr``, ``mom``, ``wd``, ``clip_value``, ``clip_norm``; Adam also ``beta2``).

        Raises
        ------
        UnknownNameError, ArgumentError
            For a name that this optimiser does not have, or a value that cannot be.
        """
        self.meta.set(values, (*self.meta_names, *CLIPS))

    def setlr(self, value: float) -> None:
        """Set the learning rate."""
        self.set_opt_meta_params({"lr": value})

    def setmom(self, value: float) -> None:
        """Set the momentum."""
        self.set_opt_meta_params({"mom": value})

    def setwd(self, value: float) -> None:
        """Set the weight decay."""
        self.set_opt_meta_params({"wd": value})

    # ---- state
    def get_state(self) -> dict[str, np.ndarray]:
        """Values of the state (moments, counters) by name; empty before the first step."""
        return {key: variable.get_value() for key, variable in self.state.items()}

    def set_state(self, values: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` returned; an empty dict means "before the first step".

        Raises
        ------
        UnknownNameError, ShapeError
            If names or shapes are not those of this optimiser for these parameters.
        """
        _ = self.step
        if values and set(values) != set(self.state):
            raise UnknownNameError(
                "the state is not this optimiser's",
                node=self.name,
                got=sorted(values),
                expected=sorted(self.state),
            )
        for key, value in values.items():
            if np.shape(value) != self.state[key].get_value().shape:
                raise ShapeError(
                    f"state {key!r} has another shape",
                    node=self.name,
                    got=np.shape(value),
                    expected=self.state[key].get_value().shape,
                )
        for key, variable in self.state.items():
            new = values.get(key, np.zeros(variable.get_value().shape))
            variable.set_value(exact_cast(new, variable.dtype, self.name, f"state {key!r}"))

    def repair(self) -> None:
        """Go back to the oldest kept parameters (from `history` steps ago) and forget all moments.

        What the extra updates change, such as running means of batch normalisation, goes back with them.

        Raises
        ------
        ArgumentError
            If no history is kept or no step has been done.
        """
        if not self._history:
            raise ArgumentError(
                "there are no earlier parameters",
                node=self.name,
                got=f"history={self.history}",
                expected="an optimiser with history >= 1 after its first step",
            )
        oldest = self._history[0]
        for variable, value in zip(self._changed, oldest, strict=True):
            variable.restore(value)
        self._history = deque([oldest], self.history)
        self.set_state({})

    def __repr__(self) -> str:
        limits = [key for key, on in zip(CLIPS, self.meta.clipping, strict=True) if on]
        values = ", ".join(f"{key}={self.meta[key]:g}" for key in (*self.meta_names, *limits))
        return f"{type(self).__name__}({values})"


class SGD(Optimiser):
    """Gradient descent with momentum: ``d <- g + mom d``, ``p <- p - lr (d + R)``.

    A Trainer's learning rate is 0.01 (with mom 0.9, as Krizhevsky et al. 2012 began) unless another is set.

    Parameters
    ----------
    inputs, loss, grads, params, meta, extra_updates, debug_outputs, history, name
        See :class:`Optimiser`.

    Examples
    --------
    See :class:`Optimiser`.
    """

    default_lr = 0.01

    def _update(self, i: int, p: Any, g: Any) -> Updates:
        d = self._state(f"{i}_direction", p)
        new = g + self._value("mom", p) * d
        return [(d, new), (p, p - self._value("lr", p) * (new + self._decay(p)))]


class AdaGrad(Optimiser):
    """Steps scaled by all past gradients (Duchi et al. 2011).

    ``h <- h + g^2``, ``p <- p - lr (g + R) / sqrt(h)``.

    The first squared gradient counts twice. Where all gradients so far were 0, so that h is 0, nothing is
    changed. A Trainer's learning rate is 0.01 (the default of torch.optim.Adagrad) unless another is set.

    Parameters
    ----------
    inputs, loss, grads, params, meta, extra_updates, debug_outputs, history, name
        See :class:`Optimiser`.

    Examples
    --------
    >>> step = AdaGrad([], None, [], [])
    >>> step
    AdaGrad(lr=1, mom=0.9, wd=0)
    """

    default_lr = 0.01
    unused = ("mom",)

    def _common_updates(self) -> Updates:
        return [(self._state("started"), E.T.ones_like(self._state("started")))]

    def _update(self, i: int, p: Any, g: Any) -> Updates:
        h = self._state(f"{i}_squares", p)
        new = h + self._once("weight", p, lambda: 2 - self._state("started")) * g**2
        some = E.T.gt(new, 0)
        scale = E.T.switch(some, self._value("lr", p) / E.T.sqrt(E.T.switch(some, new, 1)), 0)
        return [(h, new), (p, p - scale * (g + self._decay(p)))]


class AdaDelta(Optimiser):
    """Steps scaled by running averages of squared gradients and steps (Zeiler 2012, arXiv:1212.5701).

    ``D = g sqrt(d + eps) / sqrt(s + eps)``, ``s <- mom s + (1 - mom) g^2``, ``d <- mom d + (1 - mom) D^2``,
    ``p <- p - lr (D + R)`` with eps = 1e-5. D uses the average s from before this step.
    A Trainer's learning rate is 1 (the paper has none) unless another is set.

    Parameters
    ----------
    inputs, loss, grads, params, meta, extra_updates, debug_outputs, history, name
        See :class:`Optimiser`.

    Examples
    --------
    >>> step = AdaDelta([], None, [], [])
    >>> step.setmom(0.5)
    >>> step
    AdaDelta(lr=1, mom=0.5, wd=0)
    """

    default_lr = 1.0

    def _update(self, i: int, p: Any, g: Any) -> Updates:
        s, d, mom = self._state(f"{i}_squares", p), self._state(f"{i}_steps", p), self._value("mom", p)
        rest = self._rest("mom", p)
        step = g * E.T.sqrt(d + EPS) / E.T.sqrt(s + EPS)
        return [
            (s, mom * s + rest * g**2),
            (d, mom * d + rest * step**2),
            (p, p - self._value("lr", p) * (step + self._decay(p))),
        ]


class Adam(Optimiser):
    """Adaptive moment estimation (Kingma & Ba 2015, arXiv:1412.6980) with decoupled weight decay.

    ``t <- t + 1``, ``m <- mom m + (1 - mom) g``, ``s <- beta2 s + (1 - beta2) g^2``,
    ``p <- p - lr (sqrt(1 - beta2^t) / (1 - mom^t) m / sqrt(s + eps) + R)`` with eps = 1e-5 inside the root.
    A Trainer's learning rate is 0.001 (that of the paper) unless another is set.

    Parameters
    ----------
    inputs, loss, grads, params, meta, extra_updates, debug_outputs, history, name
        See :class:`Optimiser`.

    Examples
    --------
    >>> step = Adam([], None, [], [])
    >>> step.set_opt_meta_params({"lr": 0.01, "beta2": 0.99})
    >>> step
    Adam(lr=0.01, mom=0.9, wd=0, beta2=0.99)
    """

    meta_names = ("lr", "mom", "wd", "beta2")
    default_lr = 1e-3

    def _common_updates(self) -> Updates:
        t = self._state("steps")
        return [(t, t + 1)]

    def _update(self, i: int, p: Any, g: Any) -> Updates:
        m, s = self._state(f"{i}_mean", p), self._state(f"{i}_squares", p)
        mean = self._value("mom", p) * m + self._rest("mom", p) * g
        squares = self._value("beta2", p) * s + self._rest("beta2", p) * g**2
        step = self._scaled(mean, squares)
        return [(m, mean), (s, squares), (p, p - self._value("lr", p) * (step + self._decay(p)))]

    def _seen(self, key: str) -> Any:
        """``1 - decay^t``, the share of a running mean that has been seen until this step."""
        return 1 - self.meta.params[key] ** (self._state("steps") + 1)

    def _scaled(self, mean: Any, squares: Any) -> Any:
        """The step for the moments' estimates."""
        factor = self._once("step", mean, lambda: E.T.sqrt(self._seen("beta2")) / self._seen("mom"))
        return factor * mean / E.T.sqrt(squares + EPS)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101), as in other frameworks.

    ``t <- t + 1``, ``m <- mom m + (1 - mom) g``, ``s <- beta2 s + (1 - beta2) g^2``,
    ``p <- p - lr ((m / (1 - mom^t)) / (sqrt(s / (1 - beta2^t)) + eps) + R)`` with eps = 1e-8 outside the root.

    It differs from :class:`Adam` only in eps, which there damps small gradients: here all of them give steps of about
    lr. The decay is multiplied by lr, so that schedules of lr act on it, too. A Trainer's learning rate is 0.001 (where
    the paper begins) unless another is set.

    Parameters
    ----------
    inputs, loss, grads, params, meta, extra_updates, debug_outputs, history, name
        See :class:`Optimiser`.

    Examples
    --------
    >>> step = AdamW([], None, [], [])
    >>> step.set_opt_meta_params({"lr": 0.001, "wd": 0.01, "clip_norm": 1})
    >>> step
    AdamW(lr=0.001, mom=0.9, wd=0.01, beta2=0.999, clip_norm=1)
    """

    def _scaled(self, mean: Any, squares: Any) -> Any:
        mean = mean / self._once("mean", mean, lambda: self._seen("mom"))
        return mean / (E.T.sqrt(squares / self._once("squares", squares, lambda: self._seen("beta2"))) + EPS_W)


OPTIMISERS: dict[str, type[Optimiser]] = {cls.__name__: cls for cls in (SGD, AdaGrad, AdaDelta, Adam, AdamW)}
"""The optimisers by name."""


def _cast(expression: Any, variable: Any) -> Any:
    return expression if expression.dtype == variable.dtype else E.T.cast(expression, variable.dtype)
