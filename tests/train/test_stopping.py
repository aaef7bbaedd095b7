"""Early stopping: what counts as an improvement, patience, its state; requests to end by signals."""

from __future__ import annotations

import json
import math
import signal
import threading

import pytest

from neuromancer.errors import ArgumentError, InputTypeError
from neuromancer.train.stopping import EarlyStopping, Interruption


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


def test_the_metric_is_the_one_that_counts():
    stopping = EarlyStopping("val_error", patience=0)
    assert not stopping.update({"val_loss": 1.0, "val_error": 0.5})
    assert not stopping.update({"val_loss": 9.0, "val_error": 0.4})
    assert stopping.update({"val_loss": 0.1, "val_error": 0.4})


@pytest.mark.parametrize("values", [[], [math.nan], [1.0], [1.0, 2.0], [1.0, 0.5, math.nan, 0.7]])
def test_a_restored_state_continues(values):
    stopping, again = EarlyStopping(patience=1), EarlyStopping(patience=1)
    for value in values:
        stopping.update({"val_loss": value})
    again.set_state(json.loads(json.dumps(stopping.get_state(), allow_nan=False)))
    for value in (0.6, 0.6, 0.2, 0.3, 0.3):
        assert again.update({"val_loss": value}) == stopping.update({"val_loss": value})
        assert again.waited == stopping.waited


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"metric": None}, InputTypeError),
        ({"patience": -1}, ArgumentError),
        ({"patience": 1.5}, ArgumentError),
        ({"min_delta": -0.1}, ArgumentError),
        ({"min_delta": math.inf}, ArgumentError),
        ({"larger_is_better": "no"}, ArgumentError),
    ],
    ids=str,
)
def test_options_that_mean_nothing(option, error):
    with pytest.raises(error, match=f"EarlyStopping.*{next(iter(option))}"):
        EarlyStopping(**option)


@pytest.mark.parametrize("number", Interruption.ONCE)
def test_the_first_signal_asks_and_the_second_acts(number):
    seen = []
    before = signal.signal(number, lambda *_: seen.append("acted"))
    try:
        with Interruption() as interruption:
            assert not interruption.asked
            signal.raise_signal(number)
            assert interruption.asked and seen == []
            signal.raise_signal(number)
            assert seen == ["acted"]
    finally:
        signal.signal(number, before)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_closed_terminal_sends_several_signals_which_only_ask():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        assert interruption.asked and not interruption.by_key


def test_ignored_signals_stay_ignored():
    before = {number: signal.signal(number, signal.SIG_IGN) for number in Interruption.SIGNALS}
    try:
        with Interruption() as interruption:
            for number in Interruption.SIGNALS:
                signal.raise_signal(number)
            with interruption.ended():
                signal.raise_signal(signal.SIGTERM)
        assert not interruption.asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_handlers_are_restored_however_the_context_ends():
    handlers = [signal.getsignal(number) for number in Interruption.SIGNALS]
    with pytest.raises(RuntimeError, match="over"), Interruption():
        assert [signal.getsignal(number) for number in Interruption.SIGNALS] != handlers
        raise RuntimeError("over")
    assert [signal.getsignal(number) for number in Interruption.SIGNALS] == handlers


def test_another_thread_leaves_the_handlers_alone():
    handlers, seen = [signal.getsignal(number) for number in Interruption.SIGNALS], []

    def run():
        with Interruption():
            seen.extend(signal.getsignal(number) for number in Interruption.SIGNALS)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == handlers
