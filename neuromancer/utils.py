"""Helpers: conversion to floatX, seeded random generators, names, number formatting."""

from __future__ import annotations

import io
import os
import re
import threading
import unicodedata
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from neuromancer.arrays import as_array as as_array
from neuromancer.casts import exact_cast
from neuromancer.config import config
from neuromancer.errors import ArgumentError, InputTypeError, UnknownNameError, naming, nearest_name
from neuromancer.exclusive import Exclusive
from neuromancer.files import write_whole

NAME_LENGTH = 1000
"""Maximum length of the name of a node or model, in characters."""
SURROGATE = "Cs"
UNPRINTABLE = (SURROGATE, "Cc", "Zl", "Zp")
"""Unicode categories: lone surrogates, control characters, line and paragraph separators."""
UNSAFE = re.compile(r'[/\\:*?"<>|]')
"""Characters with a special meaning on some file system."""
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Device names on Windows."""
FILE_NAME_BYTES = 120
"""Maximum length of a file name made from a name; leaves room for affixes within the usual limit of 255 bytes."""


def as_floatX(x: Any) -> np.ndarray:
    """Convert to an array of the configured precision.

    Parameters
    ----------
    x : scalar or array-like
        Values to convert.

    Returns
    -------
    numpy.ndarray
        C-contiguous, with the shape of `x` (0-d for a scalar) and dtype ``config.floatX``.

    Raises
    ------
    ArgumentError, InputTypeError
        For numbers that floatX cannot represent, and for anything that is not numeric.

    Examples
    --------
    >>> as_floatX([1, 2]).dtype.name
    'float32'
    """
    array = exact_cast(as_array(x), config.floatX, "as_floatX", "the value")
    return np.array(array) if array.ndim == 0 else np.ascontiguousarray(array)


class _Randomness:
    """Per-thread generators of the package, restarted when ``config.seed`` is set; NumPy's global state is not used."""

    def __init__(self) -> None:
        self._lock = Exclusive()
        self._of_thread = threading.local()
        self._generation, self._threads = -1, 0

    def current(self) -> np.random.Generator:
        if getattr(self._of_thread, "generation", None) != config.seed_generation:
            with self._lock:
                if self._generation != config.seed_generation:
                    self._generation, self._threads = config.seed_generation, 0
                key, self._threads = self._threads, self._threads + 1
            seed = np.random.SeedSequence(config.seed, spawn_key=(key,) if key else ())
            self._of_thread.generator = np.random.default_rng(seed)
            self._of_thread.generation = self._generation
        generator: np.random.Generator = self._of_thread.generator
        return generator


_randomness = _Randomness()


def rng() -> np.random.Generator:
    """Return the generator for initial weights; reproducible if ``config.seed`` is set.

    Every thread has its own generator. The first thread to call this after the seed was set gets the stream of the
    seed; further threads get independent streams, in the order of their first call.

    Examples
    --------
    >>> from neuromancer.config import config
    >>> config.seed = 3; first = rng().random()
    >>> config.seed = 3; bool(first == rng().random())
    True
    >>> config.seed = None
    """
    return _randomness.current()


def new_seed() -> int:
    """Draw the seed of a new random stream from :func:`rng`."""
    return int(rng().integers(2**31))


def seed(value: int | None) -> None:
    """Seed weight initialisation and the random streams of nodes created afterwards (sets ``config.seed``)."""
    config.seed = value


def check_name(name: Any, owner: Any, stored: bool = False) -> str:
    """Check that a name is a string of limited length, and return it.

    Non-printable characters are allowed; they are escaped when displayed.

    Parameters
    ----------
    name : str
    owner : Node or str
        Owner of the name, for the message.
    stored : bool
        Refuse lone surrogates, which cannot be encoded.

    Raises
    ------
    InputTypeError
        If it is not a string.
    ArgumentError
        If it has more than 1000 characters, or cannot be stored.

    Examples
    --------
    >>> check_name("Schicht ä/1", "conv")
    'Schicht ä/1'
    """
    if not isinstance(name, str):
        got = f"{type(name).__name__} {name!r}"[:200]
        raise InputTypeError("a name must be a string", node=owner, got=got, expected="a str")
    if len(name) > NAME_LENGTH:
        got = f"{len(name)} characters, {name[:30]!a}..."
        raise ArgumentError("the name is too long", node=owner, got=got, expected=f"at most {NAME_LENGTH} characters")
    bad = [c for c in name if unicodedata.category(c) == SURROGATE] if stored else []
    if bad:
        raise ArgumentError(
            "the name has characters that cannot be stored",
            node=owner,
            got=f"{bad[0]!a} in {name[:60]!a}",
            expected="no surrogates",
            nearest="".join(c for c in name if c not in bad)[:60] or None,
        )
    return str(name)


