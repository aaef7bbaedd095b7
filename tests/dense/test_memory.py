"""Memory use estimated by a plan, compared with that of the prediction."""

from __future__ import annotations

import os
import subprocess
import sys
from math import prod

import numpy as np
import pytest

import neuromancer as nm
from neuromancer import engine
from neuromancer.dense.network import DenseNetwork
from neuromancer.errors import OutOfMemoryError
from tests.dense.nets import image, volume_net
from tests.dense.test_predict import unet

PEAK = """
import ctypes
import sys
import numpy as np
import neuromancer as nm
from neuromancer.engine.pytensor.kernels import speed
from neuromancer.engine.pytensor.kernels.memory import reserve

# measured beside other tests, speeds would be arbitrary, and so would the algorithms that plans choose by them
speed._known = {n: speed.Speed(speed.TYPICAL, n) for n in range(1, 129)}
trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

def status(key):
    return int(next(l for l in open("/proc/self/status") if l.startswith(key)).split()[1]) * 1024

def peak(run):
    for addresses in reserve.ranges:
        addresses.trim(sys.maxsize)  # what earlier predictions keep
    if trim is not None:
        trim(0)  # what the C library keeps
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins here
    run()
    return status("VmHWM") - before
"""

MEASURE = """
def network(kind):
    if kind == "plane":
        node = nm.Input((None, 1, 64, 64), "b,f,y,x", print_repr=False)
        layers = ((32, 5, 2), (48, 3, 1), (64, 3, 2))
    else:
        node = nm.Input((None, 1, 19, 39, 39), "b,f,z,y,x", print_repr=False)
        layers = ((16, 4, 2), (32, 3, 1), (32, 3, 1))
    if kind == "up":
        node = nm.Input((None, 1, 8, 32, 32), "b,f,z,y,x", print_repr=False)
        fine = nm.Conv(node, 16, (3, 3, 3), conv_mode="same", print_repr=False)
        coarse = nm.Conv(nm.Pool(fine, (2, 2, 2), print_repr=False), 32, (3, 3, 3), conv_mode="same", print_repr=False)
        node, layers = nm.UpConvMerge(fine, coarse, 16, print_repr=False), ()
    axes = node.shape.spatial_axes
    for features, kernel, pool in layers:
        node = nm.Conv(node, features, (kernel,) * len(axes), (pool,) * len(axes), print_repr=False)
    node = nm.Conv(node, 2, (1,) * len(axes), activation_func="lin", print_repr=False)
    return nm.Softmax(node, print_repr=False)

node, shape = network(sys.argv[1]), [1, *map(int, sys.argv[2].split(","))]
raw = np.full(shape, 0.5, "float32")
# without a limit, the whole image in one tile
options = {"memory": float(sys.argv[3])} if sys.argv[3] else {"tile": node.plan_dense(raw).outputs[0].shape[1:]}
plan = node.plan_dense(raw, **options)
node.predict_dense(raw, progress=False, **options)  # loads and compiles all kernels

# how much of one tile is still there when the next one begins depends on the writing thread: plans count the worst;
# given a result, there would be another tiling than the plan's
used = max(peak(lambda: node.predict_dense(raw, progress=False, **options)) for _ in range(8))
print(plan.memory, used, len(plan))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.skipif(engine.NAME == "theano", reason="what Theano's compiled code allocates is known roughly")
@pytest.mark.parametrize(
    ("kind", "shape", "budget"),
    [
        ("volume", "60,200,200", ""),
        ("volume", "60,200,300", "300e6"),
        ("plane", "900,900", ""),
        ("plane", "1500,1500", "300e6"),
        ("up", "48,160,160", ""),
        ("up", "64,160,160", "250e6"),
    ],
)
def test_what_is_planned_is_what_is_used(kind, shape, budget):
    # dask leaves an allocator setting in the environment that reduces memory use
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    found = subprocess.run(
        [sys.executable, "-c", PEAK + MEASURE, kind, shape, budget], capture_output=True, text=True, check=True,
        env=environment | {"OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    planned, used, tiles = map(float, found.stdout.split()[-3:])
    assert 0.75 * used < planned < 1.25 * used
    assert (tiles > 1) == bool(budget)
    if budget:
        assert used < float(budget)


PASSES = """
from neuromancer.dense.volume import VolumePrediction

