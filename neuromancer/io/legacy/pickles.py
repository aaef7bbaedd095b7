"""Pickle reader that executes nothing.

It interprets those operations of pickle protocol 2 that plain containers, NumPy arrays and node descriptions need, and
never looks up a class or function. Names in a pickle must be on a short list; classes of the original library become
:class:`Record`, which is inert. Lengths are checked against the data, and amplification by repeated references is
counted.
"""

from __future__ import annotations

import gzip
import os
import pickletools
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.errors import FileError

PICKLE, GZIP = b"\x80\x02", b"\x1f\x8b"
INERT = ("elektronn2", "theano")
"""Packages whose classes may be named; they are never imported."""
EXPANSION = 8
"""Maximum expansion of a file by compression or repeated references, relative to its size."""
SPARE = 1 << 20
MAX_FILE = 1 << 32
CONTAINER = 64
"""Cost in bytes of an empty container, which a single byte of a pickle can create."""

NAMES = {
    ("collections", "OrderedDict"): "ordered",
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
}
"""All other names that are allowed."""

BUILTINS = ("__builtin__", "builtins")


@dataclass(frozen=True)
class Name:
    """Name of a class or function in the file; never looked up."""

    module: str
    name: str


@dataclass(eq=False, repr=False)
class Record:
    """Inert stand-in for an object of the original library: class name, arguments and state.

    Its representation omits arguments and state, which may be nested many times over.
    """

    cls: Name
    args: tuple[Any, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{self.cls.module[:100]}.{self.cls.name[:100]}>"


@dataclass(eq=False, repr=False)
class _Array:
    """An array under construction."""

    value: np.ndarray | None = None


@dataclass(eq=False)
class _DType:
    """A dtype under construction."""

    value: np.dtype


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.budget = EXPANSION * len(data) + SPARE
        self.data = data
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def spend(self, n: int) -> None:
        """Count the cost of an operation."""
        self.budget -= n
        if self.budget < 0:
            raise _refuse("it expands too much by repeated references")

    # ---- running
    def run(self) -> Any:
        for op, arg, _ in pickletools.genops(self.data):
            if op.name == "STOP":
                if len(self.stack) != 1 or self.marks:
                    raise _refuse("it ends in the middle")
                return self.stack[0]
            action = _ACTIONS.get(op.name)
            if action is None:
                raise _refuse(f"operation {op.name} is not allowed")
            self.spend(CONTAINER if op.name in _MAKING else 1)
            action(self, arg)
        raise _refuse("it has no end")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack:
            raise _refuse("its stack is empty")
        return self.stack.pop()

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def to_mark(self) -> list[Any]:
        if not self.marks:
            raise _refuse("a mark is missing")
        items, self.stack = self.stack, self.marks.pop()
        self.spend(len(items))
        return items

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise _refuse("an operation does not fit what it is applied to")
        return self.stack[-1]

    # ---- containers
    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise _refuse("a key has no value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, (str, int, bytes)):
                raise _refuse("a key is neither text nor a number")
            target[key] = value

    def take_tuple(self, n: int) -> None:
        items = [self.pop() for _ in range(n)][::-1]
        self.push(tuple(items))

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise _refuse("it refers to something that is not there")
        self.push(self.memo[index])

    def put(self, index: int) -> None:
        self.memo[index] = self.top(object)

    # ---- names and objects
    def name(self, text: str) -> None:
        module, _, name = text.partition(" ")
        known = (module, name) in NAMES or module.partition(".")[0] in INERT
        if not known and not (module in BUILTINS and name == "object"):
            raise _refuse(f"it names {module}.{name}"[:200])
        self.push(Name(module, name))

    def call(self) -> None:
        """REDUCE: perform one of the few known calls."""
        args, function = self.pop(), self.pop()
        if not isinstance(function, Name) or not isinstance(args, tuple):
            raise _refuse("it calls something that has no name")
        what = NAMES.get((function.module, function.name))
        if what is None and function.module.partition(".")[0] in INERT:
            self.push(Record(function, args))
        elif what in _CALLS:
            self.push(_CALLS[what](self, *args))
        else:
            raise _refuse(f"it calls {function.module}.{function.name}"[:200])

    def new_object(self) -> None:
        args, cls = self.pop(), self.pop()
        self.make(cls, args)

    def make(self, cls: Any, args: Any) -> None:
        inert = isinstance(cls, Name) and cls.module.partition(".")[0] in INERT
        if NAMES.get((cls.module, cls.name)) == "ordered" if isinstance(cls, Name) else False:
            self.push(self.ordered(*args))
        elif inert and isinstance(args, tuple):
            self.push(Record(cls, args))
        else:
            raise _refuse("it makes an object of a class that is not allowed")

    def make_from_mark(self) -> None:
        cls, *args = self.to_mark() or [None]
        self.make(cls, tuple(args))

    def build(self) -> None:
        """BUILD: set the state of an object."""
        state = self.pop()
        target = self.top(object)
        if isinstance(target, Record):
            if isinstance(state, tuple) and len(state) == 2:
                state = {**(state[0] or {}), **(state[1] or {})}
            if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
                raise _refuse("an object's state is no table")
            self.spend(len(state))
            target.state.update(state)
        elif isinstance(target, _DType) and isinstance(state, tuple) and len(state) >= 8:
            if state[2:5] != (None, None, None) or state[1] not in ("<", ">", "|", "="):
                raise _refuse("an array is not of plain numbers")
            target.value = target.value.newbyteorder(state[1] if state[1] != "|" else "=")
        elif isinstance(target, _Array) and isinstance(state, tuple) and len(state) == 5:
            _, shape, dtype, fortran, raw = state
            target.value = self.array(dtype, raw, shape, bool(fortran))
        elif not (isinstance(target, OrderedDict) and not state):
            raise _refuse("an object that needs no state gets one")

    # ---- the known calls
    def ordered(self, items: Iterable[Any] = ()) -> OrderedDict[Any, Any]:
        if not isinstance(items, (list, tuple)) or not all(
            isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], (str, int)) for pair in items
        ):
            raise _refuse("a table is not made of pairs")
        self.spend(len(items))
        return OrderedDict((pair[0], pair[1]) for pair in items)

    def encode(self, text: str, encoding: str = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise _refuse("text has an unknown encoding")
        self.spend(len(text))
        return text.encode("latin-1")

    def dtype(self, code: Any, align: Any = False, copy: Any = True) -> _DType:
        try:
            value = np.dtype(code if isinstance(code, str) and len(code) < 8 else "O")
        except TypeError:
            raise _refuse("an array is of an unknown type") from None
        if value.kind not in "biuf" or value.itemsize > 8:
            raise _refuse("an array is not of plain numbers")
        return _DType(value)

    def reconstruct(self, cls: Any, shape: Any, code: Any) -> _Array:
        if not isinstance(cls, Name) or NAMES.get((cls.module, cls.name)) != "ndarray":
            raise _refuse("an array is of an unknown class")
        return _Array()

    def scalar(self, dtype: Any, raw: Any) -> Any:
        return self.array(dtype, raw, (), False)[()]

    def array(self, dtype: Any, raw: Any, shape: Any, fortran: bool) -> np.ndarray:
        raw = raw.encode("latin-1") if isinstance(raw, str) else raw
        if not isinstance(dtype, _DType) or not isinstance(raw, bytes) or not isinstance(shape, tuple):
            raise _refuse("an array is incomplete")
        self.spend(len(raw))
        flat = np.frombuffer(raw, dtype=dtype.value)
        array = flat.reshape(shape, order="F" if fortran else "C")
        return np.array(array, dtype=dtype.value.newbyteorder("="), order="C")


_CALLS: dict[str | None, Callable[..., Any]] = {
    "ordered": _Reader.ordered,
    "encode": _Reader.encode,
    "dtype": _Reader.dtype,
    "reconstruct": _Reader.reconstruct,
    "scalar": _Reader.scalar,
}

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


def _protocol(r: _Reader, version: int) -> None:
    if version != 2:
        raise _refuse(f"it has protocol {version}, not 2")


def _append(r: _Reader, items: list[Any]) -> None:
    r.spend(len(items))
    r.top(list).extend(items)


def _set_one(r: _Reader, _: Any) -> None:
    value, key = r.pop(), r.pop()
    r.set_items([key, value])


def _dict(r: _Reader, _: Any) -> None:
    items = r.to_mark()
    r.push({})
    r.set_items(items)


def _append_one(r: _Reader, _: Any) -> None:
    item = r.pop()
    _append(r, [item])


def _value(r: _Reader, arg: Any) -> None:
    # Python 2 strings hold text or the contents of arrays.
    r.push(arg.decode("latin-1") if isinstance(arg, bytes) else arg)


_ACTIONS: dict[str, Callable[[_Reader, Any], Any]] = {
    "PROTO": _protocol,
    **{op: lambda r, a, v=v: r.push(v) for op, v in _CONSTANTS.items()},  # type: ignore[misc]
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), _value),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING"), _value),
    "EMPTY_LIST": lambda r, a: r.push([]),
    "EMPTY_DICT": lambda r, a: r.push({}),
    "EMPTY_TUPLE": lambda r, a: r.push(()),
    "MARK": lambda r, a: r.mark(),
    "LIST": lambda r, a: r.push(r.to_mark()),
    "DICT": _dict,
    "TUPLE": lambda r, a: r.push(tuple(r.to_mark())),
    "TUPLE1": lambda r, a: r.take_tuple(1),
    "TUPLE2": lambda r, a: r.take_tuple(2),
    "TUPLE3": lambda r, a: r.take_tuple(3),
    "APPEND": _append_one,
    "APPENDS": lambda r, a: _append(r, r.to_mark()),
    "SETITEM": _set_one,
    "SETITEMS": lambda r, a: r.set_items(r.to_mark()),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda r, a: r.get(a)),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda r, a: r.put(a)),
    "GLOBAL": lambda r, a: r.name(a),
    "REDUCE": lambda r, a: r.call(),
    "NEWOBJ": lambda r, a: r.new_object(),
    "OBJ": lambda r, a: r.make_from_mark(),
    "BUILD": lambda r, a: r.build(),
}

