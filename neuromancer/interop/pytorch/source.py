"""PyTorch modules, traced by ``torch.export``; needs torch."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from neuromancer.errors import ArgumentError, InputTypeError, TranslationError, reason, short
from neuromancer.interop.importing import Source, import_network
from neuromancer.interop.network import Network, Value, Weight
from neuromancer.interop.pytorch.aten import OPERATIONS, PLAIN, Arguments
from neuromancer.interop.sizes import OtherSizes, require_fitting
from neuromancer.interop.verify import Run, SourceError
from neuromancer.models.model import Model

LABEL = "from_torch"
ROUNDED = (8, 16, 32, 64)
"""Multiples to which sizes are rounded until a module takes them."""
SENTENCE = 160
"""Longest part of an error of torch that is quoted."""
GUESS = 32
"""Multiple to which sizes are rounded if the strides of the network are not known."""


def imported(
    module: Any, example: Any, tags: str | Sequence[str] | None, name: str | None, print_report: bool
) -> Model:
    """Import a module; see :func:`neuromancer.from_torch`."""
    if isinstance(module, torch.jit.ScriptModule):
        raise InputTypeError(
            "a TorchScript module cannot be traced",
            where=LABEL,
            got=type(module).__name__,
            expected="the module that was scripted, or an ONNX file of it with nm.from_onnx",
        )
    if not isinstance(module, torch.nn.Module):
        raise InputTypeError("not a PyTorch module", where=LABEL, got=repr(module)[:200], expected="torch.nn.Module")
    twin = _twin(module)
    shapes = _accepted(twin, _shapes(example))
    program = _export(twin, shapes)
    label = f"{type(module).__name__} (torch module)"

    def attempt(program: Any, shapes: list[tuple[int, ...]], any_size: bool) -> Model:
        def translate(net: Network, operations: Counter[str]) -> list[Value]:
            outputs = _translate(program, net, operations, shapes)
            if not any_size:
                require_fitting(net, outputs)
            return outputs

        run: Run = lambda arrays: _run(twin, arrays)  # noqa: E731
        return import_network(Source(label, len(shapes[0]) - 2, translate, run, "the module"), tags, name, print_report)

    # The example may have sizes that need padding and cropping of their own, which the network must not keep.
    try:
        return attempt(program, shapes, False)
    except OtherSizes as found:
        others = [(*s[:2], *sizes) for s, sizes in zip(shapes, found.sizes, strict=True)]
        first = None
    except TranslationError as error:
        others, first = _rounded(shapes, [GUESS] * (len(shapes[0]) - 2)), error
        if others == shapes:
            raise
    try:
        return attempt(_export(twin, others), others, True)
    except TranslationError as error:
        if first is not None:
            raise first from error
    return attempt(program, shapes, True)


# ---- the module
def _twin(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy in evaluation mode, in float32, on the CPU."""
    try:
        return copy.deepcopy(module).float().cpu().eval()
    except Exception as error:
        raise TranslationError(
            "the module cannot be copied", where=LABEL, got=f"{type(module).__name__}: {_cause(error)}"
        ) from error


def _shapes(example: Any) -> list[tuple[int, ...]]:
    """Return the shapes of the inputs, with batch size 1."""
    several = example if isinstance(example, (list, tuple)) and example and not _is_int(example[0]) else [example]
    shapes = []
    for each in several:
        shape = tuple(each.shape) if isinstance(each, (torch.Tensor, np.ndarray)) else each
        if not isinstance(shape, (list, tuple)) or not all(_is_int(n) and n > 0 for n in shape):
            raise ArgumentError(
                "the example must be an input or its shape",
                where=LABEL,
                got=short(repr(example)),
                expected="a tensor, an array, or positive integers such as (1, 1, 64, 64, 64)",
            )
        if not 2 <= len(shape) <= 5:
            raise ArgumentError(
                "the example needs the axes batch, channel and up to three of space",
                where=LABEL,
                got=tuple(shape),
                expected="2 to 5 axes",
                nearest=(1, 1, *shape)[:5],
            )
        shapes.append((1, *(int(n) for n in shape[1:])))
    if len({len(s) for s in shapes}) > 1:
        raise ArgumentError("all inputs need the same axes", where=LABEL, got=shapes)
    return shapes


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _silent() -> Iterator[None]:
    """Keep torch from printing and logging what it has traced when tracing fails."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


class _DataIsTensor(TorchFunctionMode):
    """Take ``tensor.data`` for the tensor, because tracing takes it for a constant."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == torch.Tensor.data.__get__:
            return args[0].detach()
        return func(*args, **(kwargs or {}))