out, budget = sys.argv[1], float(sys.argv[2])
VolumePrediction._keeping_pays = lambda self, plan: False
quiet, cube = {"print_repr": False}, (3, 3, 3)
x = nm.Input((None, 1, None, None, None), "b,f,z,y,x", **quiet)
high = nm.Conv(x, 16, cube, activation_func="lin", conv_mode="same", **quiet)
high = nm.Activation(nm.InstanceNorm(high, **quiet), "relu", **quiet)
low = nm.Conv(high, 32, cube, pool_shape=(2, 2, 2), activation_func="lin", conv_mode="same", **quiet)
low = nm.Activation(nm.InstanceNorm(low, **quiet), "relu", **quiet)
low = nm.Product([low, nm.Conv(nm.GlobalPool(low, **quiet), 32, (1, 1, 1), activation_func="sig", **quiet)], **quiet)
joined = nm.InstanceNorm(nm.Concat([nm.UpConv(low, 16, (2, 2, 2), **quiet), high], **quiet), **quiet)
node = nm.Conv(joined, 2, (1, 1, 1), activation_func="lin", **quiet)

options = {"memory": budget, "statistics": "volume"}
raw = np.random.default_rng(0).normal(size=(1, 48, 128, 144)).astype("float32")
plan = node.plan_dense(raw, **options)
runs = [lambda k=k: node.predict_dense(raw, out=f"{out}/{k}.npy", progress=False, **options) for k in range(3)]
runs.pop()()  # loads and compiles all kernels
print(len(plan.passes), max(map(peak, runs)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.skipif(engine.NAME == "theano", reason="what Theano's compiled code allocates is known roughly")
def test_passes_over_an_image_keep_to_the_memory(tmp_path):
    budget = 150e6  # all activations together are about 0.7 GB
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    found = subprocess.run(
        [sys.executable, "-c", PEAK + PASSES, str(tmp_path), str(budget)], capture_output=True, text=True,
        check=True, env=environment | {"OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    passes, used = map(float, found.stdout.split()[-2:])
    assert passes == 4 and used < 1.1 * budget  # the allocator keeps some of what earlier passes used


# ---- when memory runs out
class Small:
    """Evaluate small blocks only, like a device with little memory."""

    def __init__(self, monkeypatch, most):
        self.sizes, whole = [], DenseNetwork.start

        def start(network, func, block, tile, *options):
            self.sizes.append(prod(b - a for a, b in zip(tile.start, tile.stop, strict=True)))
            if self.sizes[-1] > most:
                raise OutOfMemoryError("not enough memory", node="conv", got="a large block")
            return whole(network, func, block, tile, *options)

        monkeypatch.setattr(DenseNetwork, "start", start)


@pytest.mark.parametrize("options", [{}, {"pad_raw": True}, {"augment": "flips"}, {"tile": (4, 9, 30)}])
def test_tiles_are_halved_until_they_fit(monkeypatch, caplog, options):
    node, raw = volume_net(), image(1, 20, 30, 40)
    want = node.predict_dense(raw, **options)
    small = Small(monkeypatch, 300)
    np.testing.assert_allclose(node.predict_dense(raw, **options), want, rtol=1e-5, atol=1e-6)
    assert max(small.sizes[-10:]) <= 300
    assert sum(n > 300 for n in small.sizes) < 10  # a size that was too large once is not tried again
    assert "not enough memory for tile 0" in caplog.text


def test_networks_with_upconvolutions_and_several_nodes_are_halved_too(monkeypatch):
    up = unet((24, 24), mode="same")
    inner = volume_net()
    both = [inner, inner.parent]
    plane, raw = image(1, 48, 60).astype("float32"), image(1, 20, 24, 30)
    want = up.predict_dense(plane), nm.predict_dense(both, raw)
    Small(monkeypatch, 900)
    found = up.predict_dense(plane), nm.predict_dense(both, raw)
    np.testing.assert_allclose(found[0], want[0], rtol=1e-5, atol=1e-6)
    for a, b in zip(found[1], want[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_voxel_that_does_not_fit_is_an_error(monkeypatch):
    Small(monkeypatch, 0)
    with pytest.raises(OutOfMemoryError, match="not enough memory"):
        volume_net().predict_dense(image(1, 8, 10, 10))
    assert issubclass(OutOfMemoryError, MemoryError)
