"""Models: graphs with designated nodes for training and prediction."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from neuromancer.errors import ArgumentError, GraphError, InputTypeError, ShapeError
from neuromancer.exclusive import building_lock
from neuromancer.graph import registry
from neuromancer.graph.feeding import check_arrays
from neuromancer.graph.function import LazyFunction, getinput_for_multioutput
from neuromancer.graph.rebuild import rebuild
from neuromancer.graph.window import BuildMode
from neuromancer.io.describe import describe, own_functors
from neuromancer.io.load import built, load_graph, params_from_model_file
from neuromancer.io.options import LoadOptions
from neuromancer.io.save import save, write
from neuromancer.models.exportable import Exportable
from neuromancer.models.import_report import ImportReport
from neuromancer.models.transfer import TransferLearning
from neuromancer.nodes.functors import check_functors
from neuromancer.pictures import Picture, describe_model, plot
from neuromancer.utils import as_floatX


class Model(Exportable, TransferLearning):
    """A graph of nodes with designated roles.

    Created by ``model_manager.newmodel(name)``; nodes register themselves with the current model.

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

    import_report: ImportReport | None = None
    """How the model was imported from another library, if it was."""

    def _roles_changed(self) -> None:
        super()._roles_changed()
        self._ext_function: LazyFunction | None = None

    # ---- prediction
    def predict(self, *args: Any) -> Any:
        """Evaluate the prediction node in inference mode: no dropout, running batch statistics.

        Parameters
        ----------
        *args : array
            One per source of the prediction node, in calling order.

        Returns
        -------
        numpy.ndarray
        """
        return self._require("prediction_node").infer(*args)

    def predict_ext(self, *args: Any) -> list[np.ndarray]:
        """Evaluate the ``prediction_ext`` nodes in inference mode.

        Parameters
        ----------
        *args : array
            One per source of any of these nodes, in order of first appearance.

        Returns
        -------
        list of numpy.ndarray
        """
        nodes = self.prediction_ext
        if not nodes:
            raise GraphError(
                "no prediction_ext is designated",
                where=self._label,
                expected="designate_nodes(prediction_ext=[...])",
            )
        sources = list(dict.fromkeys(source for node in nodes for source in node.input_nodes))
        arrays = check_arrays(nodes[0], sources, args, nodes)
        with building_lock:
            if self._ext_function is None:
                copies = rebuild(nodes, BuildMode(inference=True))
                outputs = [copies[n].output for n in nodes]
                self._ext_function = LazyFunction(
                    getinput_for_multioutput(nodes), outputs, name=f"{self.name} predict_ext"
                )
            function = self._ext_function
        return function(*arrays)

    def test_run_prediction(self) -> Any:
        """Evaluate the prediction node on random data, print shape and speed, and return its output."""
        return self._require("prediction_node").test_run()

    def measure_exectimes(
        self,
        n_samples: int = 5,
        n_warmup: int = 4,
        print_info: bool = False,
        local: bool = True,
        nonegative: bool = True,
    ) -> dict[str, float]:
        """Measure the time of every node except sources in milliseconds; arguments as for ``Node.measure_exectime``."""
        return {
            name: node.measure_exectime(n_samples, n_warmup, print_info, local, nonegative)
            for name, node in self.nodes.items()
            if not node.is_source
        }

    # ---- parameters
    def get_param_values(self, skip_const: bool = False, as_list: bool = False) -> Any:
        """Return the values of all parameters.

        Parameters
        ----------
        skip_const : bool
            Omit constants.
        as_list : bool
            Return a flat list instead of a dict.

        Returns
        -------
        dict of str to dict of str to array, or list of array
            By node and parameter, or as a list in the same order.
        """
        values = {name: node.get_param_values(skip_const) for name, node in self.nodes.items() if node.params}
        return [array for params in values.values() for array in params.values()] if as_list else values

    def set_param_values(self, value_dict: Any, skip_const: bool = False) -> None:
        """Set parameters; on an error, none is changed.

        Parameters
        ----------
        value_dict : dict, list or path
            A result of :meth:`get_param_values`, or a part of its dict; or a model file of either format, whose
            parameters are used (constants are then always skipped).
        skip_const : bool
            Skip constants instead of raising. A list must then have been created without them.

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
            raise InputTypeError("needs a dict or a list", where=self._label, got=type(value_dict).__name__)
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
                where=self._label,
                got=len(values),
                expected=f"{len(places)} as from get_param_values(skip_const={skip_const}, as_list=True)",
            )
        named: dict[str, dict[str, Any]] = {}
        for (name, key), value in zip(places, values, strict=True):
            named.setdefault(name, {})[key] = value
        return named

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the model to one HDF5 file: graph, roles, parameters, optimiser state, meta-parameters, history.

        Parameters
        ----------
        path : path
            An existing file is replaced only after the new one is completely written to disk.

        Raises
        ------
        ArgumentError
            If a node has an argument that cannot be stored in a file, such as a lambda.
        FileError
            If the file cannot be written.
        """
        save(self, path)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Save like :meth:`save`, without warning about :attr:`own_functors`, which are passed on separately."""
        write(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], **options: Any) -> Model:
        """Load a model from a file; arguments as for :func:`neuromancer.modelload`."""
        return modelload(path, **options)

    @property
    def own_functors(self) -> dict[str, Callable[..., Any]]:
        """User-defined functions of the nodes, by their names in the model file."""
        return own_functors(self)

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        format: str | None = None,
        colour: str = "kind",
        direction: str = "down",
        edge_labels: bool = True,
    ) -> Picture:
        """Draw all nodes: names, shapes, parameters, cost, field of view.

        Parameters
        ----------
        path : path, optional
            Output file: ``.html`` is a self-contained interactive page; ``.png``, ``.svg`` and ``.pdf`` require
            graphviz; ``.dot`` is its source. By default, nothing is written.
        format : {'html', 'png', 'svg', 'pdf', 'dot'}, optional
            Default: from the extension of the path.
        colour : {'kind', 'class', 'cost', 'fov', 'parameters'}
            Property that determines the colour of the nodes; on the page, the initial choice.
        direction : {'down', 'right'}
            Direction of the arrows; the page has its own layout.
        edge_labels : bool
            Label the arrows with shapes (on the page, this can be toggled).

        Returns
        -------
        Picture
            Displayed by notebooks; has ``save(path)``, ``html``, ``dot`` and ``graph``.

        Raises
        ------
        ArgumentError
            For an unknown format or option.
        MissingDependencyError
            If graphviz is required but not installed.
        FileError
            If the file cannot be written.
        GraphError
            If the model has no nodes.
        """
        return plot(describe_model(self), path, format, colour, direction, edge_labels)

    # ---- rates
    @property
    def dropout_rates(self) -> list[float]:
        """Dropout rates of the layers that have one; set to one number, or one per layer, 0 <= rate < 1."""
        return self._rates("dropout_rate")

    @dropout_rates.setter
    def dropout_rates(self, rates: Any) -> None:
        self._set_rates("dropout_rate", rates, below=1.0)

    @property
    def gradnet_rates(self) -> list[float]:
        """GradNet rates of the layers that have one; set to one number, or one per layer, 0 <= rate <= 1."""
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
        numbers = as_floatX(rates)  # rounding must not give 1, or 0 for a nonzero rate
        underflow = ((numbers == 0) & (np.asarray(rates) != 0)).any()
        numbers = np.broadcast_to(numbers, (len(params),)) if numbers.ndim == 0 else numbers
        if underflow or numbers.shape != (len(params),) or not all(0 <= float(n) < below for n in numbers):
            raise ArgumentError(
                f"cannot set the {key}s",
                where=self._label,
                got=rates,
                expected=f"one number or {len(params)} numbers in {numbers.dtype}, "
                f"0 <= rate {'<' if below <= 1 else '<='} 1",
            )
        for param, value in zip(params, numbers, strict=True):
            param.set_value(value)

    @property
    def batch_normalisation_active(self) -> bool:
        """Whether any layer uses batch statistics during training."""
        return any(getattr(n, "batch_normalisation", False) in ("train", "fadeout") for n in self.nodes.values())


model_manager: registry.ModelRegistry[Model] = registry.model_manager


def modelload(
    file_name: str | os.PathLike[str],
    override_mfp_to_active: bool = False,
    imposed_patch_size: Sequence[int] | None = None,
    imposed_batch_size: int | None = None,
    name: str | None = None,
    make_weights_constant: bool = False,
    replace_bn: str | None = None,
    lock_trainable_params: int | Sequence[str] | None = None,
    unlock_all_params: bool = False,
    inject_source: dict[str, Any] | None = None,
    functors: Mapping[str, Callable[..., Any]] | None = None,
) -> Model:
    """Load a model from a file of this package or of the original library (``.mdl``).

    No code from the file is executed. User-defined node classes must have been imported; user-defined functions in
    :class:`neuromancer.ApplyFunc` must be passed as `functors`, or registered with
    :func:`neuromancer.register_functor`.

    Parameters
    ----------
    file_name : path
    override_mfp_to_active : bool
        Enable max-fragment pooling in all convolutional and pooling layers, and recombine the fragments before the
        prediction node. Without `imposed_patch_size`, the input gets the next larger valid size.
    imposed_patch_size : sequence of int, optional
        Sizes of the spatial axes of the input. Targets, weights and masks are adapted.
    imposed_batch_size : int, optional
        Batch size of the input, and of all sources with the same batch size.
    name : str, optional
        Name of the new model; default: a random one.
    make_weights_constant : bool
        Convert weights to constants, which makes functions faster but prevents training.
    replace_bn : {'remove', 'predict', 'const'}, optional
        Batch normalisation: remove it; use the running statistics; use them as constants.
    lock_trainable_params : int or sequence of str, optional
        Convert the parameters of the first n layers, or of the named ones, to constants.
    unlock_all_params : bool
        Convert constant parameters of layers back to variables.
    inject_source : dict, optional
        Feed a node from a new input: ``child_name``; ``shape``, ``tags``, ``strides``, ``fov`` and ``dtype`` where they
        differ from those of the replaced parent; ``name`` of the input; ``parent_no``, the index of the parent. Nodes
        that are no longer needed are removed.
    functors : mapping of str to callable, optional
        Functions that the file may refer to in addition to those of ``neuromancer.T``, by their names in the file
        (``module:qualname``), with or without the module.

    Returns
    -------
    Model
        Becomes the current model. Optimisers and functions are created on first use.

    Raises
    ------
    FileError
        If the file cannot be read, is damaged, or needs unknown classes or functions.
    InputTypeError
        If `functors` does not map names to functions.
    ShapeError
        For a patch size that the graph cannot take; gives the nearest valid sizes per axis.
    ArgumentError, UnknownNameError
        For invalid options or unknown nodes; also if the name of the model is taken.

    Examples
    --------
    >>> import tempfile, pathlib, neuromancer as nm
    >>> model = nm.model_manager.newmodel("kept")
    >>> inp = nm.Input((1, 1, 11), "b,f,x", name="raw", print_repr=False)
    >>> conv = nm.Conv(inp, 4, (3,), (3,), name="conv", print_repr=False)
    >>> model.designate_nodes("raw", prediction_node="conv")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "kept.h5"
    ...     model.save(path)
    ...     larger = nm.modelload(path, imposed_patch_size=[14])
    >>> larger["conv"].shape
    [(1,b), (4,f), (4,x)]
    >>> nm.model_manager.delmodel("kept")
    """
    options = LoadOptions(
        bool(override_mfp_to_active),
        imposed_patch_size,
        imposed_batch_size,
        bool(make_weights_constant),
        replace_bn,
        lock_trainable_params,
        bool(unlock_all_params),
        inject_source,
    )
    return cast(Model, load_graph(file_name, options, name, functors))


def rebuild_model(
    model: Model,
    override_mfp_to_active: bool = False,
    imposed_patch_size: Sequence[int] | None = None,
    name: str | None = None,
    **options: Any,
) -> Model:
    """Build a copy of a model with changes, as loading its file does.

    Parameters
    ----------
    model : Model
    override_mfp_to_active, imposed_patch_size, name, **options
        See :func:`modelload`; `functors` are those of the model.

    Returns
    -------
    Model
        Becomes the current model.

    Examples
    --------
    >>> import neuromancer as nm
    >>> model = nm.model_manager.newmodel("small")
    >>> inp = nm.Input((1, 1, 11), "b,f,x", name="raw", print_repr=False)
    >>> conv = nm.Conv(inp, 4, (3,), (3,), name="conv", print_repr=False)
    >>> model.designate_nodes("raw", prediction_node="conv")
    >>> rebuild_model(model, imposed_patch_size=[14], name="large")["conv"].shape
    [(1,b), (4,f), (4,x)]
    >>> nm.model_manager.delmodel("small")
    >>> nm.model_manager.delmodel("large")
    """
    functors = {**model.own_functors, **check_functors(options.pop("functors", None))}
    changes = LoadOptions(bool(override_mfp_to_active), imposed_patch_size, **options)
    changes.check()
    return cast(Model, built(*describe(model), changes, name, functors, f"model {model.name!r}"))
