"""Every operation of ONNX that is translated, compared with ONNX Runtime at two sizes by the import itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.interop.onnx_factories import imported, model, node, weights

FLAT, LINE, VOLUME = ("b", 4), ("b", 4, "l"), ("b", 4, "d", "h", "w")
SMALL = (1, 4, 8, 10)


def one(op: str, inputs: str = "x", shape: Any = None, opset: int = 20, **rest: Any) -> Any:
    """A model of one operation; arrays and lists of ints named like inputs are constants, the rest attributes."""
    constants = {key: rest.pop(key) for key in inputs.split() if key in rest}
    given = {"shape": shape} if shape else {}
    return model([node(op, inputs, name=op.lower(), **rest)], opset=opset, **given, **constants)


def per_channel(n: int = 4) -> dict[str, Any]:
    return {"g": np.linspace(0.5, 1.5, n), "c": np.linspace(-1, 1, n)}


STATISTICS = {"m": np.linspace(-1, 1, 4), "v": np.linspace(0.5, 2, 4)}
W33, W333 = weights(3, 4, 3, 3), weights(2, 4, 3, 3, 3)
T33 = weights(4, 3, 3, 3)

CASES: dict[str, Any] = {
    # ---- convolutions
    "conv valid": one("Conv", "x w b", w=W33, b=weights(3)),
    "conv same": one("Conv", "x w", w=W33, pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
    "conv 1-D": one("Conv", "x w", LINE, w=weights(3, 4, 5), pads=[2, 2]),
    "conv 3-D": one("Conv", "x w", VOLUME, w=W333, pads=[1] * 6),
    "conv asymmetrical pads": one("Conv", "x w", w=W33, pads=[0, 2, 1, 3]),
    "conv strides": one("Conv", "x w", w=W33, pads=[1, 1, 1, 1], strides=[2, 3]),
    "conv dilations": one("Conv", "x w", w=W33, dilations=[2, 3], pads=[2, 3, 2, 3]),
    "conv groups": one("Conv", "x w", w=weights(6, 2, 3, 3), group=2),
    "conv depthwise": one("Conv", "x w", w=weights(4, 1, 3, 3), group=4, pads=[1, 1, 1, 1]),
    "conv same upper": one("Conv", "x w", w=weights(3, 4, 4, 4), auto_pad="SAME_UPPER"),
    "conv same lower": one("Conv", "x w", w=weights(3, 4, 4, 4), auto_pad="SAME_LOWER"),
    "conv same upper strides": one("Conv", "x w", w=W33, auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv auto valid": one("Conv", "x w", w=W33, auto_pad="VALID"),
    "conv opset 7": one("Conv", "x w", w=W33, opset=7),
    "transposed 2/2": one("ConvTranspose", "x w b", w=weights(4, 3, 2, 2), b=weights(3), strides=[2, 2]),
    "transposed 3/2/1/1": one("ConvTranspose", "x w", w=T33, strides=[2, 2], pads=[1] * 4, output_padding=[1, 1]),
    "transposed asymmetrical": one("ConvTranspose", "x w", w=weights(4, 3, 4, 4), strides=[2, 2], pads=[0, 1, 2, 1]),
    "transposed groups": one("ConvTranspose", "x w", w=weights(4, 3, 3, 3), group=2, strides=[2, 1]),
    "transposed dilations": one("ConvTranspose", "x w", w=T33, dilations=[2, 1]),
    "transposed 3-D": one("ConvTranspose", "x w", VOLUME, w=weights(4, 2, 2, 2, 2), strides=[2, 2, 2]),
    "transposed 1-D": one("ConvTranspose", "x w", LINE, w=weights(4, 2, 3), strides=[2]),
    "transposed same upper": one("ConvTranspose", "x w", w=T33, strides=[2, 2], auto_pad="SAME_UPPER"),
    "transposed same lower": one("ConvTranspose", "x w", w=T33, strides=[2, 2], auto_pad="SAME_LOWER"),
    # ---- pools
    "max pool": one("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    "max pool overlapping": one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "max pool unit strides": one("MaxPool", kernel_shape=[3, 2]),
    "max pool ceil": one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "max pool dilations": one("MaxPool", kernel_shape=[2, 2], dilations=[2, 3]),
    "max pool same upper": one("MaxPool", kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
    "max pool 1-D": one("MaxPool", "x", LINE, kernel_shape=[2], strides=[2]),
    "max pool 3-D": one("MaxPool", "x", VOLUME, kernel_shape=[1, 2, 2], strides=[1, 2, 2]),
    "average pool": one("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    "average pool pads": one("AveragePool", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]),
    "average pool counted pads": one("AveragePool", kernel_shape=[3, 3], pads=[1, 0, 1, 2], count_include_pad=1),
    "average pool ceil": one("AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "average pool 3-D": one("AveragePool", "x", VOLUME, kernel_shape=[2, 2, 2], strides=[2, 2, 2]),
    "average pool same lower": one("AveragePool", kernel_shape=[3, 3], auto_pad="SAME_LOWER"),
    "global average pool": one("GlobalAveragePool"),
    "global max pool": one("GlobalMaxPool"),
    "mean over space": one("ReduceMean", "x a", a=[2, 3]),
    "mean over space, opset 13": one("ReduceMean", opset=13, axes=[-2, -1], keepdims=0),
    "max over space": one("ReduceMax", "x a", a=[-1, -2]),
    "sum over space": one("ReduceSum", "x a", a=[2, 3]),
    "mean over channels": one("ReduceMean", "x a", a=[1]),
    "max over channels": one("ReduceMax", "x a", a=[1]),
    "sum over channels": one("ReduceSum", "x a", a=[1]),
    "no axes, no operation": one("ReduceMean", "x", noop_with_empty_axes=1),
    # ---- normalisation
    "batch norm": one("BatchNormalization", "x g c m v", **per_channel(), **STATISTICS, epsilon=1e-3),
    "batch norm 3-D opset 9": one("BatchNormalization", "x g c m v", VOLUME, 9, **per_channel(), **STATISTICS),
    "instance norm": one("InstanceNormalization", "x g c", **per_channel(), epsilon=1e-3),
    "instance norm 3-D": one("InstanceNormalization", "x g c", VOLUME, **per_channel()),
    "group norm 21": one("GroupNormalization", "x g c", opset=21, **per_channel(), num_groups=2),
    "group norm 18": one("GroupNormalization", "x g c", opset=18, **per_channel(2), num_groups=2),
    "mean variance over space": one("MeanVarianceNormalization", axes=[2, 3]),
    "mean variance over all": one("MeanVarianceNormalization", axes=[1, 2, 3]),
    # ---- activations
    **{
        op.lower(): one(op)
        for op in "Relu LeakyRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign Gelu Mish Abs Neg "
        "Exp Sin Cos Erf Identity Dropout Floor Ceil Sign".split()
    },
    "leaky relu 0.2": one("LeakyRelu", alpha=0.2),
    "elu 0.5": one("Elu", alpha=0.5),
    "celu 0.5": one("Celu", alpha=0.5),
    "hard sigmoid 1/6": one("HardSigmoid", alpha=1 / 6, beta=0.5),
    "gelu tanh": one("Gelu", approximate="tanh"),
    "prelu per channel": one("PRelu", "x s", s=weights(4, 1, 1)),
    "prelu shared": one("PRelu", "x s", s=[0.3]),
    "prelu of vectors": one("PRelu", "x s", FLAT, s=weights(4)),
    "relu6": one("Clip", "x l h", l=0.0, h=6.0),
    "clip": one("Clip", "x l h", l=-0.5, h=0.25),
    "clip below": one("Clip", "x l", l=0.1),
    "clip above": one("Clip", "x - h", h=0.1),
    "clip opset 7": one("Clip", opset=7, min=0.0, max=0.5),
    "clip opset 7 below": one("Clip", opset=7, min=0.0),
    "softmax": one("Softmax", axis=1),
    "softmax of vectors": one("Softmax", "x", FLAT),
    "softmax of vectors opset 11": one("Softmax", "x", FLAT, 11, axis=1),
    "log softmax": one("LogSoftmax", axis=-3),
    # ---- arithmetic
    "add number": one("Add", "x c", c=0.5),
    "add channels": one("Add", "x c", c=weights(4, 1, 1)),
    "add channels before": one("Add", "c x", c=weights(1, 4, 1, 1)),
    "mul channels": one("Mul", "x c", c=weights(4, 1, 1)),
    "mul number": one("Mul", "c x", c=[[2.0]]),
    "sub number": one("Sub", "x c", c=2.0),
    "sub from number": one("Sub", "c x", c=2.0),
    "sub channels": one("Sub", "x c", c=weights(4, 1, 1)),
    "sub from channels": one("Sub", "c x", c=weights(4, 1, 1)),
    "div number": one("Div", "x c", c=4.0),
    "div channels": one("Div", "x c", c=np.linspace(1, 2, 4).reshape(4, 1, 1)),
    "squared": one("Pow", "x e", e=2.0),
    "cubed": one("Pow", "x e", e=3.0),
    "times itself": one("Mul", "x x"),
    "twice": one("Add", "x x"),
    "sum of three": one("Sum", "x x c", c=1.0),
    "mean of two": one("Mean", "x c", c=weights(4, 1, 1)),
    "max with number": one("Max", "x c", c=0.3),
    "min with number": one("Min", "c x", c=0.3),
    # ---- channels
    "concat": one("Concat", "x x", axis=1),
    "concat negative axis": one("Concat", "x x", axis=-3),
    "gather range": one("Gather", "x i", i=[1, 2], axis=1),
    "gather any": one("Gather", "x i", i=[3, 0, -2], axis=1),
    "slice channels": one("Slice", "x s e a", s=[1], e=[3], a=[1]),
    "slice channels with steps": one("Slice", "x s e a t", s=[0], e=[4], a=[1], t=[2]),
    "slice opset 9": one("Slice", opset=9, starts=[1], ends=[9223372036854775807], axes=[1]),
    "tile channels": one("Tile", "x r", r=[1, 3, 1, 1]),
    "expand to itself": one("Expand", "x e", e=[1, 1, 1, 1]),
    # ---- space
    "slice space": one("Slice", "x s e a", s=[2, 1], e=[-1, 9223372036854775807], a=[2, 3]),
    "slice space with steps": one("Slice", "x s e a t", s=[1], e=[9223372036854775807], a=[3], t=[2]),
    "pad": one("Pad", "x p", p=[0, 0, 1, 2, 0, 0, 3, 0]),
    "pad with a value": one("Pad", "x p v", p=[0, 0, 1, 2, 0, 0, 3, 0], v=1.5),
    "pad axes": one("Pad", "x p - a", p=[2, 1], a=[3]),
    "pad reflect": one("Pad", "x p", p=[0, 0, 1, 2, 0, 0, 3, 1], mode="reflect"),
    "pad edge": one("Pad", "x p", p=[0, 0, 1, 2, 0, 0, 3, 1], mode="edge"),
    "pad opset 7": one("Pad", opset=7, pads=[0, 0, 1, 2, 0, 0, 3, 0], value=0.5),
    "pad negative": one("Pad", "x p", p=[0, 0, -1, 2, 0, 0, 0, -2]),
    "resize nearest": one("Resize", "x - s", s=[1.0, 1, 2, 3], coordinate_transformation_mode="asymmetric",
                          nearest_mode="floor"),
    "resize nearest half pixel": one("Resize", "x - s", s=[1.0, 1, 2, 3]),
    "resize nearest prefer ceil": one("Resize", "x - s", s=[1.0, 1, 2, 2], nearest_mode="round_prefer_ceil"),
    "resize nearest asymmetric rounded": one("Resize", "x - s", s=[1.0, 1, 2, 2],
                                             coordinate_transformation_mode="asymmetric"),
    "resize linear": one("Resize", "x - s", s=[1.0, 1, 2, 3], mode="linear"),
    "resize linear pytorch": one("Resize", "x - s", s=[1.0, 1, 2, 2], mode="linear",
                                 coordinate_transformation_mode="pytorch_half_pixel"),
    "resize linear corners": one("Resize", "x - s", s=[1.0, 1, 2, 2], mode="linear",
                                 coordinate_transformation_mode="align_corners"),
    "resize axes": one("Resize", "x - s", s=[2.0, 2], axes=[2, 3], mode="linear"),
    "resize trilinear": one("Resize", "x - s", VOLUME, s=[1.0, 1, 2, 2, 2], mode="linear"),
    "resize opset 11": one("Resize", "x r s", opset=11, r=np.zeros(0), s=[1.0, 1, 2, 2], mode="linear"),
    "resize opset 10": one("Resize", "x s", opset=10, s=[1.0, 1, 2, 2]),
    "upsample opset 9": one("Upsample", "x s", opset=9, s=[1.0, 1, 2, 2]),
    "upsample opset 7": one("Upsample", opset=7, scales=[1.0, 1, 2, 2]),
    "depth to space CRD": one("DepthToSpace", blocksize=2, mode="CRD"),
    "depth to space DCR": one("DepthToSpace", "x", ("b", 12, "h", "w"), blocksize=2),
    "space to depth": one("SpaceToDepth", blocksize=2),
    # ---- vectors
    "gemm": one("Gemm", "x w b", FLAT, w=weights(3, 4), b=weights(3), transB=1),
    "gemm not transposed": one("Gemm", "x w b", FLAT, w=weights(4, 3), b=weights(1, 3), alpha=0.5, beta=2.0),
    "gemm no bias": one("Gemm", "x w", FLAT, w=weights(4, 3)),
    "matmul": one("MatMul", "x w", FLAT, w=weights(4, 3)),
}  # fmt: skip

EXACT = (*[name for name in CASES if name.startswith(("conv", "transposed", "max pool", "average pool"))],)


@pytest.mark.parametrize("case", CASES)
def test_operation(case):
    proto = CASES[case]
    if case in ("identity", "dropout", "expand to itself", "no axes, no operation"):
        proto = followed_by_relu(proto)
    if case in ("exp", "erf"):  # the first operation may not be the output alone
        proto = followed_by_relu(proto)
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    sizes = (12, 18) if "strides" in case or len(dims) == 4 else (12,) * 3
    example = (1, dims[1].dim_value, *sizes[: len(dims) - 2])
    found = imported(proto, example)
    assert found.import_report.checks[0].shape != found.import_report.checks[-1].shape
    if case in EXACT:
        assert found.prediction_node.equivariant
    if len(dims) > 2:
        assert set(found.input_node.shape.spatial_shape) == {None}


def followed_by_relu(proto: Any) -> Any:
    proto.graph.node[0].output[0] = "h"
    proto.graph.node.append(node("Relu", "h"))
    return proto
