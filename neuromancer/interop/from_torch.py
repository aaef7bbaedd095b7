"""Import of PyTorch modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuromancer.errors import MissingDependencyError
from neuromancer.models.model import Model


def from_torch(
    module: Any,
    example: Any,
    tags: str | Sequence[str] | None = None,
    name: str | None = None,
    print_report: bool = True,
) -> Model:
    """Import a PyTorch module as a model of nodes.

    The module is traced by ``torch.export`` and translated operation by operation, in its inference form. Then both are
    evaluated on random data of two sizes and compared. The module itself is not changed.

    Parameters
    ----------
    module : torch.nn.Module
        Network that maps a tensor (b, f, *space), with one to three spatial axes or none, to one or several tensors.
    example : torch.Tensor, numpy.ndarray or sequence of int
        An input, or its shape, e.g. ``(1, 1, 64, 64, 64)``; a list of tensors for a module with several inputs. Only
        the shape matters. Sizes that the strides of the network do not divide are rounded up.
    tags : str, optional
        Tags of the axes, e.g. ``'b,f,z,y,x'``. Default: the last axes of z, y, x.
    name : str, optional
        Name of the model. Default: that of the module's class, with a number if it is taken.
    print_report : bool
        Print ``model.import_report``.

    Returns
    -------
    Model
        With ``input_node`` and ``prediction_node`` set, open batch and spatial sizes, trainable weights (constant where
        ``requires_grad`` is false), and nodes named after the submodules. Several outputs are several nodes, listed in
        ``prediction_ext``; the first is the prediction node. Dropout is left out.

    Raises
    ------
    InputTypeError
        If `module` is not a module, or a TorchScript module, which carries no Python code to trace.
    ArgumentError
        If `example` is not an input or a shape.
    TranslationError
        If the module cannot be traced, an operation has no counterpart, or the result differs from the module by more
        than 1e-4 of its largest value. No model is left behind.

    Examples
    --------
    >>> import neuromancer as nm
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3, dilation=2, padding=2), nn.ReLU(), nn.Conv2d(4, 2, 1))
    >>> model = nm.from_torch(net, (1, 1, 32, 32), name="mine", print_report=False)
    >>> model.prediction_node.shape, model.import_report.largest_difference < 1e-5
    ([(None,b), (2,f), (None,y), (None,x)], True)
    >>> nm.model_manager.delmodel("mine")
    """
    try:
        from neuromancer.interop.pytorch import source as torch_source
    except ImportError as error:
        raise MissingDependencyError(
            "importing a PyTorch module requires torch", where="from_torch", expected="pip install torch"
        ) from error
    return torch_source.imported(module, example, tags, name, print_report)
