"""The models that exist, the nodes they hold, and how names are made unique."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from neuromancer.errors import ArgumentError, UnknownNameError, nearest_name

if TYPE_CHECKING:
    from neuromancer.graph.node import Node
    from neuromancer.model import Model

MAX_DIGITS = 18


class GraphManager:
    """Holds the nodes of one graph by name.

    Parameters
    ----------
    name : str
        Name of the graph.

    Attributes
    ----------
    nodes : dict of str to Node
        In the order of their creation.
    splits : dict of str to dict
        Arguments of every ``split`` by its name.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.nodes: dict[str, Node] = {}
        self.splits: dict[str, dict[str, Any]] = {}

    def unique_name(self, proposal: str) -> str:
        """The proposed name if it is free, else with the next free number at its end.

        Examples
        --------
        >>> g = GraphManager()
        >>> g.splits["conv9"] = {}
        >>> g.unique_name("conv9"), g.unique_name("conv"), g.unique_name("")
        ('conv10', 'conv', '1')
        """
        name = proposal
        while not name or name in self.nodes or name in self.splits:
            stem = name.rstrip("0123456789")
            # Of a longer number only the end counts on: Python refuses to read thousands of digits.
            stem = name[: max(len(stem), len(name) - MAX_DIGITS)]
            digits = name[len(stem) :]
            name = f"{stem}{int(digits) + 1 if digits else 1}"
        return name

    def register(self, node: Node) -> None:
        """Add a finished node under its (unique) name."""
        if node.name in self.nodes:
            raise ArgumentError("the name is taken", node=node, got=node.name, expected="a name not in this model")
        self.nodes[node.name] = node

    def forget(self, name: str) -> None:
        """Remove a node, also from its parents' children."""
        node = self.nodes.pop(name)
        for parent in node.parents:
            parent.children.pop(name, None)

    def reset(self) -> None:
        """Forget all nodes."""
        self.nodes.clear()
        self.splits.clear()

    @property
    def node_count(self) -> int:
        """Number of nodes."""
        return len(self.nodes)

    @property
    def sources(self) -> list[Node]:
        """Nodes into which data is fed."""
        return [n for n in self.nodes.values() if n.is_source]

    @property
    def sinks(self) -> list[Node]:
        """Nodes that no other node uses."""
        return [n for n in self.nodes.values() if not n.children]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, slice)):
            return list(self.nodes.values())[key]
        if key not in self.nodes:
            raise UnknownNameError(
                f"no node named {key!r}",
                node=f"model {self.name}",
                got=key,
                expected=f"one of {list(self.nodes)}",
                nearest=nearest_name(key, self.nodes),
            )
        return self.nodes[key]

    def __contains__(self, name: object) -> bool:
        return name in self.nodes

    def __repr__(self) -> str:
        return repr(list(self.nodes))


class ModelContainer:
    """All models of the process; new nodes go to the current one.

    Attributes
    ----------
    models : dict of str to Model
    current : Model or None
        Where new nodes are registered.
    last : Model or None
        The model that was current before.

    Examples
    --------
    >>> from neuromancer import model_manager
    >>> model = model_manager.newmodel("segmentation")
    >>> model_manager.current is model
    True
    >>> model_manager.delmodel("segmentation")
    """

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.current: Model | None = None
        self.last: Model | None = None

    def newmodel(self, name: str | None = None) -> Model:
        """Create a model and make it current; None gives it a random name. ArgumentError if the name is taken."""
        from neuromancer.model import Model

        name = uuid.uuid4().hex if name is None else name
        if name in self.models:
            raise ArgumentError(
                "a model of this name exists",
                node="model_manager",
                got=name,
                expected=f"a name not in {list(self.models)}",
            )
        model = Model(name)
        self.models[name] = model
        self._activate(model)
        return model

    def setdefault(self) -> Model:
        """Create the model "default" and make it current; ArgumentError if it exists."""
        return self.newmodel("default")

    def getmodel(self, name: str = "default") -> Model:
        """Return a model and make it current. UnknownNameError if there is none of this name."""
        model = self[name]
        self._activate(model)
        return model

    def delmodel(self, name: str) -> None:
        """Forget a model; if it was current, the one before becomes current."""
        model = self[name]
        del self.models[name]
        if model is self.last:
            self.last = None
        if model is self.current:
            self.current, self.last = self.last, None

    def togglemodel(self) -> None:
        """Make the last model current and the current one last."""
        if self.last is None:
            raise ArgumentError("there is no last model to go back to", node="model_manager", got=list(self.models))
        self.current, self.last = self.last, self.current

    def active(self) -> Model:
        """The current model, the default one if there is none yet."""
        if self.current is None:
            return self.getmodel() if "default" in self.models else self.setdefault()
        return self.current

    @contextmanager
    def all_or_nothing(self) -> Iterator[Model]:
        """Yield the active model; if the block raises, the nodes and splits that it added vanish again.

        Examples
        --------
        >>> from neuromancer import Input, model_manager
        >>> model = model_manager.newmodel("halfway")
        >>> try:
        ...     with model_manager.all_or_nothing():
        ...         inp, fails = Input((1, 2), "b,f", print_repr=False), 1 / 0
        ... except ZeroDivisionError:
        ...     print(list(model.nodes))
        []
        >>> model_manager.delmodel("halfway")
        """
        model = self.active()
        nodes, splits = len(model.nodes), len(model.splits)
        try:
            yield model
        except BaseException:
            for name in reversed(list(model.nodes)[nodes:]):
                model.forget(name)
            for name in list(model.splits)[splits:]:
                del model.splits[name]
            raise

    def _activate(self, model: Model) -> None:
        if model is not self.current:
            self.last, self.current = self.current, model

    def __getitem__(self, name: str) -> Model:
        if name not in self.models:
            raise UnknownNameError(
                f"no model named {name!r}",
                node="model_manager",
                got=name,
                expected=f"one of {list(self.models)}",
                nearest=nearest_name(name, self.models),
            )
        return self.models[name]

    def __repr__(self) -> str:
        return repr(list(self.models))


model_manager = ModelContainer()
