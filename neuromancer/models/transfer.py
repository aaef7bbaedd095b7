"""Fine-tuning: parameters from another model, and parameters that training leaves unchanged."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import ArgumentError, InputTypeError, ShapeError, UnknownNameError, nearest_name, short
from neuromancer.io.load import params_from_model_file
from neuromancer.models.prediction import DensePrediction

Values = Mapping[str, Mapping[str, Any]]
STATISTICS = ("mean", "std", "var")
"""Parameters of normalisations that are not trained, but are learned from data."""


class TransferLearning(DensePrediction):
    """A graph that can start from the parameters of another one.

    Parameters
    ----------
    name : str
    """

    if TYPE_CHECKING:

        def set_param_values(self, value_dict: Any, skip_const: bool = ...) -> None: ...

    def load_weights(self, source: str | os.PathLike[str] | Values, partial: bool = False) -> list[str]:
        """Set what training changes, parameters and running statistics, to the values of another model.

        Settings of layers and losses (dropout rates, weights of classes) stay as they are.

        Parameters
        ----------
        source : path, or dict of str to dict of str to array
            A model file of either format, or a result of :meth:`get_param_values`.
        partial : bool
            Leave parameters that the source does not have, or has in another shape, as they are.

        Returns
        -------
        list of str
            The parameters left as they are, each with the reason; empty unless `partial`.

        Raises
        ------
        ShapeError
            If parameters are missing in the source or have another shape there, without `partial`; names all of them.
        ArgumentError
            If no parameter fits.
        FileError
            If the file cannot be read.

        Examples
        --------
        >>> import neuromancer as nm
        >>> model = nm.model_manager.newmodel("transfer")
        >>> x = nm.Input((4, 1), "b,f", name="x", print_repr=False)
        >>> y = nm.Perceptron(x, 2, name="y", print_repr=False)
        >>> values = {"y": {"w": np.ones((1, 2)), "b": np.zeros(3)}}
        >>> model.load_weights(values, partial=True)
        ['y_b: (3,) there, (2,) here']
        >>> y.params["w"].get_value().tolist()
        [[1.0, 1.0]]
        >>> nm.model_manager.delmodel("transfer")
        """
        where = short(str(source), 200) if isinstance(source, (str, os.PathLike)) else "the given parameters"
        given = params_from_model_file(source) if isinstance(source, (str, os.PathLike)) else source
        if not isinstance(given, Mapping) or not all(isinstance(values, Mapping) for values in given.values()):
            raise InputTypeError("needs a model file or a dict", where=self._label, got=type(source).__name__)
        fitting: dict[str, dict[str, np.ndarray]] = {}
        left = []
        for node, key, param in self._learned():
            shape, values = param.get_value().shape, given.get(node, {})
            there = np.shape(values[key]) if key in values else None
            if there == shape or (there is not None and prod(there) == prod(shape) == 1):
                fitting.setdefault(node, {})[key] = np.reshape(values[key], shape)
            else:
                left.append(f"{node}_{key}: {'missing' if there is None else there} there, {shape} here")
        if not fitting:
            raise ArgumentError(
                "no parameter fits this model", where=where, got=short(sorted(given)),
                expected=f"parameters of {short([*dict.fromkeys(node for node, _, _ in self._learned())])}",
            )  # fmt: skip
        if left and not partial:
            raise ShapeError(
                f"{len(left)} parameters do not fit model {self.name}", where=where, got="; ".join(left),
                expected="the same nodes and shapes, or partial=True (--partial) to leave these as they are",
            )  # fmt: skip
        self.set_param_values(fitting)
        return left

    def _learned(self) -> Iterator[tuple[str, str, Any]]:
        """Yield node, name and variable of every parameter that training changes, frozen ones included."""
        for name, node in self.nodes.items():
            for key, param in node.params.items():
                if not param.constant and (param.trained or param.updates or param.frozen or key in STATISTICS):
                    yield name, key, param

    @property
    def frozen(self) -> list[str]:
        """Parameters that training leaves unchanged, as ``<node>_<parameter>``; saved with the model."""
        return [f"{node}_{key}" for node, key, param in self._learned() if param.frozen]

    def freeze(self, *patterns: str) -> list[str]:
        """Let training leave parameters unchanged, and running statistics of the same nodes, too.

        Moments of optimisers are reset. Gradients of frozen parameters are not computed.

        Parameters
        ----------
        *patterns : str
            As of ``fnmatch``, for names of nodes or of parameters, ``<node>_<parameter>``: ``"conv*"``, ``"*_b"``.

        Returns
        -------
        list of str
            All frozen parameters.

        Raises
        ------
        UnknownNameError
            For a pattern that matches nothing trained.
        """
        for pattern in patterns:
            self._mark(pattern, True)
        return self.frozen

    def unfreeze(self, *patterns: str) -> list[str]:
        """Train frozen parameters again: those that match a pattern, by default all; return those still frozen."""
        for pattern in patterns or ("*",):
            self._mark(pattern, False)
        return self.frozen

    def _mark(self, pattern: str, frozen: bool) -> None:
        if not isinstance(pattern, str):
            raise InputTypeError("not a pattern", where=self._label, got=short(pattern), expected="a string")
        learned = list(self._learned())
        found = [p for node, key, p in learned if any(fnmatchcase(n, pattern) for n in (node, f"{node}_{key}"))]
        if not any(param.trained for param in found):
            names = [*dict.fromkeys(node for node, _, param in learned if param.trained)]
            raise UnknownNameError(
                "no trained parameter matches the pattern", where=self._label, got=pattern,
                expected=f"names of {short(names)}, or of their parameters", nearest=nearest_name(pattern, names),
            )  # fmt: skip
        if any(param.frozen != frozen for param in found):
            for param in found:
                param.frozen = frozen
            self._roles_changed()
