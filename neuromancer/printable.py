"""Text that may be shown or logged: no credentials, no characters that act on a terminal.

Names come from model files, and addresses from users: every error, bar, table and label goes through
:func:`printable`.
"""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"
LONGEST = 2000
"""Characters of one value in a message."""
_CREDENTIAL = (
    r"(?:(?:x-)?(?:amz|goog|ms)-[a-z-]{1,40}|"
    r"[\w-]{0,40}?(?:access|account|secret|api|session|shared)[_-]?(?:access[_-]?)?(?:key|token|signature)\w{0,10}|"
    r"[\w-]{0,40}?(?:token|password|passwd|pwd|secret)|sig(?:nature)?|authorization|credentials?)"
)
_ADDRESS = r"(:/{2,}|(?<![\w.+-])[a-zA-Z][\w+-]{1,30}:/)"
"""What stands before the user of an address; with one slash, as pathlib writes it, no drive and no data set."""
_NO_PORT = r"(?!\d+(?:/|\s|$)|:[\w+.-]+:/)"
"""Neither the number of one follows, nor another address, as in zip://a::https://host."""
_NAMED = rf"(?<![\w-]){_CREDENTIAL}"
_PATTERNS = (
    # user:password@ of an address, up to the last @ before the next address: a password may hold anything, spaces too.
    (
        re.compile(rf"{_ADDRESS}[^/@:'\"]{{0,100}}:(?!\d+/|:[\w+.-]+:/)(?:(?!://).){{0,400}}@", re.DOTALL),
        rf"\1{HIDDEN}@",
    ),
    (re.compile(rf"{_ADDRESS}[^\s/@:]*:{_NO_PORT}\S*@"), rf"\1{HIDDEN}@"),
    (re.compile(r"((?:s3a?|gc?s|az|abfss?|oss)://)[^\s/@:]*:\S*@"), rf"\1{HIDDEN}@"),  # these have no ports
    (re.compile(rf"{_ADDRESS}[^\s/@]*@"), rf"\1{HIDDEN}@"),
    # The same in a text that was cut off within the password.
    (re.compile(rf"(://)[^\s/@:.]+:{_NO_PORT}[^\s@]{{12,}}$"), rf"\1{HIDDEN}"),
    # The query and the fragment of an address hold signatures and tokens, under any name; they end with its quotes.
    (
        re.compile(r"(?<=://)([^<>?#\n]{0,400})[?#](?=\S)(?:(?!['\"][,;:.)\]}]*(?:\s|$))[^\s<>])+"),
        rf"\1?{HIDDEN}",
    ),
    (re.compile(rf"({_NAMED}=)(?!\*\*\*)[^\s&;,'\"<>)]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    # Options of stores, as Python or JSON writes them.
    (
        re.compile(rf"({_NAMED}['\"]?\s*[:=]\s*[bru]?(['\"]))(?:\\.|(?!\2).)*", re.IGNORECASE | re.DOTALL),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(['\"]key['\"]\s*:\s*[bru]?(['\"]))(?:\\.|(?!\2).)*", re.IGNORECASE | re.DOTALL), rf"\1{HIDDEN}"),
    (re.compile(rf"({_NAMED}['\"]\s*:\s*)\d[\w.]*", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"(['\"]?auth['\"]?\s*[:=]\s*\w*\()[^)]*", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"(authorization\s*[:=]\s*)(?:\w+\s+)?[^\s,'\"]+", re.IGNORECASE), rf"\1{HIDDEN}"),
)


class Lines(str):
    """Text of the package whose line breaks are meant, such as a table."""

    __slots__ = ()


def redact(text: str) -> str:
    """Text without user names, passwords, tokens and signatures of addresses.

    Examples
    --------
    >>> redact("https://me:pass@host/raw.zarr?X-Amz-Signature=abc"), redact("s3://bucket/raw.zarr")
    ('https://***@host/raw.zarr?***', 's3://bucket/raw.zarr')
    """
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


def escape(text: str) -> str:
    """Text in which characters that are not printable stand as Python writes them.

    Examples
    --------
    >>> escape("raw\\x1b[2J\\n")
    'raw\\\\x1b[2J\\\\n'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable(value: object) -> str:
    """A value as one line that may be shown: see :func:`redact` and :func:`escape`.

    Strings stand as they are, everything else as Python writes it. Lines that the package made itself stay lines.

    Examples
    --------
    >>> printable("a\\tb"), printable(("raw", 3))
    ('a\\\\tb', "('raw', 3)")
    """
    if isinstance(value, Lines):
        return "\n".join(redact(escape(line)) for line in value.split("\n"))
    text = value if isinstance(value, str) else _repr(value)
    text = redact(escape(text[: 4 * LONGEST]))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def described(value: Any) -> str:
    """What came, for a message: type, and shape or the beginning of its text.

    Examples
    --------
    >>> described({"a": 1}), described(None), described(range(10**9))
    ("dict {'a': 1}", 'None', 'range of 1000000000')
    """
    if value is None or isinstance(value, bool):
        return str(value)
    name = type(value).__name__
    try:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple):
            return printable(f"{name} of shape {shape}, dtype {getattr(value, 'dtype', 'unknown')}")
        n = 0 if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") else len(value)
    except Exception:  # of a class that is not ours
        return f"{printable(name)} {printable(_repr(value))[:100]}"
    return f"{name} of {n}" if n > 20 else f"{printable(name)} {printable(_repr(value))[:100]}"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # of a class that is not ours
        return f"<{type(value).__name__}>"
