"""Precision of products on a GPU: torch's switches during and after a call, and convolutions of rounded operands."""

from __future__ import annotations

import os
import threading
import traceback

import numpy as np
import pytest
import torch

import neuromancer as nm
from neuromancer import engine as E
from neuromancer.engine.pytensor.kernels import conv as kernels
from neuromancer.engine.pytensor.link import accelerator
from neuromancer.engine.pytensor.link.torch import arithmetic as module
from neuromancer.engine.pytensor.link.torch.arithmetic import Rounded, arithmetic, require_units
from neuromancer.engine.pytensor.link.torch.linker import TorchLinker
from neuromancer.engine.pytensor.link.torch.program import Program
from neuromancer.errors import ArgumentError, DeviceError
from tests.dense.nets import image, volume_net

GPU = torch.device("cuda")


def switches():
    """Return whether (convolutions, matrix products) run in TF32, as torch's kernels read it."""
    if hasattr(torch.backends.cudnn, "conv"):
        return tuple(o.fp32_precision == "tf32" for o in (torch.backends.cudnn.conv, torch.backends.cuda.matmul))
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("precision", ["f32", "tf32", "bf16", "f16"])
def test_switches_are_set_in_the_context(precision):
    before = switches()
    with arithmetic(GPU, precision):
        assert switches() == (precision == "tf32",) * 2
        with arithmetic(GPU):
            assert switches() == (False, False)
        assert switches() == (precision == "tf32",) * 2
    assert switches() == before == (True, False)
    with pytest.raises(KeyError), arithmetic(GPU, precision):
        raise KeyError
    assert switches() == before
    for device in ("cpu", "meta"):
        with arithmetic(torch.device(device), precision):
            assert switches() == before


SETTINGS = [
    "torch.set_float32_matmul_precision('medium')",
    "torch.backends.cudnn.allow_tf32 = False; torch.backends.cuda.matmul.allow_tf32 = True",
    "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
    "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "torch.backends.fp32_precision = 'tf32'",
]


def state():
    """Return all of torch's settings, or how it refuses to tell them."""
    found = []
    for ask in (
        torch.get_float32_matmul_precision,
        lambda: torch.backends.cudnn.allow_tf32,
        lambda: torch.backends.cuda.matmul.allow_tf32,
        lambda: torch.backends.cudnn.conv.fp32_precision,
        lambda: torch.backends.cuda.matmul.fp32_precision,
        lambda: torch.backends.mkldnn.matmul.fp32_precision,
    ):
        try:
            found.append(ask())
        except (RuntimeError, AttributeError) as error:
            found.append(type(error))
    return found


def require_restored(setting):
    """Change torch's settings by a statement, and see that they are so again after each precision."""
    exec(setting)
    before = state()
    for precision, want in (("f32", False), ("tf32", True)):
        with arithmetic(GPU, precision):
            assert switches() == (want, want)
        assert state() == before, (before, state())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks")
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_users_settings_are_restored(setting):
    """Each in its own process: some mixtures of old and new names cannot be undone in torch."""
    if "fp32_precision" in setting and not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("this torch does not have it")
    pid = os.fork()
    if pid == 0:
        try:
            require_restored(setting)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def test_threads_do_not_change_each_others_settings():
    inside, leave, seen = threading.Event(), threading.Event(), []

    def first():
        with arithmetic(GPU, "tf32"):
            inside.set()
            leave.wait(10)
            seen.append(switches())

    def second():
        with arithmetic(GPU):
            seen.append(switches())

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    threads[1].join(0.1)
    assert not seen, "the second one waits"
    leave.set()
    for thread in threads:
        thread.join(10)
    assert seen == [(True, True), (False, False)] and switches() == (True, False)


@pytest.mark.parametrize(
    ("capability", "lacking"), [((9, 0), []), ((7, 5), ["tf32", "bf16"]), ((6, 1), ["tf32", "bf16", "f16"])]
)
def test_a_gpu_without_hardware_support_is_an_error(monkeypatch, capability, lacking):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    found = []
    for precision in accelerator.PRECISIONS:
        try:
            require_units(GPU, precision, "function f")
        except DeviceError as error:
            assert "does not compute in" in str(error) and "nearest valid: f32" in str(error)
            found.append(precision)
    assert found == lacking


