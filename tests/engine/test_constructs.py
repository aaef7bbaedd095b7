"""Every construct gives what PyTensor's own Python mode gives: values, shapes and dtypes."""

from __future__ import annotations

import numpy as np
import pytensor
import pytest
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable

from neuromancer import engine as E
from tests.engine.constructs import CONSTRUCTS, VALUES

REFERENCE = Mode("vm", "fast_compile")


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_construct_agrees_with_python_mode(name: str) -> None:
    inputs, make = CONSTRUCTS[name]
    arrays = [VALUES[v] for v in inputs]
    with E.building():
        made = make()
        outputs = [made] if isinstance(made, Variable) else list(made)
        reference = pytensor.function(inputs, outputs, mode=REFERENCE, on_unused_input="ignore")(*arrays)
    results = E.function(inputs, outputs)(*arrays)
    for result, expected, output in zip(results, reference, outputs, strict=True):
        assert result.dtype == output.type.dtype
        assert result.shape == np.shape(expected)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
