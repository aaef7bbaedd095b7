"""Mutations of documents, bytes and pickles, as by damage, other programs or malice."""

from __future__ import annotations

import json
import pickletools
from itertools import islice
from random import Random
from typing import Any

FUNCTORS = [
    "T:tanh",
    "T:absent",
    "T:__loader__",
    "T:shape_padleft",
    "T:load",
    "T:printing",
    "os:system",
    "posix:system",
    "builtins:eval",
    "builtins:exec",
    "subprocess:run",
    "torch.utils.collect_env:run",
    "torch.serialization:save",
    "numpy:save",
    "numpy:load",
    "pickle:loads",
    "neuromancer.errors:node_label",
    "neuromancer.io.save:save",
    "neuromancer:modelload",
    "tests.fuzz.child:main",
    "_private:f",
    "",
    ":",
    "a:b:c",
    "T:" + "x" * 5_000,
]
STRINGS = [
    "",
    "\0",
    "a\0b",
    "\n",
    "\x1b[2J",
    "\ud800",
    "é" * 50,
    "٣",
    "x" * 20_000,
    "9" * 5_000,
    "9" * 20_000 + "a",
    "../../etc",
    "$(touch executed)",
    "`touch executed`",
    "%s%n",
    "{0}",
    "nan",
    "1e100000000",
    "b,f,y,x",
    "b,f,f",
    "r,b,f,z,y,x,s",
    "float64",
    "complex128",
    "object",
    "O",
    "<M8[s]",
    "U1000000000",
    "const",
    "same",
    "channel",
    "predict",
    "maxout 2",
    "maxout 99999999999999999999",
    "maxout " + "9" * 5_000,
    "prelu",
    "prelu shared",
    "leaky_relu 1e400",
    "hardtanh 1 nan",
    "softplus 1e-320",
    "__class__",
    "__init__",
    "self",
    "parent",
]
NUMBERS: list[Any] = [
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    256,
    65_536,
    10**6,
    10**8,
    3 * 10**8,
    10**9,
    2**31,
    2**32 + 1,
    2**53 + 1,
    10**12,
    2**61,
    2**62,
    2**63,
    2**64,
    -(2**63),
    2**127,
    2**128,
    10**40,
    10**300,
    10**4000,
    -(10**4000),
    0.5,
    -0.5,
    1e-300,
    1e300,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    True,
    False,
    None,
]
KINDS = [
    "node",
    "parameter",
    "variable",
    "view",
    "constant",
    "array",
    "scalar",
    "shape",
    "functor",
    "fraction",
    "float",
    "dict",
    "tuple",
]


STATE = ["training", "history", "recent", "optimisers", "meta"]
"""Entries of a document that hold training state."""


# ---- documents
def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all items inside a JSON value."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in islice(items, 100):
        found += places(inner, (*path, key)) if len(path) < 60 else []
    return found


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def names(document: dict[str, Any]) -> list[str]:
    nodes = document.get("nodes")
    entries = [e for e in nodes if isinstance(e, dict)] if isinstance(nodes, list) else []
    return [e["name"] for e in entries if isinstance(e.get("name"), str)] or ["raw"]


def anything(r: Random, document: dict[str, Any], arrays: list[str], depth: int = 0) -> Any:
    """Return a value of any kind; most are invalid anywhere."""
    choice = r.randrange(10)
    if choice < 3:
        return r.choice(NUMBERS)
    if choice < 5:
        return r.choice(STRINGS)
    if choice < 7 and depth < 4:
        if depth == 0 and r.random() < 0.1:
            return [anything(r, document, arrays, depth + 1)] * 300
        return [anything(r, document, arrays, depth + 1) for _ in range(r.choice([0, 1, 2, 3, 5]))]
    if choice == 7:
        value: Any = r.choice(NUMBERS)
        for _ in range(r.choice([1, 5, 38, 45, 500])):
            value = {"tuple": [value]} if r.random() < 0.5 else [value]
        return value
    return tagged(r, document, arrays, depth)


