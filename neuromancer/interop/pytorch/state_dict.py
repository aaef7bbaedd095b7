"""Weights of a torch module from a file, read as data."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neuromancer.errors import FileError, InputTypeError, TranslationError, reason, short, translating


def with_state(module: Any, path: Path, kwargs: Mapping[str, Any], where: str, strict: bool = True) -> nn.Module:
    """Return a module with the weights of a file; the one that is given is not changed.

    Parameters
    ----------
    module : torch.nn.Module, or callable that returns one
        A callable is called with `kwargs` if it takes them, else without arguments.
    path : Path
        File written by ``torch.save(module.state_dict())``. Only tensors and plain containers are read.
    kwargs : mapping
        Arguments of the network, as the package states them.
    where : str
        For errors.
    strict : bool
        Whether missing and further weights are an error.

    Raises
    ------
    InputTypeError
        If there is no module.
    FileError
        If the file is damaged, or holds something other than tensors.
    TranslationError
        If the weights do not belong to the module.
    """
    network = copy.deepcopy(module) if isinstance(module, nn.Module) else _called(module, kwargs)
    with translating(path, "is not a state_dict of tensors", "a file of torch.save(module.state_dict())"):
        state = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(state, Mapping) and "state_dict" in state and isinstance(state["state_dict"], Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise FileError("is not a state_dict", where=str(path), got=type(state).__name__, expected="tensors by name")
    try:
        network.load_state_dict(state, strict=strict)
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:
        raise TranslationError(
            "the weights do not belong to the module", where=where, got=short(reason(error), 400),
            expected="the network that was trained",
        ) from None  # fmt: skip
    return network.eval()


def _called(module: Any, kwargs: Mapping[str, Any]) -> nn.Module:
    if not callable(module):
        raise InputTypeError(
            "not a module", where="module", got=type(module).__name__,
            expected="a torch.nn.Module, or a function that returns one",
        )  # fmt: skip
    try:
        given = dict(kwargs) if _takes(module, kwargs) else {}
        network = module(**given)
    except Exception as error:  # of the caller's code
        raise InputTypeError(
            "the module cannot be made", where="module", got=short(reason(error), 300),
            expected=f"a function of {short(dict(kwargs))}, or without arguments",
        ) from error  # fmt: skip
    if not isinstance(network, nn.Module):
        raise InputTypeError(
            "returns no module", where="module", got=type(network).__name__, expected="a torch.nn.Module"
        )
    return network


def _takes(function: Any, kwargs: Mapping[str, Any]) -> bool:
    try:
        inspect.signature(function).bind(**kwargs)
    except (TypeError, ValueError):
        return False
    return True
