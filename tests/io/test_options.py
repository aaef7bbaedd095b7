"""Options of modelload that change a model."""

from __future__ import annotations

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, GraphError, InputTypeError, ShapeError, UnknownNameError
from tests.io.graphs import QUIET, classify, feed, finish, image, layers, recurrent, unet


def segmenter(pools=((2, 2), (2, 2)), size=(14, 14), **kwargs):
    """Two pooling layers and a classifier, as for segmentation."""
    out = nm.Conv(image(size=size), 3, (3, 3), pools[0], name="c0", **kwargs, **QUIET)
    out = nm.Conv(out, 4, (3, 3), pools[1], name="c1", **kwargs, **QUIET)
    out = nm.Conv(out, 3, (1, 1), name="c2", activation_func="lin", **QUIET)
    classify(out)


@pytest.fixture
def saved(fresh_model, tmp_path):
    def save(build=segmenter, *args, **kwargs):
        build(*args, **kwargs)
        fresh_model.save(tmp_path / "model.h5")
        return tmp_path / "model.h5"

    return save


def sizes(model):
    return {n.name: n.shape.shape for n in model.sources}


# ---- sizes
def test_a_patch_size_is_imposed_on_input_and_target(saved, fresh_model):
    path = saved()
    model = nm.modelload(path, imposed_patch_size=[18, 22])
    assert sizes(model) == {"raw": [1, 2, 18, 22], "target": [1, 1, 3, 4]}
    assert np.isfinite(model.loss(*feed(model.loss_node)))
    x = feed(model.prediction_node)[0]
    np.testing.assert_array_equal(model.predict(x)[..., :2, :2], fresh_model.predict(x[..., :14, :14])[..., :2, :2])


def test_the_target_may_come_before_the_prediction(saved):
    def build():
        target = nm.Input((1, 1, 2, 2), "b,f,y,x", strides=[4, 4], fov=[10, 10], name="target", **QUIET)
        out = nm.Conv(image(size=(14, 14)), 3, (3, 3), (2, 2), **QUIET)
        probs = nm.Softmax(nm.Conv(out, 2, (3, 3), (2, 2), activation_func="lin", **QUIET), name="probs", **QUIET)
        nll = nm.MultinoulliNLL(probs, target, target_is_sparse=True, **QUIET)
        nm.model_manager.current.designate_nodes("raw", target, nm.AggregateLoss(nll, **QUIET), probs)

    model = nm.modelload(saved(build), imposed_patch_size=[18, 14])
    assert sizes(model)["target"] == [1, 1, 3, 2]


def test_an_invalid_patch_size_names_the_nearest(saved):
    path = saved()
    with pytest.raises(ShapeError, match=r"y: 10 or 14; x: 22\b"):
        nm.modelload(path, imposed_patch_size=[13, 22])
    with pytest.raises(ShapeError, match=r"y: 10; x: 30 or 34"):
        nm.modelload(path, imposed_patch_size=[1, 31])
    with pytest.raises(ShapeError, match="one entry per spatial axis"):
        nm.modelload(path, imposed_patch_size=[14])
    for bad in (14, "ab", [14, -1], [14, 1.5], [True, 14]):
        with pytest.raises(ArgumentError, match="imposed_patch_size"):
            nm.modelload(path, imposed_patch_size=bad)


def test_branches_and_up_convolutions_follow(saved):
    path = saved(unet)
    model = nm.modelload(path, imposed_patch_size=[14, 16])
    assert sizes(model)["raw"] == [1, 2, 14, 16]
    assert model["last"].shape.shape == model["target"].shape.shape
    assert model.predict(*feed(model.prediction_node)).shape == tuple(model["last"].shape.shape)
    with pytest.raises(ShapeError, match="y: 12 or 14"):
        nm.modelload(path, imposed_patch_size=[13, 12])


def test_sizes_that_cannot_change(saved):
    path = saved(layers)
    with pytest.raises(ShapeError, match="nearest valid: y: 8; x: 8"):
        nm.modelload(path, imposed_patch_size=[10, 8])


def test_a_batch_size_is_imposed(saved):
    model = nm.modelload(saved(), imposed_batch_size=3)
    assert sizes(model) == {"raw": [3, 2, 14, 14], "target": [3, 1, 2, 2]}
    for bad in (0, -1, "1", 1.5, True):
        with pytest.raises(ArgumentError, match="imposed_batch_size"):
            nm.modelload("absent", imposed_batch_size=bad)


def test_sizes_need_an_input(saved):
    path = saved(lambda: nm.Perceptron(image(), 2, **QUIET))
    with pytest.raises(GraphError, match="designated input"):
        nm.modelload(path, imposed_batch_size=2)


