"""Documented import path of tagged shapes and compiled functions."""

from __future__ import annotations

from neuromancer.graph.function import getinput_for_multioutput, make_func
from neuromancer.graph.tagged_shape import TaggedShape
from neuromancer.utils import as_floatX

__all__ = ["TaggedShape", "as_floatX", "getinput_for_multioutput", "make_func"]
