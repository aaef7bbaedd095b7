"""DOT text of a described graph, and its rendering as PNG, SVG or PDF by graphviz."""

from __future__ import annotations

import math
import shutil
import subprocess
from html import escape

import pydot

from neuromancer.errors import EngineError, MissingDependencyError
from neuromancer.pictures.info import TIMES, EdgeInfo, GraphInfo, NodeInfo, short_number, times
from neuromancer.pictures.options import PlotOptions
from neuromancer.printable import escape as printable_text

FONT = "Helvetica,Arial,DejaVu Sans,sans-serif"
INK, SOFT, LINE, BAR, TRACK = "#1b2430", "#5b6675", "#93a0b0", "#d9622b", "#c9d1dc"
KINDS = {
    "source": ("#d9efe0", "#3d9a62", "source"),
    "value": ("#f4f1e4", "#b09a45", "value"),
    "layer": ("#dbe8fa", "#3b74c4", "layer with parameters"),
    "operation": ("#eef0f4", "#8290a3", "operation"),
    "loss": ("#fadfe0", "#c94c55", "loss or error"),
}
BLOCKS = 40
"""Length of the bar for a node's share of the cost, in characters."""
LONGEST = 48
"""Maximum length of a displayed name."""


def dot_source(graph: GraphInfo, options: PlotOptions) -> str:
    """Return the DOT text of a described graph; graphviz is not needed.

    Parameters
    ----------
    graph : GraphInfo
    options : PlotOptions

    Returns
    -------
    str

    Examples
    --------
    >>> import neuromancer as nm
    >>> from neuromancer.pictures.describe import describe_node
    >>> x = nm.Input((None, 3), "b,f", name="x", print_repr=False)
    >>> print(dot_source(describe_node(x), PlotOptions()).splitlines()[0])
    digraph graph_of_nodes {
    """
    # Everything is quoted here, as pydot's own quoting depends on its version.
    picture = pydot.Dot(
        "graph_of_nodes",
        graph_type="digraph",
        rankdir="LR" if options.direction == "right" else "TB",
        fontname=_quoted(FONT),
        label=_html(f'<font point-size="16"><b>{_text(graph.title)}</b></font><br/>{_text(totals(graph))}'),
        labelloc="t",
        nodesep="0.35",
        ranksep="0.4",
        pad="0.2",
        bgcolor=_quoted("#ffffff"),
        fontcolor=_quoted(INK),
        fontsize="11",
    )
    picture.set_node_defaults(shape="plain", fontname=_quoted(FONT), fontsize="10", fontcolor=_quoted(INK))
    picture.set_edge_defaults(
        color=_quoted(LINE), fontname=_quoted(FONT), fontsize="9", fontcolor=_quoted(SOFT), arrowsize="0.7"
    )
    shades = _shades(graph, options.colour)
    for i, (node, shade) in enumerate(zip(graph.nodes, shades, strict=True)):
        tip = _quoted(printable_text(f"{node.class_name} {node.name}"))
        picture.add_node(pydot.Node(f"n{i}", label=_html(_table(node, shade)), tooltip=tip))
    for edge in graph.edges:
        picture.add_edge(_edge(edge, options))
    return picture.to_string()


def render(text: str, fmt: str) -> bytes:
    """Render DOT text with graphviz.

    Parameters
    ----------
    text : str
        DOT text.
    fmt : {'png', 'svg', 'pdf'}

    Returns
    -------
    bytes
        Content of the picture file.

    Raises
    ------
    MissingDependencyError
        If graphviz is not installed.
    EngineError
        If graphviz fails; the message contains its error output.
    """
    program = shutil.which("dot")
    if program is None:
        raise MissingDependencyError(
            f"plotting as {fmt} needs the program 'dot' of graphviz, which is not installed",
            where="plot",
            expected="graphviz installed (for example: apt-get install graphviz, conda install graphviz)",
            nearest="the formats 'html' and 'dot', which do not need graphviz",
        )
    resolution = ["-Gdpi=144"] if fmt == "png" else []
    done = subprocess.run([program, f"-T{fmt}", *resolution], input=text.encode(), capture_output=True)
    if done.returncode:
        raise EngineError("graphviz failed", where="plot", got=done.stderr.decode(errors="replace").strip())
    return done.stdout


