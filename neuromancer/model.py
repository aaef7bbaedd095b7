"""Models: graphs whose nodes have roles, so that they can be trained and used for prediction."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuromancer.errors import ArgumentError, GraphError, InputTypeError, ShapeError
from neuromancer.exclusive import building_lock
from neuromancer.graph.function import getinput_for_multioutput, make_func
from neuromancer.graph.inspection import check_arrays
from neuromancer.graph.node import Node
from neuromancer.graph.rebuild import BuildMode, rebuild
from neuromancer.graph.registry import GraphManager
from neuromancer.io.load import modelload as modelload
from neuromancer.io.load import params_from_model_file as params_from_model_file
from neuromancer.io.save import save
from neuromancer.networks import simple_cnn as simple_cnn
from neuromancer.train.training import Training
from neuromancer.utils import as_floatX

if TYPE_CHECKING:
    from neuromancer.pictures import Picture

ROLES = ("input_node", "target_node", "loss_node", "prediction_node", "error_node")
LIST_ROLES = ("prediction_ext", "debug_outputs")


class Model(Training, GraphManager):
    """A graph of nodes with designated roles.

    Made by ``model_manager.newmodel(name)``; nodes register themselves with the current model.

    Parameters
    ----------
    name : str

    Attributes
    ----------
    input_node, target_node, loss_node, prediction_node, error_node : Node or None
        The designated nodes.
    prediction_ext, debug_outputs : list of Node
        Designated lists of nodes.
    batch_size : int or None
        Batch size of the prediction node.
    ndim : int or None
        Number of spatial axes of the prediction node.

    Examples
    --------
    >>> import numpy as np
    >>> import neuromancer as nm
    >>> model = nm.model_manager.newmodel("fit")
    >>> x = nm.Input((4, 1), "b,f", name="x", print_repr=False)
    >>> y = nm.Perceptron(x, 1, activation_func="lin", name="y", print_repr=False)
    >>> t = nm.Input_like(y, name="t", print_repr=False)
    >>> loss = nm.AggregateLoss(nm.SquaredLoss(y, t, print_repr=False), name="loss", print_repr=False)
    >>> model.designate_nodes("x", target_node="t", loss_node="loss", prediction_node="y")
    >>> model.lr = 0.2
    >>> data = np.array([[0], [1], [2], [3]], "float32")
    >>> losses = [model.trainingstep(data, 2 * data + 1)[0] for _ in range(60)]
    >>> losses[-1] < 1e-2 * losses[0]
    True
    >>> model.predict(data).shape
    (4, 1)
    >>> nm.model_manager.delmodel("fit")
    """

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self._init_training()
        self._forget_roles()

    def _forget_roles(self) -> None:
        self.input_node: Node | None = None
        self.target_node: Node | None = None
        self.loss_node: Node | None = None
        self.prediction_node: Node | None = None
        self.error_node: Node | None = None
        self.prediction_ext: list[Node] = []
        self.debug_outputs: list[Node] = []
        self.batch_size: int | None = None
        self.ndim: int | None = None
        self._ext_function: make_func | None = None

    def reset(self) -> None:
        """Forget all nodes, roles, functions and optimisers."""
        super().reset()
        self._forget_roles()
        self._forget_training()

    # ---- roles
    def designate_nodes(
        self,
        input_node: Node | str | None = "input",
        target_node: Node | str | None = None,
        loss_node: Node | str | None = None,
        prediction_node: Node | str | None = None,
        prediction_ext: Sequence[Node | str] | None = None,
        error_node: Node | str | None = None,
        debug_outputs: Sequence[Node | str] | None = None,
    ) -> None:
        """Give nodes their roles; each is a node of this model or its name. Nothing is changed on an error.

        Parameters
        ----------
        input_node : Node or str, optional
            Where the raw data goes.
        target_node : Node or str, optional
            Where the labels go.
        loss_node : Node or str, optional
            Scalar that training minimises.
        prediction_node : Node or str, optional
            What ``predict`` and ``predict_dense`` evaluate.
        prediction_ext : list of Node or str, optional
            What ``predict_ext`` evaluates, e.g. loss, error and prediction.
        error_node : Node or str, optional
            What is monitored beside the loss.
        debug_outputs : list of Node or str, optional
            What ``trainingstep`` also returns; sources only those of the loss.

        Raises
        ------
        UnknownNameError
            For a name that no node has; the nearest one is given.
        GraphError
            For a node of another model, a loss that is not scalar, debug outputs that need other data than
            the loss.
        InputTypeError
            If a list is given where one node is meant, or the other way round.
        """
        given = dict(
            input_node=input_node,
            target_node=target_node,
            loss_node=loss_node,
            prediction_node=prediction_node,
            error_node=error_node,
        )
        single = {role: self._find(role, value) for role, value in given.items() if value}
        lists = {
            role: self._find_all(role, value)
            for role, value in (("prediction_ext", prediction_ext), ("debug_outputs", debug_outputs))
            if value
        }
        loss, prediction = single.get("loss_node"), single.get("prediction_node")
        if loss is not None and loss.output.ndim != 0:
            raise GraphError(
                "the loss must be a scalar",
                node=loss,
                got=f"{loss.output.ndim} axes, {loss.shape!r}",
                expected="a 0-d output",
                nearest=f"AggregateLoss([{loss.name}])",
            )
        self._check_debug_outputs(loss, lists.get("debug_outputs", []))
        self._forget_roles()
        self._forget_training()
        for role, value in {**single, **lists}.items():
            setattr(self, role, value)
        if prediction is not None and prediction.shape is not None:
            self.batch_size = prediction.shape["b"] if prediction.shape.hastag("b") else None
            self.ndim = prediction.shape.ndim

    def _find(self, role: str, value: Any) -> Node:
        if isinstance(value, str):
            return self[value]
        if not isinstance(value, Node):
            raise InputTypeError(f"{role} must be one node or its name", node=self._label, got=repr(value)[:200])
        if self.nodes.get(value.name) is not value:
            raise GraphError(
                f"{role} is no node of this model",
                node=self._label,
                got=value.name,
                expected=f"one of {self!r}",
            )
        return value

    def _find_all(self, role: str, values: Any) -> list[Node]:
        if not isinstance(values, (list, tuple)):
            raise InputTypeError(f"{role} must be a list of nodes or names", node=self._label, got=repr(values)[:200])
        return [self._find(role, value) for value in values]

    def _check_debug_outputs(self, loss: Node | None, debug: Sequence[Node]) -> None:
        known = [] if loss is None else loss.input_nodes
        for node in debug:
            extra = [n.name for n in node.input_nodes if n not in known]
            if extra:
                raise GraphError(
                    "a debug output needs data that the loss does not get",
                    node=node,
                    got=f"sources {extra}",
                    expected=f"sources among {[n.name for n in known]}",
                )

    @property
    def designations(self) -> dict[str, Any]:
        """Names of the designated nodes by role, as ``designate_nodes`` takes them."""
        single = {role: getattr(self, role) for role in ROLES}
        lists = {role: [n.name for n in getattr(self, role)] or None for role in LIST_ROLES}
        return {**{role: None if node is None else node.name for role, node in single.items()}, **lists}

    # ---- prediction
    def predict(self, *args: Any) -> Any:
        """Value of the prediction node in its inference form: no dropout, running batch statistics.

        Parameters
        ----------
        *args : array
            One per source of the prediction node, in its order.

        Returns
        -------
        numpy.ndarray
        """
        return self._require("prediction_node").infer(*args)

    def predict_ext(self, *args: Any) -> list[np.ndarray]:
        """Values of the ``prediction_ext`` nodes in their inference form.

        Parameters
        ----------
        *args : array
            One per source that any of them needs, in order of first appearance.

        Returns
        -------
        list of numpy.ndarray
        """
        nodes = self.prediction_ext
        if not nodes:
            raise GraphError(
                "no prediction_ext is designated",
                node=self._label,
                expected="designate_nodes(prediction_ext=[...])",
            )
        sources = list(dict.fromkeys(source for node in nodes for source in node.input_nodes))
        arrays = check_arrays(nodes[0], sources, args, nodes)
        with building_lock:
            if self._ext_function is None:
                copies = rebuild(nodes, BuildMode(inference=True))
                outputs = [copies[n].output for n in nodes]
                self._ext_function = make_func(
                    getinput_for_multioutput(nodes), outputs, name=f"{self.name} predict_ext"
                )
            function = self._ext_function
        return function(*arrays)

    def predict_dense(self, raw_img: Any, as_uint8: bool = False, pad_raw: bool = False, **kwargs: Any) -> np.ndarray:
        """Prediction at every voxel of an image of any size; see ``Node.predict_dense``.

        Parameters
        ----------
        raw_img : array, (f, (z,) y, x)
        as_uint8 : bool
            Return ``floor(255 * prediction)`` as uint8.
        pad_raw : bool
            Mirror the image at its borders so that the result has its size.
        **kwargs
            Further arguments of the node's method.

        Returns
        -------
        numpy.ndarray, (f, (z,) y, x)
        """
        return self._require("prediction_node").predict_dense(raw_img, as_uint8=as_uint8, pad_raw=pad_raw, **kwargs)

    def test_run_prediction(self) -> Any:
        """Evaluate the prediction node on random data and report shape and speed; returns its output."""
        return self._require("prediction_node").test_run()

    def measure_exectimes(
        self,
        n_samples: int = 5,
        n_warmup: int = 4,
        print_info: bool = False,
        local: bool = True,
        nonegative: bool = True,
    ) -> dict[str, float]:
        """Time of every node but the sources in milliseconds; arguments as for ``Node.measure_exectime``."""
        return {
            name: node.measure_exectime(n_samples, n_warmup, print_info, local, nonegative)
            for name, node in self.nodes.items()
            if not node.is_source
        }

    # ---- parameters
    def get_param_values(self, skip_const: bool = False, as_list: bool = False) -> Any:
        """Values of all parameters.

        Parameters
        ----------
        skip_const : bool
            Leave constants out.
        as_list : bool
            Return a flat list instead of a dict.

        Returns
        -------
        dict of str to dict of str to array, or list of array
            By node and parameter, or in this order.
        """
        values = {name: node.get_param_values(skip_const) for name, node in self.nodes.items() if node.params}
        return [array for params in values.values() for array in params.values()] if as_list else values

    def set_param_values(self, value_dict: Any, skip_const: bool = False) -> None:
        """Set parameters; either all are set or, on an error, none.

        Parameters
        ----------
        value_dict : dict, list or path
            What :meth:`get_param_values` returns, or a part of its dict; or a model file, of either kind, whose
            parameters are taken (constants are then passed over in any case).
        skip_const : bool
            Pass over constants instead of raising. A list must then have been made without them.

        Raises
        ------
        UnknownNameError
            For a node or parameter that does not exist.
        ShapeError, ArgumentError
            For a wrong number or shape of values, constants, or values that are not finite.
        """
        if isinstance(value_dict, (str, os.PathLike)):
            value_dict, skip_const = params_from_model_file(value_dict), True
        if isinstance(value_dict, (list, tuple)):
            value_dict = self._named(value_dict, skip_const)
        if not isinstance(value_dict, dict):
            raise InputTypeError("needs a dict or a list", node=self._label, got=type(value_dict).__name__)
        before = {name: self[name].get_param_values(skip_const=True) for name in value_dict}
        try:
            for name, values in value_dict.items():
                self.nodes[name].set_param_values(values, skip_const)
        except BaseException:
            for name, old in before.items():
                for key, array in old.items():
                    self.nodes[name].params[key].set_value(array)
            raise

    def _named(self, values: Sequence[Any], skip_const: bool) -> dict[str, dict[str, Any]]:
        places = [
            (name, key)
            for name, node in self.nodes.items()
            for key, param in node.params.items()
            if not (skip_const and param.constant)
        ]
        if len(values) != len(places):
            raise ShapeError(
                "wrong number of parameter values",
                node=self._label,
                got=len(values),
                expected=f"{len(places)} as from get_param_values(skip_const={skip_const}, as_list=True)",
            )
        named: dict[str, dict[str, Any]] = {}
        for (name, key), value in zip(places, values, strict=True):
            named.setdefault(name, {})[key] = value
        return named

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model into one HDF5 file: graph, roles, parameters, optimiser state, meta-parameters, history.

        Parameters
        ----------
        path : path
            A file of this name is replaced only when the new one is whole and on the disk.

        Raises
        ------
        ArgumentError
            If a node has an argument that no file can hold, such as a lambda.
        FileError
            If the file cannot be written.
        """
        save(self, path)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        format: str | None = None,
        colour: str = "kind",
        direction: str = "down",
        edge_labels: bool = True,
    ) -> Picture:
        """Picture of all nodes: names, shapes, parameters, cost, field of view.

        Parameters
        ----------
        path : path, optional
            Where it is saved: ``.html`` is an interactive page in one file, ``.png``, ``.svg`` and ``.pdf`` need
            graphviz, ``.dot`` is text for it. Without, nothing is written.
        format : {'html', 'png', 'svg', 'pdf', 'dot'}, optional
            Default: what the path ends in.
        colour : {'kind', 'class', 'cost', 'fov', 'parameters'}
            What the nodes are coloured by; in the page only the choice at the start.
        direction : {'down', 'right'}
            Where the arrows lead; the page arranges nodes itself.
        edge_labels : bool
            Write shapes at the arrows (the page has a switch for it).

        Returns
        -------
        Picture
            Notebooks show it; it has ``save(path)``, ``html``, ``dot`` and the described ``graph``.

        Raises
        ------
        ArgumentError
            For an unknown format or option.
        MissingDependencyError
            If graphviz is needed and not installed.
        FileError
            If the file cannot be written.
        GraphError
            If the model has no nodes.
        """
        from neuromancer.pictures import describe_model, plot

        return plot(describe_model(self), path, format, colour, direction, edge_labels)

    # ---- rates
    @property
    def dropout_rates(self) -> list[float]:
        """Dropout rates of the layers that have one; set one number for all or one each, 0 <= rate < 1."""
        return self._rates("dropout_rate")

    @dropout_rates.setter
    def dropout_rates(self, rates: Any) -> None:
        self._set_rates("dropout_rate", rates, below=1.0)

    @property
    def gradnet_rates(self) -> list[float]:
        """GradNet rates of the layers that have one; set one number for all or one each, 0 <= rate <= 1."""
        return self._rates("gradnet_rate")

    @gradnet_rates.setter
    def gradnet_rates(self, rates: Any) -> None:
        self._set_rates("gradnet_rate", rates, below=np.nextafter(1.0, 2.0))

    def _rate_params(self, key: str) -> list[Any]:
        return [node.params[key] for node in self.nodes.values() if key in node.params]

    def _rates(self, key: str) -> list[float]:
        return [float(p.get_value()) for p in self._rate_params(key)]

    def _set_rates(self, key: str, rates: Any, below: float) -> None:
        params = self._rate_params(key)
        numbers = as_floatX(rates)  # a rate of almost 1 must not become 1 when it is stored
        numbers = np.broadcast_to(numbers, (len(params),)) if numbers.ndim == 0 else numbers
        if numbers.shape != (len(params),) or not all(0 <= float(n) < below for n in numbers):
            raise ArgumentError(
                f"cannot set the {key}s",
                node=self._label,
                got=rates,
                expected=f"one number or {len(params)} numbers, 0 <= rate {'<' if below <= 1 else '<='} 1",
            )
        for param, value in zip(params, numbers, strict=True):
            param.set_value(value)

    @property
    def batch_normalisation_active(self) -> bool:
        """Whether any layer normalises by the statistics of the batch in training."""
        return any(getattr(n, "batch_normalisation", False) in ("train", "fadeout") for n in self.nodes.values())

    # ---- names and shapes
    @property
    def debug_output_names(self) -> list[str]:
        """Names of the debug nodes, in the order in which ``trainingstep`` returns their values."""
        return [n.name for n in self.debug_outputs]

    @property
    def prediction_feature_names(self) -> tuple[str, ...] | None:
        """Feature names of the prediction node, None if it has none."""
        return self._require("prediction_node").feature_names

    @property
    def loss_input_shapes(self) -> Any:
        """Shapes of the arrays that the loss needs: a list of lists, or of a single source its list."""
        shapes = [None if n.shape is None else list(n.shape.shape) for n in self._require("loss_node").input_nodes]
        return shapes[0] if len(shapes) == 1 else shapes