# ---- rounded operands
@pytest.mark.parametrize(("precision", "bits"), [("bf16", 8), ("f16", 11)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_operands_are_rounded_and_results_are_float32(precision, bits, with_bias):
    torch.manual_seed(0)
    dtype = module.ROUNDED[precision]
    x, w, b = torch.randn(2, 3, 6, 7, 8), torch.randn(4, 3, 2, 3, 3), torch.randn(4)
    geometry = ((1,) * 3, (1, 2, 1), (0,) * 3)
    bias = [b] if with_bias else []
    kernel = lambda x, w: kernels.conv(x, w, None, *geometry)  # noqa: E731
    found = Rounded(kernel, dtype, lasting=True)(x, w, *bias)
    assert found.dtype == torch.float32
    exact = kernels.conv(x.to(dtype).double(), w.to(dtype).double(), None, *geometry)
    exact = exact + b.double().view(-1, 1, 1, 1) if with_bias else exact
    error = (found.double() - exact).abs().max() / exact.abs().max()
    assert error < 2.0 ** -(bits - 1)


def test_the_rounded_copy_of_a_lasting_kernel_is_cached():
    seen = []
    kernel = lambda x, w: seen.append(w) or x  # noqa: E731
    x, first, second = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    lasting = Rounded(kernel, torch.bfloat16, lasting=True)
    for w in (first, first, second):
        lasting(x, w)
    assert seen[0] is seen[1] is not seen[2]
    passing = Rounded(kernel, torch.bfloat16, lasting=False)
    for w in (first, first):
        passing(x, w)
    assert seen[3] is not seen[4]
    assert {w.dtype for w in seen} == {torch.bfloat16}


def test_precision_reaches_the_convolutions(monkeypatch):
    """On device 'meta', which takes the same code path as a GPU."""
    nm.config.device = "meta"
    seen, plain = [], kernels.conv
    monkeypatch.setattr(kernels, "conv", lambda x, w, *rest: seen.append((x.dtype, w.dtype)) or plain(x, w, *rest))
    x = E.tensor("x", (None, 1, None, None), "float32")
    w = E.SharedVariable(np.ones((2, 1, 3, 3), "float32"), "w")
    b = E.SharedVariable(np.ones(2, "float32"), "b")
    with E.building():
        y = E.relu(E.conv(x, w) + b.dimshuffle("x", 0, "x", "x"))
    for precision, dtype in (("f32", "float32"), ("tf32", "float32"), ("bf16", "bfloat16"), ("f16", "float16")):
        seen.clear()
        result = E.function([x], y, precision=precision)(np.ones((1, 1, 5, 6)))
        assert result.dtype == torch.float32 and result.shape == (1, 2, 3, 4)
        assert seen == [(getattr(torch, dtype),) * 2]


def test_float32_on_a_gpu_keeps_torchs_default_layout():
    x = E.tensor("x", (None, 1, None, None), "float32")
    w = E.SharedVariable(np.ones((2, 1, 3, 3), "float32"), "w")
    fgraph = E.function([x], E.conv(x, w)).pytensor_function.maker.fgraph
    layouts = {
        (device, precision): len(Program(fgraph, torch.device(device), precision=precision).layouts)
        for device, precision in (("cpu", "f32"), ("cuda", "f32"), ("cuda", "tf32"), ("cuda", "bf16"))
    }
    assert layouts == {("cpu", "f32"): 1, ("cuda", "f32"): 0, ("cuda", "tf32"): 1, ("cuda", "bf16"): 1}
    assert TorchLinker(GPU, "bf16").fgraph_convert(fgraph.clone()).precision == "bf16"


# ---- errors
def test_tf32_is_for_gpus():
    with pytest.raises(
        DeviceError, match=r"tf32 is for GPUs; got cpu; expected config.device 'cuda'; nearest valid: f32"
    ):
        volume_net().predict_dense(image(1, 9, 12, 12), precision="tf32")


def test_reduced_precision_is_for_float32_inference():
    nm.config.device = "meta"
    x = E.tensor("x", (None, 1, None), "float64")
    for precision in ("tf32", "bf16"):
        with pytest.raises(ArgumentError, match=f"only float32 inference runs in {precision}; got .*float64"):
            E.function([x], E.conv(x, np.ones((1, 1, 2))), precision=precision)
