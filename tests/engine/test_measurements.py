"""Measurements of the machine are kept in one file each; bad ones are made again."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from neuromancer.engine.common import measurements
from neuromancer.engine.common.measurements import believable, cache_folder, cached

NAMES = ("a", "b")
GOOD = {"a": 1e-9, "b": 2e-12}


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def must_not_measure():
    raise AssertionError("measured again")


def only_file():
    (path,) = cache_folder().iterdir()
    return path


def test_measured_once_and_kept():
    assert cached("basic", [1], NAMES, None) is None, "nothing was measured"
    assert cached("basic", [1], NAMES, lambda: GOOD) == GOOD
    assert cached("basic", [1], NAMES, must_not_measure) == cached("basic", [1], NAMES, None) == GOOD
    assert json.loads(only_file().read_text()) == GOOD


def test_apart_for_whatever_the_numbers_depend_on(monkeypatch):
    cached("basic", [1, "torch 2.6"], NAMES, lambda: GOOD)
    for what, key in (("basic", [2, "torch 2.6"]), ("basic", [1, "torch 2.7"]), ("fourier", [1, "torch 2.6"])):
        assert cached(what, key, NAMES, None) is None
    monkeypatch.setattr(measurements, "processor", lambda: "another one")
    assert cached("basic", [1, "torch 2.6"], NAMES, None) is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1]", "null", "1", '{"a": 1e-9}', '{"a": "x", "b": 1e-9}', '{"a": 0, "b": 1e-9}', "\x00", "[" * 100_000,
     '{"a": NaN, "b": 1e-9}', '{"a": Infinity, "b": 1e-9}', '{"a": -1e-9, "b": 1e-9}', '{"a": true, "b": 1e-9}',
     '{"a": 1e-9, "b": 1e-9, "c": 1e-9}', '{"a": 1e300, "b": 1e-9}'],
)  # fmt: skip
def test_a_damaged_file_is_measured_again(content):
    cached("basic", [1], NAMES, lambda: GOOD)
    only_file().write_text(content)
    assert cached("basic", [1], NAMES, None) is None
    better = {"a": 3e-9, "b": 4e-9}
    assert cached("basic", [1], NAMES, lambda: better) == better
    assert cached("basic", [1], NAMES, must_not_measure) == better


@pytest.mark.parametrize("bad", [{"a": 0.0, "b": 1e-9}, {"a": float("nan"), "b": 1e-9}, {"a": 5.0, "b": 1e-9}, {}])
def test_bad_measurements_are_refused_and_not_kept(bad):
    assert believable(bad, NAMES) is None
    assert cached("basic", [1], NAMES, lambda: bad) is None
    assert not cache_folder().exists() or not list(cache_folder().iterdir())


def test_an_unwritable_cache_is_no_obstacle(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cached("basic", [1], NAMES, lambda: GOOD) == GOOD


def test_a_user_without_a_home_measures_again(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(measurements.Path, "home", _no_home)
    assert cache_folder() is None
    assert cached("basic", [1], NAMES, None) is None
    assert cached("basic", [1], NAMES, lambda: GOOD) == GOOD


def _no_home():
    raise RuntimeError("Could not determine home directory.")


def test_processes_that_measure_at_the_same_time_go_on_with_the_same_numbers():
    def measured_meanwhile():
        cached("basic", [1], NAMES, lambda: GOOD)
        return {"a": 9e-9, "b": 9e-9}

    assert cached("basic", [1], NAMES, measured_meanwhile) == GOOD
    assert [path.name for path in cache_folder().iterdir()] == [only_file().name], "nothing else is left"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: cached("basic", [2], NAMES, lambda: {"a": k * 1e-9, "b": 1e-9}), range(1, 9)))
    assert all(f is not None for f in found)
