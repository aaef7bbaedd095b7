"""Processes that share a prediction use the same backend."""

from __future__ import annotations

import os

import pytest

from neuromancer.dense.agreement import NAME, agreed


def test_the_first_choice_counts(tmp_path):
    assert agreed(tmp_path, None) is None and not list(tmp_path.iterdir())
    assert agreed(tmp_path, "openvino") == "openvino" == agreed(tmp_path, None)
    assert agreed(tmp_path, "torch") == agreed(tmp_path, "openvino") == "openvino"
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("content", [b"", b"numpy", b"\xff\xfe"])
def test_a_damaged_record_counts_for_nothing(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    assert agreed(tmp_path, "torch") == "torch" and agreed(tmp_path, None) is None


def test_a_pipe_is_not_waited_for_and_a_long_file_not_read(tmp_path):
    os.mkfifo(tmp_path / NAME)
    assert agreed(tmp_path, "torch") == "torch" and agreed(tmp_path, None) is None
    (tmp_path / NAME).unlink()
    with (tmp_path / NAME).open("wb") as file:
        file.truncate(1 << 40)
    assert agreed(tmp_path, "torch") == "torch" and agreed(tmp_path, None) is None


def test_without_a_folder_everybody_chooses(tmp_path):
    assert agreed(tmp_path / "missing", "torch") == "torch"
    assert not (tmp_path / "missing").exists()
