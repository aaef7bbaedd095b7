"""Loading models and their parameters."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import FileError
from neuromancer.io.build import build, damaged, new_model
from neuromancer.io.container import MAGIC, read_file, read_head
from neuromancer.io.legacy.pickles import GZIP, PICKLE
from neuromancer.io.legacy.translate import read_legacy
from neuromancer.io.options import Options, apply_options
from neuromancer.nodes.functors import check_functors
from neuromancer.places import content_of, local_file

if TYPE_CHECKING:
    from neuromancer.model import Model


def modelload(
    file_name: str | os.PathLike[str],
    override_mfp_to_active: bool = False,
    imposed_patch_size: Sequence[int] | None = None,
    imposed_batch_size: int | None = None,
    name: str | None = None,
    make_weights_constant: bool = False,
    replace_bn: str | None = None,
    lock_trainable_params: int | Sequence[str] | None = None,
    unlock_all_params: bool = False,
    inject_source: dict[str, Any] | None = None,
    functors: Mapping[str, Callable[..., Any]] | None = None,
) -> Model:
    """Load a model from a file of this package or of the original library (``.mdl``).

    Nothing in the file is executed. Node classes of your own must have been imported; functions of your own that
    :class:`neuromancer.ApplyFunc` uses must be handed over here, or registered with
    :func:`neuromancer.register_functor`.

    Parameters
    ----------
    file_name : path
    override_mfp_to_active : bool
        Switch max-fragment pooling on in all convolutional and pooling layers and put the fragments together before
        the prediction node. Without `imposed_patch_size` the input gets the next larger valid size.
    imposed_patch_size : sequence of int, optional
        Sizes of the input's spatial axes. Targets, weights and masks follow.
    imposed_batch_size : int, optional
        Batch size of the input, and of all sources that have the same.
    name : str, optional
        Name of the new model; default random.
    make_weights_constant : bool
        Make weights constants, so that functions are faster and nothing can be trained.
    replace_bn : {'remove', 'predict', 'const'}, optional
        Batch normalisation: taken out; with the running statistics; with them as constants.
    lock_trainable_params : int or sequence of str, optional
        Make the parameters of the first n layers, or of the named ones, constants.
    unlock_all_params : bool
        Make constants of layers variables again.
    inject_source : dict, optional
        Feed a node from a new input: ``child_name``, and if they shall differ from those of the replaced parent
        ``shape``, ``tags``, ``strides``, ``fov``, ``dtype``; ``name`` of the input, ``parent_no`` of the parent.
        Nodes that are then of no use are left out.
    functors : mapping of str to callable, optional
        Functions that the file may name besides those of ``neuromancer.T``, by their names in it
        (``module:qualname``) or without the module.

    Returns
    -------
    Model
        It is the current model. Optimisers and functions are built when first used.

    Raises
    ------
    FileError
        If the file cannot be read, is damaged, or needs classes or functions that are not known.
    InputTypeError
        If `functors` does not map names to functions.
    ShapeError
        For a patch size that the graph cannot take; the nearest valid sizes are named per axis.
    ArgumentError, UnknownNameError
        For options that cannot be, or unknown nodes; also if a model of this name exists.

    Examples
    --------
    >>> import tempfile, pathlib, neuromancer as nm
    >>> model = nm.model_manager.newmodel("kept")
    >>> inp = nm.Input((1, 1, 11), "b,f,x", name="raw", print_repr=False)
    >>> conv = nm.Conv(inp, 4, (3,), (3,), name="conv", print_repr=False)
    >>> model.designate_nodes("raw", prediction_node="conv")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "kept.h5"
    ...     model.save(path)
    ...     larger = modelload(path, imposed_patch_size=[14])
    >>> larger["conv"].shape
    [(1,b), (4,f), (4,x)]
    >>> nm.model_manager.delmodel("kept")
    """
    options = Options(
        bool(override_mfp_to_active),
        imposed_patch_size,
        imposed_batch_size,
        bool(make_weights_constant),
        replace_bn,
        lock_trainable_params,
        bool(unlock_all_params),
        inject_source,
    )
    options.check()
    known = check_functors(functors)
    document, arrays = read_document(file_name)
    where = str(file_name)
    if options.any():
        with new_model(None) as plain:
            build(plain, document, arrays, where, known)
            document, arrays = apply_options(document, arrays, options, plain)
        _forget(plain)
    with new_model(name) as model:
        build(model, document, arrays, where, known, user_errors=options.any())
        if options.make_weights_constant:
            for param in (p for node in model.nodes.values() for p in node.params.values() if not p.constant):
                param.apply_train = param.apply_reg = False
    return model


def _forget(model: Model) -> None:
    from neuromancer.graph.registry import model_manager

    model_manager.delmodel(model.name)


def read_document(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Document and arrays of a file of either kind; FileError if it is neither."""
    path = local_file(path, "model file")
    head = read_head(path)
    if head.startswith((PICKLE, GZIP)):
        return read_legacy(path)
    if not head.startswith(MAGIC[:8]) and head[: len(MAGIC)] != MAGIC:
        raise FileError(
            "not a model file",
            node=str(path),
            got=content_of(head) or repr(head[:16]),
            expected="a file written by Model.save, or a .mdl file of the original library",
        )
    return read_file(path)


def params_from_model_file(path: str | os.PathLike[str]) -> dict[str, dict[str, np.ndarray]]:
    """Values of all parameters in a file, by node and parameter, without building the model.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict of str to dict of str to numpy.ndarray

    Raises
    ------
    FileError
        If the file cannot be read or is damaged.
    """
    document, arrays = read_document(path)
    with damaged(str(path)):
        return {
            entry["name"]: {key: arrays[spec["array"]] for key, spec in entry["parameters"].items()}
            for entry in document["nodes"]
            if entry.get("parameters")
        }
