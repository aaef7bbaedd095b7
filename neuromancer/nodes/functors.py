"""Functions of symbolic tensors, and the names under which model files store them.

A file can refer to the tensor functions listed here. A user-defined function is found only if it is registered, or
passed when the file is loaded: a file cannot reach a function just because its module happens to be imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar, overload

from neuromancer import engine as E
from neuromancer.errors import ArgumentError, FileError, InputTypeError
from neuromancer.nodes.node import Node

TENSOR = "T"
"""Engine-independent name of the tensor namespace in files."""

ELEMENTWISE = """
    abs add angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh and_ bitwise_and bitwise_not bitwise_or
    bitwise_xor cast ceil clip conj conjugate cos cosh deg2rad digamma eq equal erf erfc erfcinv erfcx erfinv exp exp2
    expit expm1 floor floor_div gamma gammaln ge greater greater_equal gt i0 i1 identity imag int_div invert iround
    isclose isfinite isinf isnan j0 j1 le less less_equal log log10 log1mexp log1p log1pexp log2 logaddexp lt maximum
    minimum mod mul nan_to_num neg neq not_equal ones_like or_ pow power psi rad2deg real reciprocal relu round
    round_half_away_from_zero round_half_to_even second sgn sigmoid sign sin sinh softplus sqr sqrt square sub switch
    tan tanh tensor_copy tri_gamma true_div trunc where xor zeros_like
""".split()
REDUCTIONS = """
    all any argmax argmin argsort cumprod cumsum log_softmax logsumexp max mean median min prod ptp softmax sort std sum
    var
""".split()
SHAPES = "expand_dims flatten flip matrix_transpose moveaxis reshape roll squeeze swapaxes transpose".split()
ACTIVATIONS = """
    nnet.elu nnet.hard_sigmoid nnet.logsoftmax nnet.relu nnet.selu nnet.softmax nnet.softsign nnet.ultra_fast_sigmoid
