"""Import of ONNX files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuromancer.errors import MissingDependencyError
from neuromancer.models.model import Model


def from_onnx(
    path: Any,
    example: Any = None,
    tags: str | Sequence[str] | None = None,
    name: str | None = None,
    print_report: bool = True,
) -> Model:
    """Import an ONNX file as a model of nodes.

    The file is translated operation by operation; what it computes from constants and sizes is computed ahead. Then the
    model and the file (by ONNX Runtime if it is installed, else by the reference of onnx) are evaluated on random data
    of two sizes and compared. Nothing in the file is executed as code.

    Parameters
    ----------
    path : str, os.PathLike or onnx.ModelProto
        File with one or several inputs (b, f, *space), with one to three spatial axes or none, or (b, *space, f) if the
        file itself puts the channels into the second place first, as files from TensorFlow do. Data beside the file
        must be in its folder.
    example : numpy.ndarray or sequence of int, optional
        An input as the file takes it, or its shape; a list for several inputs. Only the shape matters. Default: the
        sizes in the file; where they are open, 64, 64 or 32 voxels for one, two or three spatial axes, or more if the
        strides of the network require it.
    tags : str, optional
        Tags of the axes, e.g. ``'b,f,z,y,x'``. Default: the last axes of z, y, x.
    name : str, optional
        Name of the model. Default: that of the file, with a number if it is taken.
    print_report : bool
        Print ``model.import_report``.

    Returns
    -------
    Model
        With ``input_node`` and ``prediction_node`` set, open batch and spatial sizes (unless the file only makes sense
        at one size, which the report says), and nodes named as in the file. Initialisers of floats that are weights are
        trainable. Several outputs are several nodes, listed in ``prediction_ext``; the first is the prediction node.

    Raises
    ------
    MissingDependencyError
        If onnx is not installed.
    InputTypeError
        If `path` is neither a path nor a model.
    FileError
        If the file cannot be read, is not an ONNX file, contradicts itself, or refers to data that are missing or
        outside of its folder.
    ArgumentError
        If `example` or `tags` do not fit the file, or `example` is needed.
    TranslationError
        If an operation has no counterpart, or the result differs from the file by more than 1e-4 of its largest value.
        No model is left behind.

    Notes
    -----
    Versions 7 and later of the operators (opsets) are read, as far as the installed onnx knows them. Shapes that depend
    on the size of the image are computed for the example; whether the model is right for other sizes, too, is shown by
    the comparison at the second one.

    Examples
    --------
    >>> import neuromancer as nm
    >>> from onnx import TensorProto, helper
    >>> image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, "height", "width"])
    >>> kernel = helper.make_tensor("w", TensorProto.FLOAT, [2, 1, 3, 3], list(range(18)))
    >>> steps = [
    ...     helper.make_node("Conv", ["x", "w"], ["h"], "conv", pads=[1, 1, 1, 1]),
    ...     helper.make_node("Softmax", ["h"], ["y"], "classes", axis=1),
    ... ]
    >>> result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    >>> graph = helper.make_graph(steps, "net", [image], [result], [kernel])
    >>> file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    >>> model = nm.from_onnx(file, name="mine", print_report=False)
    >>> model.prediction_node.shape, model.import_report.largest_difference < 1e-5
    ([(None,b), (2,f), (None,y), (None,x)], True)
    >>> nm.model_manager.delmodel("mine")
    """
    try:
        from neuromancer.interop.onnx import source as onnx_source
    except ImportError as error:
        raise MissingDependencyError(
            "importing an ONNX file requires onnx",
            where="from_onnx",
            expected="pip install 'neuromancer-graph[onnx]'",
            nearest="pip install onnx onnxruntime, with ONNX Runtime to compare faster",
        ) from error
    return onnx_source.imported(path, example, tags, name, print_report)