def _accepted(module: torch.nn.Module, shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Return the shapes, or with sizes rounded up to a power of two if the module takes only these."""
    errors = []
    for step in (1, *ROUNDED):
        tried = _rounded(shapes, [step] * (len(shapes[0]) - 2))
        try:
            with _quiet():
                module(*(torch.zeros(shape) for shape in tried))
            return tried
        except Exception as error:
            errors.append(error)
    raise TranslationError(
        "the module cannot take the example",
        where=LABEL,
        got=f"{type(module).__name__} on {', '.join(map(str, shapes))}: {_cause(errors[0])}",
        expected="an example that the module itself takes",
    ) from errors[0]


def _rounded(shapes: Sequence[tuple[int, ...]], steps: Sequence[int]) -> list[tuple[int, ...]]:
    """Return shapes with the spatial sizes rounded up to multiples."""
    return [(*s[:2], *(-(-n // step) * step for n, step in zip(s[2:], steps, strict=True))) for s in shapes]


def _export(module: torch.nn.Module, shapes: Sequence[tuple[int, ...]]) -> Any:
    try:
        with _quiet(), _silent(), _DataIsTensor():
            return torch.export.export(module, tuple(torch.zeros(shape) for shape in shapes), strict=False)
    except Exception as error:
        raise TranslationError(
            "torch.export cannot trace the module",
            where=LABEL,
            got=f"{type(module).__name__} on {', '.join(map(str, shapes))}: {_cause(error)}",
            expected="a forward method without branches on values; or an ONNX file with nm.from_onnx",
        ) from error


def _cause(error: BaseException) -> str:
    """Return an error of torch in one short line."""
    if type(error).__name__.startswith("GuardOnDataDependent"):
        return "forward branches on values of its input"
    text = reason(error)
    text = text if len(text) <= SENTENCE else text.partition(". ")[0]
    return text if len(text) <= SENTENCE else f"{text[:SENTENCE]}..."


def _run(module: torch.nn.Module, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    try:
        with _quiet():
            result = module(*(torch.from_numpy(a) for a in arrays))
    except Exception as error:
        raise SourceError(short(reason(error), 100)) from error
    return [t.numpy() for t in torch.utils._pytree.tree_leaves(result) if isinstance(t, torch.Tensor)]


# ---- the graph
def _translate(program: Any, net: Network, operations: Counter[str], shapes: Sequence[tuple[int, ...]]) -> list[Value]:
    values: dict[Any, Any] = {}
    given = iter(shapes)
    weights = _weights(program)
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            if node.name in inputs:
                shape = next(given)
                values[node] = net.input("input" if len(shapes) == 1 else node.name, shape[1], shape[2:])
            else:
                values[node] = weights[node.name]
        elif node.op == "call_function":
            values[node] = _call(net, node, values, operations)
        elif node.op == "output":
            leaves = torch.utils._pytree.tree_leaves(torch.fx.node.map_arg(node.args[0], lambda n: values[n]))
            return _outputs(leaves)
        else:
            raise TranslationError("an unknown kind of step", where=node.name, got=node.op)
    raise TranslationError("the module has no output", where=LABEL)


def _outputs(leaves: Sequence[Any]) -> list[Value]:
    found = [leaf for leaf in leaves if leaf is not None]
    wrong = ["the input itself" if isinstance(leaf, Value) else f"a constant {type(leaf).__name__}" for leaf in found
             if not isinstance(leaf, Value) or leaf.node.is_source]  # fmt: skip
    if wrong or not found:
        raise TranslationError(
            "an output does not depend on the input through any operation",
            where=LABEL,
            got=wrong[0] if wrong else "no tensor",
        )
    return found


def _weights(program: Any) -> dict[str, Any]:
    """Return the parameters, buffers and constants by the names of their placeholders."""
    signature = program.graph_signature
    found: dict[str, Any] = {}
    for kind in (signature.inputs_to_parameters, signature.inputs_to_buffers, _constants(signature)):
        for placeholder, target in kind.items():
            tensor = program.state_dict.get(target, program.constants.get(target))
            if tensor is None or not tensor.is_floating_point():
                found[placeholder] = tensor
                continue
            trainable = isinstance(tensor, torch.nn.Parameter) and tensor.requires_grad
            found[placeholder] = Weight(tensor.detach().numpy(), target, trainable)
    return found


def _constants(signature: Any) -> dict[str, str]:
    return dict(signature.inputs_to_lifted_tensor_constants)


def _call(net: Network, node: Any, values: dict[Any, Any], operations: Counter[str]) -> Any:
    kind = _kind(node.target)
    bound = _bound(node, values)
    place = _place(node, kind)
    net.place = f"{place} ({kind})"
    if not any(isinstance(leaf, Value) for leaf in torch.utils._pytree.tree_leaves(list(bound.values()))):
        return _evaluated(node, kind, bound, net.place)
    handler: Callable[..., Any] | None = OPERATIONS.get(kind.removesuffix("_")) or PLAIN.get(kind)
    if handler is None:
        raise TranslationError(
            "the operation cannot be translated",
            where=net.place,
            got=f"{node.target} on {_described(bound)}",
            expected="a network of convolutions, pools, norms, activations, interpolation, sums and concatenations",
        )
    result = handler(net, place, Arguments(bound, layer=_is_layer(node)))
    if kind.removesuffix("_") not in PLAIN:
        operations[kind.removesuffix("_")] += 1
    if kind.endswith("_") and not kind.startswith("_") and isinstance(node.args[0], torch.fx.Node):
        # In place: whoever reads the tensor later reads the new values.
        values[node.args[0]] = result
    return result


def _kind(target: Any) -> str:
    """Return the name of an operation without overload, such as ``conv3d``."""
    schema = getattr(target, "_schema", None)
    return schema.name.partition("::")[2] if schema is not None else getattr(target, "__name__", str(target))


def _bound(node: Any, values: dict[Any, Any]) -> dict[str, Any]:
    """Return the arguments by name, with defaults, and values in the place of nodes."""
    take = lambda arg: torch.fx.node.map_arg(arg, lambda n: values[n])  # noqa: E731
    args, kwargs = take(node.args), take(node.kwargs)
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {str(k): a for k, a in enumerate(args)} | dict(kwargs)
    bound = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    return bound | {a.name: value for a, value in zip(schema.arguments, args, strict=False)} | dict(kwargs)


def _place(node: Any, kind: str) -> str:
    """Return the name of a node: the path of its layer, or of the module around it and the operation."""
    path, _ = _owner(node)
    return path if path and _is_layer(node) else f"{path}.{kind.strip('_')}".lstrip(".")


def _owner(node: Any) -> tuple[str, str]:
    """Return path and class of the module that runs an operation."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, owner = stack[-1] if stack else ("", "")
    owner = owner if isinstance(owner, str) else f"{owner.__module__}.{owner.__name__}"
    return path.replace("L['self'].", "").replace("L['self']", ""), owner


def _is_layer(node: Any) -> bool:
    """Return whether an operation is that of a layer of torch, so that its arguments are attributes of the layer."""
    owner = _owner(node)[1]
    return owner.startswith("torch.nn.modules.") and ".container." not in owner


def _evaluated(node: Any, kind: str, bound: dict[str, Any], place: str) -> Any:
    """Evaluate an operation that depends on constants only, such as a weight that is a function of parameters."""
    plain = lambda leaf: torch.from_numpy(np.array(leaf.array)) if isinstance(leaf, Weight) else leaf  # noqa: E731
    arguments = torch.utils._pytree.tree_map(plain, bound)
    try:
        with _quiet():
            if getattr(node.target, "_schema", None) is None:
                return node.target(*arguments.values())
            result = node.target(**arguments)
    except Exception as error:
        raise TranslationError("a constant cannot be computed", where=place, got=_cause(error)) from error
    weights = [leaf for leaf in torch.utils._pytree.tree_leaves(bound) if isinstance(leaf, Weight)]
    trainable = any(w.trainable for w in weights)
    key = (kind, *(w.key for w in weights), repr(_constants_of(bound))) if all(w.key for w in weights) else None

    def kept(leaf: Any) -> Any:
        floats = isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
        return Weight(leaf.numpy(), key, trainable) if floats else leaf

    # Of several results, none can be told from the others by its key.
    if not isinstance(result, torch.Tensor):
        key = None
    return torch.utils._pytree.tree_map(kept, result)


def _constants_of(bound: dict[str, Any]) -> list[Any]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(bound) if not isinstance(leaf, Weight)]


def _described(bound: dict[str, Any]) -> str:
    shapes = [leaf.shape for leaf in torch.utils._pytree.tree_leaves(bound) if isinstance(leaf, Value)]
    return ", ".join(map(str, shapes[:3])) + (f" and {len(shapes) - 3} more" if len(shapes) > 3 else "")