_MAKING = {
    "EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE", "MARK", "LIST", "DICT", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "GLOBAL",
    "REDUCE", "NEWOBJ", "OBJ", "BUILD", "SETITEM", "BINPUT", "LONG_BINPUT",
}  # fmt: skip
"""Operations that need more memory than their bytes in the pickle."""


def _refuse(problem: str) -> FileError:
    return FileError(
        f"the pickle is refused: {problem}", where="model file", expected="plain containers, arrays and descriptions"
    )


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """Read a pickle of protocol 2, gzipped or not.

    Parameters
    ----------
    path : path

    Returns
    -------
    object
        Plain containers, numbers, strings, :class:`Name`, :class:`Record`, and objects that :func:`finished` turns into
        arrays.

    Raises
    ------
    FileError
        If the file is damaged, or contains anything else.
    """
    try:
        if Path(path).stat().st_size > MAX_FILE:
            raise FileError("the file is too large", where=str(path), expected=f"at most {MAX_FILE} bytes")
        data = Path(path).read_bytes()
        if data.startswith(GZIP):
            limit = EXPANSION * len(data) + SPARE
            with gzip.open(path, "rb") as file:
                data = file.read(limit + 1)
            if len(data) > limit:
                raise FileError("the file expands too much when decompressed", where=str(path))
        return _Reader(data).run()
    except FileError:
        raise
    except (OSError, EOFError, zlib.error, ValueError, TypeError, LookupError, ArithmeticError, AttributeError,
            RecursionError, MemoryError) as error:  # fmt: skip
        raise FileError("the file is damaged", where=str(path), got=f"{type(error).__name__}: {error}"[:300]) from error


def finished(value: Any) -> Any:
    """Return the array that an object stands for, or the value itself."""
    if isinstance(value, _Array):
        if value.value is None:
            raise _refuse("an array is incomplete")
        return value.value
    return value
