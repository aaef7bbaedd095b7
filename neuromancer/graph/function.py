"""Lazily compiled functions over symbolic graphs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from neuromancer import engine as E
from neuromancer.config import config


class LazyFunction:
    """Function of symbolic inputs that is compiled at its first call.

    Calling it without arguments only compiles, unless the graph has no inputs, in which case it is evaluated.
    A changed ``config.device`` or ``config.backend`` makes the next call compile again. Of several threads that call it
    for the first time one compiles and the others wait.

    Parameters
    ----------
    tt_input : symbolic variable or list
        Inputs in calling order.
    tt_output : symbolic variable or list
        A single output is returned bare, a list as a list.
    updates : list of (shared variable, expression), optional
        Carried out with every call.
    name : str
        For messages and plots.
    borrow_inp, borrow_out : bool
        Accepted for compatibility; inputs are never changed and outputs are never reused.
    profile_execution : int
        If positive, every call runs the function this many times and ``last_exec_time`` is the mean.
    precision : {'f32', 'tf32', 'bf16', 'f16'}
        See ``E.function``.

    Attributes
    ----------
    func : compiled function or None
        Set to None to force compilation at the next call.
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
        """Compile for the configured device, if that is not done yet, and return the engine's function."""
        wanted = (config.device, config.floatX, config.backend)
        if self.func is None or self._compiled_for != wanted:
            with E.building():
                if self.func is None or self._compiled_for != wanted:  # another thread may have been first
                    self.func = E.function(
                        self.inputs, self.output, updates=self.updates, name=self.name, precision=self.precision
                    )
                    self._compiled_for = wanted
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
    """Input tensors that several nodes need together, in order of first appearance, none twice."""
    return list(dict.fromkeys(t for node in nodes for t in node.input_tensors))
