"""Parts of a Softmax, by :func:`neuromancer.split`, as predictions of losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer.errors import ShapeError
from neuromancer.nodes.node import Node


def require_whole_labels(loss: Node, pred: Any, n_class: int) -> None:
    """Raise ShapeError unless a Softmax or a part of one consists of all classes of each of its labels, in order.

    The number of features does not tell: three of a Softmax of two labels with three classes may belong to both.
    """
    features = _features(pred)
    if features is None:
        return
    whole = features.size % n_class == 0
    if whole:
        labels = features.reshape(-1, n_class)
        whole = not (labels[:, 0] % n_class).any() and bool((labels == labels[:, :1] + np.arange(n_class)).all())
    if not whole:
        raise ShapeError(
            "a part of a Softmax must consist of whole labels",
            node=loss,
            got=f"f={features.size}, features {features[0]} to {features[-1]} of {pred.name!r}",
            expected=f"all n_class={n_class} classes of every label",
            nearest=f"cuts at multiples of {n_class}",
        )


def _features(node: Any) -> np.ndarray | None:
    """Return which features of the node that was split a part consists of; None if that is unknown."""
    axis, selections = node.shape.tag2index("f"), []
    while type(node).__name__ == "FromTensor":
        selections.append(node.selection)
        node = node.parent
    shape, whole = node.shape, node.shape.tag2index("f")
    if None in selections or shape[whole] is None:
        return None
    order = [-1 if i == whole else 1 for i in range(len(shape))]
    numbers = np.arange(shape[whole]).reshape(order)
    # Views without memory; axes of unknown size cannot be split.
    features = np.broadcast_to(numbers, [size or 1 for size in shape.shape])
    for select in reversed(selections):
        features = select(features)
    if not features.size:
        return None
    return features[tuple(slice(None) if i == axis else 0 for i in range(features.ndim))]
