"""Models leave for other libraries, by functions of the modules that know these, which are built on models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from neuromancer.graph.node import GraphNode
from neuromancer.provided import provided

Outputs = GraphNode | str | Sequence[GraphNode | str] | None
"""Nodes that leave, or their names; None for the prediction node."""


class Exportable:
    """Base of models: what makes files and modules of other libraries."""

    def export(self, path: str | os.PathLike[str], nodes: Outputs = None) -> None:
        """Write the model to an ONNX file, in its inference form; see :func:`neuromancer.export`.

        Parameters
        ----------
        path : path
            Ending in ``.onnx``.
        nodes : Node, str, or list of them, optional
            Outputs of the file. Default: the prediction node.
        """
        provided("export")(self, path, nodes)

    def to_torch(self, nodes: Outputs = None) -> Any:
        """Return the model as a ``torch.nn.Module`` with the same results; see :func:`neuromancer.to_torch`.

        Parameters
        ----------
        nodes : Node, str, or list of them, optional
            Outputs of the module. Default: the prediction node.

        Returns
        -------
        torch.fx.GraphModule
        """
        return provided("to_torch")(self, nodes)

    def export_bioimageio(self, path: str | os.PathLike[str], **arguments: Any) -> None:
        """Write the model as a package of bioimage.io; arguments as for :func:`neuromancer.export_bioimageio`.

        Parameters
        ----------
        path : path
            A new folder, or a file ending in ``.zip``.
        **arguments
            ``authors``, ``license``, ``cite`` and ``documentation`` are needed.
        """
        provided("export_bioimageio")(self, path, **arguments)
