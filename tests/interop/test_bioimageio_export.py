"""Models leave as packages of bioimage.io, which its own libraries accept and run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, FileError, GraphError, InputTypeError, NeuromancerError, ShapeError

pytest.importorskip("bioimageio.spec")
pytest.importorskip("onnx")

from tests.interop.bioimageio_packages import digest, load

META: dict[str, Any] = {
    "authors": ["Ada Lovelace", {"name": "Alan Turing", "affiliation": "Bletchley"}],
    "license": "MIT",
    "cite": [{"text": "A paper", "doi": "10.1007/978-3-319-24574-4_28"}],
    "documentation": "# A network\n\n## Validation\n\nby eye",
}
MODES = {"print_repr": False}


def conv(x: Any, n: int, size: int, ndim: int = 2, **options: Any) -> Any:
    return nm.Conv(x, n, (size,) * ndim, **MODES, **options)


def same() -> Any:
    """Zero padding: output as large as the image."""
    raw = nm.Input((None, 1, None, None), "b,f,y,x", name="raw", **MODES)
    x = conv(raw, 3, 3, conv_mode="same")
    return nm.Conv(x, 2, (5, 3), conv_mode="same", activation_func="lin", name="out", **MODES)


def valid() -> Any:
    """No padding: the output is smaller."""
    return conv(conv(nm.Input((1, 1, 20, 21), "b,f,y,x", name="raw", **MODES), 3, 3), 2, 3, activation_func="lin")


def strided() -> Any:
    """Pooling: the output is coarser."""
    raw = nm.Input((None, 2, 30, 30), "b,f,y,x", name="raw", **MODES)
    return conv(nm.Conv(raw, 3, (3, 3), (2, 2), **MODES), 2, 3, activation_func="lin")


def unet() -> Any:
    """Pooling and up-sampling with a skip connection."""
    raw = nm.Input((None, 1, 16, 16), "b,f,y,x", name="raw", **MODES)
    fine = conv(raw, 3, 3, conv_mode="same")
    coarse = conv(nm.Pool(fine, (2, 2), **MODES), 4, 3, conv_mode="same")
    merged = nm.Concat([fine, nm.UpConv(coarse, 3, (2, 2), **MODES)], **MODES)
    return conv(merged, 2, 3, conv_mode="same", activation_func="lin")


def volume() -> Any:
    """Three axes of space."""
    raw = nm.Input((None, 1, 6, 9, 9), "b,f,z,y,x", name="raw", **MODES)
    return nm.Conv(raw, 2, (1, 3, 3), conv_mode="same", activation_func="lin", **MODES)


NETWORKS = {
    # name: (network, smallest size and step per axis, stride, offset, halo)
    "same": (same, {"y": (7, 1), "x": (5, 1)}, 1, {"y": 0, "x": 0}, {"y": 3, "x": 2}),
    "valid": (valid, {"y": (5, 1), "x": (5, 1)}, 1, {"y": -4, "x": -4}, {}),
    "strided": (strided, {"y": (8, 2), "x": (8, 2)}, 2, {"y": -3, "x": -3}, {}),
    "unet": (unet, {"y": (14, 2), "x": (14, 2)}, 1, {"y": 0, "x": 0}, {"y": 6, "x": 6}),
    "volume": (volume, {"z": (1, 1), "y": (3, 1), "x": (3, 1)}, 1, {"z": 0, "y": 0, "x": 0}, {"y": 1, "x": 1}),
}


def made(network: Callable[[], Any], name: str = "a network", **processing: Any) -> nm.Model:
    """A model of a network, with processing."""
    nm.seed(1)
    model = nm.model_manager.newmodel(name)
    out = network()
    model.designate_nodes("raw", prediction_node=out)
    for key, steps in processing.items():
        setattr(model, key, steps)
    return model


@pytest.fixture
def scratch():
    """Forget the models of a test."""
    before = set(nm.model_manager.models)
    yield
    for name in set(nm.model_manager.models) - before:
        nm.model_manager.delmodel(name)


CORE = pytest.mark.filterwarnings("ignore")
"""What that library leaves open and warns about is not ours."""

PROCESSING = {
    "preprocessing": [("zero_mean_unit_variance", {"axes": "yx"})],
    "postprocessing": ["softmax", ("clip", {"min": 0.1, "max": 0.9})],
}


@pytest.mark.parametrize("case", NETWORKS)
def test_sizes_and_halo_are_those_of_the_graph(case, tmp_path, scratch):
    network, sizes, stride, offsets, halo = NETWORKS[case]
    model = made(network, **PROCESSING)
    model.export_bioimageio(tmp_path / "p", **META)
    document = load(tmp_path / "p" / "bioimageio.yaml")
    image, result = ({a.get("id"): a for a in document[k][0]["axes"]} for k in ("inputs", "outputs"))
    for tag, (least, step) in sizes.items():
        assert image[tag]["size"] == {"min": least, "step": step}
        assert result[tag]["size"] == {"tensor_id": "input", "axis_id": tag, "offset": offsets[tag]}
        assert result[tag]["scale"] == stride
        assert result[tag].get("halo", 0) == halo.get(tag, 0)
    for entry in (document["weights"]["onnx"], document["inputs"][0]["test_tensor"], document["documentation"]):
        assert digest(tmp_path / "p" / entry["source"]) == entry["sha256"]


@pytest.mark.parametrize("case", NETWORKS)
def test_round_trip(case, tmp_path, scratch):
    model = made(NETWORKS[case][0], **PROCESSING)
    model.export_bioimageio(tmp_path / "p.zip", **META)
    found = nm.from_bioimageio(tmp_path / "p.zip", print_report=False)
    image = (
        np.random.default_rng(1)
        .random((int(model.input_node.shape["f"]), *((8, 20, 22) if case == "volume" else (40, 42))))
        .astype("float32")
    )
    np.testing.assert_allclose(found.predict_dense(image), model.predict_dense(image), atol=1e-5)
    halo = NETWORKS[case][4]
    notes = [n for n in found.import_report.notes if "halo" in n]
    assert all("too small" not in n for n in notes) and (not halo or "declared halo" in notes[0])


@CORE
@pytest.mark.parametrize("case", NETWORKS)
def test_bioimageio_core_runs_the_package(case, tmp_path, scratch):
    core = pytest.importorskip("bioimageio.core")
    pytest.importorskip("onnxruntime")
    model = made(NETWORKS[case][0], **PROCESSING)
    model.export_bioimageio(tmp_path / "p", **META)
    summary = core.test_model(tmp_path / "p" / "bioimageio.yaml")
    assert summary.status == "passed", summary.errors


@CORE
@pytest.mark.slow
def test_tiles_of_bioimageio_core_equal_dense_prediction(tmp_path, scratch):
    core = pytest.importorskip("bioimageio.core")
    pytest.importorskip("onnxruntime")
    model = made(unet, **PROCESSING)
    model.export_bioimageio(tmp_path / "p", **META)
    description = core.load_model_description(tmp_path / "p" / "bioimageio.yaml", perform_io_checks=False)
    image = np.random.default_rng(1).random((1, 1, 72, 80)).astype("float32")
    from bioimageio.core.digest_spec import create_sample_for_model

    tensor = core.Tensor.from_numpy(image, dims=["batch", "channel", "y", "x"])
    sample = create_sample_for_model(description, inputs={"input": tensor})
    with core.create_prediction_pipeline(description) as pipeline:
        tiled = pipeline.predict_sample_with_blocking(sample, ns=8)
    found = np.asarray(tiled.members["output"].data)[0]
    inner = (slice(None), slice(8, -8), slice(8, -8))  # at the borders, the tiles are padded in another way
    np.testing.assert_allclose(found[inner], model.predict_dense(image[0])[inner], atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integer_images_are_scaled_as_predict_dense_scales_them(dtype, tmp_path, scratch):
    model = made(same)
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (1, 20, 22)).astype(dtype)
    model.export_bioimageio(tmp_path / "p", test_image=image, **META)
    document = load(tmp_path / "p" / "bioimageio.yaml")
    assert document["inputs"][0]["data"]["type"] == dtype
    found = nm.from_bioimageio(tmp_path / "p", print_report=False)
    np.testing.assert_allclose(found.predict_dense(image), model.predict_dense(image), atol=1e-5)
    with pytest.raises(ArgumentError, match="no natural scale"):
        model.export_bioimageio(tmp_path / "q", test_image=image.astype("int32"), **META)


STEPS = [
    (
        [("scale_range", {"min_percentile": 1, "max_percentile": 99.8, "axes": "yx"}), ("clip", {"min": 0, "max": 1})],
        [],
    ),
    ([("fixed_zero_mean_unit_variance", {"mean": [0.5], "std": [0.2]})], ["sigmoid", ("binarize", {"threshold": 0.5})]),
    ([], [("scale_linear", {"gain": [1, 2], "offset": 0.5})]),
    ([("scale_linear", {"gain": 2, "offset": [1]})], [("binarize", {"threshold": [0.1, 0.2]})]),
    (["zero_mean_unit_variance"], [("scale_range", {"reference": "image", "axes": "yx"})]),
    ([("zero_mean_unit_variance", {"axes": "byx"})], [("scale_mean_variance", {"axes": "fyx"})]),
]


@pytest.mark.parametrize("k", range(len(STEPS)))
def test_processing_round_trip(k, tmp_path, scratch):
    before, after = STEPS[k]
    model = made(same, preprocessing=before, postprocessing=after)
    model.export_bioimageio(tmp_path / "p", **META)
    found = nm.from_bioimageio(tmp_path / "p", print_report=False)
    image = np.random.default_rng(1).random((1, 40, 42)).astype("float32")
    ours, theirs = (m.predict_dense(image) for m in (model, found))
    assert (ours != theirs).mean() < 1e-3 if ours.dtype == bool else np.abs(ours - theirs).max() < 1e-4


def test_a_network_without_a_halo(tmp_path, scratch):
    def normed() -> Any:
        x = nm.InstanceNorm(
            conv(nm.Input((None, 1, 16, 16), "b,f,y,x", name="raw", **MODES), 2, 3, conv_mode="same"), **MODES
        )
        return conv(x, 2, 1, activation_func="lin")

    made(normed).export_bioimageio(tmp_path / "p", **META)
    document = load(tmp_path / "p" / "bioimageio.yaml")
    assert all("halo" not in axis for axis in document["outputs"][0]["axes"])
    assert "no halo is enough" in (tmp_path / "p" / "README.md").read_text()


# ---- what is refused
@pytest.fixture(scope="module")
def small():
    model = made(same, "refused ones")
    yield model
    nm.model_manager.delmodel("refused ones")


def test_all_missing_metadata_are_listed(small, tmp_path):
    with pytest.raises(ArgumentError) as caught:
        small.export_bioimageio(tmp_path / "p")
    assert all(word in str(caught.value) for word in ("authors", "license", "cite", "documentation", "SPDX", "doi"))
    small.export_bioimageio(tmp_path / "p", **{**META, "cite": []})


BAD = {
    "license": ("nonsense", "license"),
    "cite": ([{"text": "without a source"}], "cite"),
    "authors": ([{"nme": "A"}], "authors"),
    "name": ("a/b", "name"),
    "tags": ([3], "not text"),
    "documentation": ("gone.md", "documentation cannot be read"),
    "metadata": ({"git_repo": "not an address"}, "git_repo"),
    "name is a number": (5, "not a name"),
    "metadata is a number": (5, "not further fields"),
    "metadata without names": ({5: 1}, "not further fields"),
    "metadata of the model": ({"inputs": [], "weights": {}}, "got inputs, weights"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_metadata(case, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (value, words), key = BAD[case], case.split()[0]
    for target in ("p", "p.zip"):
        with pytest.raises(NeuromancerError, match=words):
            small.export_bioimageio(tmp_path / target, **{**META, key: value})
    assert not list(tmp_path.iterdir())


def test_bad_places(small, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("there", "file", "gone/p", "gone/p.zip", "there.zip/p", "x" * 300, "x" * 300 + "/p.zip"):
        with pytest.raises(FileError):
            small.export_bioimageio(tmp_path / name, **META)
    with pytest.raises(FileError):
        small.export_bioimageio("https://example.com/p.zip", **META)
    with pytest.raises(InputTypeError):
        small.export_bioimageio(3, **META)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "there"]
    assert (tmp_path / "file").read_text() == "mine" and not list((tmp_path / "there").iterdir())


def test_an_archive_is_replaced_as_a_whole(small, tmp_path):
    (tmp_path / "p.zip").write_text("before")
    with pytest.raises(NeuromancerError):
        small.export_bioimageio(tmp_path / "p.zip", **{**META, "license": "nonsense"})
    assert (tmp_path / "p.zip").read_text() == "before"
    small.export_bioimageio(tmp_path / "p.zip", **META)
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        assert archive.testzip() is None and "bioimageio.yaml" in archive.namelist()
    assert [p.name for p in tmp_path.iterdir()] == ["p.zip"]


def test_bad_test_images(small, tmp_path, scratch):
    for image, kind in (
        (np.zeros((2, 20, 20), "float32"), ShapeError), (np.zeros((20, 20), "float32"), ShapeError),
        (np.zeros((1, 3, 3), "float32"), ShapeError), (np.zeros((1, 20, 20), complex), ArgumentError),
    ):  # fmt: skip
        with pytest.raises(kind):
            small.export_bioimageio(tmp_path / "p", test_image=image, **META)
    with pytest.raises(ArgumentError, match="not a test image"):
        small.export_bioimageio(tmp_path / "p", test_image=[[1, 2], [3]], **META)
    model = made(unet)
    with pytest.raises(ShapeError, match=r"nearest valid: \(1, 18, 20\)"):
        model.export_bioimageio(tmp_path / "p", test_image=np.zeros((1, 17, 20), "float32"), **META)
    assert not list(tmp_path.iterdir())


def test_networks_that_cannot_be_described(tmp_path, scratch):
    def two() -> Any:
        a, b = (nm.Input((None, 1, 9, 9), "b,f,y,x", name=n, **MODES) for n in ("raw", "other"))
        return nm.Concat([a, b], **MODES)

    def flat() -> Any:
        return nm.Perceptron(nm.Input((None, 4), "b,f", name="raw", **MODES), 2, **MODES)

    def integers() -> Any:
        return conv(nm.Input((None, 1, None, None), "b,f,y,x", name="raw", dtype="uint8", **MODES), 2, 3)

    def two_images() -> Any:
        raw = nm.Input((2, 1, 8, 9), "b,f,y,x", name="raw", **MODES)
        return nm.Reshape(raw, (2, 1, 8, 9), "b,f,y,x", **MODES)

    for network in (two, flat, integers, two_images):
        with pytest.raises(GraphError):
            made(network, f"network {network.__name__}").export_bioimageio(tmp_path / "p", **META)
    with pytest.raises(GraphError, match="no prediction_node"):
        nm.model_manager.newmodel("nothing here").export_bioimageio(tmp_path / "p", **META)
    with pytest.raises(InputTypeError):
        nm.export_bioimageio(3, tmp_path / "p", **META)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_documentation_from_a_file(small, tmp_path):
    (tmp_path / "text.md").write_text("# From a file")
    small.export_bioimageio(tmp_path / "p", **{**META, "documentation": tmp_path / "text.md"})
    assert "From a file" in (tmp_path / "p" / "README.md").read_text()
    assert json.dumps(load(tmp_path / "p" / "bioimageio.yaml")["authors"][1]).count("Bletchley") == 1
    assert Path(tmp_path / "p" / "weights.onnx").stat().st_size > 100


def uneven() -> Any:
    """Sizes along y that the stride never divides."""
    raw = nm.Input((None, 1, None, None), "b,f,y,x", name="raw", **MODES)
    return nm.Conv(nm.Conv(raw, 2, (3, 3), (2, 2), **MODES), 2, (3, 3), (2, 3), **MODES)


def reshaped() -> Any:
    """One size, which only evaluation tells."""
    raw = nm.Input((1, 1, 12, 18), "b,f,y,x", name="raw", **MODES)
    return nm.Reshape(conv(raw, 2, 3, conv_mode="same"), (1, 2, 12, 18), "b,f,y,x", **MODES)


@CORE
@pytest.mark.parametrize(
    ("network", "image", "result"),
    [(uneven, [66, {"min": 12, "step": 6}], 15), (reshaped, [12, 18], None)],
    ids=["uneven", "reshaped"],
)
def test_sizes_without_a_formula_are_declared_as_one(network, image, result, tmp_path, scratch):
    made(network).export_bioimageio(tmp_path / "p", **META)
    document = load(tmp_path / "p" / "bioimageio.yaml")
    axes = document["inputs"][0]["axes"]
    assert [axis["size"] for axis in axes[2:]] == image
    assert axes[0].get("size") == (1 if network is reshaped else None)
    if result is not None:
        assert document["outputs"][0]["axes"][2]["size"] == result
        assert "takes other sizes along y, too" in (tmp_path / "p" / "README.md").read_text()
    core = pytest.importorskip("bioimageio.core")
    assert core.test_model(tmp_path / "p" / "bioimageio.yaml").status == "passed"


def test_a_model_for_integer_images_leaves_again(tmp_path, scratch):
    image = np.random.default_rng(0).integers(0, 60000, (1, 20, 22)).astype("uint16")
    made(same, preprocessing=[("scale_range", {"axes": "yx"})]).export_bioimageio(
        tmp_path / "p", test_image=image, **META
    )
    found = nm.from_bioimageio(tmp_path / "p", print_report=False)
    found.export_bioimageio(tmp_path / "q", **META)
    assert np.load(tmp_path / "q" / "test_input.npy").dtype == "uint16"


def test_a_result_that_tests_nothing_is_refused(tmp_path, scratch):
    model = made(same, postprocessing=[("scale_linear", {"gain": 1e-9, "offset": 0})])
    with pytest.raises(ArgumentError, match="would test nothing"):
        model.export_bioimageio(tmp_path / "p", **META)
    assert not list(tmp_path.iterdir())


def test_statistics_of_the_image_that_do_not_fit_the_result_are_refused(tmp_path, scratch):
    model = made(strided, postprocessing=[("scale_mean_variance", {"axes": "fx"})])
    with pytest.raises(ArgumentError, match="do not fit the result"):
        model.export_bioimageio(tmp_path / "p", **META)
