"""Models leave as packages of bioimage.io."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from neuromancer.errors import ArgumentError, InputTypeError, MissingDependencyError
from neuromancer.models.model import Model
from neuromancer.places import local_file


def export_bioimageio(
    model: Model,
    path: str | os.PathLike[str],
    *,
    authors: Any = None,
    license: str | None = None,
    cite: Any = None,
    documentation: Any = None,
    name: str | None = None,
    description: str | None = None,
    tags: Any = None,
    test_image: Any = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a model as a package of bioimage.io, format 0.5.

    The package has ONNX weights, test tensors with pre- and postprocessing, checksums, the sizes that the network takes
    and the halo that it needs, both from the graph. It is validated by bioimageio.spec before it appears.

    Parameters
    ----------
    model : Model
        With a prediction node with one input.
    path : path
        A new folder; or a file ending in ``.zip``, which is replaced only when the new one is completely written.
    authors : str, dict, or list of them
        Names, or dicts with ``name`` and optionally ``affiliation``, ``orcid``, ``github_user``, ``email``.
    license : str
        SPDX name, e.g. ``'MIT'``.
    cite : dict or list of dict
        Each with ``text`` and ``doi`` or ``url``; an empty list if there is nothing to cite.
    documentation : str or path
        Markdown text, or the path of a ``.md`` file.
    name : str, optional
        Default: the name of the model.
    description : str, optional
        One line; default: the name.
    tags : list of str, optional
    test_image : array, (f, *space), optional
        Image as ``predict_dense`` takes it. Default: random numbers. Integers, if the model has no preprocessing, are
        scaled in the package as ``predict_dense`` scales them.
    metadata : dict, optional
        Further fields of the description, e.g. ``{"git_repo": "https://..."}``.

    Raises
    ------
    MissingDependencyError
        If bioimageio.spec or onnx is not installed.
    ArgumentError, InputTypeError
        If metadata are missing or invalid; lists all that is missing.
    ShapeError
        If the network does not take the test image as a whole; gives the nearest size.
    GraphError
        If the network has several inputs, axes without a counterpart, or nodes that ONNX does not have.
    FileError
        If the folder exists, or cannot be written. In all cases, nothing is left behind.

    Notes
    -----
    A network in whose output every voxel depends on the whole image has no halo, and the documentation says so.
    """
    if not isinstance(model, Model):
        raise InputTypeError("not a model", where="export_bioimageio", got=type(model).__name__, expected="a Model")
    target = local_file(path, "path")
    if not target.name:
        raise ArgumentError("not a name of a package", where="path", got=str(path), expected="a folder or a .zip file")
    try:
        from neuromancer.interop.bioimageio.leaving import write_package
        from neuromancer.interop.bioimageio.metadata import checked_metadata
    except ImportError as error:
        raise MissingDependencyError(
            "writing a package of bioimage.io requires bioimageio.spec", where="export_bioimageio", got=str(error),
            expected="pip install 'neuromancer-graph[bioimageio,onnx]'",
        ) from error  # fmt: skip
    found = checked_metadata(name or model.name, description, authors, license, cite, documentation, tags, metadata)
    write_package(model, target, found, test_image)
