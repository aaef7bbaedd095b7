"""The training side of a model: loss, gradients, steps and their meta-parameters."""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer import engine as E
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
    """A graph whose loss node can be trained; :class:`neuromancer.Model` derives from it.

    Functions and optimisers are built when they are first used.

    Attributes
    ----------
    meta : MetaParams
        Meta-parameters of this model's optimisers.
    optimisers : dict of str to Optimiser
        Those used so far.
    pending_states : dict of str to dict of str to numpy.ndarray
        State of optimisers from a file, which they take over when they are first used.
    history : dict of str to array
        Whatever was recorded during training; saved and loaded with the model.
    training_state : dict
        Where a :class:`neuromancer.Trainer` is: what JSON can hold; saved and loaded with the model.
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
        self._stepping = Exclusive()
        self._roles_changed()

    def _roles_changed(self) -> None:
        """Start again without functions, optimisers and history; for another loss."""
        self.optimisers: dict[str, Optimiser] = {}
        self.pending_states: dict[str, dict[str, np.ndarray]] = {}
        self._gradient_graph: list[Any] | None = None
        self._training_functions: dict[str, LazyFunction] = {}
        self._losses: deque[float] = deque(maxlen=SMOOTHED_STEPS)
        self._seconds: deque[float] = deque(maxlen=TIMED_STEPS)

    # ---- evaluating
    def _loss_arrays(self, args: Sequence[Any]) -> list[Any]:
        """The arrays for the loss node, converted; labels that are no classes are refused."""
        loss = self._require("loss_node")
        return check_arrays(loss, loss.input_nodes, args, [loss, *self.debug_outputs])

    def _training_function(self, key: str, outputs: Any) -> LazyFunction:
        if key not in self._training_functions:
            inputs = self._require("loss_node").input_tensors
            with E.building():
                made = LazyFunction(inputs, outputs(), name=f"{self.name} {key}")
                self._training_functions.setdefault(key, made)
        return self._training_functions[key]

    def loss(self, *args: Any) -> float:
        """Value of the loss in its training form (dropout active), without an update.

        Parameters
        ----------
        *args : array
            One per source of the loss node, in its order: usually data, target, ...

        Returns
        -------
        float

        Raises
        ------
        InputTypeError, ShapeError, ArgumentError
            For arrays that do not fit, and for labels that are no classes.
        """
        return float(self._require("loss_node")(*self._loss_arrays(args)))

    def _grads(self) -> list[Any]:
        """Symbolic gradient of every trainable parameter."""
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
        """Gradients of the loss, ordered as the node's ``all_trainable_params``; arguments as for `loss`."""
        return self._training_function("gradients", self._grads)(*self._loss_arrays(args))

    def _active_nodes(self) -> list[Node]:
        return [n for n in self._require("loss_node").sub_graph() if not n.is_source]

    def activations(self, *args: Any) -> list[np.ndarray]:
        """Outputs of all nodes of the loss but the sources, parents first; arguments as for :meth:`loss`."""
        outputs = lambda: [n.output for n in self._active_nodes()]  # noqa: E731
        return self._training_function("activations", outputs)(*self._loss_arrays(args))

    # ---- statistics
    def paramstats(self) -> StatsTable:
        """Shape, mean, deviation and median magnitude of the parameters of the loss (or prediction)."""
        node = self.loss_node or self._require("prediction_node")
        return StatsTable.of({name: p.get_value() for name, p in node.all_params.items()})

    def gradstats(self, *args: Any) -> StatsTable:
        """The same for the gradients; arguments as for :meth:`loss`."""
        values = self.gradients(*args)
        return StatsTable.of(dict(zip(self._require("loss_node").all_trainable_params, values, strict=True)))

    def actstats(self, *args: Any) -> StatsTable:
        """The same for the activations; arguments as for :meth:`loss`."""
        values = self.activations(*args)
        return StatsTable.of(dict(zip([n.name for n in self._active_nodes()], values, strict=True)))

    # ---- steps
    def optimiser(self, name: str) -> Optimiser:
        """The model's optimiser of a given name, made at the first request.

        Parameters
        ----------
        name : {'SGD', 'AdaGrad', 'AdaDelta', 'Adam', 'AdamW'}

        Raises
        ------
        UnknownNameError
            For another name.
        """
        self._require_optimiser(name)
        with self._stepping:
            if name not in self.optimisers:
                made = self._make_optimiser(OPTIMISERS[name])
                if name in self.pending_states:
                    made.set_state(self.pending_states[name])
                self.optimisers[name] = made
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
        """Change the trainable parameters by one step of an optimiser.

        Threads that train one model take turns.

        Parameters
        ----------
        *args : array
            One per source of the loss node, in its order: usually data, target, ...
        optimiser : {'SGD', 'AdaGrad', 'AdaDelta', 'Adam', 'AdamW'}
        update_loss : bool
            Evaluate the loss once more, after the update, and return that.

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
            For arrays that do not fit, and for labels that are no classes.
        """
        arrays = self._loss_arrays(args)
        with self._stepping:
            step = self.optimiser(optimiser)
            start = time.perf_counter()
            loss, *debug = step(*arrays)
            if update_loss:
                loss = self._require("loss_node")(*arrays)
            seconds = time.perf_counter() - start
            self._losses.append(float(loss))
            self._seconds.append(seconds)
        return float(loss), seconds, debug or None

    def repair(self, optimiser: str) -> None:
        """Undo the last three steps of an optimiser, e.g. after the loss became NaN, and forget its moments.

        Losses that are not finite no longer count for `loss_smooth`.

        Raises
        ------
        ArgumentError
            If the optimiser has not done a step.
        """
        with self._stepping:
            self.optimiser(optimiser).repair()
            self._losses = deque((v for v in self._losses if math.isfinite(v)), maxlen=SMOOTHED_STEPS)

    @property
    def time_per_step(self) -> float:
        """Mean duration of the last 50 steps in seconds, 0 before the first."""
        return sum(self._seconds) / max(1, len(self._seconds))

    @property
    def loss_smooth(self) -> float:
        """Mean loss of the last 200 steps, 0 before the first."""
        return sum(self._losses) / max(1, len(self._losses))

    # ---- meta-parameters
    def set_opt_meta_params(self, opt_name: str, value_dict: dict[str, float]) -> None:
        """Set meta-parameters by name; all optimisers of the model share them.

        Parameters
        ----------
        opt_name : {'SGD', 'AdaGrad', 'AdaDelta', 'Adam', 'AdamW'}
            Whose meta-parameters may be set: ``lr``, ``mom`` (not of AdaGrad), ``wd``, ``clip_value``, ``clip_norm``,
            for Adam and AdamW also ``beta2``.
        value_dict : dict of str to float

        Raises
        ------
        UnknownNameError, ArgumentError
            For an unknown optimiser, a meta-parameter that it does not have, or a value that cannot be.
        """
        self._require_optimiser(opt_name)
        rule = OPTIMISERS[opt_name]
        self.meta.set(value_dict, [name for name in (*rule.meta_names, *CLIPS) if name not in rule.unused])

    @property
    def lr(self) -> float:
        """Learning rate of this model; may be changed between steps, as may `mom` and `wd`."""
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
        """Largest magnitude of an element of the gradient; 0 (also set by None): no limit."""
        return self.meta["clip_value"]

    @clip_value.setter
    def clip_value(self, value: float | None) -> None:
        self.meta.set({"clip_value": value})

    @property
    def clip_norm(self) -> float:
        """Largest Euclidean norm of the gradient of all parameters together; 0 (also set by None): no limit.

        Limits may be changed between steps like the others; only switching one on or off compiles another step.
        """
        return self.meta["clip_norm"]

    @clip_norm.setter
    def clip_norm(self, value: float | None) -> None:
        self.meta.set({"clip_norm": value})

    @property
    def mixing(self) -> np.ndarray:
        """Weights of the components of the AggregateLoss that is the loss node."""
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
