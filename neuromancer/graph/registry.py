"""Registries: the models of the process, the nodes of a graph, and unique names."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, TypeVar
from weakref import WeakSet

from neuromancer.errors import ArgumentError, UnknownNameError, nearest_name
from neuromancer.exclusive import Exclusive, building_lock
from neuromancer.graph.protocol import NodeLike
from neuromancer.provided import provided
from neuromancer.utils import NAME_LENGTH, check_name, safe_file_name


def free_name(proposal: str, *taken: Container[str]) -> str:
    """Return the proposed name if it is free, else with the next free number as its suffix."""
    name = proposal
    while not name or any(name in names for names in taken):
        stem, digits = re.fullmatch(r"(.*?)(\d{0,9})", name, re.DOTALL).groups()  # type: ignore[union-attr]
        number = str(int(digits) + 1 if digits else 1)
        name = stem[: NAME_LENGTH - len(number)] + number
    return name


class Graph:
    """Holds the nodes of one graph by name.

    Parameters
    ----------
    name : str
        Name of the graph.

    Attributes
    ----------
    name : str
        Can be changed; the model is then registered under the new name.
    nodes : dict of str to Node
        In the order of their creation.
    splits : dict of str to dict
        Arguments of every ``split``, by its name.
    """

    def __init__(self, name: str = "") -> None:
        self._name = check_name(name, "model", stored=True)
        self.nodes: dict[str, NodeLike] = {}
        self.splits: dict[str, dict[str, Any]] = {}

    @property
    def name(self) -> str:
        """Name of the graph; setting one that is taken, too long or cannot be stored raises ArgumentError."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        name = check_name(name, f"model {self._name}", stored=True)
        model_manager.rename(self, name)
        self._name = name

    def unique_name(self, proposal: str) -> str:
        """Return the proposed name if it is free, else with the next free number as its suffix.

        Examples
        --------
        >>> g = Graph()
        >>> g.splits["conv9"] = {}
        >>> g.unique_name("conv9"), g.unique_name("conv"), g.unique_name("")
        ('conv10', 'conv', '1')
        """
        return free_name(proposal, self.nodes, self.splits)

    def register(self, node: NodeLike) -> None:
        """Add a finished node under its unique name."""
        if node.name in self.nodes:
            raise ArgumentError("the name is taken", node=node, got=node.name, expected="a name not in this model")
        self.nodes[node.name] = node

    def forget(self, name: str) -> None:
        """Remove a node, also from the children of its parents."""
        node = self.nodes.pop(name)
        for parent in node.parents:
            parent.children.pop(name, None)

    def reset(self) -> None:
        """Remove all nodes."""
        self.nodes.clear()
        self.splits.clear()

    @property
    def node_count(self) -> int:
        """Number of nodes."""
        return len(self.nodes)

    @property
    def sources(self) -> Sequence[NodeLike]:
        """Nodes that are fed with data."""
        return [n for n in self.nodes.values() if n.is_source]

    @property
    def sinks(self) -> Sequence[NodeLike]:
        """Nodes that no other node uses."""
        return [n for n in self.nodes.values() if not n.children]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, slice)):
            return list(self.nodes.values())[key]
        if key not in self.nodes:
            raise UnknownNameError(
                f"no node named {key!r}",
                where=f"model {self.name}",
                got=key,
                expected=f"one of {list(self.nodes)}",
                nearest=nearest_name(key, self.nodes),
            )
        return self.nodes[key]

    def __contains__(self, name: object) -> bool:
        return name in self.nodes

    def __repr__(self) -> str:
        return repr(list(self.nodes))


M = TypeVar("M", bound=Graph)


class _Selection(Generic[M]):
    """The current and the previous model of a thread."""

    def __init__(self) -> None:
        self.current: M | None = None
        self.last: M | None = None


