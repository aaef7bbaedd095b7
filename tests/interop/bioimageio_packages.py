"""Small packages of bioimage.io, of both formats."""

from __future__ import annotations

import warnings
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from ruyaml import YAML
from torch import nn

import neuromancer as nm
from tests.interop.onnx_factories import model as onnx_model
from tests.interop.onnx_factories import node, weights

W = weights(2, 1, 3, 3)
X = (np.random.default_rng(0).random((1, 1, 24, 32)) * 200).astype("float32")


def conv(image: np.ndarray, w: np.ndarray = W) -> np.ndarray:
    """Convolution with zero padding, by torch."""
    functions = {4: nn.functional.conv2d, 5: nn.functional.conv3d}
    return functions[image.ndim](torch.from_numpy(image), torch.from_numpy(w), padding=1).numpy()


def network(shape: Any = ("b", 1, "h", "w"), **more: Any) -> Any:
    """An ONNX model of one convolution."""
    return onnx_model([node("Conv", "x w", "y", pads=[1] * (2 * (len(shape) - 2)))], shape, w=more.get("w", W))


def imported(path: Path, **options: Any) -> nm.Model:
    """Import without a report on the screen; no warning is expected."""
    return nm.from_bioimageio(path, print_report=False, **options)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return sha256(path.read_bytes()).hexdigest()


def entry(path: Path) -> dict[str, str]:
    """Entry of a file in a description."""
    return {"source": path.name, "sha256": digest(path)}


def dump(document: dict[str, Any], path: Path) -> None:
    """Write YAML."""
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(document, file)


def load(path: Path) -> dict[str, Any]:
    """Read YAML."""
    return YAML(typ="safe", pure=True).load(path.read_text())


def axes_05(letters: str, shape: tuple[int, ...], halo: int = 0, like: str | None = None) -> list[dict[str, Any]]:
    """Axes of format 0.5, with sizes that are fixed, or those of another tensor."""
    axes: list[dict[str, Any]] = []
    for letter, n in zip(letters, shape, strict=True):
        if letter == "b":
            axes.append({"type": "batch"})
        elif letter == "c":
            axes.append({"type": "channel", "channel_names": [f"c{k}" for k in range(n)]})
        else:
            size: Any = n if like is None else {"tensor_id": like, "axis_id": letter}
            axes.append({"type": "space", "id": letter, "size": size, **({"halo": halo} if halo else {})})
    return axes


def package(
    folder: Path,
    model: onnx.ModelProto | None,
    x: np.ndarray,
    y: np.ndarray,
    axes: str = "bcyx",
    out_axes: str | None = None,
    version: str = "0.5.4",
    pre: list[Any] | None = None,
    post: list[Any] | None = None,
    halo: int = 0,
    weights: dict[str, Any] | None = None,
) -> Path:
    """Write a package with test tensors x and y to a folder; operations are (name, arguments)."""
    folder.mkdir(parents=True, exist_ok=True)
    out_axes = out_axes or axes
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    kinds = dict(weights or {})
    if model is not None:
        (folder / "net.onnx").write_bytes(model.SerializeToString())
        kinds["onnx"] = {**entry(folder / "net.onnx"), "opset_version": 20}
    new = version.startswith("0.5")
    key = "id" if new else "name"
    steps = [[{key: n, **({"kwargs": k} if k else {})} for n, k in (ops or [])] for ops in (pre, post)]
    document: dict[str, Any] = {
        "format_version": version, "type": "model", "name": "a small model", "description": "for a test",
        "authors": [{"name": "A"}], "license": "MIT", "cite": [{"text": "t", "doi": "10.1007/978-3-319-24574-4_28"}],
        "covers": ["missing.png"], "documentation": "missing.md", "weights": kinds,
    }  # fmt: skip
    if new:
        document["inputs"] = [{
            "id": "raw", "axes": axes_05(axes, x.shape), "test_tensor": entry(folder / "x.npy"),
            "data": {"type": x.dtype.name}, "preprocessing": steps[0], "sample_tensor": {"source": "missing.png"},
        }]  # fmt: skip
        kind = {"values": [False, True], "type": "bool"} if y.dtype == bool else {"type": y.dtype.name}
        document["outputs"] = [{
            "id": "out", "axes": axes_05(out_axes, y.shape, halo, "raw"), "test_tensor": entry(folder / "y.npy"),
            "data": kind, "postprocessing": steps[1],
        }]  # fmt: skip
    else:
        halos = [0 if a in "bc" else halo for a in out_axes]
        shape = {"reference_tensor": "raw", "scale": [1.0] * len(out_axes), "offset": [0.0] * len(out_axes)}
        fixed = len(axes) != len(out_axes) or x.shape[axes.find("c")] != y.shape[out_axes.find("c")]
        document["inputs"] = [{
            "name": "raw", "axes": axes, "data_type": x.dtype.name, "preprocessing": steps[0],
            "shape": {"min": list(x.shape), "step": [0 if a in "bc" else 8 for a in axes]},
        }]  # fmt: skip
        document["outputs"] = [{
            "name": "out", "axes": out_axes, "data_type": y.dtype.name, "postprocessing": steps[1],
            "shape": list(y.shape) if fixed else shape, **({"halo": halos} if halo else {}),
        }]  # fmt: skip
        document["test_inputs"], document["test_outputs"] = ["x.npy"], ["y.npy"]
    dump(document, folder / ("bioimageio.yaml" if new else "rdf.yaml"))
    return folder


def zipped(folder: Path, target: Path, prefix: str = "") -> Path:
    """Put a package into an archive."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, prefix + path.name)
    return target


def change(folder: Path, **fields: Any) -> None:
    """Change fields of the description, at a path such as weights__onnx__source."""
    document = load(folder / "bioimageio.yaml")
    for path, value in fields.items():
        *inner, last = path.split("__")
        place: Any = document
        for key in inner:
            place = place[int(key)] if key.isdigit() else place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    dump(document, folder / "bioimageio.yaml")


def run_core(folder: Path, image: np.ndarray, output: str) -> np.ndarray:
    """Prediction of the reference implementation, bioimageio.core."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bioimageio.core import Tensor, create_prediction_pipeline, load_model_description
        from bioimageio.core.digest_spec import create_sample_for_model

        description = load_model_description(folder / "bioimageio.yaml", perform_io_checks=False)
        tensor = Tensor.from_numpy(image, dims=["batch", "channel", "y", "x"])
        sample = create_sample_for_model(description, inputs={description.inputs[0].id: tensor})
        with create_prediction_pipeline(description, weight_format="onnx") as pipeline:
            result = pipeline.predict_sample_without_blocking(
                sample, skip_input_padding=True, skip_output_cropping=True
            )
    return np.asarray(result.members[output].data)
