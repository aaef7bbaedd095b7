"""Masked arrays as training data: refused where the mask would be lost; previews take them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import InputTypeError
from neuromancer.train.preview import Preview
from neuromancer.train.sources import as_source


@pytest.fixture
def model(fresh_model):
    inp = nm.Input((1, 1, 6, 6), "b,f,y,x", name="raw", print_repr=False)
    probs = nm.Softmax(nm.Conv(inp, 2, (3, 3), activation_func="lin", print_repr=False), name="probs", print_repr=False)
    target = nm.Input_like(probs, "int16", override_f=1, name="target", print_repr=False)
    nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, print_repr=False)
    fresh_model.designate_nodes("raw", target, nm.AggregateLoss([nll], print_repr=False), probs)
    return fresh_model


def arrays(n=3):
    raw = np.ma.array(np.zeros((n, 1, 6, 6), "float32"))
    return raw, np.zeros((n, 1, 4, 4), "int16")


def test_arrays_and_iterators(model):
    raw, labels = arrays()
    assert type(as_source((raw, labels), model.loss_node, 1, 0).batch(0)[0]) is np.ndarray
    raw[1, 0, 2] = np.ma.masked
    with pytest.raises(InputTypeError, match=r"training data.*masked.*filled"):
        as_source((raw, labels), model.loss_node, 1, 0)
    with pytest.raises(InputTypeError, match=r"training data.*masked.*filled"):
        as_source(iter([(raw[1:2], labels[:1])]), model.loss_node, 1, 0).batch(0)
    with pytest.raises(InputTypeError, match="masked"):
        model.trainingstep(raw[1:2], labels[:1])


def test_previews(model, tmp_path):
    raw = np.ma.array(np.random.default_rng(0).random((1, 9, 10)).astype("float32"), mask=np.zeros((1, 9, 10), bool))
    raw[0, 2:4] = np.ma.masked
    (path,) = Preview(model, raw, pictures=False).write(tmp_path, 1)
    with h5py.File(path) as file:
        prediction = file["prediction"][()]
    assert not prediction[:, 2:4].any() and prediction[:, 4:].all()


def test_of_dask(model, tmp_path):
    lazy = pytest.importorskip("dask.array")
    raw, labels = arrays()
    plain = lazy.from_array(raw.data, chunks=2)
    unsaid = plain.map_blocks(lambda b: np.ma.masked_less(b, 1), dtype=plain.dtype, meta=plain._meta)
    with pytest.raises(InputTypeError, match=r"training data.*masked"):
        as_source((unsaid, labels), model.loss_node, 1, 0).batch(0)
    image = np.ma.array(np.random.default_rng(0).random((1, 9, 10)).astype("float32"))
    image[0, 2:4] = np.ma.masked
    preview = Preview(model, lazy.from_array(image, chunks=5), pictures=False)
    (kept, _) = preview.volumes["preview"]
    np.testing.assert_array_equal(kept.mask, image.mask)
