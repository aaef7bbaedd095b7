"""The course of every import: translate, set roles, verify, report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from neuromancer.errors import ArgumentError
from neuromancer.graph.geometry import period
from neuromancer.graph.registry import free_name, model_manager
from neuromancer.graph.tagged_shape import SPATIAL_TAGS
from neuromancer.interop.layers import SizesNeeded
from neuromancer.interop.network import SPACE, Network, Value, new_model
from neuromancer.interop.report import geometry_of
from neuromancer.interop.verify import DiffersAtOtherSizes, Run, verify
from neuromancer.models.import_report import ImportReport
from neuromancer.models.model import Model
from neuromancer.progress import say
from neuromancer.utils import safe_file_name

Translate = Callable[[Network, Counter[str]], list[Value]]
"""Builds the nodes, counts the operations, and returns the values of the outputs."""


@dataclass(frozen=True)
class Source:
    """A network to import.

    Attributes
    ----------
    label : str
        For messages and the report.
    ndim : int
        Number of spatial axes.
    translate : callable
    run : callable or None
        Evaluates the source, for the verification.
    reference : str
        What evaluates it, or why it cannot be evaluated.
    """

    label: str
    ndim: int
    translate: Translate
    run: Run | None
    reference: str


def import_network(source: Source, tags: str | Sequence[str] | None, name: str | None, print_report: bool) -> Model:
    """Translate a network into a model of its own, verify it, and attach the report.

    Raises
    ------
    TranslationError
        If an operation cannot be translated, or the result differs from the source.
    """
    space = space_of(tags, source.ndim)
    try:
        model = _imported(source, space, name, False)
    except (SizesNeeded, DiffersAtOtherSizes):
        model = _imported(source, space, name, True)
    if print_report:
        say(str(model.import_report))
    return model


def _imported(source: Source, space: str, name: str | None, fixed: bool) -> Model:
    with new_model(name or _free_name(source)) as model:
        net, operations = Network(model, space, fixed), Counter[str]()
        outputs = source.translate(net, operations)
        nodes = [v.node for v in outputs]
        model.designate_nodes(
            net.inputs[0].node, prediction_node=nodes[0], prediction_ext=nodes if len(nodes) > 1 else None
        )
        checks = verify(net, outputs, source.run, source.label) if source.run is not None else []
        model.import_report = ImportReport(
            source=source.label,
            operations=dict(operations),
            nodes=len(model.nodes),
            parameters=_parameters(model),
            checks=tuple(checks),
            reference=source.reference,
            geometry=geometry_of(nodes),
            notes=tuple(net.notes),
        )
        return model


def _free_name(source: Source) -> str:
    """Return the name of the source, or with a number if a model has it."""
    stem = Path(source.label.rpartition(" (")[0]).stem
    return free_name(safe_file_name(stem) or "imported", model_manager.models)


def periods(translate: Translate, ndim: int) -> list[int]:
    """Return the period of a network per spatial axis, 1 if it takes only the sizes of its example.

    Raises
    ------
    TranslationError
        If it cannot be translated at the sizes of its example.
    """
    before, last = model_manager.current, model_manager.last
    try:
        with new_model(None) as scratch:
            nodes = [v.node for v in translate(Network(scratch, SPACE[ndim]), Counter()) if v.node.shape.ndim == ndim]
            steps = [int(period(nodes, k)) for k in range(ndim)]
    except SizesNeeded:
        return [1] * ndim
    model_manager.delmodel(scratch.name)
    model_manager.current, model_manager.last = before, last
    return steps


def _parameters(model: Model) -> int:
    distinct = {id(p): p for node in model.nodes.values() for p in node.params.values() if p.apply_train}
    return sum(int(p.get_value().size) for p in distinct.values())


def space_of(tags: str | Sequence[str] | None, ndim: int) -> str:
    """Return the tags of the spatial axes, from tags such as ``'b,f,z,y,x'`` or ``'zyx'``; by default z, y, x."""
    if tags is None:
        return SPACE[ndim]
    named = isinstance(tags, (str, list, tuple)) and all(isinstance(tag, str) for tag in tags)
    given = "".join(tags).replace(",", "").replace(" ", "") if named else ""
    space = given.removeprefix("bf")
    if not named or len(space) != ndim or len(set(space)) != ndim or not set(space) <= set(SPATIAL_TAGS):
        raise ArgumentError(
            "tags must name the spatial axes in their order",
            where="tags",
            got=tags,
            expected=f"{ndim} different ones of z, y, x",
            nearest=f"'b,f,{','.join(SPACE[ndim])}'" if SPACE[ndim] else "'b,f'",
        )
    return space
