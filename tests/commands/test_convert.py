"""The command that converts model files."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.commands.convert import convert, main
from neuromancer.errors import FileError


@pytest.fixture
def saved(tmp_path, fresh_model):
    node = nm.Perceptron(nm.Input((2, 3), "b,f", print_repr=False), 4, print_repr=False)
    fresh_model.designate_nodes(node.input_nodes[0], prediction_node=node)
    fresh_model.save(tmp_path / "old.h5")
    return tmp_path / "old.h5", node(np.eye(2, 3, dtype="float32"))


def test_a_model_stays_what_it_is_and_none_is_left_open(saved, tmp_path):
    old, expected = saved
    (tmp_path / "new.h5").write_text("replaced")
    before = list(nm.model_manager.models)
    assert main([str(old), str(tmp_path / "new.h5")]) == 0
    assert list(nm.model_manager.models) == before
    found = nm.modelload(tmp_path / "new.h5").prediction_node(np.eye(2, 3, dtype="float32"))
    np.testing.assert_array_equal(found, expected)


def test_failures_name_the_file_and_leave_no_model(saved, tmp_path, capsys):
    old, before = saved[0], list(nm.model_manager.models)
    (tmp_path / "text.h5").write_text("no model")
    for given in ((tmp_path / "text.h5", tmp_path / "new.h5"), (old, tmp_path / "nowhere" / "new.h5")):
        with pytest.raises(FileError):
            convert(*given)
        assert main([str(path) for path in given]) == 1
        assert ("text.h5" if given[0] != old else "nowhere") in capsys.readouterr().err
    assert list(nm.model_manager.models) == before and not (tmp_path / "new.h5").exists()
