"""The sample data are image and labels, with or without the files of the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuromancer.napari_plugin import samples


@pytest.mark.parametrize("inside", [True, False])
def test_nuclei(inside, monkeypatch):
    if not inside:
        monkeypatch.setattr(samples, "STACK", Path("nowhere.h5"))
    layers = {arguments["name"]: (data, kind) for data, arguments, kind in samples.nuclei()}
    assert {name: kind for name, (_, kind) in layers.items()} == {"nuclei raw": "image", "nuclei label": "labels"}
    shape = (48, 256, 256) if inside else (32, 128, 128)
    assert {data.shape for data, _ in layers.values()} == {shape}
