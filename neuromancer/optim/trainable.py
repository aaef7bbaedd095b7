"""Training of a graph: loss, gradients, optimiser steps and their meta-parameters."""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import is_number
from neuromancer.dense.processing.steps import Step
from neuromancer.errors import ArgumentError, UnknownNameError, nearest_name
from neuromancer.exclusive import Exclusive
from neuromancer.graph.feeding import check_arrays
from neuromancer.graph.function import LazyFunction
from neuromancer.graph.roles import DesignatedGraph
from neuromancer.nodes.losses.aggregate import AggregateLoss
from neuromancer.nodes.losses.common import finite_vector
from neuromancer.nodes.node import Node
from neuromancer.optim.meta import CLIPS, MetaParams
from neuromancer.optim.optimisers import OPTIMISERS, Optimiser
from neuromancer.optim.stats import StatsTable
from neuromancer.printable import printable

TIMED_STEPS, SMOOTHED_STEPS = 50, 200
KEPT_PARAMETER_SETS = 3


class TrainableGraph(DesignatedGraph):
    """A graph whose loss node can be trained; base class of :class:`neuromancer.Model`.

    Functions and optimisers are created on first use.

    Attributes
    ----------
    meta : MetaParams
        Meta-parameters of the model's optimisers.
    optimisers : dict of str to Optimiser
        Optimisers used so far.
    pending_states : dict of str to dict of str to numpy.ndarray
        Optimiser states loaded from a file, which the optimisers adopt on first use.
    history : dict of str to array
        Values recorded during training; saved and loaded with the model.
    training_state : dict
        Progress of a :class:`neuromancer.Trainer`, serialisable to JSON; saved and loaded with the model.
    processing : dict of str to tuple of Step
        Pre- and postprocessing of dense predictions; saved and loaded with the model.
    """

    if TYPE_CHECKING:  # its nodes can be evaluated
        nodes: dict[str, Node]  # type: ignore[assignment]
        input_node: Node | None
        target_node: Node | None
        loss_node: Node | None
        prediction_node: Node | None
        error_node: Node | None
        prediction_ext: list[Node]  # type: ignore[assignment]
        debug_outputs: list[Node]  # type: ignore[assignment]

        def _require(self, role: str) -> Node: ...
        @property
        def sources(self) -> Sequence[Node]: ...
        @property
        def sinks(self) -> Sequence[Node]: ...

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self.meta = MetaParams(f"model {self.name}")
        self.history: dict[str, Any] = {}
        self.training_state: dict[str, Any] = {}
        self.processing: dict[str, tuple[Step, ...]] = {}
        self._stepping = Exclusive()
        self._ema: float | None = None
        self._roles_changed()

    def _roles_changed(self) -> None:
        """Discard functions, optimisers and recent losses, as the loss may have changed."""
        self.optimisers: dict[str, Optimiser] = {}
        self.pending_states: dict[str, dict[str, np.ndarray]] = {}
        self._gradient_graph: list[Any] | None = None
        self._training_functions: dict[str, LazyFunction] = {}
        self._iterations = 0
        self._losses: deque[float] = deque(maxlen=SMOOTHED_STEPS)
        self._seconds: deque[float] = deque(maxlen=TIMED_STEPS)

    # ---- evaluation
    def _loss_arrays(self, args: Sequence[Any]) -> list[Any]:
        """Check and convert the inputs of the loss node; invalid class labels are refused."""
        loss = self._require("loss_node")
        return check_arrays(loss, loss.input_nodes, args, [loss, *self.debug_outputs])

    def _training_function(self, key: str, outputs: Any) -> LazyFunction:
        if key not in self._training_functions:
            inputs = self._require("loss_node").input_tensors
            with E.building():
                function = LazyFunction(inputs, outputs(), name=f"{self.name} {key}")
                self._training_functions.setdefault(key, function)
        return self._training_functions[key]

    def loss(self, *args: Any) -> float:
        """Evaluate the loss in training mode (dropout active), without an update.

        Parameters
        ----------
        *args : array
            One per source of the loss node, in calling order: usually data, target, ...

        Returns
        -------
        float

        Raises
        ------
        InputTypeError, ShapeError, ArgumentError
            For arrays that do not fit, and for invalid class labels.
        """
        return float(self._require("loss_node")(*self._loss_arrays(args)))

    def _grads(self) -> list[Any]:
        """Return the symbolic gradient of every trainable parameter."""
        loss = self._require("loss_node")
        with E.building():
            if self._gradient_graph is None:
                params = loss.all_trainable_params
                grads = E.grad(loss.output, list(params.values())) if params else []
                lost = [name for name, g in zip(params, grads, strict=True) if g is None]
                if lost:
                    warnings.warn(
                        f"{printable(self._label)}: the loss {loss.name!r} does not depend on the trainable parameters "
                        f"{lost}; their gradient is 0",
                        stacklevel=3,
                    )
                pairs = zip(params.values(), grads, strict=True)
                self._gradient_graph = [E.T.zeros_like(p) if g is None else g for p, g in pairs]
        return self._gradient_graph

    def gradients(self, *args: Any) -> list[np.ndarray]:
        """Evaluate the gradients of the loss, ordered like ``all_trainable_params``; arguments as for :meth:`loss`."""
        return self._training_function("gradients", self._grads)(*self._loss_arrays(args))

    def _active_nodes(self) -> list[Node]:
        return [n for n in self._require("loss_node").sub_graph() if not n.is_source]

    def activations(self, *args: Any) -> list[np.ndarray]:
        """Evaluate all nodes of the loss except sources, parents first; arguments as for :meth:`loss`."""
        outputs = lambda: [n.output for n in self._active_nodes()]  # noqa: E731
        return self._training_function("activations", outputs)(*self._loss_arrays(args))

    @property
    def trainable_params(self) -> dict[str, Any]:
        """Parameters that training changes, by ``<node>_<parameter>``: those of the loss (or prediction)."""
        return dict((self.loss_node or self._require("prediction_node")).all_trainable_params)

    @property
    def nontrainable_params(self) -> dict[str, Any]:
        """Other parameters of the loss (or prediction), by ``<node>_<parameter>``: rates, running statistics, ..."""
        return dict((self.loss_node or self._require("prediction_node")).all_nontrainable_params)

    @property
    def iterations(self) -> int:
        """Training steps since the roles were designated, which loading a file does, too."""
        return self._iterations

    # ---- statistics
    def paramstats(self) -> StatsTable:
        """Return shape, mean, standard deviation and median magnitude of the parameters of the loss (or prediction)."""
        node = self.loss_node or self._require("prediction_node")
        return StatsTable.of({name: p.get_value() for name, p in node.all_params.items()})

    def gradstats(self, *args: Any) -> StatsTable:
        """Return the same statistics of the gradients; arguments as for :meth:`loss`."""
        values = self.gradients(*args)
        return StatsTable.of(dict(zip(self._require("loss_node").all_trainable_params, values, strict=True)))

    def actstats(self, *args: Any) -> StatsTable:
        """Return the same statistics of the activations; arguments as for :meth:`loss`."""
        values = self.activations(*args)
        return StatsTable.of(dict(zip([n.name for n in self._active_nodes()], values, strict=True)))

    # ---- steps
    def optimiser(self, name: str) -> Optimiser:
        """Return the model's optimiser of a given name, created on first use.

        Parameters
        ----------
        name : {'SGD', 'AdaGrad', 'AdaDelta', 'Adam', 'AdamW'}

        Raises
        ------
        UnknownNameError
            For any other name.
        """
        self._require_optimiser(name)
        with self._stepping:
            if name not in self.optimisers:
                optimiser = self._make_optimiser(OPTIMISERS[name])
                if name in self.pending_states:
                    optimiser.set_state(self.pending_states[name])
                self.optimisers[name] = optimiser
                self.pending_states.pop(name, None)
        return self.optimisers[name]

    def _make_optimiser(self, kind: type[Optimiser]) -> Optimiser:
        loss = self._require("loss_node")
        params = {id(p): (p, g) for p, g in zip(loss.all_trainable_params.values(), self._grads(), strict=True)}
        return kind(
            loss.input_tensors,
            loss.output,
            [g for _, g in params.values()],
            [p for p, _ in params.values()],
            meta=self.meta,
            extra_updates=loss.all_extra_updates,
            history=KEPT_PARAMETER_SETS,
            debug_outputs=[n.output for n in self.debug_outputs],
            name=f"{self.name} {kind.__name__}",
            ema=self._ema,
        )

    def _require_optimiser(self, name: str) -> None:
        if name not in OPTIMISERS:
            raise UnknownNameError(
                "unknown optimiser",
                where=self._label,
                got=name,
                expected=f"one of {list(OPTIMISERS)}",
                nearest=nearest_name(name, OPTIMISERS),
            )

    def trainingstep(
        self, *args: Any, optimiser: str = "SGD", update_loss: bool = False
    ) -> tuple[float, float, list[np.ndarray] | None]:
        """Update the trainable parameters by one optimiser step.

        Threads that train the same model take turns.

        Parameters
        ----------
        *args : array
            One per source of the loss node, in calling order: usually data, target, ...
        optimiser : {'SGD', 'AdaGrad', 'AdaDelta', 'Adam', 'AdamW'}
        update_loss : bool
            Evaluate the loss again after the update and return that value.

        Returns
        -------
        loss : float
            Before the update, unless `update_loss`.
        seconds : float
            Duration of the step.
        debug : list of array, or None
            Outputs of the designated debug nodes.

        Raises
        ------
        UnknownNameError
            For an unknown optimiser.
        InputTypeError, ShapeError, ArgumentError
            For arrays that do not fit, and for invalid class labels.
        """
        arrays = self._loss_arrays(args)
        with self._stepping:
            step = self.optimiser(optimiser)
            start = time.perf_counter()
            loss, *debug = step(*arrays)
            if update_loss:
                loss = self._require("loss_node")(*arrays)
            seconds = time.perf_counter() - start
            self._iterations += 1
            self._losses.append(float(loss))
            self._seconds.append(seconds)
        return float(loss), seconds, debug or None

    @property
    def ema(self) -> float | None:
        """Decay of the exponential moving averages of the parameters, which optimisers keep from their next step on.

        None, the default: there are none. Between 0 and 1; early steps use ``n / (n + 9)`` if that is less.
        """
        return self._ema

    @ema.setter
    def ema(self, decay: float | None) -> None:
        if decay is not None and not (is_number(decay) and 0 < decay < 1):
            raise ArgumentError("unusable ema", where=self._label, got=decay, expected="a decay between 0 and 1")
        if decay != self._ema:
            with self._stepping:
                self.pending_states |= {name: optimiser.get_state() for name, optimiser in self.optimisers.items()}
                self.optimisers, self._ema = {}, None if decay is None else float(decay)

    @contextmanager
    def averaged(self, optimiser: str) -> Iterator[None]:
        """Within the block, parameters and running statistics are their moving averages, if :attr:`ema` is set.

        Parameters
        ----------
        optimiser : str
            The optimiser that keeps them.
        """
        averages = self.optimiser(optimiser).averages if self.ema is not None else None
        before = averages.swap() if averages else []
        try:
            yield
        finally:
            for param, value in before:
                param.restore(value)

    def repair(self, optimiser: str) -> None:
        """Undo the last three steps of an optimiser, e.g. after the loss became NaN, and reset its moments.

        Non-finite losses are dropped from `loss_smooth`.

        Raises
        ------
        ArgumentError
            If the optimiser has not taken a step.
        """
        with self._stepping:
            self.optimiser(optimiser).repair()
            self._losses = deque((v for v in self._losses if math.isfinite(v)), maxlen=SMOOTHED_STEPS)

    @property
    def time_per_step(self) -> float:
        """Mean duration of the last 50 steps in seconds; 0 before the first."""
        return sum(self._seconds) / max(1, len(self._seconds))

    @property
    def loss_smooth(self) -> float:
        """Mean loss of the last 200 steps; 0 before the first."""
        return sum(self._losses) / max(1, len(self._losses))

    # ---- meta-parameters
    def set_opt_meta_params(self, opt_name: str, value_dict: dict[str, float]) -> None:
        """Set meta-parameters by name; all optimisers of the model share them.

        Parameters
        ----------
        opt_name : {'SGD', 'AdaGrad', 'AdaDelta', 'Adam', 'AdamW'}
            Determines which meta-parameters can be set: ``lr``, ``mom`` (not AdaGrad), ``wd``, ``clip_value``,
            ``clip_norm``, and ``beta2`` (Adam and AdamW).
        value_dict : dict of str to float

        Raises
        ------
        UnknownNameError, ArgumentError
            For an unknown optimiser, a meta-parameter that it does not have, or an invalid value.
        """
        self._require_optimiser(opt_name)
        rule = OPTIMISERS[opt_name]
        self.meta.set(value_dict, [name for name in (*rule.meta_names, *CLIPS) if name not in rule.unused])

    @property
    def lr(self) -> float:
        """Learning rate of this model; like `mom` and `wd`, it can be changed between steps."""
        return self.meta["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        self.meta.set({"lr": value})

    @property
    def mom(self) -> float:
        """Momentum of this model."""
        return self.meta["mom"]

    @mom.setter
    def mom(self, value: float) -> None:
        self.meta.set({"mom": value})

    @property
    def wd(self) -> float:
        """Weight decay of this model."""
        return self.meta["wd"]

    @wd.setter
    def wd(self, value: float) -> None:
        self.meta.set({"wd": value})

    @property
    def clip_value(self) -> float:
        """Maximum magnitude of each gradient element; 0 or None for no limit."""
        return self.meta["clip_value"]

    @clip_value.setter
    def clip_value(self, value: float | None) -> None:
        self.meta.set({"clip_value": value})

    @property
    def clip_norm(self) -> float:
        """Maximum Euclidean norm of the gradient over all parameters; 0 or None for no limit.

        Limits can be changed between steps; only enabling or disabling one compiles another step.
        """
        return self.meta["clip_norm"]

    @clip_norm.setter
    def clip_norm(self, value: float | None) -> None:
        self.meta.set({"clip_norm": value})

    @property
    def mixing(self) -> np.ndarray:
        """Mixing weights of the loss node, which must be an AggregateLoss."""
        return self._mixing_loss().params["mixing_weights"].get_value()

    @mixing.setter
    def mixing(self, values: Any) -> None:
        loss = self._mixing_loss()
        loss.set_param_values({"mixing_weights": finite_vector(loss, "mixing weights", values, len(loss.parents))})

    def _mixing_loss(self) -> AggregateLoss:
        loss = self._require("loss_node")
        if not isinstance(loss, AggregateLoss):
            raise ArgumentError("the loss has no mixing weights", node=loss, expected="an AggregateLoss as loss node")
        return loss