def tagged(r: Random, document: dict[str, Any], arrays: list[str], depth: int) -> Any:
    """Return a tagged value: a reference to a node, an array, a function and so on."""
    kind, path = r.choice(KINDS), r.choice(arrays) if arrays else ""
    step = r.choice(
        [["transpose", [1, 0]], ["slice", [[None, None, -1]]], ["slice", [0, 10**9]], ["slice", [[0, 10**30]]]]
    )
    content: Any = {
        "node": r.choice(names(document)),
        "parameter": [r.choice(names(document)), r.choice(["w", "b", "value", "filter", "absent"])],
        "variable": r.choice([0, -1, 10**9, True]),
        "view": [{"parameter": [r.choice(names(document)), "w"]}, [step] * r.choice([0, 1, 3, 2_000])],
        "constant": path,
        "array": path,
        "scalar": path,
        "functor": r.choice(FUNCTORS),
        "fraction": [r.choice([*NUMBERS, "1e100000000"]) for _ in range(r.choice([1, 2, 2, 3]))],
        "float": r.choice(["nan", "inf", "-inf", "1e9", 3]),
        "shape": [
            [r.choice(NUMBERS) for _ in range(4)],
            "b,f,y,x",
            [r.choice(NUMBERS)] * 2,
            [[0, 0]],
            [1, 1],
            [None] * 2,
        ],
    }.get(kind)
    if content is None:
        inner = [anything(r, document, arrays, depth + 1) for _ in range(r.randrange(4))] if depth < 4 else []
        content = {str(k): v for k, v in enumerate(inner)} if kind == "dict" else inner
    if r.random() < 0.1:
        content = anything(r, document, arrays, depth + 1) if depth < 4 else None
    return {kind: content} if r.random() < 0.95 else {kind: content, "node": "raw"}


def mutate_document(r: Random, document: dict[str, Any], arrays: list[str]) -> str:
    """Change a document in one or a few places; return what was done."""
    done = [_mutate_once(r, document, arrays) for _ in range(r.choice([1, 1, 1, 2, 2, 3, 6]))]
    return "; ".join(done)


def _mutate_once(r: Random, document: dict[str, Any], arrays: list[str]) -> str:
    # Most mutations are of nodes, as the rest is small.
    root: Any = document
    state = [key for key in STATE if isinstance(document.get(key), dict) and document[key]]
    if document.get("training") and state and r.random() < 0.6:
        root = {key: document[key] for key in state}
    elif isinstance(document.get("nodes"), list) and document["nodes"] and r.random() < 0.85:
        root = r.choice(document["nodes"])
        if isinstance(root, dict) and isinstance(root.get("arguments"), dict) and r.random() < 0.6:
            root = root["arguments"]
    found = places(root) if isinstance(root, (dict, list)) else []
    if not found:
        document["nodes"] = [*document["nodes"], root] if isinstance(document.get("nodes"), list) else [root]
        return "repeated an entry"
    path = r.choice(found)
    parent, key = at(root, path[:-1]), path[-1]
    action = r.randrange(10)
    if action < 4:
        parent[key] = anything(r, document, arrays)
        return f"put a value at {path}"[:200]
    if action == 4:
        del parent[key]
        return f"dropped {path}"
    if action == 5:
        other = r.choice(found)
        parent[key] = json.loads(json.dumps(at(root, other)))
        return f"copied {other} to {path}"
    if action == 6 and isinstance(parent, dict):
        parent[r.choice([*STRINGS, "name", "class", "arguments", "split", "parts", "n_f", "w"])] = parent.pop(key)
        return f"renamed {path}"
    if action == 7 and isinstance(parent, list):
        parent.extend([parent[key]] * r.choice([1, 2, 50, 3_000]))
        return f"repeated {path}"
    if action == 8 and isinstance(parent, dict):
        parent.update((f"{key}{k}", parent[key]) for k in range(r.choice([1, 50, 2_000])))
        return f"repeated {path} under other names"
    nodes = document.get("nodes")
    if isinstance(nodes, list) and len(nodes) > 1:
        i, j = r.randrange(len(nodes)), r.randrange(len(nodes))
        nodes[i], nodes[j] = nodes[j], nodes[i]
        if r.random() < 0.3 and isinstance(nodes[i], dict):
            nodes.append({**nodes[i], "name": r.choice(STRINGS)})
        return f"swapped nodes {i} and {j}"
    parent[key] = anything(r, document, arrays)
    return f"put a value at {path}"[:200]


# ---- bytes
def mutate_bytes(r: Random, data: bytes, keep: int = 0) -> bytes:
    """Change, cut, repeat or insert bytes after the first `keep`."""
    changed = bytearray(data)
    for _ in range(r.choice([1, 1, 2, 3, 8, 40])):
        if len(changed) <= keep:
            break
        i = r.randrange(keep, len(changed))
        n = r.choice([1, 2, 4, 8, 64])
        action = r.randrange(6)
        if action == 0:
            changed[i] ^= 1 << r.randrange(8)
        elif action == 1:
            changed[i : i + n] = r.randbytes(len(changed[i : i + n]))
        elif action == 2:
            value = r.choice([0, 0xFF, 0x7F, 0x80])
            changed[i : i + n] = bytes([value]) * len(changed[i : i + n])
        elif action == 3:
            j = r.randrange(keep, len(changed))
            part = changed[j : j + n]
            changed[i : i + len(part)] = part
        elif action == 4:
            changed[i:i] = r.randbytes(n)
        else:
            del changed[i : i + (n if r.random() < 0.8 else len(changed))]
    return bytes(changed)


