"""The C code of PyTensor's operations, which it reads from a file whenever one is created, is read once.

It is never compiled here, but reading it took a seventh of the time of every compilation: simplifying a graph creates
hundreds of `DimShuffle`, which has such code before PyTensor 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pytensor.link.c.op import ExternalCOp

_load = ExternalCOp.load_c_code
_known: dict[tuple[type, tuple[Path, ...]], tuple[list[str], dict[str, str]]] = {}


def _load_once(self: ExternalCOp, func_files: Iterable[Path]) -> None:
    files = tuple(func_files)
    if (type(self), files) not in _known:
        _load(self, list(files))
        _known[type(self), files] = self.func_codes, self.code_sections
    codes, sections = _known[type(self), files]
    self.func_codes, self.code_sections = [*codes], {**sections}


ExternalCOp.load_c_code = _load_once
