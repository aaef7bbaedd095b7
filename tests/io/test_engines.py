"""Model files of both engines load on either, give the same predictions, and can be trained further."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from tests.io.engines.write import FOLDER, data


@pytest.mark.parametrize("written_on", ["pytensor", "theano"])
def test_files_move_between_engines(written_on, tmp_path):
    model = nm.modelload(FOLDER / f"{written_on}.mdl")
    x, labels = data()
    np.testing.assert_allclose(model.predict(x), np.load(FOLDER / f"{written_on}.npy"), rtol=1e-4, atol=1e-6)
    losses = [float(model.trainingstep(x, labels, optimiser="Adam")[0]) for _ in range(20)]
    assert np.isfinite(losses).all() and min(losses[10:]) < losses[0]
    model.save(tmp_path / "again.mdl")
    assert np.isfinite(nm.modelload(tmp_path / "again.mdl").predict(x)).all()