""".split()
ALIASES = {
    "abs": ("abs_",),
    "bitwise_and": ("and_",),
    "bitwise_not": ("invert",),
    "bitwise_or": ("or_",),
    "bitwise_xor": ("xor",),
    "conjugate": ("conj",),
    "digamma": ("psi",),
    "equal": ("eq",),
    "expit": ("sigmoid", "nnet.sigmoid"),
    "greater": ("gt",),
    "greater_equal": ("ge",),
    "less": ("lt",),
    "less_equal": ("le",),
    "not_equal": ("neq",),
    "reciprocal": ("inv",),
    "sgn": ("sign",),
    "sigmoid": ("nnet.sigmoid",),
    "sign": ("sgn",),
    "softplus": ("nnet.softplus",),
    "square": ("sqr",),
}
"""Alternative names of the same functions, in the order in which they are tried."""

Function = TypeVar("Function", bound=Callable[..., Any])

_registered: dict[str, Callable[..., Any]] = {}


@cache
def tensor_functions() -> dict[str, Callable[..., Any]]:
    """Return the functions that any model file may refer to, by name, as far as the current engine has them.

    Examples
    --------
    >>> from neuromancer import T
    >>> tensor_functions()["tanh"] is T.tanh
    True
    """
    known: dict[str, Callable[..., Any]] = {"log_softmax": E.log_softmax, "relu": E.relu, "softmax": E.softmax}
    others = (alias for aliases in ALIASES.values() for alias in aliases)
    names = {*ELEMENTWISE, *REDUCTIONS, *SHAPES, *ACTIVATIONS, *others}
    for name in sorted(names):
        for path in (name, *ALIASES.get(name, ())):
            found = known.get(name) or _attribute(E.T, path)
            if found is not None:
                known[name] = found
                break
    return known


def is_functor(value: Any) -> bool:
    """Return whether an argument of a node is a function of tensors, rather than a node, class or tensor."""
    return callable(value) and not isinstance(value, (type, E.Variable, Node))


def is_tensor_function(name: str) -> bool:
    """Return whether a name in a file refers to a tensor function of the package."""
    module, _, short = name.partition(":")
    return module == TENSOR and short in tensor_functions()


def _attribute(namespace: Any, path: str) -> Any:
    for part in path.split("."):
        namespace = getattr(namespace, part, None)
    return namespace


@overload
def register_functor(function: Function, *, name: str | None = None) -> Function: ...


@overload
def register_functor(*, name: str | None = None) -> Callable[[Function], Function]: ...


def register_functor(function: Any = None, *, name: str | None = None) -> Any:
    """Register a function, e.g. the functor of an :class:`ApplyFunc`, under a name for model files.

    Can be used as a decorator.

    Parameters
    ----------
    function : callable
        Function of symbolic tensors, called when a model is built.
    name : str, optional
        Name in files. Default: ``module:qualname`` of the function. A function registered under the same name is
        replaced.

    Returns
    -------
    callable
        `function`, or a decorator if `function` is omitted.

    Raises
    ------
    InputTypeError
        If `function` is not a function.
    ArgumentError
        If the name is private (leading underscore) or in the namespace T, or the function has none.

    Examples
    --------
    >>> import neuromancer as nm
    >>> @nm.register_functor(name="bump")
    ... def bump(x):
    ...     return nm.T.exp(-(x**2))
    """
    if function is None:
        return lambda f: register_functor(f, name=name)
    if not callable(function) or isinstance(function, type):
        raise InputTypeError("only a function can be registered", where="register_functor", got=repr(function)[:200])
    key = _stored_name(function) if name is None else name
    if not isinstance(key, str) or not key or _is_private(key) or "<" in key or key.partition(":")[0] == TENSOR:
        raise ArgumentError(
            "a function cannot be registered under this name",
            where="register_functor",
            got=repr(key),
            expected="name='some_name', without a leading underscore and not in the namespace T",
        )
    _registered[key] = function
    return function


def functor_name(functor: Callable[..., Any], node: Any) -> str:
    """Return the name of a function in model files.

    Parameters
    ----------
    functor : callable
    node : Node or str
        Node that uses the function, for messages.

    Returns
    -------
    str
        ``T:name`` for a function of the tensor namespace, the registered name, or ``module:qualname`` for a function at
        the top level of a module.

    Raises
    ------
    ArgumentError
        For an unregistered lambda, or an unregistered local, private or standard library function.

    Examples
    --------
    >>> from neuromancer import T
    >>> functor_name(T.tanh, "node")
    'T:tanh'
    """
    for name, value in tensor_functions().items():
        if value is functor:
            return f"{TENSOR}:{name}"
    for name, value in _registered.items():
        if value is functor:
            return name
    key = _stored_name(functor)
    module, _, name = key.partition(":")
    standard = module != "__main__" and module.partition(".")[0] in sys.stdlib_module_names
    if standard or _is_private(key) or vars(sys.modules.get(module, object)).get(name) is not functor:
        raise ArgumentError(
            "the functor cannot be stored by name",
            node=node,
            got=repr(functor)[:200],
            expected="a function of neuromancer.T, a public one at the top level of a module, or one registered with "
            "neuromancer.register_functor",
        )
    return key


def check_functors(functors: Mapping[str, Callable[..., Any]] | None) -> dict[str, Callable[..., Any]]:
    """Return the functions that the caller passes for a file, by name; an empty dict for None.

    Raises
    ------
    InputTypeError
        If `functors` is not a mapping from names to functions.
    """
    given = {} if functors is None else functors
    if not isinstance(given, Mapping) or not all(isinstance(k, str) and callable(f) for k, f in given.items()):
        raise InputTypeError(
            "functions for a model file must be given by name",
            where="functors",
            got=repr(functors)[:200],
            expected="functors={'name': function, ...}",
        )
    return dict(given)


def find_functor(name: Any, given: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """Return the function that a name in a file refers to; nothing is imported, and no module is searched.

    Parameters
    ----------
    name : str
        Name as returned by :func:`functor_name`.
    given : mapping of str to callable
        Functions passed by the caller, by full name or by the part after the module.

    Returns
    -------
    callable

    Raises
    ------
    FileError
        If the name is private or unknown.
    """
    if not isinstance(name, str) or _is_private(name):
        raise FileError("a file cannot refer to a private function", where="file", got=repr(name)[:200])
    module, _, short = name.partition(":")
    if name in given:
        return given[name]
    if is_tensor_function(name):
        return tensor_functions()[short]
    if name in _registered:
        return _registered[name]
    if module != TENSOR and short in given:
        return given[short]
    close = get_close_matches(short or name, _names(given), n=1) if len(name) < 200 else []
    raise FileError(
        "the file needs a function that is not known here",
        node=name[:200],
        expected="a tensor function of neuromancer.T"
        if module == TENSOR
        else f"the function to be passed, modelload(..., functors={{{(short or name)[:100]!r}: function}}), or "
        "registered with neuromancer.register_functor",
        nearest=close[0] if close else None,
    )


def _names(given: Iterable[str]) -> list[str]:
    return [*tensor_functions(), *_registered, *given]


def _stored_name(function: Any) -> str:
    return f"{getattr(function, '__module__', None)}:{getattr(function, '__qualname__', '<nameless>')}"


def _is_private(name: str) -> bool:
    return any(part.startswith("_") for part in name.rpartition(":")[2].split("."))
