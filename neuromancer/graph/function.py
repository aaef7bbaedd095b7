"""Lazily compiled functions of symbolic graphs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from neuromancer import engine as E
from neuromancer.config import config


class LazyFunction:
    """Function of symbolic inputs, compiled on the first call.

    Calling it without arguments only compiles it, unless the graph has no inputs; then it is evaluated. After a change
    of ``config.device``, ``config.floatX`` or ``config.backend``, the next call recompiles. If several threads make
    the first call, one compiles and the others wait.

    Parameters
    ----------
    tt_input : symbolic variable or list
        Inputs in calling order.
    tt_output : symbolic variable or list
        A list of outputs is returned as a list, a single output on its own.
    updates : list of (shared variable, expression), optional
        Applied on every call.
    name : str
        Used in messages and plots.
    borrow_inp, borrow_out : bool
        Accepted for compatibility; inputs are never modified and outputs are never reused.
    profile_execution : int
        If positive, every call runs the function this many times, and ``last_exec_time`` is the mean.
    precision : {'f32', 'tf32', 'bf16', 'f16'}
        Precision of convolutions, see :func:`neuromancer.predict_dense`.

    Attributes
    ----------
    func : compiled function or None
        Set to None to force recompilation at the next call.
    last_exec_time : float or None
        Duration of the last call in seconds.

    Examples
    --------
    >>> from neuromancer import engine as E
    >>> x = E.tensor("x", (None,), "float32")
    >>> LazyFunction([x], x * x, name="square")([3.0]).tolist()
    [9.0]
    """

    def __init__(
        self,
        tt_input: Any,
        tt_output: Any,
        updates: Sequence[tuple[Any, Any]] | None = None,
        name: str = "Unnamed Function",
        borrow_inp: bool = False,
        borrow_out: bool = False,
        profile_execution: int = 0,
        precision: str = "f32",
    ) -> None:
        self.inputs = list(tt_input) if isinstance(tt_input, (list, tuple)) else [tt_input]
        self.output = list(tt_output) if isinstance(tt_output, (list, tuple)) else tt_output
        self.updates = list(updates or ())
        self.name = name
        self.profile_execution = profile_execution
        self.precision = precision
        self.func: Any = None
        self.last_exec_time: float | None = None
        self._compiled_for: tuple[str, str, str] | None = None

    def compile(self) -> Any:
        """Compile for the current settings, unless already done, and return the engine's function."""
        settings = (config.device, config.floatX, config.backend)
        if self.func is None or self._compiled_for != settings:
            with E.building():
                if self.func is None or self._compiled_for != settings:  # another thread may have been first
                    self.func = E.function(
                        self.inputs, self.output, updates=self.updates, name=self.name, precision=self.precision
                    )
                    self._compiled_for = settings
        return self.func

    def __call__(self, *args: Any) -> Any:
        func = self.compile()
        if not args and self.inputs:
            return None
        repeats = max(1, int(self.profile_execution))
        start = time.perf_counter()
        for _ in range(repeats):
            result = func(*args)
        self.last_exec_time = (time.perf_counter() - start) / repeats
        return result


def getinput_for_multioutput(nodes: Sequence[Any]) -> list[Any]:
    """Return the input tensors of several nodes, without duplicates, in order of first appearance."""
    return list(dict.fromkeys(t for node in nodes for t in node.input_tensors))
