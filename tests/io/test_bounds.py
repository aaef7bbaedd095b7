"""Resources for loading a file are bounded by its contents, for any class of nodes, any value and their sums."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import FileError, ShapeError
from neuromancer.graph import geometry
from neuromancer.graph.demand import ENOUGH, Demand, product
from neuromancer.graph.registry import Graph
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.io import limits
from neuromancer.io.build import build
from neuromancer.io.container import write_file
from neuromancer.io.describe import describe
from neuromancer.io.limits import MAX_NODES, Budget
from neuromancer.io.names import class_name, package_classes
from neuromancer.nodes.functors import is_tensor_function
from tests.fuzz import zoo
from tests.io.test_container import refused

ROOT = Path(__file__).parents[2]
HUGE = 10**12
LONG = [HUGE, HUGE]


# Arguments that make a node of each class too large; None if no argument does, and only the number of nodes can.
OVERSIZED = {
    "ApplyFunc": {"functor": {"functor": "T:flatten"}, "args": {"tuple": [10**9]}},
    "FromTensor": {"tensor_shape": {"shape": [[1, 10**30], ["b", "f"], [], [], [], []]}},
    "Activation": None,
    "Perceptron": {"n_f": HUGE},
    "UpConv": {"pool_shape": [HUGE]},
    "ConvTranspose": {"filter_shape": [HUGE, HUGE]},
    "Upsample": {"factor": [10**9, 10**9]},
    "PixelShuffle": {"factor": HUGE},
    "Sum": None,
    "Product": None,
    "BatchNorm": None,
    "InstanceNorm": None,
    "GroupNorm": {"n_groups": HUGE},
    "LayerNorm": None,
    "GlobalPool": None,
    "AdaptivePool": {"output_size": HUGE},
    "Repeat": {"n": 1 << 62},
    "Conv": {"mfp": True, "pool_shape": [256, 256]},
    "GRU": {"n_f": HUGE},
    "LSTM": {"n_f": HUGE},
    "AggregateLoss": {"parent_nodes": [{"node": "squared"}] * 60_000},
    "Softmax": {"n_class": HUGE, "n_indep": HUGE},
    "OneHot": {"n_class": 3 * 10**8},
    "Classification": {"n_class": HUGE},
    "ErrorRate": {"n_class": 10**40},
    "EuclideanDistance": None,
    "RampLoss": {"margin": -(10**300)},
    "BinaryNLL": None,
    "GaussianNLL": None,
    "BetaNLL": None,
    "MalisNLL": {"nhood": [[k, k] for k in range(1, 60_000)]},
    "MultinoulliNLL": {"class_weights": [1.0] * 100_000},
    "SoftDice": {"class_weights": [1.0] * 100_000},
    "Tversky": {"class_weights": [1.0] * 100_000},
    "GeneralisedDice": None,
    "Focal": {"class_weights": [1.0] * 100_000},
    "BoundaryLoss": None,
    "LabelsAt": None,
    "BlockedMultinoulliNLL": {"class_weights": [1.0] * 100_000},
    "SquaredLoss": {"margin": -(10**300)},
    "AbsLoss": {"margin": -(10**300)},
    "FragmentsToDense": None,
    "Input": {"shape": [1, 10**30, 6, 6]},
    "GenericInput": None,
    "ValueNode": {"shape": LONG},
    "InitialState_like": {"override_f": HUGE},
    "Crop": {"crop": LONG},
    "Pad": {"pad": [10**30, 10**30]},
    "Concat": None,
    "FaithlessMerge": None,
    "Add": None,
    "MultMerge": None,
    "LRN": {"filter_shape": [100_001, 100_001]},
    "Pool": {"mfp": True, "pool_shape": [65_536]},
    "GaussianRV": {"n_samples": 10**30},
    "GaussianAEVBPrior": {"n_samples": 10**30},
    "Reshape": {"shape": LONG},
    "ScanN": {"n_steps": 10**9, "in_iterate": None, "in_iterate_0": None},
    "ScanResult": {"index": HUGE},
}


@pytest.fixture(scope="module")
def documents():
    return zoo.documents()


def oversized(documents, name):
    """A document with a node of this class that is far too large, or with far too many of them."""
    for document, arrays in documents.values():
        document = copy.deepcopy(document)
        entry = next((e for e in document["nodes"] if e.get("class") == name), None)
        if entry is None:
            continue
        change = OVERSIZED[name]
        if change is None:
            document["nodes"] += [{**entry, "name": f"copy {k}"} for k in range(MAX_NODES)]
        else:
            entry["arguments"] |= change
        return document, arrays
    raise AssertionError(f"no model of tests/fuzz/zoo.py has a node of class {name}")


def test_a_class_that_claims_to_be_ours_is_not():
    theirs = type("Theirs", (nm.Node,), {"__module__": "neuromancer.graph.node"})
    assert "Theirs" not in package_classes()
    assert class_name(theirs) == "neuromancer.graph.node:Theirs"


def test_every_class_has_a_case():
    assert set(OVERSIZED) == set(package_classes()) - zoo.ABSTRACT


LOADS = """
import json, resource, sys, time
import neuromancer as nm
from neuromancer.errors import FileError
nm.Input  # imports torch, whose size depends on its build
with open("/proc/self/status") as status:
    now = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 30),) * 2)
