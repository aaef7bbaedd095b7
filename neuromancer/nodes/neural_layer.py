"""Base of layers with weights: parameters, batch normalisation, activation, dropout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.casts import vanishes
from neuromancer.config import config
from neuromancer.errors import ArgumentError
from neuromancer.graph.demand import Demand, magnitude
from neuromancer.nodes import batchnorm
from neuromancer.nodes.activation import SIGMOID, SLOPE, find_activation
from neuromancer.nodes.layout import feature_vector, positive_int
from neuromancer.nodes.parameters import ParameterNode
from neuromancer.utils import as_floatX, new_seed
from neuromancer.variables import VariableParam

LAYER, NORMALISED = 32, 80
"""Symbolic operations of a layer without and with batch normalisation."""
PER_FEATURE = 12
"""Upper bound on numbers per feature of the bias (of up to four gates) and batch normalisation."""
GAMMA_DECAY = 3.0
"""Weight decay of gamma relative to that of weights."""


class NeuralLayer(ParameterNode):
    """Base of layers with weights, bias and an activation function.

    The constructor of a subclass calls ``Node.__init__``, passes the options to ``_setup``, checks its own arguments
    and creates its parameters with ``_make_params``. Its ``_make_output`` ends with ``_respond``.

    Parameters ``w``, ``b``, ``gamma``, ``mean`` and ``std`` can be given in all forms of :class:`ParameterNode`.

    Attributes
    ----------
    w, b, slope, gamma, mean, std, dropout_rate, gradnet_rate : parameter or None
        None if the layer does not use it.
    activation_func : str
    batch_normalisation : False or str
        Mode of batch normalisation.
    logits : symbolic tensor or None
        For a sigmoid without dropout, its argument, from which losses compute logarithms without underflow.
    """

    w: Any = None
    b: Any = None
    slope: Any = None
    gamma: Any = None
    mean: Any = None
    std: Any = None
    dropout_rate: Any = None
    gradnet_rate: Any = None
    logits: Any = None

    @classmethod
    def demand(cls, arguments: Mapping[str, Any]) -> Demand:
        # Weights are bounded by the file; all other parameters have a few numbers per feature.
        normalises = bool(arguments.get("batch_normalisation"))
        return Demand(NORMALISED if normalises else LAYER, PER_FEATURE * magnitude(arguments.get("n_f")))

    def _setup(
        self, n_f: int, activation_func: str, batch_normalisation: Any, dropout_rate: float, gradnet_mode: Any
    ) -> None:
        """Check and store the options that all layers share; create no parameters yet."""
        self.n_f = positive_int(n_f, "n_f", self)
        self.activation = find_activation(activation_func, self.n_f, self)
        self.functions = self.activation.functions
        self.activation_func = activation_func
        self.batch_normalisation = batchnorm.check_mode(batch_normalisation, self)
        self.gradnet_mode = gradnet_mode
        number = not isinstance(dropout_rate, (bool, np.bool_)) and isinstance(dropout_rate, (int, float, np.number))
        # Rounded to floatX, the rate must not become 1, nor 0 unless it is 0.
        inside = number and 0 <= dropout_rate < 1 and as_floatX(dropout_rate) < 1
        if not inside or vanishes(config.floatX, dropout_rate):
            raise ArgumentError(
                "dropout_rate must be the probability of dropping a feature",
                node=self,
                got=dropout_rate,
                expected=f"a number in [0, 1), in {config.floatX}",
            )
        self._rate = float(dropout_rate)

    # ---- parameters
    def _make_params(
        self, w_shape: Sequence[int], w_init: dict[str, Any], kernel_size: int, given: dict[str, Any]
    ) -> None:
        """Create all parameters.

        Parameters
        ----------
        w_shape : sequence of int
            Shape of the weights.
        w_init : dict
            Arguments of ``initweights`` for the weights.
        kernel_size : int
            Number of spatial taps, which scales some initial biases.
        given : dict
            Arguments w, b, gamma, mean and std of the caller.
        """
        self._check_norm_params(given)
        self.w_shape = tuple(w_shape)
        columns = self.activation.columns
        b_shape = (self._n_bias, columns) if columns > 1 else (self._n_bias,)
        self.w = self._param("w", given["w"], self.w_shape, w_init)
        self.b = self._param("b", given["b"], b_shape, self.activation.bias_init(kernel_size), reg=False)
        if self.activation.name == "prelu shared":
            self.slope = self._param("slope", None, (1,), {"mode": "const", "scale": SLOPE}, reg=False)
        mode = self.batch_normalisation
        if mode:
            one, zero = {"mode": "const", "scale": 1.0}, {"mode": "const", "scale": 0.0}
            learned = mode != "predict"
            self.gamma = self._param("gamma", given["gamma"], (self.n_f,), one, learned, GAMMA_DECAY)
            self.mean = self._param("mean", given["mean"], (self.n_f,), zero, train=False, reg=False)
            self.std = self._param("std", given["std"], (self.n_f,), one, train=False, reg=False)
        if self._rate:
            self.dropout_rate = self._number("dropout_rate", self._rate)
            self._stream = E.RandomStream(new_seed())
        if mode == "fadeout" or self.gradnet_mode:
            self.gradnet_rate = self._number("gradnet_rate", 1.0)

    @property
    def _n_bias(self) -> int:
        return self.n_f

    def _check_norm_params(self, given: dict[str, Any]) -> None:
        mode = self.batch_normalisation
        refused = {False: ("gamma", "mean", "std"), "predict": ()}.get(mode, ("mean", "std"))
        unused = [key for key in refused if given[key] is not None]
        if unused:
            raise ArgumentError(
                "unused parameters of batch normalisation",
                node=self,
                got=f"{', '.join(unused)} with batch_normalisation={mode!r}",
                expected="none of them" if mode is False else "statistics only with 'predict'",
                nearest="batch_normalisation='predict'",
            )

    def _number(self, key: str, value: float) -> VariableParam:
        param = VariableParam(value, name=f"{self.name}_{key}", apply_train=False, apply_reg=False)
        self.params[key] = param
        return param

    # ---- output
    def _respond(
        self,
        linear: Any,
        axis: int,
        gate_per_feature: bool = False,
        arrange: Callable[[Any], Any] = lambda response: response,
    ) -> Any:
        """Compute the layer's output from linear responses: normalisation, bias, activation, dropout.

        Parameters
        ----------
        linear : symbolic tensor
        axis : int
            Feature axis.
        gate_per_feature : bool
            Drop whole features, the same for all items and positions, instead of single elements.
        arrange : callable
            Brings responses to the axis order of the output.
        """
        if self.batch_normalisation:
            linear = self._normalised(linear, axis)
        bias, slope = (self.b[:, 0], self.b[:, 1]) if self.activation.columns > 1 else (self.b, self.slope)
        response = linear + feature_vector(bias, linear.ndim, axis)
        active = self.activation(response, axis, slope)
        if self.dropout_rate is None and self.activation.name in SIGMOID:
            self.logits = arrange(response)
        if self.dropout_rate is None or self.build_mode.inference:
            return arrange(active)
        sizes = tuple(active.shape[i] for i in range(active.ndim))
        return arrange(active * self._gate(active, axis, sizes, gate_per_feature))

    def _normalised(self, linear: Any, axis: int) -> Any:
        rate = self.gradnet_rate if self.batch_normalisation == "fadeout" else None
        if self.batch_normalisation == "predict" or self.build_mode.inference:
            return batchnorm.normalise(linear, axis, self.mean, self.std, self.gamma, rate)
        deviations, mean, std = batchnorm.centred(linear, axis)
        batchnorm.track(self.mean, mean)
        batchnorm.track(self.std, std)
        return batchnorm.normalise(linear, axis, mean, std, self.gamma, rate, deviations)

    def _gate(self, active: Any, axis: int, sizes: tuple[Any, ...], per_feature: bool) -> Any:
        """Return a random gate of 0 and ``1 / (1 - rate)``, which preserves the expected output."""
        keep = 1 - self.dropout_rate
        draw = self._stream.bernoulli(keep, (sizes[axis],) if per_feature else sizes, dtype=active.dtype)
        gate = E.T.switch(draw > 0, 1 / keep, 0)
        return feature_vector(gate, active.ndim, axis) if per_feature else gate

    # ---- description
    def _repr_options(self, special: str = "") -> str:
        text = f"act={self.activation_func!r}, {special}"
        if self.dropout_rate is not None:
            text += f"dropout rate = {float(self.dropout_rate.get_value()):g}, "
        if self.batch_normalisation:
            text += f"BN in {self.batch_normalisation!r} mode "
        return text

    def _macs(self, positions: int) -> int:
        """Return the number of multiply-accumulates for `positions` applications of the weights."""
        return prod(self.w_shape) * positions