class ModelRegistry(Generic[M]):
    """All models of the process, and the current model of each thread, which new nodes are added to.

    A thread starts without a current model. ``newmodel`` and ``getmodel`` set it for the calling thread. Without one,
    the first node creates a model, named "default" in the main thread and ``"default of <name of the thread>"`` in
    others.

    Attributes
    ----------
    models : dict of str to Model
    current : Model or None
        The model in which new nodes of this thread are registered.
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

    model_class: ClassVar[type[Any] | None] = None
    """Class of new models; None for :class:`neuromancer.Model`."""

    def __init__(self) -> None:
        self.models: dict[str, M] = {}
        self._lock = Exclusive()
        self._of_thread = threading.local()
        self._selections: WeakSet[_Selection[M]] = WeakSet()

    @property
    def _selection(self) -> _Selection[M]:
        selection: _Selection[M] | None = getattr(self._of_thread, "selection", None)
        if selection is None:
            selection = self._of_thread.selection = _Selection()
            with self._lock:
                self._selections.add(selection)
        return selection

    @property
    def current(self) -> M | None:
        """The model in which new nodes of this thread are registered."""
        return self._selection.current

    @current.setter
    def current(self, model: M | None) -> None:
        self._selection.current = model

    @property
    def last(self) -> M | None:
        """The previous current model of this thread."""
        return self._selection.last

    @last.setter
    def last(self, model: M | None) -> None:
        self._selection.last = model

    def newmodel(self, name: str | None = None) -> M:
        """Create a model and make it current.

        Parameters
        ----------
        name : str, optional
            Up to 1000 characters; None for a random name. Files named after the model get a name that is valid on
            every file system (:func:`neuromancer.utils.safe_file_name`).

        Raises
        ------
        ArgumentError
            If the name is taken, too long or cannot be stored (lone surrogates).
        InputTypeError
            If it is not a string.
        """
        name = uuid.uuid4().hex if name is None else check_name(name, "model_manager", stored=True)
        model_class = self.model_class or provided("Model")
        with self._lock:
            self._require_free(name)
            model: M = model_class(name)
            self.models[name] = model
        self._activate(model)
        return model

    def setdefault(self) -> M:
        """Create the model "default" and make it current; ArgumentError if it exists."""
        return self.newmodel("default")

    def getmodel(self, name: str = "default") -> M:
        """Return a model and make it current; UnknownNameError if there is none of this name."""
        model = self[name]
        self._activate(model)
        return model

    def delmodel(self, name: str) -> None:
        """Remove a model; in threads where it was current, the previous model becomes current."""
        with self._lock:
            model = self[name]
            del self.models[name]
            for selection in self._selections:
                if model is selection.last:
                    selection.last = None
                if model is selection.current:
                    selection.current, selection.last = selection.last, None

    def rename(self, model: Graph, name: str) -> None:
        """Register a model under another name, if it is in this registry; ArgumentError if the name is taken."""
        with self._lock:
            if name == model.name or self.models.get(model.name) is not model:
                return
            self._require_free(name)
            self.models[name] = self.models.pop(model.name)

    def _require_free(self, name: str) -> None:
        if name in self.models:
            raise ArgumentError(
                "a model of this name already exists",
                where="model_manager",
                got=name,
                expected=f"a name not in {list(self.models)}",
            )

    def togglemodel(self) -> None:
        """Switch back to the previous model; the current one becomes the previous."""
        if self.last is None:
            raise ArgumentError("there is no previous model to switch to", where="model_manager", got=list(self.models))
        self.current, self.last = self.last, self.current

    def active(self) -> M:
        """Return the current model; if there is none yet, the thread's default model."""
        if self.current is not None:
            return self.current
        if threading.current_thread() is threading.main_thread():
            return self.getmodel() if "default" in self.models else self.setdefault()
        with self._lock:
            name = free_name(f"default of {safe_file_name(threading.current_thread().name)}", self.models)
            return self.newmodel(name)

    @contextmanager
    def all_or_nothing(self) -> Iterator[M]:
        """Yield the active model; if the block raises, the nodes and splits that it added are removed.

        Other threads cannot add nodes meanwhile.

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
        with building_lock:
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

    def _activate(self, model: M) -> None:
        if model is not self.current:
            self.last, self.current = self.current, model

    def __getitem__(self, name: str) -> M:
        if name not in self.models:
            raise UnknownNameError(
                f"no model named {name!r}",
                where="model_manager",
                got=name,
                expected=f"one of {list(self.models)}",
                nearest=nearest_name(name, self.models),
            )
        return self.models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.models))

    def __repr__(self) -> str:
        return repr(list(self.models))


model_manager: ModelRegistry[Any] = ModelRegistry()