# ---- pickles
def mutate_pickle(r: Random, data: bytes) -> bytes:
    """Drop, repeat, swap and insert whole operations of a pickle, or change its bytes."""
    if r.random() < 0.35:
        return mutate_bytes(r, data, keep=2)
    starts = [position for _, _, position in pickletools.genops(data)]
    ops = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(r.choice([1, 1, 2, 4, 10])):
        i = r.randrange(1, len(ops))
        action = r.randrange(6)
        if action == 0:
            del ops[i]
        elif action == 1:
            ops[i:i] = [ops[i]] * r.choice([1, 2, 100, 20_000])
        elif action == 2:
            j = r.randrange(1, len(ops))
            ops[i], ops[j] = ops[j], ops[i]
        elif action == 3:
            ops[i] = r.choice(ops)
        elif action == 4:
            values = [k for k, op in enumerate(ops) if op[:1] in VALUES]
            ops[r.choice(values or [i])] = shared(r, ops)
        else:
            ops.insert(i, r.choice(OPERATIONS))
        if len(ops) < 3:
            break
    return b"".join(ops)


VALUES = (b"K", b"M", b"J", b"G", b"X", b"U", b"N", b")", b"]", b"}")
"""First bytes of operations that push a value."""


def shared(r: Random, ops: list[bytes]) -> bytes:
    """Return operations that push a value with many references to another one, directly or in a chain of pairs."""
    scalar = r.choice([b"G?\xf8\0\0\0\0\0\0", b"K\x01", _text(b"raw"), _text(b"a" * 100_000), r.choice(ops)])
    kind = r.choice(["pairs", "lists", "records", "calls", "many"])
    if kind == "many":
        return b"](" + scalar + _put(0) + _get(0) * r.choice([1, 1_000, 100_000]) + b"e"
    name, end = {
        "pairs": (b"", b"\x86"),
        "lists": (b"(", b"l"),
        "records": (b"celektronn2.x\nFoo\n", b"\x86\x81"),
        "calls": (b"ctheano.x\nfoo\n", b"\x86R"),
    }[kind]
    depth = r.choice([2, 28, 40])
    return name * depth + scalar + b"".join(_put(k) + _get(k) + end for k in range(depth))


def _put(k: int) -> bytes:
    return b"r" + (MEMO + k).to_bytes(4, "little")


def _get(k: int) -> bytes:
    return b"j" + (MEMO + k).to_bytes(4, "little")


MEMO = 1 << 20
"""First index in the memo of a pickle, beyond those of any file."""


def _text(text: bytes) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text


OPERATIONS = [
    b"cos\nsystem\n",
    b"cposix\nsystem\n",
    b"c__builtin__\neval\n",
    b"cbuiltins\ngetattr\n",
    b"cnumpy\nload\n",
    b"celektronn2.neuromancer.graphmanager\nNodeDescriptor\n",
    b"ctheano.tensor.basic\nexp\n",
    b"ccollections\nOrderedDict\n",
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy.core.multiarray\nscalar\n",
    _text(b"touch executed"),
    _text(b"raw"),
    _text(b"w"),
    _text("é".encode()),
    _text(b""),
    b"R",
    b"b",
    b"o",
    b"\x81",
    b"(",
    b"t",
    b"l",
    b"d",
    b"}",
    b"]",
    b")",
    b"a",
    b"e",
    b"s",
    b"u",
    b"\x85",
    b"\x86",
    b"\x87",
    b"N",
    b"\x88",
    b"\x89",
    b"0",
    b"2",
    b"1",
    b".",
    b"h\x00",
    b"h\x01",
    b"q\x00",
    b"q\x01",
    b"j\xff\xff\xff\x7f",
    b"r\xff\xff\xff\xff",
    b"K\x00",
    b"K\xff",
    b"J\xff\xff\xff\xff",
    b"J\xff\xff\xff\x7f",
    b"\x8a\x20" + b"\xff" * 31 + b"\x7f",
    b"\x8a\xff" + b"\x7f" * 255,
    b"\x8b\xff\xff\xff\x7f",
    b"G\x7f\xf0" + b"\0" * 6,
    b"G\x7f\xf8" + b"\0" * 6,
    b"T\xff\xff\xff\x7f",
    b"U\x03abc",
    b"P1\n",
    b"Q",
    b"ios\nsystem\n",
    b"\x82\x01",
    b"\x93",
    b"\x80\x02",
    b"\x80\x04",
    b"I1\n",
    b"L" + b"9" * 5_000 + b"L\n",
]
