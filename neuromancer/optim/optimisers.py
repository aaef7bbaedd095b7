"""Gradient descent: SGD, AdaGrad, AdaDelta, Adam and AdamW.

All update rules are symbolic: one call of an optimiser evaluates loss, gradient and update on the device, where
parameters and state remain. Notation of the formulas: p parameter, g its gradient, lr learning rate, mom momentum, wd
weight decay, and ``R = wd * a * p``, where a is the parameter's ``apply_reg``: 1 for weights ``w``; 3 for ``gamma`` of
batch normalisation, for compatibility with the original library; 0 for biases (including the slopes of prelu),
ValueNode and InitialState_like. If a limit is set, g is clipped first: each element to +-clip_value, then the whole
gradient to a Euclidean norm of at most clip_norm (Pascanu, Mikolov & Bengio 2013).
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
from neuromancer.optim.averages import AVERAGE, Averages
from neuromancer.optim.meta import CLIPS, MetaParams
from neuromancer.variables import VariableParam

Updates = list[tuple[Any, Any]]

EPS = 1e-5
"""Added under the square roots in AdaDelta and Adam."""

EPS_W = 1e-8
"""Added to the square root in AdamW."""


class Optimiser:
    """Base class of all optimisers.

    State is allocated and the step compiled on first use.

    Parameters
    ----------
    inputs : list of symbolic variable
        Inputs of the loss, in calling order.
    loss : symbolic variable
        Scalar.
    grads : list of symbolic variable
        Gradient of the loss with respect to every parameter.
    params : list of parameter
        Parameters to train, in the same order.
    meta : MetaParams, optional
        Meta-parameters; can be shared with other optimisers. Default: new ones.
    extra_updates : list of (parameter, expression)
        Applied on every step (running statistics of batch normalisation).
    debug_outputs : list of symbolic variable
        Evaluated on every step and returned after the loss.
    history : int
        Number of previous parameter sets kept on the device for :meth:`repair`; 0 keeps none.
    ema : float, optional
        Decay of exponential moving averages of all that the step changes; default: none.
    name : str
        Used in messages and plots.

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
    """Meta-parameters that exist because all optimisers of a model share them, but do not occur in the formula."""
    default_lr: ClassVar[float]
    """Default learning rate of a :class:`neuromancer.Trainer`; that of a model is 1, as in the original library."""

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
        ema: float | None = None,
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
        self.averages = None if ema is None else Averages(self._changed, ema)
        self._kept = [*self._changed, *(self.averages.variables.values() if self.averages else ())]
        self._history: deque[list[Any]] = deque(maxlen=history)
        self._common: dict[tuple[str, int], Any] = {}  # expressions in the step being built
        self._steps: dict[tuple[bool, ...], LazyFunction] = {}

    # ---- update rule
    def _update(self, i: int, p: Any, g: Any) -> Updates:
        """Return the updates of parameter number i and its state."""
        raise NotImplementedError

    def _common_updates(self) -> Updates:
        """Return the updates of state shared by all parameters; called before those of the parameters."""
        return []

    def _once(self, key: str, like: Any, make: Callable[[], Any]) -> Any:
        """Return a scalar expression shared by the updates of many parameters, broadcastable with `like`.

        Copies of it would give the same result, but slow down compilation, which compares every copy with all others.
        """
        cached = (key, like.ndim)
        if cached not in self._common:
            scalar = make()
            self._common[cached] = scalar.dimshuffle(*["x"] * like.ndim) if like.ndim else scalar
        return self._common[cached]

    def _value(self, key: str, like: Any) -> Any:
        """Return a meta-parameter."""
        return self._once(key, like, lambda: self.meta.params[key])

    def _rest(self, key: str, like: Any) -> Any:
        """Return 1 minus a meta-parameter."""
        return self._once(f"1 - {key}", like, lambda: 1 - self.meta.params[key])

    def _decay(self, p: Any) -> Any:
        """Return R in the formulas."""
        a = float(p.apply_reg)
        return self._once(f"wd * {a}", p, lambda: self.meta.params["wd"] * a) * p

    def _state(self, key: str, like: Any = None) -> VariableParam:
        """Return a state variable, initially zeros with the shape of a parameter, or a scalar 0."""
        if key not in self.state:
            value = self.meta.params["lr"].get_value() * 0 if like is None else np.zeros_like(like.get_value())
            self.state[key] = VariableParam(np.asarray(value), name=key, apply_train=False, apply_reg=False)
        return self.state[key]

    # ---- steps
    def _build(self) -> LazyFunction:
        self._common = {}
        with E.building():
            updates = self._common_updates()
            for i, (p, g) in enumerate(zip(self.params, self._clipped_grads(), strict=True)):
                updates += [(v, _cast(new, v)) for v, new in self._update(i, p, g)]
            known = {id(v) for v, _ in updates}
            updates += [(v, _cast(new, v)) for v, new in self.extra_updates if id(v) not in known]
            updates += [(v, _cast(new, v)) for v, new in (self.averages.updates(updates) if self.averages else ())]
        return LazyFunction(self.inputs, [self.loss, *self.debug_outputs], updates=updates, name=f"{self.name} step")

    def _clipped_grads(self) -> list[Any]:
        """Return the clipped gradients; inactive limits add nothing to the graph."""
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
        """The compiled step; there is one for every combination of active limits."""
        key = self.meta.clipping
        if key not in self._steps:
            self._steps[key] = self._build()
        return self._steps[key]

    def __call__(self, *args: Any) -> list[Any]:
        """Perform one step.

        Parameters
        ----------
        *args : array
            One per input.

        Returns
        -------
        list
            Loss before the update, then the debug outputs.
        """
        before = [variable.snapshot() for variable in self._kept] if self.history else []
        results: list[Any] = self.step(*args)
        self._history.append(before)
        return results

    def set_opt_meta_params(self, values: dict[str, float]) -> None:
        """Set meta-parameters by name (``lr``, ``mom``, ``wd``, ``clip_value``, ``clip_norm``; Adam also ``beta2``).

        Raises
        ------
        UnknownNameError, ArgumentError
            For a meta-parameter that this optimiser does not have, or an invalid value.
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
        """Return the state (moments, counters, averages) by name; empty before the first step."""
        averages = self.averages.variables if self.averages and self.state else {}
        return {key: variable.get_value() for key, variable in {**self.state, **averages}.items()}

    def set_state(self, values: dict[str, Any]) -> None:
        """Restore a state returned by :meth:`get_state`; an empty dict resets to the state before the first step.

        Averages start anew where the state has none, and are dropped where this optimiser keeps none.

        Raises
        ------
        UnknownNameError, ShapeError
            If the names or shapes do not match this optimiser and its parameters.
        """
        _ = self.step
        averages = {key: value for key, value in values.items() if key.startswith(AVERAGE)}
        values = {key: value for key, value in values.items() if key not in averages}
        if values and set(values) != set(self.state):
            raise UnknownNameError(
                "the state does not belong to this optimiser",
                node=self.name,
                got=sorted(values),
                expected=sorted(self.state),
            )
        for key, value in values.items():
            if np.shape(value) != self.state[key].get_value().shape:
                raise ShapeError(
                    f"state {key!r} has the wrong shape",
                    node=self.name,
                    got=np.shape(value),
                    expected=self.state[key].get_value().shape,
                )
        if self.averages and averages:
            self.averages.set_state(averages, self.name)
        for key, variable in self.state.items():
            new = values.get(key, np.zeros(variable.get_value().shape))
            variable.set_value(exact_cast(new, variable.dtype, self.name, f"state {key!r}"))

    def repair(self) -> None:
        """Restore the oldest parameters kept (from `history` steps ago) and reset all moments.

        Variables changed by the extra updates, such as running means of batch normalisation, and averages are restored
        as well.

        Raises
        ------
        ArgumentError
            If no history is kept or no step has been taken.
        """
        if not self._history:
            raise ArgumentError(
                "there are no earlier parameters to restore",
                node=self.name,
                got=f"history={self.history}",
                expected="an optimiser with history >= 1 after its first step",
            )
        oldest = self._history[0]
        for variable, value in zip(self._kept, oldest, strict=True):
            variable.restore(value)
        self._history = deque([oldest], self.history)
        self.set_state({})

    def __repr__(self) -> str:
        limits = [key for key, on in zip(CLIPS, self.meta.clipping, strict=True) if on]
        values = ", ".join(f"{key}={self.meta[key]:g}" for key in (*self.meta_names, *limits))
        return f"{type(self).__name__}({values})"


class SGD(Optimiser):
    """Gradient descent with momentum: ``d <- g + mom d``, ``p <- p - lr (d + R)``.

    The default learning rate of a Trainer is 0.01 (with mom 0.9, the initial values of Krizhevsky et al. 2012).

    Parameters
    ----------
    inputs, loss, grads, params, meta, extra_updates, debug_outputs, history, name, ema
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

    The first squared gradient counts twice. Where all gradients so far were 0, so that h is 0, the parameter is not
    changed. The default learning rate of a Trainer is 0.01 (the default of torch.optim.Adagrad).

    Parameters
    ----------
    inputs, loss, grads, params, meta, extra_updates, debug_outputs, history, name, ema
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
    ``p <- p - lr (D + R)`` with eps = 1e-5. D uses s from before this step.
    The default learning rate of a Trainer is 1 (there is none in the paper).

    Parameters
    ----------
    inputs, loss, grads, params, meta, extra_updates, debug_outputs, history, name, ema
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
    ``p <- p - lr (sqrt(1 - beta2^t) / (1 - mom^t) m / sqrt(s + eps) + R)`` with eps = 1e-5 inside the square root.
    The default learning rate of a Trainer is 0.001 (as in the paper).

    Parameters
    ----------
    inputs, loss, grads, params, meta, extra_updates, debug_outputs, history, name, ema
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
        """Return the bias correction ``1 - decay^t`` of a running mean."""
        return 1 - self.meta.params[key] ** (self._state("steps") + 1)

    def _scaled(self, mean: Any, squares: Any) -> Any:
        """Return the step for the moment estimates."""
        factor = self._once("step", mean, lambda: E.T.sqrt(self._seen("beta2")) / self._seen("mom"))
        return factor * mean / E.T.sqrt(squares + EPS)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101), as in other frameworks.

    ``t <- t + 1``, ``m <- mom m + (1 - mom) g``, ``s <- beta2 s + (1 - beta2) g^2``,
    ``p <- p - lr ((m / (1 - mom^t)) / (sqrt(s / (1 - beta2^t)) + eps) + R)`` with eps = 1e-8 outside the square root.

    It differs from :class:`Adam` only in eps, which damps small gradients there, whereas steps here are always about
    lr. The decay is multiplied by lr, so that learning rate schedules apply to it, too. The default learning rate of a
    Trainer is 0.001 (the initial value in the paper).

    Parameters
    ----------
    inputs, loss, grads, params, meta, extra_updates, debug_outputs, history, name, ema
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
