"""Import of packages of bioimage.io."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuromancer.errors import MissingDependencyError
from neuromancer.models.model import Model


def from_bioimageio(
    path: str | Path,
    weights: str | None = None,
    module: Any = None,
    name: str | None = None,
    print_report: bool = True,
) -> Model:
    """Import a model of bioimage.io: network, pre- and postprocessing.

    The weights are translated as by :func:`from_onnx`, :func:`from_keras` or :func:`from_torch`, and compared with
    their source. Then the whole model is compared with the test tensors of the package. No code of the package is run,
    and nothing is fetched.

    Parameters
    ----------
    path : path
        Folder, zip archive, or description (``bioimageio.yaml``, ``rdf.yaml``) of a package of format 0.4 or 0.5 with
        one input tensor.
    weights : {'onnx', 'keras_v3', 'keras_hdf5', 'pytorch_state_dict'}, optional
        Which weights to use; default: the first of these that are in the package and can be read.
    module : torch.nn.Module or callable, optional
        The network of ``pytorch_state_dict`` weights, or a function or class that makes it; it is called with the
        arguments that the package states if it takes them. It is not changed.
    name : str, optional
        Name of the model. Default: that of the package, with a number if it is taken.
    print_report : bool
        Print ``model.import_report``.

    Returns
    -------
    Model
        With ``preprocessing`` and ``postprocessing``, which ``predict_dense`` applies; nodes and :meth:`Model.predict`
        work on preprocessed images. Spatial axes are in the order of the package. The report has a note if the halo
        that the package declares is too small; then a ``MetadataWarning`` is given, too.

    Raises
    ------
    MissingDependencyError
        If bioimageio.spec is not installed.
    FileError
        If the package cannot be read, is damaged, or a file is missing or elsewhere.
    ArgumentError, InputTypeError
        If `weights` or `module` do not fit the package.
    TranslationError
        If the weights, axes or processing have no counterpart, or a result differs from the test tensors by more than
        1e-4 of the largest value. No model is left behind.

    Examples
    --------
    >>> import neuromancer as nm
    >>> nm.from_bioimageio("no-such.zip")
    Traceback (most recent call last):
        ...
    neuromancer.errors.FileError: 'no-such.zip': there is no such file; expected a folder, a .zip or a .yaml file
    """
    try:
        from neuromancer.interop.bioimageio import source
    except ImportError as error:
        raise MissingDependencyError(
            "importing a package of bioimage.io requires bioimageio.spec", where="from_bioimageio", got=str(error),
            expected="pip install 'neuromancer-graph[bioimageio]'",
        ) from error  # fmt: skip
    return source.imported(path, weights, module, name, print_report)
