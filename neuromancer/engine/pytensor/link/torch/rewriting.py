"""Graph rewrites before linking: PyTensor's without those for C code, then the fusions of this package."""

from __future__ import annotations

from functools import cache

from pytensor.compile.mode import optdb
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import HasInnerGraph
from pytensor.graph.rewriting.basic import GraphRewriter, SequentialGraphRewriter
from pytensor.graph.rewriting.db import RewriteDatabaseQuery
from pytensor.scan.op import Scan

from neuromancer.engine.pytensor.link.torch.composites import TakeApart
from neuromancer.engine.pytensor.link.torch.fusion import FUSIONS
from neuromancer.engine.pytensor.link.torch.runs import CutRuns
from neuromancer.engine.pytensor.link.torch.shapes import ON_DEMAND, AttachShapes

REQUIRED = ("minimum_compile",)
INCOMPATIBLE = (
    "cxx_only",
    "BlasOpt",
    "fusion",
    "inplace",
    "compile_inner_graph",  # inner graphs become programs of their own, see `rewritten`
    "scan_save_mem_prealloc",
    "scan_reduce_trace_prealloc",
    "reuse_lu_decomposition_multiple_solves",
    "reuse_decomposition_multiple_solves",
    "scan_split_non_sequence_lu_decomposition_solve",
    "scan_split_non_sequence_decomposition_and_solve",
)
"""Tags of rewrites that create operations for C code or in-place operations, as named in PyTensor 3.0 and 3.3."""
ALGEBRA = (
    "dot_diag_to_elemwise",
    "extract_diag_lift_pass",
    "orthogonal_dot_transpose_to_eye",
    "selection_dot_to_indexing",
    "useless_symmetric_transpose",
)
"""Rewrites that look for matrices with a special structure (diagonal, orthogonal). Some traverse the graph at every
product, so that compile time grows with the square of the number of layers."""
LOOPS = "scan"
"""Tag of rewrites for loops, each of which visits all operations."""


class Simplify(GraphRewriter):
    """PyTensor's rewrites, those for loops only in a graph that has loops."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """Rewrite `fgraph` in place."""
        _simplifications(loops=any(isinstance(node.op, Scan) for node in fgraph.apply_nodes)).rewrite(fgraph)


@cache
def _simplifications(loops: bool) -> GraphRewriter:
    replaced = () if ON_DEMAND else ("ShapeOpt",)
    unused = (*INCOMPATIBLE, *ALGEBRA, *replaced, *(() if loops else (LOOPS,)))
    return optdb.query(RewriteDatabaseQuery(include=["fast_run", *REQUIRED], exclude=unused))


@cache
def rewriter() -> GraphRewriter:
    """Return all rewrites, in order."""
    shapes = [] if ON_DEMAND else [AttachShapes()]
    return SequentialGraphRewriter(CutRuns(), *shapes, Simplify(), TakeApart(), *FUSIONS)


def rewritten(op: HasInnerGraph) -> FunctionGraph:
    """Return a rewritten copy of the inner graph of `op`."""
    inner = op.fgraph
    if hasattr(inner, "unfreeze"):  # newer versions share inner graphs and freeze them
        fgraph = inner.unfreeze()
    else:
        fgraph = FunctionGraph(inner.inputs, inner.outputs, clone=True)
    rewriter().rewrite(fgraph)
    return fgraph