# ---- max-fragment pooling
@pytest.mark.parametrize("pools", [((2, 2), (2, 2)), ((3, 1), (2, 3))])
def test_fragments_give_the_dense_prediction(saved, fresh_model, pools):
    size = (20, 13) if pools[0][0] == 3 else (14, 14)
    path = saved(segmenter, pools, size)
    model = nm.modelload(path, override_mfp_to_active=True, imposed_batch_size=1)
    new = model["raw"].shape.spatial_shape
    assert all(s <= n for s, n in zip(size, new, strict=True))
    valid = nm.get_valid_patch_sizes(fresh_model["probs"], high=64, mfp=True)
    assert new == [min(s for s in ok if s >= n) for ok, n in zip(valid, size, strict=True)]
    raw = np.random.default_rng(0).normal(size=(2, *new)).astype("float32")
    dense = fresh_model.predict_dense(raw)
    out = model.predict(raw[None])[0]
    assert model["probs"].shape.spatial_shape == list(out.shape[1:])
    assert model["target"].shape.spatial_shape == list(out.shape[1:])
    cut = tuple(slice(0, n) for n in out.shape[1:])
    np.testing.assert_allclose(out, dense[(slice(None), *cut)], atol=1e-5)
    assert np.isfinite(model.loss(*feed(model.loss_node)))


def test_fragments_of_pooling_nodes(saved, fresh_model):
    def build():
        out = nm.Pool(nm.Conv(image(size=(9, 10)), 3, (2, 3), **QUIET), (2, 2), name="pool", **QUIET)
        fresh_model.designate_nodes("raw", prediction_node=out)

    path = saved(build)
    model = nm.modelload(path, override_mfp_to_active=True)
    raw = np.random.default_rng(0).normal(size=(2, *model["raw"].shape.spatial_shape)).astype("float32")
    out = model.predict(raw[None])[0]
    dense = fresh_model.predict_dense(raw)
    np.testing.assert_allclose(out, dense[:, : out.shape[1], : out.shape[2]], atol=1e-5)


def test_fragments_into_a_merge(saved, fresh_model):
    def build():
        inp = image(size=(8, 8))
        a = nm.Conv(inp, 2, (3, 3), (2, 2), name="a", **QUIET)
        b = nm.Conv(inp, 2, (3, 3), (2, 2), name="b", **QUIET)
        fresh_model.designate_nodes("raw", prediction_node=nm.Concat([a, b], name="both", **QUIET))

    path = saved(build)
    model = nm.modelload(path, override_mfp_to_active=True)
    assert model["both"].shape.strides.tolist() == [1, 1]
    raw = np.random.default_rng(0).normal(size=(2, 9, 9)).astype("float32")
    np.testing.assert_allclose(model.predict(raw[None])[0], fresh_model.predict_dense(raw), atol=1e-5)


def test_fragments_and_imposed_sizes(saved):
    path = saved()
    assert sizes(nm.modelload(path, True, [17, 21]))["raw"] == [1, 2, 17, 21]
    with pytest.raises(ShapeError, match=r"max-fragment.*y: 13 or 17; x: 17\b"):
        nm.modelload(path, override_mfp_to_active=True, imposed_patch_size=[14, 17])
    with pytest.raises(ArgumentError, match="batch size 1"):
        nm.modelload(path, override_mfp_to_active=True, imposed_batch_size=2)


def test_no_fragments_above_up_convolutions(saved):
    with pytest.raises(ArgumentError, match="up-convolutions"):
        nm.modelload(saved(unet), override_mfp_to_active=True)


# ---- parameters
def normalised(mode="train"):
    segmenter(batch_normalisation=mode)
    model = nm.model_manager.current
    for name in ("c0", "c1"):
        node, n = model[name], model[name].n_f
        node.set_param_values({"gamma": np.full(n, 1.5), "mean": np.full(n, 0.1), "std": np.full(n, 2.0)})


def test_constant_weights(saved, fresh_model):
    path = saved()
    model = nm.modelload(path, make_weights_constant=True)
    assert all(model[n].w.constant and model[n].b.constant for n in ("c0", "c1", "c2"))
    assert not model.loss_node.all_trainable_params
    x = feed(model.prediction_node)
    np.testing.assert_allclose(model.predict(*x), fresh_model.predict(*x), rtol=1e-5)
    model.save(path)
    assert nm.modelload(path)["c0"].w.constant
    again = nm.modelload(path, unlock_all_params=True)
    assert list(again.loss_node.all_trainable_params) == list(fresh_model.loss_node.all_trainable_params)
    np.testing.assert_array_equal(again["c0"].w.get_value(), fresh_model["c0"].w.get_value())
    again.trainingstep(*feed(again.loss_node))


