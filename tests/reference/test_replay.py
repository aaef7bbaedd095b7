"""All stored results of the original library are reproduced."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reference.replay import mismatches

CASES = sorted(Path(__file__).parent.glob("*.h5"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path):
    assert list(mismatches(path)) == []


def test_there_are_cases():
    assert len(CASES) > 30
