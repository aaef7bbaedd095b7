"""Digests of journal headers: whether there is one, and its update after a change."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

SEAL = "digest"


def is_sealed(header: Any) -> bool:
    """Whether a header contains its digest, so that changes are detected."""
    return isinstance(header, dict) and SEAL in header


def seal(header: Any) -> None:
    """Update the digest of a header that has one."""
    if is_sealed(header):
        rest = {key: value for key, value in header.items() if key != SEAL}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        header[SEAL] = sha256(text.encode(errors="surrogatepass")).hexdigest()
