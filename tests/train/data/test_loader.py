"""Background loading: the same batches with any workers, errors that name their step, and a clean shutdown."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from neuromancer.errors import ArgumentError, EngineError, InputTypeError, UnknownNameError
from neuromancer.train.data import BackgroundLoader, Flip, GreyValues, PatchSampler, Warp
from tests.train.data.factories import chain


class Steps:
    """Batches that hold their step; some take longer."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause, self.made = pause, []

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        time.sleep(self.pause * (step % 3))
        self.made.append(step)
        return (np.full(3, step),)


class Deadly:
    """A source that kills its process."""

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        os._exit(3)


def sampler():
    node = chain([((3, 3), (2, 2), "valid")], (16, 16), "b,f,y,x")
    raw = np.random.default_rng(0).integers(0, 255, (60, 60)).astype("uint8")
    augment = [Flip(), Warp(rotation=30, elastic=2), GreyValues()]
    return PatchSampler(node, (raw, (raw > 128).astype("int16")), augment=augment, balance=0.5)


class Failing:
    """A source that fails at one step."""

    def __init__(self, source, step: int) -> None:
        self.source, self.step = source, step

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        if step == self.step:
            raise UnknownNameError("no such thing", node="source", got=step)
        return self.source.batch(step)


@pytest.mark.parametrize(("workers", "processes"), [(1, False), (3, False), (1, True)])
def test_batches_are_those_of_the_source_and_errors_come_with_their_step(workers, processes):
    source = sampler()
    with BackgroundLoader(Failing(source, 7), workers, ahead=3, processes=processes) as loader:
        for step in (0, 1, 2, 3, 9, 4, 5):
            for a, b in zip(loader.batch(step), source.batch(step), strict=True):
                np.testing.assert_array_equal(a, b)
        with pytest.raises(UnknownNameError, match="no such thing; got 7") as caught:
            loader.batch(7)
        assert "step 7" in caught.value.__notes__[0]
        assert len(loader.batch(8)) == 2


def test_order_does_not_depend_on_duration():
    with BackgroundLoader(Steps(pause=0.01), workers=3, ahead=5) as loader:
        assert [int(loader.batch(step)[0][0]) for step in range(12)] == list(range(12))


def test_ahead_is_the_number_of_prefetched_batches():
    source = Steps()
    with BackgroundLoader(source, ahead=4) as loader:
        loader.batch(10)
        deadline = time.monotonic() + 5
        while len(source.made) < 5 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.02)
        assert source.made == [10, 11, 12, 13, 14]
        loader.batch(11)
        loader.batch(3)
        loader.batch(12)
        assert source.made[:5] == [10, 11, 12, 13, 14] and {3, 12} <= set(source.made[5:])
    with BackgroundLoader(Steps(), ahead=0) as loader:
        assert loader.batch(2)[0][0] == 2


def test_a_process_that_dies_is_an_error():
    with BackgroundLoader(Deadly(), processes=True) as loader, pytest.raises(EngineError, match="step 0"):
        loader.batch(0)
    with BackgroundLoader(Deadly(), processes=True, ahead=0) as loader:
        for _ in range(2):  # the second fails when it is submitted
            with pytest.raises(EngineError, match=r"ended unexpectedly.*step 0"):
                loader.batch(0)


def test_closing_ends_the_threads():
    before = threading.active_count()
    loader = BackgroundLoader(Steps(pause=0.01), workers=3)
    loader.batch(0)
    loader.close()
    loader.close()
    assert threading.active_count() == before
    with pytest.raises(ArgumentError, match="closed"):
        loader.batch(1)
    forgotten = BackgroundLoader(Steps())
    forgotten.batch(0)
    del forgotten
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: BackgroundLoader([1]), InputTypeError, "batch"),
        (lambda: BackgroundLoader(Steps(), workers=0), ArgumentError, "workers"),
        (lambda: BackgroundLoader(Steps(), ahead=-1), ArgumentError, "ahead"),
        (lambda: BackgroundLoader(type("Local", (Steps,), {})(), processes=True), InputTypeError, "other processes"),
    ],
)
def test_bad_arguments(make, error, says):
    with pytest.raises(error, match=says):
        make()


SCRIPT = """
import os, signal, threading, time
import numpy as np
from neuromancer.train.data import BackgroundLoader

class Slow:
    def batch(self, step):
        time.sleep(0.05)
        return (np.full(2, step),)

loader = BackgroundLoader(Slow(), workers=2, ahead=50)
loader.batch(0)
threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    for step in range(1, 1000):
        loader.batch(step)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise SystemExit(130)
"""


def test_an_interrupt_comes_through_and_a_forgotten_loader_lets_the_interpreter_end(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "interrupted\n", "")
