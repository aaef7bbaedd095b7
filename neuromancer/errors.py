"""Errors of the package.

Each names the node, what came, what was expected and, where there is one, the nearest valid value.
Whatever they hold, their text is made fit to be shown here, and so is that of the package's warnings.
Every class also inherits the builtin that fits it, so ``except ValueError`` keeps working.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import islice
from typing import Any

import numpy as np

from neuromancer.printable import escape, printable, redact

MAX_NAMES, MAX_LENGTH = 10_000, 100
"""How many names of which length are compared to find the one that was meant."""


class NeuromancerError(Exception):
    """Base of all errors raised on purpose by this package.

    Parameters
    ----------
    problem : str
        What is wrong, in one clause.
    node : Node or str, optional
        The node that complains.
    where : str, optional
        The argument, file or whatever else complains, where it is no node. Kept as ``node``, which is what code that
        catches errors reads.
    got, expected, nearest : optional
        The offending value, what would have been accepted, and the closest accepted value.

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
    """A name (of a node, parameter, tag, optimiser, ...) does not exist."""


class GraphError(NeuromancerError, ValueError):
    """The graph as a whole cannot do what is asked: a cycle, a missing source, an unsupported node."""


class EngineError(NeuromancerError, RuntimeError):
    """The symbolic engine failed or is not available."""


class DeviceError(EngineError):
    """The device asked for is not there."""


class OutOfMemoryError(EngineError, MemoryError):
    """An operation needs more memory than the device, or the host, has left."""


class MissingDependencyError(NeuromancerError, ImportError):
    """An optional library or program is needed and not installed."""


class TrainingError(NeuromancerError, RuntimeError):
    """A training cannot go on: its loss or its parameters are no longer finite."""


class PredictionError(NeuromancerError, RuntimeError):
    """A dense prediction cannot go on: a value is not a number, or workers were lost again and again."""


class FileError(NeuromancerError, OSError):
    """A file cannot be read or written, or does not hold what it should."""


@contextmanager
def blame(node: Any) -> Iterator[None]:
    """Let errors that helpers raise inside the block name `node` instead of the helper.

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
    """Turn an OSError inside the block into a FileError that names the file, with the system's reason and number.

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
    """Turn any error of another library inside the block into one of the package that names the file.

    Those that say that memory is short, and those of the package, stay what they are.

    Raises
    ------
    MissingDependencyError
        For an import that failed; names the library.
    FileError

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
    """What an error of another library says, in one line.

    Examples
    --------
    >>> reason(OSError(28, "No space left on device")), reason(KeyError("dtype")), reason(EOFError())
    ('No space left on device', "KeyError: 'dtype'", 'EOFError')
    """
    if isinstance(error, OSError):
        return " ".join((error.strerror or str(error) or type(error).__name__).split())
    text = " ".join(str(error).split())
    plain = text and type(error) in (ValueError, RuntimeError)
    return text if plain else ": ".join(filter(None, (type(error).__name__, text)))


def shown_cause(error: BaseException) -> BaseException | None:
    """The error as the cause of another one; None if a traceback with it would show what must not be shown."""
    return error if all(redact(str(e)) == str(e) for e in _chain(error)) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _plain(value: Any) -> Any:
    """Value with NumPy's scalars as Python's, which read better; also inside lists and tuples."""
    if type(value) in (list, tuple):
        return type(value)(_plain(v) for v in value)
    return value.item() if isinstance(value, np.generic) else value


def short(value: object, limit: int = 200) -> str:
    """Representation of a value of any size, cut; Python refuses to write integers of thousands of digits.

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
    text = redact(text)  # what is cut off is no longer known for a password
    return text if len(text) <= limit else text[: limit - 3] + "..."


def node_label(node: Any) -> str:
    """``Class 'name'`` for a node, ``'name'`` for a string."""
    name = node if isinstance(node, str) else getattr(node, "name", "")
    text = redact(repr(name))
    return text if isinstance(node, str) else f"{escape(type(node).__name__)} {text}"


def nearest_name(name: object, known: Iterable[str]) -> str | None:
    """Return the known name that is spelt most like `name`, or None if none is close.

    Examples
    --------
    >>> nearest_name("sofmax", ["softmax", "conv"])
    'softmax'
    """
    # Comparing takes time that grows with the square of the length, and nobody types as much.
    names = [k for k in islice(known, MAX_NAMES) if len(k) <= MAX_LENGTH]
    close = get_close_matches(str(name)[:MAX_LENGTH], names, n=1)
    return close[0] if close else None


class NeuromancerWarning(UserWarning):
    """Base of the package's warnings; they may hold names from files, and are shown as errors are."""

    def __str__(self) -> str:
        return printable(super().__str__())


class IncompleteWarning(NeuromancerWarning):
    """Parts of a result are missing, as the caller allowed."""


class MetadataWarning(NeuromancerWarning):
    """What a file says about its voxel size, unit, position or values cannot be true, and counts as unknown."""
