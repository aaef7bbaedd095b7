"""Operations of bioimage.io, compared with its reference implementation and with NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from neuromancer.errors import TranslationError

pytest.importorskip("bioimageio.spec")
pytest.importorskip("onnx")

from tests.interop.bioimageio_packages import X, conv, dump, entry, imported, load, network, package, run_core

OPERATIONS = {
    "pre": [
        ("binarize", {"threshold": 100.0}),
        ("clip", {"min": 20.0, "max": 150.0}),
        ("clip", {"min_percentile": 5.0, "max_percentile": 90.0, "axes": ["y", "x"]}),
        ("fixed_zero_mean_unit_variance", {"mean": 100.0, "std": 40.0}),
        ("fixed_zero_mean_unit_variance", {"mean": [100.0], "std": [40.0], "axis": "channel"}),
        ("scale_linear", {"gain": 0.01, "offset": -1.0}),
        ("scale_linear", {"gain": [0.01], "offset": [-1.0], "axis": "channel"}),
        ("sigmoid", None),
        ("scale_range", {"min_percentile": 2.0, "max_percentile": 99.8, "axes": ["y", "x"]}),
        ("scale_range", {"axes": ["batch", "channel", "y", "x"]}),
        ("scale_range", {"axes": ["x"], "eps": 1e-6}),
        ("zero_mean_unit_variance", None),
        ("zero_mean_unit_variance", {"axes": ["channel", "y", "x"]}),
        ("zero_mean_unit_variance", {"axes": ["y"]}),
    ],
    "post": [
        ("binarize", {"threshold": 1.0}),
        ("clip", {"min": 0.0, "max": 1.0}),
        ("scale_linear", {"gain": 0.5}),
        ("scale_linear", {"gain": [0.5, 2.0], "offset": [0.0, 1.0], "axis": "channel"}),
        ("sigmoid", None),
        ("softmax", {"axis": "channel"}),
        ("scale_range", {"reference_tensor": "raw", "axes": ["channel", "y", "x"]}),
    ],
}
CASES = [(kind, k) for kind, several in OPERATIONS.items() for k in range(len(several))]


@pytest.mark.parametrize(("kind", "k"), CASES, ids=[f"{kind}-{OPERATIONS[kind][k][0]}-{k}" for kind, k in CASES])
def test_operations_give_what_bioimageio_core_gives(kind, k, tmp_path):
    name, arguments = OPERATIONS[kind][k]
    step = (name, arguments)
    first = step if kind == "pre" else ("scale_linear", {"gain": 0.01, "offset": -1.0})
    before = [first, ("ensure_dtype", {"dtype": "float32"})]
    folder = package(tmp_path, network(), X, conv(X), pre=before, post=[step] if kind == "post" else [])
    pytest.importorskip("bioimageio.core")
    pytest.importorskip("onnxruntime")
    wanted = run_core(folder, X, "out").astype("float32")
    np.save(folder / "y.npy", wanted)
    document = load(folder / "bioimageio.yaml")
    document["outputs"][0]["test_tensor"] = entry(folder / "y.npy")
    dump(document, folder / "bioimageio.yaml")
    found = imported(folder)
    scale = float(np.abs(wanted).max())
    for tile in (None, (10, 13)):
        result = found.predict_dense(X[0], tile=tile).astype("float64")
        if name == "binarize" and kind == "post":
            assert (result != wanted[0]).mean() < 1e-3
        else:
            np.testing.assert_allclose(result, wanted[0], atol=2e-5 * scale)


def test_all_steps_take_the_statistics_of_the_image_before_the_first(tmp_path):
    """As the reference implementation does."""
    pytest.importorskip("bioimageio.core")
    pytest.importorskip("onnxruntime")
    steps = [("clip", {"min": 60.0, "max": 110.0}), ("zero_mean_unit_variance", None)]
    folder = package(tmp_path, network(), X, conv(X), pre=[*steps, ("ensure_dtype", {"dtype": "float32"})])
    wanted = run_core(folder, X, "out").astype("float32")
    np.save(folder / "y.npy", wanted)
    document = load(folder / "bioimageio.yaml")
    document["outputs"][0]["test_tensor"] = entry(folder / "y.npy")
    dump(document, folder / "bioimageio.yaml")
    result = imported(folder).predict_dense(X[0], tile=(10, 13))
    np.testing.assert_allclose(result, wanted[0], atol=2e-5 * np.abs(wanted).max())


OLD = [
    ("zero_mean_unit_variance", {"mode": "per_sample", "axes": "yx"}, (X - X.mean()) / (X.std() + 1e-6)),
    ("zero_mean_unit_variance", {"mode": "per_dataset", "axes": "cyx"}, (X - X.mean()) / (X.std() + 1e-6)),
    ("zero_mean_unit_variance", {"mode": "fixed", "axes": "yx", "mean": [90.0], "std": [50.0]}, (X - 90) / 50),
    ("zero_mean_unit_variance", {"axes": "cyx", "mean": 90.0, "std": 50.0}, (X - 90) / 50),
    ("scale_range", {"mode": "per_sample", "axes": "yx"}, (X - X.min()) / (np.ptp(X) + 1e-6)),
    ("scale_linear", {"axes": "yx", "gain": [0.5], "offset": 1.0}, X * 0.5 + 1),
    ("scale_linear", {"gain": 0.5}, X * 0.5),
    ("clip", {"min": 10.0, "max": 90.0}, np.clip(X, 10, 90)),
    ("binarize", {"threshold": 90.0}, X > 90),
    ("sigmoid", None, 1 / (1 + np.exp(-X))),
]


@pytest.mark.parametrize("case", range(len(OLD)))
def test_operations_of_the_older_format(case, tmp_path):
    name, arguments, image = OLD[case]
    wanted = conv(image.astype("float32"))
    found = imported(package(tmp_path, network(), X, wanted, version="0.4.10", pre=[(name, arguments)]))
    np.testing.assert_allclose(found.predict_dense(X[0], tile=(9, 11)), wanted[0], atol=1e-4 * np.abs(wanted).max())


def test_older_postprocessing_that_matches_the_image(tmp_path):
    y = conv(X)
    mean, std = (f(y) for f in (np.mean, np.std))
    wanted = (y - mean) / (std + 1e-6) * (X.std() + 1e-6) + X.mean()
    post = [("scale_mean_variance", {"mode": "per_sample", "reference_tensor": "raw", "axes": "cyx"})]
    found = imported(package(tmp_path, network(), X, wanted.astype("float32"), version="0.4.10", post=post))
    np.testing.assert_allclose(found.predict_dense(X[0]), wanted[0], rtol=1e-4, atol=1e-2)


Y = conv(X).astype("float64")
MEANS = Y.mean((2, 3), keepdims=True)
WHOLE = [
    (
        "zero_mean_unit_variance",
        {"axes": ["y", "x"]},
        (Y - Y.mean((2, 3), keepdims=True)) / Y.std((2, 3), keepdims=True),
    ),
    ("scale_range", {"max_percentile": 99.0}, (Y - Y.min()) / (np.percentile(Y, 99) - Y.min())),
    ("clip", {"min_percentile": 5.0, "max_percentile": 95.0}, np.clip(Y, *np.percentile(Y, [5, 95]))),
    ("scale_mean_variance", {"reference_tensor": "raw"}, (Y - Y.mean()) / Y.std() * X.std() + X.mean()),
]


@pytest.mark.parametrize("case", range(len(WHOLE)))
def test_postprocessing_with_statistics_of_the_result(case, tmp_path):
    """Which the reference implementation cannot do."""
    name, arguments, wanted = WHOLE[case]
    found = imported(package(tmp_path, network(), X, wanted.astype("float32"), post=[(name, arguments)]))
    np.testing.assert_allclose(found.predict_dense(X[0], tile=(9, 11)), wanted[0], atol=1e-4 * np.abs(wanted).max())


def test_integer_images_without_processing_are_not_scaled(tmp_path):
    x = X.astype("uint8")
    found = imported(package(tmp_path, network(), x, conv(x.astype("float32"))))
    np.testing.assert_allclose(found.predict_dense(x[0]), conv(x.astype("float32"))[0], rtol=1e-4, atol=1e-2)


def test_masks_may_differ_where_values_lie_at_the_threshold(tmp_path):
    y = conv(X)
    threshold = float(np.median(y))
    found = imported(package(tmp_path, network(), X, y > threshold, post=[("binarize", {"threshold": threshold})]))
    assert found.predict_dense(X[0]).dtype == bool
    with pytest.raises(TranslationError, match="of the voxels differ"):
        imported(package(tmp_path / "b", network(), X, y < threshold, post=[("binarize", {"threshold": threshold})]))
