"""The history: rows, the CSV file that follows them, round trips, resuming from an earlier step."""

from __future__ import annotations

import csv
import math

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromancer.train.history import History

COLUMNS = ["step", "loss", "val_loss"]
NUMBERS = st.one_of(st.floats(allow_infinity=True), st.integers(-(10**18), 10**18).map(float))


def filled(path=None):
    history = History(COLUMNS, path)
    history.start()
    for step in (10, 20, 30):
        history.add({"step": step, "loss": 1 / step} | ({"val_loss": 0.5} if step == 20 else {}))
    return history


def read(path):
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    return head, [[float(cell) if cell else math.nan for cell in row] for row in rows]


def test_what_was_not_measured_is_nan_and_an_empty_cell(tmp_path):
    history = filled(tmp_path / "history.csv")
    np.testing.assert_array_equal(history["val_loss"], [np.nan, 0.5, np.nan])
    assert len(history) == 3 and history["step"].dtype == "float64"
    lines = (tmp_path / "history.csv").read_text().split()
    assert lines == ["step,loss,val_loss", "10,0.1,", "20,0.05,0.5", f"30,{1 / 30!r},"]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), max_size=5))
def test_every_row_is_in_the_file_at_once_and_to_the_last_bit(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("h") / "history.csv"
    history = History(COLUMNS, path)
    history.start()
    for n, row in enumerate(rows, 1):
        history.add(dict(zip(COLUMNS, row, strict=True)))
        head, found = read(path)
        assert head == COLUMNS
        np.testing.assert_array_equal(np.reshape(found, (n, 3)), rows[:n])
    again = History(COLUMNS, path)
    again.load(history.arrays())
    again.start()
    assert read(path)[1:] == read(path)[1:] and again.rows.__repr__() == history.rows.__repr__()


def test_a_loaded_history_continues_and_columns_may_have_been_added(tmp_path):
    history = History([*COLUMNS, "val_error"], tmp_path / "history.csv")
    history.load(filled().arrays())
    history.start()
    history.add({"step": 40, "val_error": 0.25})
    np.testing.assert_array_equal(history["step"], [10, 20, 30, 40])
    np.testing.assert_array_equal(history["val_error"], [np.nan] * 3 + [0.25])
    assert len(read(tmp_path / "history.csv")[1]) == 4


def test_columns_that_are_gone_are_dropped():
    history = History(["step"])
    history.load(filled().arrays())
    assert history.rows == [[10], [20], [30]]


def test_nothing_to_load_leaves_nothing():
    history = filled()
    history.load({})
    assert len(history) == 0 and history["loss"].shape == (0,)


@pytest.mark.parametrize(("step", "rows"), [(9, 0), (10, 1), (25, 2), (30, 3), (99, 3)])
def test_rows_up_to_a_step_include_it(step, rows):
    found = filled().until(step)
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(COLUMNS, rows)


@pytest.mark.parametrize(
    ("content", "replaced"),
    [(None, False), (b"step,loss,val_loss\r\n", False), (b"step,loss,val_loss\r\n1,2,3\r\n", True), (b"notes", True)],
)
def test_a_file_that_holds_more_than_this_header_would_be_replaced(tmp_path, content, replaced):
    path = tmp_path / "history.csv"
    if content is not None:
        path.write_bytes(content)
    assert History(COLUMNS, path).would_replace() is replaced


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not filled().would_replace() and list(tmp_path.iterdir()) == []


def test_as_hdf5(tmp_path):
    history = filled()
    history.save(tmp_path / "history.h5")
    with h5py.File(tmp_path / "history.h5") as file:
        assert set(file) == set(COLUMNS)
        for name in COLUMNS:
            np.testing.assert_array_equal(file[name][()], history[name])
