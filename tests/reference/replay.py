"""Build a reference case from its description and compare it with the stored results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import neuromancer as nm

TOLERANCE = 1e-5
TOLERANCE_TRAINED = 1e-3
REDEFINING = ("UpConv", "Crop", "Pad", "AutoMerge")
REDEFINED = ("fov", "offsets", "computational_cost", "all_computational_cost")


def mismatches(path: Path) -> Iterator[str]:
    """Yield one line per mismatch of a case file."""
    with h5py.File(path, "r") as case:
        spec = json.loads(case.attrs["spec"])
        nodes = dict(flat(build(spec)))
        yield from check_descriptions(nodes, json.loads(case.attrs["nodes"]), redefined(spec))
        for name, group in case.get("params", {}).items():
            nodes[name].set_param_values({k: v[...] for k, v in group.items()}, skip_const=True)
        inputs = {k: v[...] for k, v in case.get("inputs", {}).items()}
        for name in json.loads(case.attrs["outputs"]):
            got = nodes[name](*[inputs[n.name] for n in nodes[name].input_nodes])
            yield from difference(f"output of {name}", got, case["outputs"][name][...], TOLERANCE)
        for i, dense in case.get("dense", {}).items():
            yield from check_dense(nodes[dense.attrs["node"]], dense, f"dense {i}")
        if "train" in case:
            yield from check_training(nodes, inputs, case["train"])


def build(spec: list[dict[str, Any]]) -> dict[str, Any]:
    """Build the described graph; values are nodes or tuples of nodes."""
    nodes: dict[str, Any] = {}
    for entry in spec:
        args = resolve(entry["args"], nodes)
        kwargs = {k: resolve(v, nodes) for k, v in entry["kwargs"].items()}
        if entry["call"] == "ValueNode":
            kwargs["value"] = np.asarray(kwargs["value"], dtype="float32")
        if entry["call"] != "split":
            kwargs["name"] = entry["name"]
        nodes[entry["name"]] = getattr(nm, entry["call"])(*args, **kwargs)
    return nodes


def resolve(value: Any, nodes: dict[str, Any]) -> Any:
    """Replace references to nodes and functions in an argument."""
    if isinstance(value, list):
        return [resolve(v, nodes) for v in value]
    if isinstance(value, str) and value.startswith("@"):
        name, _, index = value[1:].partition("#")
        return nodes[name][int(index)] if index else nodes[name]
    if isinstance(value, str) and value.startswith("$"):
        return getattr(nm.T, value[1:])
    return value


def flat(nodes: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield nodes by name, members of tuples as ``name#i``."""
    for name, node in nodes.items():
        if isinstance(node, (tuple, list)):
            yield from ((f"{name}#{i}", part) for i, part in enumerate(node))
        else:
            yield name, node


def redefined(spec: list[dict[str, Any]]) -> set[str]:
    """Return the names of the nodes whose position in the raw data the original did not know."""
    below: set[str] = set()
    for entry in spec:
        arguments = json.dumps([entry["args"], entry["kwargs"]])
        inherits = any(f'"@{name}"' in arguments or f'"@{name}#' in arguments for name in below)
        padded = entry["kwargs"].get("conv_mode", "valid") != "valid"
        if inherits or padded or entry["call"] in REDEFINING:
            below.add(entry["name"])
    return below


def check_descriptions(nodes: dict[str, Any], expected: dict[str, Any], own_rules: set[str]) -> Iterator[str]:
    """Compare shapes, costs, parameter names and source orders."""
    for name, want in expected.items():
        have = describe(nodes[name])
        if name.partition("#")[0] in own_rules:
            have = {k: v for k, v in have.items() if k not in REDEFINED}
        for key, value in have.items():
            if value != want[key]:
                yield f"{name}.{key}: {value}, expected {want[key]}"


def describe(node: Any) -> dict[str, Any]:
    """Return the description of a node as stored in case files."""
    return dict(
        shape=list(node.shape.shape),
        tags=list(node.shape.tags),
        strides=[int(v) for v in node.shape.strides],
        fov=[int(v) for v in node.shape.fov],
        offsets=[int(v) for v in node.shape.offsets],
        spatial_shape=list(node.shape.spatial_shape),
        mfp_offsets=np.asarray(node.shape.mfp_offsets).tolist(),
        param_count=int(node.param_count),
        all_params_count=int(node.all_params_count),
        computational_cost=float(node.computational_cost),
        all_computational_cost=float(node.all_computational_cost),
        input_nodes=[n.name for n in node.input_nodes],
        all_params=list(node.all_params),
        all_trainable_params=list(node.all_trainable_params),
    )


def check_dense(node: Any, dense: Any, label: str) -> Iterator[str]:
    """Compare one dense prediction."""
    kwargs = json.loads(dense.attrs["kwargs"])
    got, want = node.predict_dense(dense["raw"][...], **kwargs), dense["prediction"][...]
    if not kwargs.get("as_uint8"):
        yield from difference(f"{label} {kwargs}", got, want, TOLERANCE)
    elif got.dtype != np.uint8 or got.shape != want.shape or np.abs(got.astype(int) - want).max() > 1:
        yield f"{label} {kwargs}: uint8 prediction {got.dtype} {got.shape} differs by more than 1"


def check_training(nodes: dict[str, Any], inputs: dict[str, Any], train: Any) -> Iterator[str]:
    """Repeat the training steps and compare losses and parameters."""
    settings = json.loads(train.attrs["settings"])
    model = nm.model_manager.current
    roles = {"input": "input_node", "target": "target_node", "loss": "loss_node", "prediction": "prediction_node"}
    model.designate_nodes(**{role: nodes[settings[key]] for key, role in roles.items()})
    meta = dict(settings["params"])
    model.lr, model.mom, model.wd = (meta.pop(name) for name in ("lr", "mom", "wd"))
    model.set_opt_meta_params(settings["optimiser"], meta)
    arrays = inputs[settings["input"]], inputs[settings["target"]]
    steps = [model.trainingstep(*arrays, optimiser=settings["optimiser"]) for _ in range(settings["steps"])]
    yield from difference("losses", [loss for loss, _, _ in steps], train["losses"][...], TOLERANCE_TRAINED)
    for name, group in train["params_after"].items():
        values = nodes[name].get_param_values()
        for key, want in group.items():
            yield from difference(f"{name}.{key} after training", values[key], want[...], TOLERANCE_TRAINED)


def difference(label: str, got: Any, want: Any, tolerance: float) -> Iterator[str]:
    """Yield a line if shapes differ, or values by more than `tolerance` of the largest magnitude (at least 1)."""
    a, b = np.asarray(got, dtype="float64"), np.asarray(want, dtype="float64")
    if a.shape != b.shape:
        yield f"{label}: shape {a.shape}, expected {b.shape}"
    elif b.size and not np.abs(a - b).max() <= tolerance * max(1.0, np.abs(b).max()):
        yield f"{label}: differs by {np.abs(a - b).max():.2e}, allowed {tolerance:.0e} of {np.abs(b).max():.3g}"