found = {}
for path in sys.argv[1:]:
    start = time.process_time()
    try:
        nm.modelload(path)
        outcome = "it loads"
    except FileError as error:
        outcome = "refused"
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"
    found[path] = [outcome, time.process_time() - start]
print(json.dumps(found))
"""


def load_all(paths):
    """Outcome and seconds of loading each file, in a process limited to a gigabyte."""
    done = subprocess.run(
        [sys.executable, "-c", LOADS, *map(str, paths)], cwd=ROOT, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stderr
    return {Path(path).stem: outcome for path, outcome in json.loads(done.stdout).items()}


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")
def test_oversized_nodes_are_refused_soon(documents, tmp_path):
    paths = []
    for name in OVERSIZED:
        paths.append(tmp_path / name)
        write_file(paths[-1], *oversized(documents, name))
    found = load_all(paths)
    assert {name: outcome for name, (outcome, _) in found.items() if outcome != "refused"} == {}
    assert {name: seconds for name, (_, seconds) in found.items() if seconds > 5} == {}


# ---- values, splits, sums
def changed(documents, tmp_path, family, change):
    document, arrays = copy.deepcopy(documents[family])
    change({e["split"] if "split" in e else e["name"]: e for e in document["nodes"]}, document)
    path = tmp_path / "changed.h5"
    write_file(path, document, arrays)
    return path


@pytest.mark.parametrize(
    "value",
    [
        {"fraction": ["1e100000000"]},
        {"fraction": ["1e100000000", 1]},
        {"fraction": [10**4000, 3]},
        {"fraction": [1, 2, 3]},
        [1, 2, 10**4000],
        [1, 2, 10**40, 6],
        [1, 2, 1 << 62, 6],
        {"shape": [[1], "b", None, None, None, ["1e100000000"]]},
        {"tuple": [{"fraction": [10**300, 7]}] * 4},
    ],
)
def test_values(documents, tmp_path, value):
    refused(
        changed(documents, tmp_path, "shapes", lambda e, d: e["raw"]["arguments"].update(shape=value)),
        limit=2,
    )


@pytest.mark.parametrize(
    ("size", "split"),
    [
        (HUGE, {"n_out": 3, "parts": None, "name": "part"}),
        (HUGE, {"n_out": 4_000, "parts": ["a"]}),
        (60_000, {"n_out": 60_000, "parts": None, "name": "part"}),
        (10**15 + 37, {"n_out": 10**9, "parts": None, "name": "part"}),
        (HUGE, {"n_out": None, "index": list(range(1, 60_000)), "parts": None, "name": "part"}),
    ],
)
def test_splits(documents, tmp_path, size, split):
    def change(entries, document):
        entries["raw"]["arguments"]["shape"] = [1, size, 6, 6]
        entries["half"].update(split)
        document["nodes"] = [entries["raw"], entries["half"]]

    refused(changed(documents, tmp_path, "shapes", change), limit=4)


def test_splitting_a_large_axis_in_code_is_fast(fresh_model):
    inp = nm.Input((1, HUGE), "b,f", name="raw", print_repr=False)
    with pytest.raises(ShapeError, match=r"a divisor of the size; nearest valid: 2$"):
        nm.split(inp, n_out=3)
    with pytest.raises(ShapeError, match="nearest valid: 4096"):
        nm.split(inp, n_out=4095)
    parts = nm.split(nm.Input((1, 300), "b,f", name="wide", print_repr=False), n_out=300, name="part")
    assert [p.name for p in parts[:2]] == ["part1", "part2"] and parts[-1].name == "part300"


def test_an_array_that_is_used_many_times(documents, tmp_path):
    def change(entries, document):
        document["nodes"][0]["arguments"]["strides"] = [{"array": "large"}] * 5_000

    document, arrays = copy.deepcopy(documents["shapes"])
    change({}, document)
    path = tmp_path / "x.h5"
    write_file(path, document, {**arrays, "large": np.zeros(10_000)})
    refused(path, "asks for more than it holds", limit=3)


@pytest.mark.parametrize("place", ["history", "recent", "streams"])
def test_an_array_that_is_used_many_times_in_a_training_state(documents, tmp_path, place):
    document, arrays = copy.deepcopy(documents["layers"])
    if place == "streams":
        next(iter(next(e for e in document["nodes"] if "streams" in e)["streams"].values()))["array"] = "large"
    else:
        document[place] = {f"k{k}": {"array": "large"} for k in range(1_000)} | {"loss": {"array": "large"}}
    path = tmp_path / "x.h5"
    write_file(path, document, {**arrays, "large": np.zeros(500_000)})
    refused(path, {"history": "larger than its arrays", "recent": "numbers of the last steps"}.get(place), limit=3)


@pytest.mark.parametrize(
    ("functor", "args"),
    [
        ("T:expand_dims", [list(range(100_000))]),
        ("T:sum", [{"tuple": list(range(60_000))}]),
        ("T:reshape", [[[1] * 300] * 200]),
        ("T:flatten", [[10**9]]),
        ("T:flatten", [{"array": "rank"}]),
        ("T:flatten", [{"constant": "rank"}]),
        ("T:flatten", [1e9]),
        ("T:expand_dims", [{"array": "axes"}]),
        ("T:add", [1.5] * 90_000),
    ],
)
def test_functions_of_long_lists(documents, tmp_path, functor, args):
    document, arrays = copy.deepcopy(documents["functions"])
    entry = next(e for e in document["nodes"] if e["name"] == "clip")
    entry["arguments"] |= {"functor": {"functor": functor}, "args": {"tuple": args}}
    path = tmp_path / "x.h5"
    write_file(path, document, {**arrays, "rank": np.array(10**8), "axes": np.arange(50_000)})
    refused(path, "asks for more than it holds" if is_tensor_function(functor) else "is not known here", limit=2)


def test_functions_of_a_few_axes_stay(documents, tmp_path):
    document, arrays = copy.deepcopy(documents["functions"])
    entry = next(e for e in document["nodes"] if e["name"] == "clip")
    for functor, args in (("T:transpose", [[0, 1, 3, 2]]), ("T:maximum", [{"array": "a"}]), ("T:sort", [-1])):
        entry["arguments"] |= {"functor": {"functor": functor}, "args": {"tuple": args}}
        write_file(tmp_path / "x.h5", document, {**arrays, "a": np.zeros((1, 2, 6, 6), "float32")})
        assert "clip" in nm.modelload(tmp_path / "x.h5")


def test_fields_of_view_are_refused_before_they_are_walked(documents, tmp_path, monkeypatch):
    """Up-convolutions by eight after many nodes: the fields of view of their phases take walks through all of them."""
    documents = {
        "unet": (copy.deepcopy(documents["unet"][0]), {"w": np.zeros((1, 1, 8), "f4"), "b": np.zeros(1, "f4")})
    }
    walked = []
    walk = geometry.raw_interval
    monkeypatch.setattr(geometry, "raw_interval", lambda *args: walked.append(1) or walk(*args))
    monkeypatch.setattr(limits, "WALK", 1)

    def change(entries, document):
        last, nodes = "raw", []
        for k in range(60):
            nodes.append({"name": f"c{k}", "class": "Crop", "arguments": {"parent": {"node": last}, "crop": [0]}})
            last = f"c{k}"
        values = {key: {"array": key, "train": True, "decay": False} for key in ("w", "b")}
        for k in range(4):
            arguments = {"parent": {"node": last}, "n_f": 1, "pool_shape": [8]}
            nodes.append({"name": f"u{k}", "class": "UpConv", "arguments": arguments, "parameters": values})
            last = f"u{k}"
        document |= {"nodes": [entries["raw"], *nodes], "designations": {}}

    refused(changed(documents, tmp_path, "unet", change), "UpConv 'u3'.*symbolic operations")
    assert len(walked) == 2 * 3  # `refused` loads twice; one walk for all phases of each of the first three


def test_strides_that_never_meet(documents, tmp_path):
    def change(entries, document):
        raw = entries["raw"]
        inputs = [
            {**raw, "name": f"i{p}", "arguments": {**raw["arguments"], "strides": [p, p], "fov": [p, p]}}
            for p in (65521, 65537, 65539, 65543)
        ]
        join = {**entries["add"], "name": "join"}
        join["arguments"] = {"n1": {"node": "i65521"}, "n2": {"node": "i65537"}}
        document["nodes"] = [*inputs, join]

    refused(changed(documents, tmp_path, "shapes", change), "no common period", limit=2)


def test_many_moderate_nodes_add_up(documents, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "OPERATIONS", 500)

    def change(entries, document):
        copies = [{**entries["add"], "name": f"copy {k}"} for k in range(1000)]
        document["nodes"] = [e for e in document["nodes"] if "class" in e or "split" in e] + copies

    monkeypatch.setattr(limits, "TEXT", 10**9)
    refused(changed(documents, tmp_path, "shapes", change), "symbolic operations")


def test_names_of_any_length(fresh_model):
    graph = Graph()
    for name in ("7" * 100_000, "7" * 100_000 + "a", "a" + "7" * 5_000):
        graph.splits[name] = {}
        assert graph.unique_name(name) not in ("", name)


def test_saved_models_fit_their_own_bounds(documents):
    """The package reads what it writes, with room to spare."""
    for document, arrays in documents.values():
        model = nm.model_manager.newmodel(None)
        build(model, document, arrays, "zoo", {})
        assert len(describe(model)[0]["nodes"]) == len(document["nodes"])
        nm.model_manager.delmodel(model.name)


def test_own_classes_may_state_a_demand(fresh_model, tmp_path):
    node = Heavy(nm.Input((1, 2), "b,f", name="raw", print_repr=False), size=3)
    fresh_model.save(tmp_path / "x.h5")
    assert nm.modelload(tmp_path / "x.h5")["heavy"].size == node.size
    nm.model_manager.getmodel(fresh_model.name)
    Heavy(fresh_model["raw"], size=HUGE)
    fresh_model.save(tmp_path / "y.h5")
    refused(tmp_path / "y.h5", "Heavy heavy1.*asks for more than it holds; got 1000000000000 numbers")


class Heavy(nm.Node):
    """A user's class that allocates as many numbers as its argument says."""

    def __init__(self, parent, size, name="heavy"):
        super().__init__(parent, name)
        self.size = size

    @classmethod
    def demand(cls, arguments):
        return Demand(numbers=arguments["size"])


