"""ONNX files of several operations: shapes computed in the file, groups of operations, layouts, sizes, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError, TranslationError
from tests.interop.onnx_factories import imported, model, node, weights

IMAGE = (1, 4, 12, 10)


def shapes(found: nm.Model) -> list[tuple[int, ...]]:
    return [check.shape for check in found.import_report.checks]


def group_norm(scale: np.ndarray, rest: list, **constants: np.ndarray) -> nm.Model:
    steps = [
        node("Reshape", "x grouped", "r"),
        node("InstanceNormalization", "r scale shift", "n", epsilon=1e-3),
        node("Shape", "x", "s"),
        node("Reshape", "n s", "i", "norm"),
        *rest,
    ]
    zeros = np.zeros(len(scale)) if scale[0] == 1 else np.linspace(-1, 1, len(scale))
    return imported(
        model(steps, grouped=[0, len(scale), -1], scale=scale, shift=zeros, outputs="y", **constants), IMAGE
    )


AFFINE = [node("Mul", "i g", "j"), node("Add", "j b", "y")]


def test_group_normalisation_of_exporters_is_one_node():
    found = group_norm(np.ones(2), AFFINE, g=weights(4, 1, 1), b=weights(4, 1, 1))
    assert [type(n).__name__ for n in found.nodes.values()] == ["Input", "GroupNorm"]
    assert {name for name, p in found.prediction_node.params.items() if p.apply_train} == {"gamma", "beta"}


@pytest.mark.parametrize(
    "rest",
    [[node("Relu", "i", "y")], [node("Mul", "i g", "y")], AFFINE, [node("Add", "i b", "y")],
     [node("Mul", "i g", "j"), node("Relu", "j", "y")], [node("Mul", "i half", "j"), node("Add", "b j", "y")]],
)  # fmt: skip
@pytest.mark.parametrize("scale", [np.ones(2), np.array([0.5, 2.0])])
def test_group_normalisation_and_what_follows(rest, scale):
    group_norm(scale, rest, g=weights(4, 1, 1), b=weights(1, 4, 1, 1), half=[0.5])


def test_matrix_product_and_sum_are_one_layer():
    steps = [node("MatMul", "x w", "h", "dense"), node("Add", "b h", "y")]
    found = imported(model(steps, ("n", 4), w=weights(4, 3), b=weights(3)))
    assert list(found.nodes) == ["input", "dense"] and set(found.prediction_node.params) == {"w", "b"}


def test_shared_initialisers_are_shared_parameters():
    steps = [
        node("Conv", "x w b", "h", "/first/Conv", pads=[1] * 4),
        node("Identity", "w", "v"),
        node("Conv", "h v b", "y", "/second/Conv", pads=[1] * 4),
    ]
    found = imported(model(steps, w=weights(4, 4, 3, 3), b=weights(4)), IMAGE)
    first, second = found.nodes["first/Conv"], found.nodes["second/Conv"]
    assert first.params["w"] is second.w and first.params["w"].apply_train and "w" not in second.params


def test_sizes_that_follow_from_shapes():
    steps = [
        node("MaxPool", "x", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", "x", "s"),
        node("Slice", "s two four zero", "hw"),
        node("Concat", "bc hw", "sizes", axis=0),
        node("Resize", "p - - sizes", "u", mode="linear"),
        node("Concat", "x u", "y", axis=1),
    ]
    found = imported(model(steps, two=[2], four=[4], zero=[0], bc=[1, 4]))
    assert shapes(found)[0] == (1, 4, 64, 64) and found.prediction_node.equivariant


def test_factors_that_follow_from_shapes():
    steps = [
        node("MaxPool", "x", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", "x", "a"), node("Shape", "p", "b"),
        node("Cast", "a", "af", to=1), node("Cast", "b", "bf", to=1),
        node("Div", "af bf", "r"), node("Slice", "r two four zero", "hw"),
        node("Concat", "ones hw", "f", axis=0),
        node("Resize", "p - f", "u"),
        node("Add", "x u", "y"),
    ]  # fmt: skip
    assert imported(model(steps, two=[2], four=[4], zero=[0], ones=[1.0, 1.0])).prediction_node.equivariant


def test_centre_crops_that_follow_from_shapes():
    steps = [
        node("Conv", "x w", "h"),
        node("Shape", "x", "a"), node("Shape", "h", "b"), node("Sub", "a b", "d"), node("Div", "d two", "half"),
        node("Slice", "half first last zero", "starts"),
        node("Slice", "b first last zero", "sizes"), node("Add", "starts sizes", "ends"),
        node("Slice", "x starts ends axes", "c"),
        node("Concat", "c h", "y", axis=1),
    ]  # fmt: skip
    constants = {"two": [2], "first": [2], "last": [4], "zero": [0], "axes": [2, 3], "w": weights(2, 4, 3, 5)}
    assert imported(model(steps, **constants)).prediction_node.equivariant


def test_squeeze_and_excite():
    steps = [
        node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "v"),
        node("Gemm", "v w1 b1", "h"), node("Relu", "h", "r"), node("Gemm", "r w2 b2", "k"), node("Sigmoid", "k", "s"),
        node("Shape", "s", "ss"), node("Concat", "ss one one", "sh", axis=0), node("Reshape", "s sh", "g"),
        node("Mul", "x g", "y"),
    ]  # fmt: skip
    found = imported(model(steps, w1=weights(4, 2), b1=weights(2), w2=weights(2, 4), b2=weights(4), one=[1]), IMAGE)
    assert "whole image" in found.import_report.geometry


def test_axes_added_one_by_one():
    steps = [
        node("ReduceMean", "x space", "p", keepdims=0), node("Gemm", "p w", "s"),
        node("Unsqueeze", "s two", "u"), node("Unsqueeze", "u three", "g"), node("Mul", "g x", "y"),
    ]  # fmt: skip
    imported(model(steps, space=[2, 3], two=[2], three=[3], w=weights(4, 4)), IMAGE)
    steps[3] = node("Squeeze", "u two", "v")
    steps[4:] = [node("Unsqueeze", "v both", "g"), node("Mul", "g x", "y")]
    imported(model(steps, space=[2, 3], two=[2], both=[2, 3], w=weights(4, 4)), IMAGE)


def test_normalised_over_channels_as_the_last_axis():
    steps = [
        node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("LayerNormalization", "t g b", "n", axis=-1),
        node("MatMul", "n w", "m"), node("Add", "m c", "a"), node("Gelu", "a", "k"),
        node("Transpose", "k", "l", perm=[0, 3, 1, 2]), node("Add", "x l", "y"),
    ]  # fmt: skip
    imported(model(steps, g=weights(4), b=weights(4), w=weights(4, 4), c=weights(4)), IMAGE)


def test_normalised_over_everything_takes_one_size():
    steps = [node("LayerNormalization", "x g b", "y", axis=1)]
    found = imported(model(steps, (1, 4, 6, 5), g=weights(4, 6, 5), b=weights(4, 6, 5)))
    assert found.input_node.shape.spatial_shape == [6, 5]


def test_classifier_takes_one_size():
    steps = [node("Relu", "x", "h"), node("Reshape", "h flat", "f"), node("Gemm", "f w", "y")]
    found = imported(model(steps, (1, 4, 6, 5), flat=[1, -1], w=weights(120, 3)))
    assert found.input_node.shape.spatial_shape == [6, 5] and "one size" in str(found.import_report)


@pytest.mark.parametrize(
    "step",
    [node("Slice", "x s e a"), node("Resize", "x - - r", mode="linear"),
     node("ConvTranspose", "x w", strides=[2, 2], output_shape=[13, 12])],
)  # fmt: skip
def test_sizes_written_in_the_file_are_its_only_ones(step):
    constants = {"s": [1], "e": [5], "a": [2], "r": [1, 4, 12, 9], "w": weights(4, 2, 3, 3)}
    used = {k: v for k, v in constants.items() if k in step.input}
    assert imported(model([step], **used), (1, 4, 6, 6)).input_node.shape.spatial_shape == [6, 6]


def test_sizes_in_a_file_for_one_size_follow_from_the_image():
    steps = [
        node("MaxPool", "x", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", "p - - sizes", "u", mode="linear"),
        node("Concat", "x u", "y", axis=1),
    ]
    found = imported(model(steps, (1, 4, 6, 6), sizes=[1, 4, 6, 6]))
    assert found.input_node.shape.spatial_shape == [None, None] and found.prediction_node.equivariant
    assert "compared at one size" in found.import_report.notes[0]


def test_voxels_of_a_file_for_one_size_follow_from_the_image():
    proto = model([node("Slice", "x one five axes")], (1, 4, 6, 6), one=[1, 1], five=[5, 5], axes=[2, 3])
    found = imported(proto)
    assert found.prediction_node(np.zeros((1, 4, 9, 9), "float32")).shape == (1, 4, 7, 7)
    assert "the size of an output is written in it" in found.import_report.notes[0]


def channels_last(steps: list) -> list:
    return [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        *steps,
        node("Transpose", "c", "y", perm=[0, 2, 3, 1]),
    ]


def test_files_with_channels_last():
    steps = channels_last([node("Conv", "t w", "h", pads=[1] * 4), node("MaxPool", "h", "c", kernel_shape=[2, 2])])
    found = imported(model(steps, ("b", "h", "w", 3), w=weights(5, 3, 3, 3)))
    assert found.input_node.shape["f"] == 3 and shapes(found)[0] == (1, 3, 64, 64)
    # The nodes themselves have the channels in the second place.
    assert found.prediction_node.shape["f"] == 5


def test_a_single_channel_moved_by_reshaping():
    steps = [
        node("Reshape", "x first", "h"), node("Conv", "h w", "c", pads=[1] * 4), node("Sigmoid", "c", "s"),
        node("Reshape", "s last", "y"),
    ]  # fmt: skip
    found = imported(model(steps, (1, 6, 8, 1), first=[-1, 1, 6, 8], last=[-1, 6, 8, 1], w=weights(1, 1, 3, 3)))
    assert found.input_node.shape["f"] == 1 and shapes(found)[0] == (1, 1, 6, 8)


@pytest.mark.parametrize(
    "middle",
    [
        [node("LeakyRelu", "l", "k")],
        [node("Softmax", "l", "k", axis=-1)], [node("Add", "l b", "k")], [node("Mul", "l b", "k")],
        [node("Concat", "l l", "k", axis=3)], [node("ReduceMean", "l a", "k")], [node("PRelu", "l b", "k")],
        [node("Pad", "l p", "k")], [node("Resize", "l - f", "k")], [node("Slice", "l one three three", "k")],
        [node("Slice", "l one three two", "k")], [node("ReduceMax", "l three", "k")],
        [node("Tile", "l f4", "k")], [node("Split", "l", "k other", axis=-1, num_outputs=2)],
    ],
)  # fmt: skip
def test_operations_between_transposes(middle):
    constants = {
        "b": weights(4), "a": [1, 2], "p": [0, 1, 2, 0, 0, 0, 1, 0], "f": [1.0, 2, 2, 1], "one": [1], "three": [3],
        "two": [2], "f4": [1, 1, 1, 2],
    }  # fmt: skip
    if middle[0].op_type == "Slice" and "two" in middle[0].input:
        constants["three"] = [-1]
    used = {name for step in middle for name in step.input}
    steps = [
        node("Relu", "x", "h"), node("Transpose", "h", "l", perm=[0, 2, 3, 1]), *middle,
        node("Transpose", "k", "m", perm=[0, 3, 1, 2]), node("Sigmoid", "m", "y"),
    ]  # fmt: skip
    imported(model(steps, **{k: v for k, v in constants.items() if k in used}), IMAGE)


def test_several_inputs_and_outputs():
    steps = [node("Concat", "p q", "h", axis=1), node("Split", "h parts", "y z", axis=1), node("Relu", "q", "r")]
    proto = model(steps, inputs={"p": (1, 2, "h", "w"), "q": (1, 3, "h", "w")}, outputs="y z r", parts=[1, 4])
    found = imported(proto)
    assert set(found.nodes) >= {"p", "q"} and len(found.prediction_ext) == 3
    with pytest.raises(ArgumentError, match="one for each input"):
        imported(proto, (1, 2, 8, 8))


def test_constants_are_computed_ahead():
    steps = [
        node("Constant", "", "one", value_float=1.0), node("Constant", "", "list", value_ints=[4, 4, 3, 3]),
        node("ConstantOfShape", "list", "w", value=helper.make_tensor("v", 1, [1], [0.125])),
        node("Unsqueeze", "one axes", "b1"), node("Expand", "b1 four", "b"),
        node("Conv", "x w b", "y", pads=[1] * 4),
    ]  # fmt: skip
    found = imported(model(steps, axes=[0], four=[4]), IMAGE)
    assert not found.prediction_node.params["w"].apply_train


def test_integer_images_and_scalars_in_formulas():
    steps = [  # GELU by its formula
        node("Div", "x root", "a"), node("Erf", "a", "e"), node("Add", "e one", "f"), node("Mul", "x f", "g"),
        node("Mul", "g half", "y"),
    ]  # fmt: skip
    imported(model(steps, root=2**0.5, one=1.0, half=0.5), IMAGE)


# ---- sizes
def test_open_sizes_get_the_least_that_the_strides_divide():
    steps = [node("MaxPool", "x", "p", kernel_shape=[3, 3], strides=[3, 3]), node("Resize", "p - f", "y")]
    found = imported(model(steps, f=[1.0, 1, 3, 3]))
    assert shapes(found)[0] == (1, 4, 66, 66)
    assert shapes(imported(model(steps, (1, 4, 9, "w"), f=[1.0, 1, 3, 3])))[0] == (1, 4, 9, 66)
    assert shapes(imported(model(steps, (1, 4, 9, 9), f=[1.0, 1, 3, 3]), np.zeros((2, 4, 12, 6))))[0] == (1, 4, 12, 6)


def test_tags_and_names():
    steps = [node("Relu", "x", "h"), node("Relu", "h", "y", "/a/b/Relu")]
    found = imported(model(steps), IMAGE, tags="b,f,x,y", name="named onnx")
    assert found.name == "named onnx" and "".join(found.input_node.shape.tags) == "bfxy"
    assert list(found.nodes) == ["input", "relu", "a/b/Relu"]


@pytest.mark.parametrize(
    ("example", "shape", "match"),
    [
        (None, None, "does not tell the sizes"),
        (None, ("b", "c", "h", "w"), "number of channels open"),
        ((1, 3, 8, 8), ("b", 4, "h", "w"), "another number of channels"),
        ((1, 4, 8), ("b", 4, "h", "w"), "another number of axes"),
        ("abc", ("b", 4, "h", "w"), "must be an input or its shape"),
        ((1, 4, 8, -8), ("b", 4, "h", "w"), "must be an input or its shape"),
        ((1, 4, 8.0, 8), ("b", 4, "h", "w"), "must be an input or its shape"),
        ([], ("b", 4, "h", "w"), "another number of axes"),
    ],
)
def test_examples_that_do_not_fit(example, shape, match):
    proto = model([node("Relu", "x")], shape or ("b", 4))
    if shape is None:
        proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ArgumentError, match=match):
        imported(proto, example)


def test_tags_that_do_not_fit():
    with pytest.raises(ArgumentError, match="tags must name"):
        imported(model([node("Relu", "x")]), tags="b,f,z,y,x")


@pytest.mark.parametrize("path", [None, 3, [1], object()])
def test_not_a_path(path):
    with pytest.raises(InputTypeError, match="not an ONNX file"):
        nm.from_onnx(path)


# ---- refusals
REFUSED = {
    "argmax": ([node("ArgMax", "x", axis=1)], {}, "scores as output; predict_dense.*argmax"),
    "quantised": ([node("QuantizeLinear", "x s")], {"s": 0.1}, "network of floats"),
    "recurrent": ([node("LSTM", "x w r", hidden_size=2)], {"w": weights(1, 8, 4), "r": weights(1, 8, 2)}, "recurrent"),
    "attention": ([node("MatMul", "x x")], {}, "attention"),
    "cubic": ([node("Resize", "x - f", mode="cubic")], {"f": [1.0, 1, 2, 2]}, "mode=cubic"),
    "linear asymmetric": (
        [node("Resize", "x - f", mode="linear", coordinate_transformation_mode="asymmetric")],
        {"f": [1.0, 1, 2, 2]}, "coordinate_transformation_mode=asymmetric",
    ),
    "nearest ceil": ([node("Resize", "x - f", nearest_mode="ceil")], {"f": [1.0, 1, 2, 2]}, "nearest_mode=ceil"),
    "nearest corners": (
        [node("Resize", "x - f", coordinate_transformation_mode="align_corners")], {"f": [1.0, 1, 2, 2]},
        "align_corners",
    ),
    "resized channels": ([node("Resize", "x - f")], {"f": [1.0, 2, 2, 2]}, "only space can be resized"),
    "antialias": ([node("Resize", "x - f", antialias=1, mode="linear")], {"f": [1.0, 1, 0.5, 0.5]}, "antialias"),
    "reduced over an axis of space": ([node("ReduceMean", "x a")], {"a": [2]}, "cannot be reduced"),
    "concatenated space": ([node("Concat", "x x", axis=2)], {}, "only the channels"),
    "softmax over space": ([node("Softmax", "x", axis=-1)], {}, "only the channels"),
    "padded channels": ([node("Pad", "x p")], {"p": [0, 1, 0, 0, 0, 0, 0, 0]}, "only space can be padded"),
    "sliced batch": ([node("Slice", "x s e a")], {"s": [0], "e": [-1], "a": [0]}, "slices must take|only channels"),
    "permuted": ([node("Transpose", "x", perm=[0, 1, 3, 2])], {}, "cannot be permuted"),
    "reshaped": ([node("Reshape", "x s")], {"s": [0, 2, 2, -1, 10]}, "cannot be rearranged"),
    "an axis left out": ([node("Gather", "x i", axis=1)], {"i": np.int64(1)}, "a list of channels"),
    "groups": ([node("Reshape", "x s", "g"), node("Relu", "g")], {"s": [0, 2, -1]}, "normalisation of groups"),
    "an array": ([node("Add", "x c")], {"c": weights(12, 10)}, "only per channel"),
    "computed weights": ([node("Conv", "x x")], {}, "depends on the image"),
    "training": ([node("BatchNormalization", "x w w w w", training_mode=1)], {"w": [1.0] * 4}, "evaluation mode"),
    "cast": ([node("Cast", "x", to=7)], {}, "stay floats"),
    "a maximum of two": ([node("Max", "x x")], {}, "several values"),
    "an operation on constants": ([node("Conv", "w w", "c"), node("Add", "x c")], {"w": weights(1, 1, 1, 1)},
                                  "a constant cannot be computed"),
    "a constant concatenated": ([node("Concat", "x c", axis=1)], {"c": weights(1, 1, 12, 10)}, "constant"),
    "a constant output": ([node("Relu", "x", "h"), node("Identity", "c")], {"c": weights(1, 1)}, "not computed from"),
    "the input itself": ([node("Identity", "x")], {}, "not computed from"),
    "an unknown mode": ([node("Pad", "x p", mode="sideways")], {"p": [0, 0, 1, 1, 0, 0, 1, 1]}, "this padding"),
    "the wrong length": ([node("MaxPool", "x", kernel_shape=[2, 2], strides=[2])], {}, "2 integers"),
    "no window": ([node("MaxPool", "x", kernel_shape=[0, 2])], {}, "must be positive"),
    "too large a window": ([node("AveragePool", "x", kernel_shape=[2, 2, 2])], {}, "another number of axes"),
    "infinite weights": ([node("Conv", "x w")], {"w": np.full((1, 4, 1, 1), np.inf)}, "not finite"),
    "weights of other sizes": ([node("Conv", "x w")], {"w": weights(2, 3, 1, 1)}, "has no counterpart|channels"),
    "dropout": ([node("Dropout", "x r t")], {"r": 0.5, "t": np.array(True)}, "dropout at inference"),
    "positions of maxima": ([node("MaxPool", "x", "h i", kernel_shape=[2, 2]), node("Add", "h i")], {}, "operand"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    steps, constants, match = REFUSED[case]
    known, current = set(nm.model_manager), nm.model_manager.current
    steps[-1].name = "/net/place"
    with pytest.raises(TranslationError, match=match) as caught:
        imported(model(steps, **constants), IMAGE)
    assert set(nm.model_manager) == known and nm.model_manager.current is current
    if "output" not in str(caught.value) and case not in ("an operation on constants", "infinite weights"):
        assert "net/place" in str(caught.value)


@pytest.mark.parametrize("opset", [10, 12])
def test_softmax_before_opset_13_is_over_all_axes(opset):
    with pytest.raises(TranslationError, match="before opset 13"):
        imported(model([node("Softmax", "x", axis=1)], opset=opset), IMAGE)