def test_constant_recurrent_weights(saved, fresh_model):
    path = saved(recurrent)
    model = nm.modelload(path, make_weights_constant=True)
    assert not model.loss_node.all_trainable_params and model["gru"].w.constant
    x = feed(model.prediction_node)
    np.testing.assert_allclose(model.predict(*x), fresh_model.predict(*x), rtol=1e-5)


def test_locking_some(saved):
    path = saved()
    first = nm.modelload(path, lock_trainable_params=2)
    assert [first[n].w.constant for n in ("c0", "c1", "c2")] == [True, True, False]
    named = nm.modelload(path, lock_trainable_params=["c2"])
    assert [named[n].w.constant for n in ("c0", "c1", "c2")] == [False, False, True]
    with pytest.raises(UnknownNameError, match="nearest valid: c2"):
        nm.modelload(path, lock_trainable_params=["cc2"])
    for bad in ("c0", -1, True, 1.5):
        with pytest.raises(ArgumentError, match="lock_trainable_params"):
            nm.modelload(path, lock_trainable_params=bad)
    with pytest.raises(ArgumentError, match="both constant and variable"):
        nm.modelload(path, lock_trainable_params=1, unlock_all_params=True)


def test_optimiser_state_only_where_it_fits(saved, fresh_model, tmp_path):
    path = saved()
    fresh_model.trainingstep(*feed(fresh_model.loss_node))
    fresh_model.save(path)
    assert nm.modelload(path, imposed_patch_size=[18, 18]).pending_states
    assert not nm.modelload(path, lock_trainable_params=1).pending_states


@pytest.mark.parametrize("mode", ["train", "fadeout"])
@pytest.mark.parametrize("how", ["predict", "const"])
def test_batch_normalisation_replaced(saved, fresh_model, mode, how):
    path = saved(normalised, mode)
    if mode == "fadeout":
        fresh_model.gradnet_rates = 0.4
        fresh_model.save(path)
    model = nm.modelload(path, replace_bn=how)
    assert model["c0"].batch_normalisation == "predict"
    assert model["c0"].mean.constant == model["c0"].std.constant == (how == "const")
    assert "gradnet_rate" not in model["c0"].params
    x = feed(model.prediction_node)
    np.testing.assert_allclose(model.predict(*x), fresh_model.predict(*x), rtol=1e-4, atol=1e-6)


def test_batch_normalisation_removed(saved, fresh_model):
    model = nm.modelload(saved(normalised), replace_bn="remove")
    assert model["c0"].batch_normalisation is False and list(model["c0"].params) == ["w", "b"]
    np.testing.assert_array_equal(model["c0"].w.get_value(), fresh_model["c0"].w.get_value())


def test_batch_normalisation_and_constants(saved):
    path = saved(normalised)
    with pytest.raises(ArgumentError, match="replace_bn='const'"):
        nm.modelload(path, make_weights_constant=True)
    model = nm.modelload(path, make_weights_constant=True, replace_bn="predict")
    assert model["c0"].std.constant and not model.loss_node.all_trainable_params
    with pytest.raises(ArgumentError, match="unknown replace_bn"):
        nm.modelload(path, replace_bn="off")


# ---- injection
def test_a_node_is_fed_from_a_new_input(saved, fresh_model):
    path = saved()
    model = nm.modelload(path, inject_source={"child_name": "c1", "name": "features"})
    assert list(model.nodes)[:2] == ["features", "c1"] and "c0" not in model and "raw" not in model
    assert model.input_node is model["features"] and model["features"].shape == fresh_model["c0"].shape
    x = feed(fresh_model.prediction_node)[0]
    np.testing.assert_allclose(model.predict(fresh_model["c0"](x)), fresh_model.predict(x), rtol=1e-5)
    place = {"shape": [1, 3, 6, 6], "tags": "b,f,y,x", "strides": [2, 2], "fov": [4, 4], "dtype": "float64"}
    other = nm.modelload(path, inject_source={"child_name": "c1", **place})
    assert other["input"].shape == fresh_model["c0"].shape and other["input"].dtype == "float64"


