"""The golden results of all engines are those of PyTensor's Python mode; run as a script, this module writes them."""

from __future__ import annotations

import numpy as np
import pytensor
import pytest
from pytensor.compile.mode import Mode
from pytensor.scan.op import Scan
from pytensor.scan.utils import until

from neuromancer import engine as E
from tests.engine import golden, loops
from tests.engine.constructs import CONSTRUCTS, VALUES

T = E.T
REFERENCE = Mode("vm", "fast_compile")


def construct(name: str) -> list[np.ndarray]:
    """Return the results of a construct."""
    inputs, make = CONSTRUCTS[name]
    with E.building(), pytensor.config.change_flags(cxx=""):
        made = make()
        outputs = [made] if isinstance(made, E.Variable) else list(made)
        function = pytensor.function(inputs, outputs, mode=REFERENCE, on_unused_input="ignore")
        return [np.asarray(r) for r in function(*(VALUES[v] for v in inputs))]


def run(inputs, outputs) -> list[np.ndarray]:
    """Return the results of a graph with a loop."""
    with pytensor.config.change_flags(mode="FAST_COMPILE", cxx=""):
        return pytensor.function(inputs, outputs, mode=REFERENCE, on_unused_input="ignore")(loops.X, loops.W)


def loop(name: str) -> list[np.ndarray]:
    """Return the results of a loop and its gradients."""
    return run(*loops.graph(name))


GROUPS = {"constructs": (CONSTRUCTS, construct), "loops": (loops.LOOPS, loop)}
CASES = [(group, name) for group, (names, _) in GROUPS.items() for name in names]


@pytest.mark.parametrize("group, name", CASES)
def test_stored_results_are_current(group, name) -> None:
    for result, stored in zip(GROUPS[group][1](name), golden.expected(group, name), strict=True):
        assert result.dtype == stored.dtype
        np.testing.assert_allclose(result, stored, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in loops.LOOPS if n != "sequence taps"])
def test_loops_stay_loops(name) -> None:
    """Except one without a state, which is rewritten into a single operation on all steps."""
    function = E.function(*loops.graph(name))
    assert any(isinstance(step.node.op, Scan) for step in function.program.steps if step.node is not None)


def test_loop_with_a_condition() -> None:
    x, w = loops.symbols()
    outputs = [E.scan(lambda v, h: (h + T.sqr(v), until(h.sum() > 5)), x, T.zeros_like(x[0]))]
    np.testing.assert_allclose(E.function([x, w], outputs)(loops.X, loops.W)[0], run([x, w], outputs)[0])


def write() -> None:
    """Write the results of all constructs and loops."""
    results = {f"{group}/{name}/{k}": value for group, name in CASES for k, value in enumerate(GROUPS[group][1](name))}
    np.savez_compressed(golden.PATH, **results)


if __name__ == "__main__":
    write()
