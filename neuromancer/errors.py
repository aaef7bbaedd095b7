"""Exceptions and warnings of the package.

Each error names the node, the offending value, what was expected and, if there is one, the nearest valid value.
Messages of errors and warnings are sanitised here, so that they are safe to display.
Every class also derives from the matching built-in exception, so that ``except ValueError`` keeps working.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from neuromancer.printable import escape, printable, redact

MAX_NAMES, MAX_LENGTH = 10_000, 100
"""Limits on the number and length of names compared to find the most similar one."""


class NeuromancerError(Exception):
    """Base class of all errors that this package raises deliberately.

    Parameters
    ----------
    problem : str
        What is wrong, in one clause.
    node : Node or str, optional
        The node that raises the error.
    where : str, optional
        The argument, file etc. that is at fault, if it is not a node. Stored as ``node``, the attribute that handlers
        read.
    got, expected, nearest : optional
        The offending value, what would have been accepted, and the nearest valid value.

    Examples
    --------
    >>> str(ShapeError("kernel is larger than its input", node="conv1", got=5, expected="at most 3"))
    "'conv1': kernel is larger than its input; got 5; expected at most 3"
    """

    def __init__(
        self,
        problem: str,
        *,
        node: Any = None,
        where: str | None = None,
        got: Any = None,
        expected: Any = None,
        nearest: Any = None,
    ) -> None:
        self.problem, self.node = problem, where if node is None else node
        self.got, self.expected, self.nearest = got, expected, nearest
        super().__init__(problem)

    def __str__(self) -> str:
        text = printable(self.problem)
        if self.node is not None:
            text = f"{node_label(self.node)}: {text}"
        for label, value in (
            ("got", self.got),
            ("expected", self.expected),
            ("nearest valid:", self.nearest),
        ):
            if value is not None:
                text += f"; {label} {printable(_plain(value))}"
        return text


class ShapeError(NeuromancerError, ValueError):
    """A size, shape, tag or stride does not fit."""


class ArgumentError(NeuromancerError, ValueError):
    """An argument has a value that is not allowed."""


class InputTypeError(NeuromancerError, TypeError):
    """An argument has the wrong type or dtype, or the number of arguments is wrong."""


class UnknownNameError(NeuromancerError, KeyError):
    """There is no node, parameter, tag, optimiser or the like of this name."""


class GraphError(NeuromancerError, ValueError):
    """The graph as a whole does not support the operation: a cycle, a missing source, an unsupported node."""


class TranslationError(NeuromancerError, ValueError):
    """A network of another library cannot be translated, or the translation differs from it."""


class EngineError(NeuromancerError, RuntimeError):
    """The symbolic engine failed or is not available."""


class DeviceError(EngineError):
    """The requested device is not available."""


class OutOfMemoryError(EngineError, MemoryError):
    """An operation needs more memory than is free on the device or the host."""


class MissingDependencyError(NeuromancerError, ImportError):
    """A required optional library or program is not installed."""


class TrainingError(NeuromancerError, RuntimeError):
    """Training cannot continue: the loss or the parameters are no longer finite."""


class PredictionError(NeuromancerError, RuntimeError):
    """Dense prediction cannot continue: a value is NaN, or workers were lost repeatedly."""


class FileError(NeuromancerError, OSError):
    """A file cannot be read or written, or does not contain what it should."""

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError leaves out its errno, which a worker process must not lose.
        return type(self), (self.problem,), {**vars(self), "errno": self.errno}


@contextmanager
def blame(node: Any) -> Iterator[None]:
    """Within the block, make errors raised by helpers name `node` instead of the helper.

    Examples
    --------
    >>> try:
    ...     with blame("conv1"):
    ...         raise ShapeError("not a size", node="TaggedShape", got=-1)
    ... except ShapeError as error:
    ...     print(error)
    'conv1': not a size; got -1
    """
    try:
        yield
    except NeuromancerError as error:
        if error.node is None or isinstance(error.node, str):
            error.node = node
        raise


@contextmanager
def naming(path: object, problem: str = "cannot be written") -> Iterator[None]:
    """Convert an OSError within the block to a FileError that names the file, keeping the reason and the errno.

    Examples
    --------
    >>> try:
    ...     with naming("result.npy"):
    ...         raise OSError(28, "No space left on device")
    ... except FileError as error:
    ...     print(error, error.errno)
    'result.npy': cannot be written; got No space left on device 28
    """
    try:
        yield
    except NeuromancerError:
        raise
    except OSError as error:
        named = FileError(problem, where=str(path), got=reason(error))
        named.errno = error.errno
        raise named from shown_cause(error)


@contextmanager
def translating(path: object, problem: str, expected: Any = None) -> Iterator[None]:
    """Convert any error of another library within the block to one of the package that names the file.

    MemoryError and errors of the package are passed on unchanged.

    Raises
    ------
    MissingDependencyError
        For a failed import; names the library.
    FileError
        For any other error.

    Examples
    --------
    >>> try:
    ...     with translating("raw.zarr", "cannot be read"):
    ...         raise ZeroDivisionError("a codec failed")
    ... except FileError as error:
    ...     print(error)
    'raw.zarr': cannot be read; got ZeroDivisionError: a codec failed
    """
    try:
        yield
    except (NeuromancerError, MemoryError):
        raise
    except ImportError as error:
        raise _missing(path, error) from None
    except Exception as error:
        named = FileError(problem, where=str(path), got=reason(error), expected=expected)
        named.errno = error.errno if isinstance(error, OSError) else None
        raise named from shown_cause(error)


def _missing(path: object, error: ImportError) -> MissingDependencyError:
    names = [e.name.partition(".")[0] for e in _chain(error) if isinstance(e, ImportError) and e.name]
    package = names[-1] if names else None
    return MissingDependencyError(
        f"needs the package {package}" if package else "needs a package that is not installed",
        where=str(path),
        got=str(error),
        expected="that package installed",
        nearest=f"pip install {package}" if package else None,
    )


def reason(error: BaseException) -> str:
    """Return the message of another library's error, in one line.

    Examples
    --------
    >>> reason(OSError(28, "No space left on device")), reason(KeyError("dtype")), reason(EOFError())
    ('No space left on device', "KeyError: 'dtype'", 'EOFError')
    """
    if isinstance(error, OSError):
        return " ".join((error.strerror or str(error) or type(error).__name__).split())
    text = " ".join(str(error).split()).partition(" [tensorstore_spec=")[0]
    plain = text and type(error) in (ValueError, RuntimeError)
    return text if plain else ": ".join(filter(None, (type(error).__name__, text)))


def shown_cause(error: BaseException) -> BaseException | None:
    """Return the error, to be raised from; None if its traceback would reveal credentials."""
    return error if all(redact(str(e)) == str(e) for e in _chain(error)) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _plain(value: Any) -> Any:
    """Convert NumPy scalars, also in lists and tuples, to Python scalars, which are easier to read."""
    if type(value) in (list, tuple):
        return type(value)(_plain(v) for v in value)
    numpy = sys.modules.get("numpy")  # command lines fail without it; there are no such scalars then
    return value.item() if numpy is not None and isinstance(value, numpy.generic) else value


def short(value: object, limit: int = 200) -> str:
    """Return the representation of a value of any size, truncated; Python refuses to print very large integers.

    Examples
    --------
    >>> short([1, 2]), short("a" * 1000, 5), short(10**9999)
    ('[1, 2]', "'a...", 'int of 33216 bits')
    """
    try:
        text = repr(_plain(value[: 10 * limit] if isinstance(value, (str, bytes, list, tuple)) else value))
    except ValueError:
        bits = f" of {value.bit_length()} bits" if isinstance(value, int) else ""
        return f"{type(value).__name__}{bits}"
    text = redact(text)  # before truncating: a truncated password would no longer be recognised
    return text if len(text) <= limit else text[: limit - 3] + "..."


def node_label(node: Any) -> str:
    """Return ``Class 'name'`` for a node, ``'name'`` for a string."""
    name = node if isinstance(node, str) else getattr(node, "name", "")
    text = redact(repr(name))
    return text if isinstance(node, str) else f"{escape(type(node).__name__)} {text}"


def nearest_name(name: object, known: Iterable[str]) -> str | None:
    """Return the known name most similar to `name`, or None if none is close.

    Examples
    --------
    >>> nearest_name("sofmax", ["softmax", "conv"])
    'softmax'
    """
    from difflib import get_close_matches  # only errors need it

    # The comparison is quadratic in the length, and nobody types names this long.
    names = [k for k in islice(known, MAX_NAMES) if len(k) <= MAX_LENGTH]
    close = get_close_matches(str(name)[:MAX_LENGTH], names, n=1)
    return close[0] if close else None


class NeuromancerWarning(UserWarning):
    """Base class of the package's warnings; sanitised like errors, as they may contain names from files."""

    def __str__(self) -> str:
        return printable(super().__str__())


class IncompleteWarning(NeuromancerWarning):
    """Parts of a result are missing, which the caller has allowed."""


class MetadataWarning(NeuromancerWarning):
    """A file's voxel size, unit, position or value range is implausible and is treated as unknown."""