def test_injection_says_what_is_wrong(saved):
    path = saved()
    with pytest.raises(UnknownNameError, match="no node named"):
        nm.modelload(path, inject_source={"child_name": "absent"})
    with pytest.raises(ArgumentError, match="no such parent"):
        nm.modelload(path, inject_source={"child_name": "c1", "parent_no": 1})
    with pytest.raises(ArgumentError, match="wrong arguments"):
        nm.modelload(path, inject_source={"child": "c1"})
    with pytest.raises(InputTypeError, match="must be a dict"):
        nm.modelload(path, inject_source="c1")
    with pytest.raises(ShapeError):
        nm.modelload(path, inject_source={"child_name": "c1", "shape": [1, 3, 1, 1], "tags": "b,f,y,x"})


def test_a_part_of_a_split_is_fed(saved, fresh_model):
    def build():
        out = nm.Conv(image(), 4, (1, 1), name="conv", **QUIET)
        a, b = nm.split(out, "f", n_out=2, name="part")
        finish(nm.Add(a, b, name="sum", **QUIET))

    model = nm.modelload(saved(build), inject_source={"child_name": "part", "name": "in"})
    assert list(model.nodes) == ["in", *list(fresh_model.nodes)[2:]]


def test_failed_options_leave_no_model(saved):
    path = saved()
    before = nm.model_manager.current, list(nm.model_manager.models)
    for options in ({"imposed_patch_size": [13, 13]}, {"lock_trainable_params": ["x"]}):
        with pytest.raises((ShapeError, UnknownNameError)):
            nm.modelload(path, **options)
        assert (nm.model_manager.current, list(nm.model_manager.models)) == before


def test_max_fragment_pooling_needs_a_prediction_with_space(saved):
    with pytest.raises(ArgumentError, match="'dense': max-fragment pooling needs a prediction with the spatial axes"):
        nm.modelload(saved(layers), override_mfp_to_active=True)


@pytest.mark.parametrize(
    ("options", "got"),
    [
        ({"imposed_patch_size": np.array(5)}, None),
        ({"imposed_patch_size": np.array([[9, 9]])}, None),
        *[({"imposed_patch_size": size}, size) for size in (9, "9", [9, 0], [9, 9.0], [True, 9], {9: 9})],
        *[({"imposed_batch_size": size}, size) for size in (0, -1, 2.0, True, "2", [2])],
        *[({"replace_bn": how}, how) for how in ("drop", ["remove"], 1, True)],
        ({"replace_bn": np.array(["remove", "const"])}, None),
        *[({"lock_trainable_params": lock}, lock) for lock in (-1, 1.0, True, "c0", {"c0"})],
        ({"unlock_all_params": True, "make_weights_constant": True}, "unlock_all_params=True"),
        ({"unlock_all_params": True, "lock_trainable_params": 0}, "unlock_all_params=True"),
    ],
)
def test_options_that_suit_no_model_are_refused_before_a_file_is_read(options, got):
    with pytest.raises(ArgumentError) as caught:
        nm.modelload("no such file", **options)
    assert caught.value.node == "modelload" and (got is None or caught.value.got == got)


def test_sizes_may_be_arrays(saved):
    model = nm.modelload(saved(), imposed_patch_size=np.array([10, 14]), imposed_batch_size=np.int64(3))
    assert model.input_node.shape.shape[0] == 3 and list(model.input_node.shape.spatial_shape) == [10, 14]


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("shape", (5, "abcd", ["a"], [1.5, 3, 8, 8], [1, 0, 8, 8], [True, 3, 8, 8], np.ones((2, 2), int))),
        ("strides", (2, ["a", "b"], [None, None], [float("nan"), 1], [float("inf"), 1], [10**400, 1], "ab")),
        ("fov", (3, "a", [None, 3], [float("nan"), 1])),
        ("tags", (5, ["b", 3], b"b,f,y,x")),
        ("parent_no", (1, -1, 0.0, False, "0")),
        ("child_name", (5, None, b"c1")),
        ("name", (5, b"raw", ["raw"])),
        ("dtype", (5, "foo", float)),
    ],
)
def test_values_of_an_injected_input(saved, key, values):
    path = saved()
    before = list(nm.model_manager.models)
    for value in values:
        with pytest.raises((ArgumentError, InputTypeError)) as caught:
            nm.modelload(path, inject_source={"child_name": "c1", key: value})
        assert repr(value)[:3] in str(caught.value) or key in str(caught.value)
    assert list(nm.model_manager.models) == before


def test_an_injected_input_keeps_what_is_not_said(saved, fresh_model):
    path = saved()
    parent = fresh_model["c0"].shape
    given = {"child_name": "c1", "name": "in", "parent_no": np.int64(0)}
    plain = nm.modelload(path, inject_source=given)["in"]
    assert plain.shape == parent and plain.output.dtype == fresh_model["c0"].output.dtype
    assert nm.modelload(path, inject_source=given | {"dtype": "float64"})["in"].shape == parent
