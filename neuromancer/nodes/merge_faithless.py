"""Concatenation with random dropout of one of its two inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuromancer import engine as E
from neuromancer.errors import ArgumentError
from neuromancer.nodes.layout import require_tensor
from neuromancer.nodes.merge import Concat, require_equal_sizes
from neuromancer.nodes.node import Node
from neuromancer.utils import new_seed
from neuromancer.variables import VariableParam


class FaithlessMerge(Concat):
    """Concatenation of two inputs, one of which is randomly replaced by zeros.

    This keeps a network from relying only on features that are easy to learn from. One draw is made per evaluation, for
    the whole batch.

    Parameters
    ----------
    hard_features, easy_features : Node
        Nodes with the same tags and, except on `axis`, the same sizes; concatenated in this order.
    axis : str or int
        Tag or position of the axis along which to concatenate.
    failing_prob : float
        Probability that one of the inputs is replaced by zeros (never both).
    hardeasy_ratio : float
        Probability that it is `hard_features` if one is replaced.
    name : str
    print_repr : bool

    Raises
    ------
    ArgumentError
        If a probability is not in [0, 1].
    InputTypeError
        If an input is not a node with a tensor output.
    ShapeError
        If tags differ, or sizes on other axes than `axis`.

    Notes
    -----
    In the inference form both inputs are always used. Both probabilities are non-trainable parameters.

    Examples
    --------
    >>> from neuromancer import Input
    >>> a = Input((1, 2), "b,f", print_repr=False)
    >>> merge = FaithlessMerge(a, a, failing_prob=1.0, hardeasy_ratio=1.0, print_repr=False)
    >>> merge([[1, 2]]).tolist(), merge.infer([[1, 2]]).tolist()
    ([[0.0, 0.0, 1.0, 2.0]], [[1.0, 2.0, 1.0, 2.0]])
    """

    def __init__(
        self,
        hard_features: Node,
        easy_features: Node,
        axis: str | int = "f",
        failing_prob: float = 0.5,
        hardeasy_ratio: float = 0.8,
        name: str = "faithless_merge",
        print_repr: bool = True,
    ) -> None:
        # The constructor of Concat would build the output before the parameters exist.
        Node.__init__(self, None, name, print_repr)
        for parent in (hard_features, easy_features):
            require_tensor(parent, self, "every input")
        self.parent = [hard_features, easy_features]
        self.axis = hard_features.shape.axis(axis)
        require_equal_sizes(self, self.parent, except_axis=self.axis)
        self.equivariant = self.axis not in hard_features.shape.spatial_axes
        for key, value in (("failing_prob", failing_prob), ("hardeasy_ratio", hardeasy_ratio)):
            number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            if not number or not 0 <= value <= 1:
                raise ArgumentError(f"{key} must be a probability", node=self, got=value, expected="a number in [0, 1]")
            self.params[key] = VariableParam(
                float(value), name=f"{self.name}_{key}", apply_train=False, apply_reg=False
            )
        self._stream = E.RandomStream(new_seed())

    def _make_output(self) -> None:
        if self.build_mode.inference:
            super()._make_output()
            return
        hard, easy = (p.output for p in self.parent)
        draw: Any = self._stream.uniform((2,))
        fails = draw[0] < self.params["failing_prob"]
        hard_fails = draw[1] < self.params["hardeasy_ratio"]
        keep_hard = E.T.switch(fails, E.T.switch(hard_fails, 0, 1), 1)
        keep_easy = E.T.switch(fails, E.T.switch(hard_fails, 1, 0), 1)
        parts = [hard * E.T.cast(keep_hard, hard.dtype), easy * E.T.cast(keep_easy, easy.dtype)]
        self.output = E.T.concatenate(parts, axis=self.axis)
