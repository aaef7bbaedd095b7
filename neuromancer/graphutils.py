"""Public import path of tagged shapes and compiled functions."""

from __future__ import annotations

from neuromancer.config import config
from neuromancer.graph.function import LazyFunction, getinput_for_multioutput
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.utils import as_floatX

make_func = LazyFunction  # name in the original library

__all__ = ["LazyFunction", "TaggedShape", "as_floatX", "getinput_for_multioutput", "make_func"]


def __getattr__(name: str) -> str:
    """Return ``config.floatX`` as ``floatX``, its name in the original library."""
    if name == "floatX":
        return config.floatX
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
