"""Which graph rewrites run before linking: PyTensor's without those for C code, then our own fusions."""

from __future__ import annotations

from functools import cache

from pytensor.compile.mode import optdb
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.op import HasInnerGraph
from pytensor.graph.rewriting.basic import GraphRewriter, SequentialGraphRewriter
from pytensor.graph.rewriting.db import RewriteDatabaseQuery

from neuromancer.engine.pytensor.link.torch.fusion import FUSIONS
from neuromancer.engine.pytensor.link.torch.runs import CutRuns

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
"""Tags of rewrites that make operations for C code or write into their inputs, in the names of PyTensor 3.0 and 3.3."""
ALGEBRA = (
    "dot_diag_to_elemwise",
    "orthogonal_dot_transpose_to_eye",
    "selection_dot_to_indexing",
    "useless_symmetric_transpose",
)
"""Rewrites that ask of every product whether a matrix is diagonal, orthogonal or of another special form. For that they
follow the graph, so that the time to compile grows with the square of the number of layers."""


@cache
def rewriter() -> GraphRewriter:
    """All rewrites, in order."""
    query = RewriteDatabaseQuery(include=["fast_run", *REQUIRED], exclude=(*INCOMPATIBLE, *ALGEBRA))
    return SequentialGraphRewriter(CutRuns(), optdb.query(query), *FUSIONS)


def rewritten(op: HasInnerGraph) -> FunctionGraph:
    """Return a rewritten copy of the inner graph of `op`."""
    inner = op.fgraph
    if hasattr(inner, "unfreeze"):  # newer versions share inner graphs and so keep them frozen
        fgraph = inner.unfreeze()
    else:
        fgraph = FunctionGraph(inner.inputs, inner.outputs, clone=True)
    rewriter().rewrite(fgraph)
    return fgraph
