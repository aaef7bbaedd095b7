"""Python files are executed as they are now, and nothing is written beside them."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import pytest

from neuromancer.errors import FileError
from neuromancer.train.python_file import executed


@pytest.fixture(autouse=True)
def forgotten():
    yield
    sys.modules.pop("settings_for_a_test", None)


def test_a_change_within_a_second_counts(tmp_path: Path):
    path = tmp_path / "settings_for_a_test.py"
    for value in (1, 2):
        path.write_text(f"value = {value}\n")
        os.utime(path, (1e9, 1e9))
        assert executed(path).value == value
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_module_like_any_other(tmp_path: Path):
    path = tmp_path / "settings_for_a_test.py"
    path.write_bytes("# coding: latin-1\nname = 'Zürich'\n\n\nclass Data:\n    pass\n".encode("latin-1"))
    module = executed(path)
    assert module.name == "Zürich" and module.__file__ == str(path)
    assert type(pickle.loads(pickle.dumps(module.Data()))) is module.Data


def test_errors_are_those_of_the_file(tmp_path: Path):
    path = tmp_path / "settings_for_a_test.py"
    path.write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        executed(path)
    with pytest.raises(FileError, match="not a Python file"):
        executed(tmp_path / "settings.txt")