# ---- the pieces
def test_products_of_anything():
    assert [product(v) for v in ([2, 3], (2, "x", None), 7, "no", np.array([4]))] == [6, 2, 7, 1, 4]
    assert ENOUGH < product([10**300] * 100_000) < 1 << 200


def test_a_budget_is_spent_once():
    budget = Budget({"nodes": []}, {"a": np.zeros(1000)})
    assert budget.numbers == limits.NUMBERS + 16_000
    budget.spend("a", Demand(1, budget.numbers))
    with pytest.raises(FileError, match="'b': the file asks for more than it holds; got 1 numbers; expected at most 0"):
        budget.spend("b", Demand(1, 1))


@pytest.mark.parametrize(
    "arguments",
    [
        {"shape": [10**5000]},
        {"shape": [1], "strides": [1e308]},
        {"shape": [1], "strides": [float("inf")]},
        {"shape": [1], "fov": [10**5000]},
        {"shape": [1], "mfp_offsets": [["a"]]},
        {"shape": [1], "mfp_offsets": [[[1]]]},
        {"shape": [1], "mfp_offsets": [[10**5000]]},
        {"shape": [1], "centre": ["1e100000000"]},
        {"shape": [1], "centre": [float("nan")]},
        {"shape": [1], "centre": [None]},
        {"shape": [1], "centre": "1"},
    ],
)
def test_shapes_that_nothing_can_have(arguments):
    with pytest.raises(ShapeError) as caught:
        TaggedShape(tags="x", **arguments)
    assert len(str(caught.value)) < 1000


def test_integers_that_files_cannot_hold(fresh_model, tmp_path):
    inp = nm.Input((1, 2), "b,f", name="raw", print_repr=False)
    nm.GaussianRV(inp, inp, seed=1 << 127, name="rv", print_repr=False)
    fresh_model.save(tmp_path / "x.h5")
    assert nm.modelload(tmp_path / "x.h5")["rv"].construction[1]["seed"] == 1 << 127
    nm.model_manager.getmodel(fresh_model.name)
    nm.GaussianRV(inp, inp, seed=1 << 128, name="larger", print_repr=False)
    with pytest.raises(nm.errors.ArgumentError, match="'larger': argument 'seed' cannot be stored"):
        fresh_model.save(tmp_path / "x.h5")