def totals(graph: GraphInfo) -> str:
    """Return a one-line summary of the whole graph."""
    parts = [
        f"{len(graph.nodes)} nodes",
        f"{graph.param_count:,} trainable parameters",
        f"cost {short_number(graph.cost)}",
    ]
    at = next((n for n in graph.nodes if n.name == graph.reference), None)
    if at is not None and at.fov:
        parts.append(f"field of view {times(at.fov)}, strides {times(at.strides)} (of {at.name})")
    return "  ·  ".join(parts)


def _table(node: NodeInfo, shade: str | None) -> str:
    fill, border, _ = KINDS[node.kind]
    rows = [f'<font point-size="12"><b>{_text(_short(node.name))}</b></font>']
    roles = f'  <font color="{border}"><b>{_text(", ".join(node.roles))}</b></font>' if node.roles else ""
    rows.append(f'<font color="{SOFT}">{_text(node.class_name)}</font>{roles}')
    rows.append(_text(node.shape_text))
    if node.fov:
        rows.append(f'<font color="{SOFT}">fov {times(node.fov)}, strides {times(node.strides)}</font>')
    trained = [p for p in node.params if p.trainable]
    if trained:
        shapes = ", ".join(f"{_text(p.name)} {TIMES.strip().join(map(str, p.shape)) or 'scalar'}" for p in trained[:4])
        more = ", …" if len(trained) > 4 else ""
        rows.append(f'{node.param_count:,} parameters <font color="{SOFT}">({shapes}{more})</font>')
    if node.cost:
        rows.append(f"cost {short_number(node.cost)} ({_percent(node.cost_share)})")
    if node.cost:
        rows.append(_bar(node.cost_share))
    cells = "".join(f'<tr><td align="left">{row}</td></tr>' for row in rows)
    style = "dashed" if node.kind == "value" else "rounded"
    return (
        f'<table border="{2 if node.roles else 1}" cellborder="0" cellspacing="0" cellpadding="5" '
        f'color="{border}" bgcolor="{shade or fill}" style="{style}"><tr><td>'
        f'<table border="0" cellborder="0" cellspacing="0" cellpadding="1">{cells}</table></td></tr></table>'
    )


def _bar(share: float) -> str:
    full = max(1, round(BLOCKS * share))
    rest = f'<font color="{TRACK}">{"█" * (BLOCKS - full)}</font>' if full < BLOCKS else ""
    return f'<font point-size="4"><font color="{BAR}">{"█" * full}</font>{rest}</font>'


def _edge(edge: EdgeInfo, options: PlotOptions) -> pydot.Edge:
    attributes = {}
    if edge.kind == "memory":
        attributes = {"style": "dashed", "constraint": "false", "label": _quoted("next step")}
    elif options.edge_labels:
        attributes = {"label": _quoted(f" {edge.label} ")}
    return pydot.Edge(f"n{edge.source}", f"n{edge.target}", **attributes)


def measure(node: NodeInfo, colour: str) -> float | None:
    """Return the logarithm of the number that a node is coloured by; None if it is 0 or unknown."""
    known = [] if None in node.fov else [v for v in node.fov if v is not None]
    size = math.prod(known) if known else None
    value = {"cost": node.cost, "parameters": node.param_count, "fov": size}[colour]
    return math.log(value) if value else None


def _shades(graph: GraphInfo, colour: str) -> list[str | None]:
    """Return background colours by kind (None), by class, or from pale to strong by a number."""
    if colour == "kind":
        return [None] * len(graph.nodes)
    if colour == "class":
        classes = list(dict.fromkeys(n.class_name for n in graph.nodes))
        return [f"{(0.58 + 0.381966 * classes.index(n.class_name)) % 1:.3f} 0.22 0.97" for n in graph.nodes]
    values = [measure(n, colour) for n in graph.nodes]
    known = [v for v in values if v is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return [
        "#f6f7f9" if v is None else f"0.58 {0.08 + 0.47 * ((v - low) / (high - low) if high > low else 1):.3f} 0.98"
        for v in values
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.0095 else "&lt; 1 %"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _text(text: str) -> str:
    return escape(printable_text(text))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _html(text: str) -> str:
    return f"<{text}>"