def safe_file_name(name: str) -> str:
    """Return a file name for something called `name`: the name itself if it is valid on every file system.

    Otherwise invalid characters are replaced and the start of a digest is appended, so that different names never map
    to the same file, even on file systems that do not distinguish composed from decomposed characters.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
        At most 120 bytes of UTF-8; no path separator, no leading or trailing dot or space, no reserved name.

    Examples
    --------
    >>> safe_file_name("layer 1"), safe_file_name("run/1"), safe_file_name("..")
    ('layer 1', 'run_1-a7becdaa', '_-5ec1f7e7')
    """
    clean = UNSAFE.sub("_", unicodedata.normalize("NFC", name))
    clean = "".join("_" if unicodedata.category(c) in (*UNPRINTABLE, "Cf", "Cn") else c for c in clean).strip(". ")
    if RESERVED.fullmatch(clean):
        clean = f"_{clean}"
    short = clean.encode()[:FILE_NAME_BYTES].decode(errors="ignore")
    if name and short == name and not re.search(r"-[0-9a-f]{8}$", name):
        return name
    digest = sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{clean.encode()[: FILE_NAME_BYTES - 9].decode(errors='ignore') or '_'}-{digest}"


def as_list(value: Any) -> list | None:
    """Convert to a list: lists and tuples are copied, None is returned as it is, anything else is wrapped in a list.

    Examples
    --------
    >>> as_list(3), as_list((1, 2)), as_list(None)
    ([3], [1, 2], None)
    """
    if value is None:
        return None
    return list(value) if isinstance(value, (list, tuple)) else [value]


def pretty_string_ops(n: float) -> str:
    """Format a number of operations with a prefix, as in ``'25.2 Giga Ops'``; the smallest unit is kilo.

    Examples
    --------
    >>> pretty_string_ops(25.2e9), pretty_string_ops(300)
    ('25.2 Giga Ops', '0.3 kilo Ops')
    """
    for factor, prefix in ((1e12, "Tera"), (1e9, "Giga"), (1e6, "Mega")):
        if n >= factor:
            return f"{n / factor:.1f} {prefix} Ops"
    return f"{n / 1e3:.1f} kilo Ops"


def pretty_string_time(seconds: float) -> str:
    """Format a duration in hours above 4000 s, in minutes above 300 s, else in seconds.

    Examples
    --------
    >>> pretty_string_time(12), pretty_string_time(600), pretty_string_time(7200)
    ('12.0 s', '10.0 m', '2.0 h')
    """
    if seconds > 4000:
        return f"{seconds / 3600:.1f} h"
    if seconds > 300:
        return f"{seconds / 60:.1f} m"
    return f"{seconds:.1f} s"


def h5load(file_name: str | os.PathLike[str], keys: str | Sequence[str] | None = None) -> Any:
    """Read arrays from an HDF5 file.

    Parameters
    ----------
    file_name : path
    keys : str or sequence of str, optional
        Names of data sets; default: all at the top of the file.

    Returns
    -------
    numpy.ndarray, or list of them if there are several
    """
    import h5py

    with naming(file_name, "cannot be read"), h5py.File(Path(file_name).expanduser(), "r") as file:
        names = [keys] if isinstance(keys, str) else list(file) if keys is None else [str(key) for key in keys]
        for name in names:
            if not isinstance(file.get(name), h5py.Dataset):
                raise UnknownNameError(
                    "no such data set", where=str(file_name), got=name, expected=f"one of {list(file)}",
                    nearest=nearest_name(name, file),
                )  # fmt: skip
        arrays = [np.asarray(file[name][()]) for name in names]
    return arrays[0] if len(arrays) == 1 else arrays


def h5save(data: Any, file_name: str | os.PathLike[str], keys: Any = None, compress: bool = True) -> None:
    """Write arrays of numbers to an HDF5 file, which is replaced when all is written.

    Parameters
    ----------
    data : array, or list or tuple of array
    file_name : path
    keys : str or sequence of str, optional
        One name per array; default: ``data`` for a single array, else 0, 1, ...
    compress : bool
        With lzf.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "arrays.h5"
    >>> h5save([np.arange(3), np.zeros(2)], path, ["a", "b"])
    >>> h5load(path, "a").tolist(), len(h5load(path))
    ([0, 1, 2], 2)
    """
    import h5py

    arrays = list(data) if isinstance(data, (list, tuple)) else [data]
    default = ["data"] if not isinstance(data, (list, tuple)) else [str(n) for n in range(len(arrays))]
    names = default if keys is None else [keys] if isinstance(keys, str) else [str(key) for key in keys]
    if len(names) != len(arrays) or len(set(names)) != len(names):
        raise ArgumentError("needs one name per array", where="h5save", got=names, expected=f"{len(arrays)} names")
    arrays = [np.asarray(array) for array in arrays]
    strange = [name for name, array in zip(names, arrays, strict=True) if array.dtype.kind not in "biufc"]
    if strange:
        raise InputTypeError("not numbers", where="h5save", got=strange, expected="arrays of numbers")
    # in memory first: on a full disk the HDF5 library fails in ways that cannot be caught
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        for name, array in zip(names, arrays, strict=True):
            try:
                file.create_dataset(name, data=array, compression="lzf" if compress and array.ndim else None)
            except (OSError, RuntimeError, TypeError, ValueError) as error:
                raise ArgumentError(str(error)[:300], where="h5save", got=name, expected="another name") from error
    write_whole(Path(file_name).expanduser(), image.getbuffer())
