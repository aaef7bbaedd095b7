"""Every construct gives the stored values, shapes and dtypes on every engine."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer import engine as E
from tests.engine.constructs import CONSTRUCTS, LACKING, VALUES
from tests.engine.golden import expected


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_construct_agrees(name: str) -> None:
    if name in LACKING.get(E.NAME, ()):
        pytest.skip(f"{E.NAME} has no such function")
    inputs, make = CONSTRUCTS[name]
    with E.building():
        made = make()
    outputs = [made] if isinstance(made, E.Variable) else list(made)
    results = E.function(inputs, outputs)(*(VALUES[v] for v in inputs))
    for result, value in zip(results, expected("constructs", name), strict=True):
        assert result.dtype == value.dtype
        assert result.shape == value.shape
        np.testing.assert_allclose(result, value, rtol=1e-4, atol=1e-5)
