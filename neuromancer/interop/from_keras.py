"""Import of Keras files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuromancer.models.model import Model


def from_keras(
    path: str | Path,
    example: Any = None,
    tags: str | Sequence[str] | None = None,
    name: str | None = None,
    print_report: bool = True,
    instance_norm: str | Sequence[str] | None = None,
) -> Model:
    """Import a Keras model from a file, as a model of nodes.

    The layers are translated one by one, in their inference form. If Keras is installed, it loads the network, too, and
    both are evaluated on random data of two sizes and compared. Keras is not needed to import; code in files is never
    executed.

    Parameters
    ----------
    path : path
        A ``.keras`` file of Keras 3, an ``.h5`` file of Keras 2 or 3, or the ``model.json`` of a layers model of
        TensorFlow.js, with its binaries beside it.
    example : numpy.ndarray or sequence of int, optional
        An input (b, f, *space), its shape, or its spatial sizes, on which the comparison is made; a list of them for a
        network with several inputs. Default: small images. Sizes that the network does not take are made larger.
    tags : str, optional
        Tags of the axes, e.g. ``'b,f,z,y,x'``. The order of the spatial axes is that of the file, wherever the channels
        are. Default: the last axes of z, y, x.
    name : str, optional
        Name of the model. Default: that of the file, with a number if it is taken.
    print_report : bool
        Print ``model.import_report``.
    instance_norm : str or list of str, optional
        Names of convolutions, as patterns such as ``'*_gn'``, whose outputs are normalised per channel over the whole
        image before the activation (epsilon 1e-5, no scale or offset): some networks mark such layers by their names
        only.

    Returns
    -------
    Model
        With ``input_node`` and ``prediction_node`` set, open batch and spatial sizes, and nodes named after the layers;
        those within networks used as layers are ``network.layer``, and activation functions of layers
        ``layer.function``. Weights of frozen layers are constant. Several outputs are several nodes, listed in
        ``prediction_ext``; the first is the prediction node. Dropout and noise are left out.

    Raises
    ------
    FileError
        If the file cannot be read, is damaged, or holds only weights or operations of TensorFlow (a SavedModel).
    ArgumentError
        If `example`, `tags` or `instance_norm` do not fit the network.
    TranslationError
        If a layer has no counterpart, has code of its own (Lambda, custom classes), the weights do not fit, or the
        result differs from Keras by more than 1e-4 of its largest value. No model is left behind.

    Notes
    -----
    In Keras, ``padding='same'`` of layers with strides depends on the size of the image. The imported network pads as
    for sizes that the strides divide.

    Examples
    --------
    A network of TensorFlow.js, with weights of its own:

    >>> import json, tempfile
    >>> import numpy as np
    >>> import neuromancer as nm
    >>> image = {"name": "image", "batch_input_shape": [None, None, None, 1]}
    >>> conv = {"name": "conv", "filters": 2, "kernel_size": [3, 3], "padding": "same"}
    >>> layers = [{"class_name": "InputLayer", "config": image}, {"class_name": "Conv2D", "config": conv}]
    >>> arrays = [("conv/kernel", [3, 3, 1, 2]), ("conv/bias", [2])]
    >>> manifest = [{
    ...     "paths": ["weights.bin"],
    ...     "weights": [{"name": name, "shape": shape, "dtype": "float32"} for name, shape in arrays],
    ... }]
    >>> network = {"class_name": "Sequential", "config": {"name": "net", "layers": layers}}
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "weights.bin").write_bytes(np.ones(20, "float32").tobytes())
    >>> _ = (folder / "model.json").write_text(json.dumps({"modelTopology": network, "weightsManifest": manifest}))
    >>> model = nm.from_keras(folder / "model.json", name="mine", print_report=False)
    >>> model.prediction_node.shape, model["conv"](np.ones((1, 1, 3, 3), "float32"))[0, 0].tolist()
    ([(None,b), (2,f), (None,y), (None,x)], [[5.0, 7.0, 5.0], [7.0, 10.0, 7.0], [5.0, 7.0, 5.0]])
    >>> nm.model_manager.delmodel("mine")
    """
    # Imported late, as only few programs import networks.
    from neuromancer.interop.keras.source import imported

    return imported(path, example, tags, name, print_report, instance_norm)
