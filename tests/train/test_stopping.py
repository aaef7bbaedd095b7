"""Early stopping: what counts as an improvement, and patience."""

from __future__ import annotations

import pytest

from neuromancer.train.stopping import EarlyStopping


@pytest.mark.parametrize(("larger", "better"), [(False, -0.51), (True, 0.51)])
def test_an_improvement_of_just_min_delta_does_not_count(larger, better):
    stopping = EarlyStopping(min_delta=0.5, larger_is_better=larger)
    assert not stopping.is_better(1 + (0.5 if larger else -0.5), 1.0)
    assert stopping.is_better(1 + better, 1.0)
    assert not EarlyStopping(larger_is_better=larger).is_better(1.0, 1.0)


def test_patience_counts_validations_in_a_row():
    stopping = EarlyStopping(patience=1)
    assert [stopping.update({"val_loss": v}) for v in (1.0, 1.0, 0.9, 0.9, 0.9)] == [False, False, False, False, True]


def test_nan_is_no_improvement():
    stopping = EarlyStopping(patience=0)
    assert not stopping.update({"val_loss": 2.0})
    assert stopping.update({"val_loss": float("nan")}) and stopping.best == 2.0
