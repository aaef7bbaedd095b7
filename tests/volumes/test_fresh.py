"""Outputs are created whole or not at all, and only proven remains of an interrupted creation are removed."""

from __future__ import annotations

import os

import pytest

from neuromancer.volumes.fresh import discard_fresh, fresh, is_blank, new_token, tokens, trace_of, was_fresh


def made(target, traces, content="new", **options):
    with fresh(target, traces.append, **options) as new:
        new.write_text(content)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_under_its_name_when_it_is_whole(tmp_path):
    traces = []
    with fresh(tmp_path / "a", traces.append) as new:
        new.write_text("whole")
        assert new.parent == tmp_path and not (tmp_path / "a").exists()
        assert tokens(traces)[0] in new.name  # recorded before there is anything to remove
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "whole"
    assert trace_of(tmp_path / "a") in traces


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("folder", [True, False])
def test_a_failure_leaves_nothing(tmp_path, error, folder):
    with pytest.raises(error), fresh(tmp_path / "a", [].append) as new:
        if folder:
            (new / "inner").mkdir(parents=True)
        else:
            new.write_text("half")
        raise error
    assert names(tmp_path) == []


def test_a_taken_name_is_not_overwritten(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(FileExistsError):
        made(tmp_path / "a", [])
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


def test_the_temporary_file_may_lie_in_another_folder(tmp_path):
    (tmp_path / "b").mkdir()
    with fresh(tmp_path / "a", [].append, tmp_path / "b") as new:
        new.write_text("x")
        assert new.parent == tmp_path / "b"
    assert names(tmp_path) == ["a", "b"] and names(tmp_path / "b") == []


def test_tokens_are_unique_and_recognised():
    traces = []
    first, second = new_token(traces.append), new_token(traces.append)
    assert first != second and traces == [first, second]
    assert tokens([first, "12:34", second.upper(), second + "0", "", second]) == [first, second]


def test_the_recorded_file_is_recognised_even_if_it_was_written_to(tmp_path):
    traces = []
    made(tmp_path / "a", traces)
    assert was_fresh(tmp_path / "a", traces)
    (tmp_path / "a").write_text("changed")
    os.utime(tmp_path / "a", ns=(1, 1))
    assert was_fresh(tmp_path / "a", traces) and trace_of(tmp_path / "a") not in traces
    (tmp_path / "b").write_text("another")
    assert not was_fresh(tmp_path / "b", traces) and not was_fresh(tmp_path / "b", [])
    inode = (tmp_path / "b").stat().st_ino
    assert not was_fresh(tmp_path / "b", [f"{inode}0:1", f"1{inode}:1"])


@pytest.mark.parametrize("folder", [True, False])
def test_the_recorded_target_is_discarded(tmp_path, folder):
    traces, target = [], tmp_path / "a"
    with fresh(target, traces.append) as new:
        if folder:
            (new / "inner").mkdir(parents=True)
        else:
            new.write_text("x")
    assert discard_fresh(target, traces, lambda: True) and names(tmp_path) == []
    assert not discard_fresh(target, traces, lambda: True)  # nothing is left


@pytest.mark.parametrize("change", ["written to", "replaced", "not new", "no trace", "no token"])
def test_any_other_target_stays(tmp_path, change):
    traces, target = [], tmp_path / "a"
    made(target, traces)
    if change == "written to":
        os.utime(target, ns=(1, 1))
    elif change == "replaced":
        (tmp_path / "b").write_text("new")
        (tmp_path / "b").replace(target)
    elif change == "no trace":
        traces = tokens(traces)
    elif change == "no token":
        traces = [trace for trace in traces if trace not in tokens(traces)]
    assert not discard_fresh(target, traces, lambda: change != "not new")
    assert target.read_text() == "new"


@pytest.mark.parametrize("folder", [True, False])
def test_half_made_remains_are_removed_and_others_stay(tmp_path, folder):
    traces = []
    context = fresh(tmp_path / "a", traces.append)
    new = context.__enter__()
    if folder:
        (new / "inner").mkdir(parents=True)
    else:
        new.write_text("half")
    (tmp_path / ".0123.tmp").write_text("of somebody else")
    assert not discard_fresh(tmp_path / "a", traces, lambda: True)
    assert names(tmp_path) == [".0123.tmp"]


@pytest.mark.parametrize("size", [0, 5, 5 << 20])
@pytest.mark.parametrize("sparse", [True, False])
def test_blank_ranges_are_zero(tmp_path, size, sparse):
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.write(b"head")
        file.truncate(4 + size)
        if not sparse:
            file.write(bytes(size))
    assert not is_blank(path, 0, size + 4) and not is_blank(path, 3, size + 4)
    assert is_blank(path, 4, 4 + size) and is_blank(path, 4, 10 * size + 4) and is_blank(path, 2, 2)
    if size > 1:
        with path.open("r+b") as file:
            file.seek(3 + size)
            file.write(b"\1")
        assert is_blank(path, 4, 3 + size) and not is_blank(path, 4, 4 + size)
