"""What cannot be imported from PyTorch is refused in one sentence, and leaves nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError, TranslationError
from neuromancer.interop import elementwise
from neuromancer.interop.pytorch import table as aten_table
from tests.interop.networks_more import Classifier
from tests.interop.test_torch_operations import Call


@pytest.fixture
def untouched(capsys):
    """Nothing is printed, no model is left behind, and the current model stays."""
    before = nm.model_manager.current, list(nm.model_manager)
    yield
    assert (nm.model_manager.current, list(nm.model_manager)) == before
    assert capsys.readouterr() == ("", "")


def refused(module, example, *words, kind=TranslationError):
    """Return the message, which is one short line that holds some words."""
    with pytest.raises(kind) as caught:
        nm.from_torch(module, example)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 500, text
    assert "Traceback" not in text and ".py" not in text, text
    for word in words:
        assert word in text, text
    return text


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        return self.attend(tokens, tokens, tokens)[0]


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x):
        return self.lstm(x.permute(0, 2, 1))[0]


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return self.conv(x) if x.sum() > 0 else self.conv(x) * 2


class Looking(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return self.conv(x) * float(x.max())


class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(8, 4)

    def forward(self, x):
        return self.table(x.long())


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x):
        x = self.conv(x)
        x[:, 0] = 0
        return x


FUNCTIONS = {
    "einsum": (lambda x: torch.einsum("bchw,bdhw->bcd", x, x), "einsum"),
    "argmax": (lambda x: x.argmax(1), "argmax"),
    "sorting": (lambda x: x.sort(1)[0], "sort"),
    "top": (lambda x: x.topk(2, dim=1)[0], "topk"),
    "cumulative": (lambda x: x.cumsum(2), "cumsum"),
    "matrix": (lambda x: x @ x.transpose(2, 3), "transpose"),
    "product": (lambda x: torch.bmm(x[:, 0], x[:, 1]), "bmm"),
    "attention": (lambda x: F.scaled_dot_product_attention(x, x, x), "scaled_dot_product_attention"),
    "softmax over space": (lambda x: x.softmax(-1), "softmax", "axis"),
    "cat over space": (lambda x: torch.cat([x, x], 2), "cat", "axis"),
    "mean over an axis": (lambda x: x.mean(2), "mean", "reduced"),
    "mean over the batch": (lambda x: x.mean((0, 2, 3)), "mean", "reduced"),
    "mean over all": (lambda x: x.mean(), "mean", "reduced"),
    "deviation": (lambda x: x.std(1), "std"),
    "flip": (lambda x: x.flip(2), "flip"),
    "roll": (lambda x: x.roll(1, 2), "roll"),
    "where": (lambda x: torch.where(x > 0, x, x * 2), "gt"),
    "rearranged": (lambda x: x.reshape(1, 2, 2, *x.shape[2:]), "rearranged"),
    "transposed space": (lambda x: x.transpose(2, 3), "transpose"),
    "bicubic": (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), "upsample_bicubic2d"),
    "circular": (lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"), "circular"),
    "padded batch": (lambda x: F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0)), "pad"),
    "grid": (lambda x: F.grid_sample(x, torch.zeros(1, 4, 4, 2)), "grid"),
    "unfolded": (lambda x: F.unfold(x, 3), "im2col"),
    "kernel of the input": (lambda x: F.conv2d(x, x[:, :, :3, :3]), "weights depend on the input"),
    "power of the input": (lambda x: 2**x, "pow"),
    "remainder": (lambda x: x % 2, "remainder"),
    "rounded quotient": (lambda x: torch.div(x, 2, rounding_mode="floor"), "round"),
    "step": (lambda x: F.threshold(x, 0.5, 0), "threshold"),
    "noise": (lambda x: x + torch.randn_like(x), "randn_like"),
    "dropout in use": (lambda x: F.dropout(x, 0.5, training=True), "evaluation mode"),
    "complex": (lambda x: torch.fft.rfft2(x), "fft"),
    "position": (lambda x: x * torch.linspace(0, 1, x.shape[-1]), "per channel"),
    "indices": (lambda x: F.max_pool2d(x, 2, return_indices=True)[1], "output"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operations_without_counterpart(untouched, name):
    function, *words = FUNCTIONS[name]
    refused(Call(function), (1, 1, 16, 16), *words)


MODULES = {
    "attention": (Attention, (1, 4, 8, 8), ""),
    "recurrent": (Recurrent, (1, 4, 8), ""),
    "branching": (Branching, (1, 1, 8, 8), "torch.export cannot trace", "branches on values"),
    "looking at values": (Looking, (1, 1, 8, 8), ""),
    "embedding": (Embedding, (1, 8), ""),
    "writing in place": (InPlace, (1, 1, 8, 8), ""),
    "circular": (lambda: nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), (1, 1, 8, 8), "circular"),
    "fractional pool": (lambda: nn.FractionalMaxPool2d(2, 4), (1, 1, 8, 8), ""),
    "response norm": (lambda: nn.LocalResponseNorm(3), (1, 3, 8, 8), ""),
    "softmin": (lambda: nn.Softmax(2), (1, 3, 8, 8), "softmax"),
    "unpooling": (lambda: nn.Fold((4, 4), 2), (1, 4, 9), ""),
    "identity": (nn.Identity, (1, 3, 8, 8), "output"),
    "dropout alone": (nn.Dropout, (1, 3, 8, 8), "output"),
    "wrong channels": (lambda: nn.Conv2d(3, 2, 3), (1, 1, 8, 8), "cannot take the example", "3"),
    "wrong rank": (lambda: nn.Conv3d(1, 2, 3), (1, 1, 8, 8), "cannot take the example"),
    "too small": (lambda: nn.Conv2d(1, 2, 65), (1, 1, 8, 8), "cannot take the example"),
    "fixed size": (Classifier, (1, 1, 17, 30), "cannot take the example"),
    "without forward": (nn.Module, (1, 1, 8, 8), "cannot take the example"),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_without_counterpart(untouched, name):
    make, example, *words = MODULES[name]
    refused(make(), example, *words)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(untouched, value):
    conv = nn.Conv2d(1, 2, 3)
    conv.weight.data[0, 0, 1, 1] = value
    refused(nn.Sequential(conv), (1, 1, 8, 8), "'0.weight'", "not finite")


def test_results_that_are_not_finite(untouched):
    refused(Call(lambda x: torch.log(x)), (1, 1, 8, 8), "not finite")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(untouched):
    module = nn.Conv2d(1, 2, 3)
    refused(torch.jit.script(module), (1, 1, 8, 8), "TorchScript", "from_onnx", kind=InputTypeError)


@pytest.mark.parametrize("module", [None, 3, nn.Conv2d, "unet.pt", {}])
def test_what_is_no_module(untouched, module):
    refused(module, (1, 1, 8, 8), "module", kind=InputTypeError)


@pytest.mark.parametrize(
    "example", [None, "8", 8, (), (1,), (1, 1, 0, 8), (1, 1, 8.5), (1,) * 6, {}, [None], (True, 1, 8)]
)
def test_wrong_examples(untouched, example):
    refused(nn.Conv2d(1, 2, 3), example, "example", kind=ArgumentError)


def test_inputs_of_different_rank(untouched):
    refused(nn.Conv2d(1, 2, 3), [(1, 1, 8, 8), (1, 1, 8)], "same axes", kind=ArgumentError)


@pytest.mark.parametrize("tags", ["b,f,y", "byx", "b,f,y,y", "b,f,t,x", ""])
def test_wrong_tags(untouched, tags):
    with pytest.raises(ArgumentError, match="tags"):
        nm.from_torch(nn.Conv2d(1, 2, 3), (1, 1, 8, 8), tags=tags)


def test_modules_that_cannot_be_copied(untouched):
    class Locked(nn.Conv2d):
        def __deepcopy__(self, memo):
            raise RuntimeError("no copies\nof this")

    refused(Locked(1, 2, 3), (1, 1, 8, 8), "cannot be copied", "no copies")


def test_a_name_that_is_taken(untouched):
    with pytest.raises(ArgumentError, match="already exists"):
        nm.from_torch(nn.Conv2d(1, 2, 3), (1, 1, 8, 8), name=nm.model_manager.current.name)


def test_a_wrong_translation_is_noticed(untouched, monkeypatch):
    wrong = lambda net, place, a: elementwise.activation(net, place, a.x, "leaky_relu 0.001")  # noqa: E731
    monkeypatch.setitem(aten_table.OPERATIONS, "relu", wrong)
    refused(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (1, 1, 8, 8), "differs from its source", "'1'")


def test_a_wrong_shape_is_noticed(untouched, monkeypatch):
    wrong = lambda net, place, a: elementwise.repeat(net, place, a.x, 2)  # noqa: E731
    monkeypatch.setitem(aten_table.OPERATIONS, "relu", wrong)
    refused(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (1, 1, 8, 8), "another shape")


def test_a_translation_that_is_right_for_one_size_is_noted(monkeypatch):
    model = nm.from_torch(Call(lambda x: x * (x.shape[-1] / 8)), (1, 1, 8, 8), print_report=False)
    assert "one size only" in model.import_report.notes[0]
    assert model.prediction_node.shape.spatial_shape == [8, 8]
