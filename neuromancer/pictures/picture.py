"""Picture of a graph, which is rendered on demand, displayed in notebooks and saved atomically."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from html import escape
from pathlib import Path

from neuromancer.errors import ArgumentError, FileError, MissingDependencyError, nearest_name
from neuromancer.pictures.dot import dot_source, render
from neuromancer.pictures.html import page
from neuromancer.pictures.info import GraphInfo
from neuromancer.pictures.options import PlotOptions
from neuromancer.places import local_file, require_replaceable
from neuromancer.printable import escape as printable_text

FORMATS = ("png", "svg", "pdf", "dot", "html")
NOTEBOOK_HEIGHT = 620


class Picture:
    """Picture of a graph, displayed in notebooks as an interactive page.

    Parameters
    ----------
    graph : GraphInfo
        Graph to draw; a snapshot, independent of later changes of the nodes.
    options : PlotOptions, optional

    Examples
    --------
    >>> import neuromancer as nm
    >>> x = nm.Input((None, 3), "b,f", name="drawn", print_repr=False)
    >>> picture = x.plot()
    >>> picture
    <Picture of node drawn: 1 nodes>
    >>> picture.dot.startswith("digraph"), picture.html.startswith("<!DOCTYPE html>")
    (True, True)
    """

    def __init__(self, graph: GraphInfo, options: PlotOptions | None = None) -> None:
        self.graph = graph
        self.options = options or PlotOptions()

    @property
    def dot(self) -> str:
        """DOT text of the picture."""
        return dot_source(self.graph, self.options)

    @property
    def html(self) -> str:
        """Interactive page, a self-contained HTML document."""
        return page(self.graph, self.options)

    def render(self, format: str) -> bytes:
        """Render the picture.

        Parameters
        ----------
        format : {'png', 'svg', 'pdf', 'dot', 'html'}
            File format; 'png', 'svg' and 'pdf' need graphviz.

        Returns
        -------
        bytes
            Content of the file.

        Raises
        ------
        ArgumentError
            If the format is unknown.
        MissingDependencyError
            If graphviz is needed but not installed.
        EngineError
            If graphviz fails.
        """
        if format not in FORMATS:
            raise ArgumentError(
                "unknown picture format",
                where="plot",
                got=format,
                expected=f"one of {FORMATS}",
                nearest=nearest_name(str(format).lower(), FORMATS) or "html",
            )
        if format == "html":
            return self.html.encode()
        return self.dot.encode() if format == "dot" else render(self.dot, format)

    def save(self, path: str | os.PathLike[str], format: str | None = None) -> Path:
        """Write the picture to a file atomically.

        Parameters
        ----------
        path : path
            Path of the file; an existing file is replaced.
        format : str, optional
            See :meth:`render`. Default: the suffix of `path`. A path without suffix gets that of the format.

        Returns
        -------
        pathlib.Path
            Path of the written file.

        Raises
        ------
        ArgumentError
            If the format is unknown, or given neither by the suffix of `path` nor by `format`.
        FileError
            If the file cannot be written.
        MissingDependencyError
            If graphviz is needed but not installed.
        EngineError
            If graphviz fails.
        """
        target = local_file(path, "plot")
        if format is None:
            format = target.suffix[1:].lower()
        if not format:
            raise ArgumentError(
                "the file name has no suffix to determine the picture format",
                where="plot",
                got=str(path),
                expected=f"a suffix out of {FORMATS}, or format=...",
                nearest=f"{path}.html",
            )
        if not target.suffix and target.name:
            target = target.with_suffix(f".{format}")
        _write(target, self.render(format))
        return target

    def _repr_html_(self) -> str:
        # In a sandboxed frame, which may only run its own script.
        title = escape(printable_text(self.graph.title))
        return (
            f'<iframe sandbox="allow-scripts" title="{title}" srcdoc="{escape(self.html)}" '
            f'style="width:100%;height:{NOTEBOOK_HEIGHT}px;border:1px solid #8884;border-radius:6px"></iframe>'
        )

    def _repr_svg_(self) -> str | None:
        with suppress(MissingDependencyError):
            return render(self.dot, "svg").decode()
        return None

    def __repr__(self) -> str:
        return f"<Picture of {printable_text(self.graph.title)}: {len(self.graph.nodes)} nodes>"


def plot(
    graph: GraphInfo,
    path: str | os.PathLike[str] | None,
    format: str | None,
    colour: str = "kind",
    direction: str = "down",
    edge_labels: bool = True,
) -> Picture:
    """Create a picture of a described graph and save it if a path is given; see ``Model.plot`` for the arguments."""
    picture = Picture(graph, PlotOptions(colour, direction, edge_labels))
    if path is not None:
        picture.save(path, format)
    elif format is not None:
        raise ArgumentError(
            "format is given without a path",
            where="plot",
            got=f"format={format!r}",
            expected="a path, or plot().render(format)",
        )
    return picture


def _write(path: Path, content: bytes) -> None:
    try:
        target = Path(os.path.realpath(path))
        temporary = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}.tmp")
        require_replaceable(target)
        try:
            temporary.write_bytes(content)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        folder = _existing(path.parent)
        nearest = None if folder == path.parent else f"an existing folder, such as {folder}"
        raise FileError(
            "cannot write the picture",
            where=str(path),
            got=str(error),
            expected="a path in a folder that may be written to",
            nearest=nearest,
        ) from error


def _existing(folder: Path) -> Path:
    """Return the closest existing parent folder."""
    while folder != folder.parent and not os.path.isdir(folder):  # noqa: PTH112 (takes any name)
        folder = folder.parent
    return folder
