"""Plots: pictures that are written whole, whatever the history holds."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer.errors import FileError, MissingDependencyError
from neuromancer.train import plots
from neuromancer.train.history import History

PNG = b"\x89PNG\r\n"


def history(**columns):
    filled = History(["step", "loss", "loss_smooth", "lr", *columns])
    for n in range(4):
        filled.add(
            {"step": 10 * n, "loss": 2.0**-n, "loss_smooth": 2.0**-n, "lr": 0.1} | {k: v[n] for k, v in columns.items()}
        )
    return filled


NAN = [np.nan] * 4


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"val_loss": [1, 2, 3, 4], "val_error": [0.5, np.nan, 0.25, 0.1], "train_error": [0.5, 0.4, 0.3, 0.2]},
        {"val_loss": NAN, "val_error": NAN, "train_error": NAN},
        {"val_loss": [-1, 0, 1, np.inf], "val_$x_^": [1, 2, 3, 4], "val_b": NAN},
    ],
    ids=["loss alone", "all", "not measured", "odd values and names"],
)
def test_histories(tmp_path, columns):
    pytest.importorskip("matplotlib")
    plots.plot_history(history(**columns), tmp_path / "history.png", "run $1 of _2^ \n")
    assert (tmp_path / "history.png").read_bytes().startswith(PNG)
    assert [p.name for p in tmp_path.iterdir()] == ["history.png"]


@pytest.mark.parametrize("shape", [(1, 8, 9), (3, 5, 8, 9), (6, 1, 1), (2, 4, 1, 3)])
@pytest.mark.parametrize("labelled", [False, True])
def test_slices(tmp_path, shape, labelled):
    pytest.importorskip("matplotlib")
    values = np.random.default_rng(0).random(shape)
    labels = (values[0] > 0.5).astype("int32") if labelled else None
    plots.plot_slices(tmp_path / "a.png", values[:1], values, labels, "$")
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


def test_a_folder_that_is_gone_is_named_and_not_made_again(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "gone" / "history.png"
    with pytest.raises(FileError, match="history"):
        plots.plot_history(history(), path)
    assert not path.parent.exists()


def test_without_matplotlib_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    for call in (
        lambda: plots.plot_history(history(), tmp_path / "a.png"),
        lambda: plots.plot_slices(tmp_path / "a.png", np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), None, ""),
    ):
        with pytest.raises(MissingDependencyError, match="plots=False"):
            call()
    assert list(tmp_path.iterdir()) == []
