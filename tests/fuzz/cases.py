"""Fuzz cases by number: what to load, and which outcomes are allowed.

A case depends only on its kind, the run's seed and its number, so it can be reproduced.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np

import neuromancer as nm
from neuromancer.commands import volumes as cli
from neuromancer.dense.resume import Journal
from neuromancer.errors import NeuromancerError
from neuromancer.io.container import BLOCK, MAGIC, VERSION, body_digest, write_file
from neuromancer.io.describe import describe
from tests.fuzz import sealing, zoo
from tests.fuzz.legacy import legacy_pickles
from tests.fuzz.mutations import anything, at, mutate_bytes, mutate_document, mutate_pickle, places

OPTIONS: list[dict[str, Any]] = [
    {}, {}, {}, {}, {}, {}, {"override_mfp_to_active": True}, {"imposed_patch_size": [9, 9]}, {"imposed_batch_size": 3},
    {"make_weights_constant": True}, {"replace_bn": "const"}, {"lock_trainable_params": 1}, {"unlock_all_params": True},
    {"inject_source": {"child_name": "conv"}},
]  # fmt: skip


class WrongError(Exception):
    """A forbidden outcome: wrong values, or damage."""


class Documents:
    """Model files with mutated documents, or mutated bytes with and without a correct checksum."""

    def __init__(self, scratch: Path) -> None:
        self.path = scratch / "model.h5"
        self.documents = list(zoo.documents().values())
        self.files = []
        for document, arrays in self.documents:
            write_file(self.path, document, arrays)
            self.files.append(self.path.read_bytes())

    def prepare(self, r: Random) -> Callable[[], str]:
        """Prepare a case; return a function that loads it and returns the outcome."""
        options = r.choice(OPTIONS)
        made, arrays = self._make(r)
        if isinstance(made, bytes):
            self.path.write_bytes(made)
            return lambda: _load(self.path, options, r)

        def load() -> str:
            with patch("neuromancer.io.load.read_document", lambda path: (json.loads(made), arrays)):
                return _load(self.path, options, r)

        return load

    def _make(self, r: Random) -> tuple[bytes | str, dict[str, np.ndarray]]:
        """Return a file, or the JSON of a document to load without a file, and its arrays."""
        i = r.randrange(len(self.documents))
        if r.random() < 0.25:
            return _file(r, self.files[i]), {}
        document, arrays = copy.deepcopy(self.documents[i][0]), self.documents[i][1]
        mutate_document(r, document, list(arrays))
        if r.random() < 0.1:
            arrays = {key: _other(r, array) for key, array in arrays.items()}
        return json.dumps(document), arrays

    def keep(self, r: Random) -> bytes:
        """Return the file of a case, or its document."""
        r.choice(OPTIONS)
        made = self._make(r)[0]
        return made if isinstance(made, bytes) else made.encode()


def _file(r: Random, whole: bytes) -> bytes:
    changed = mutate_bytes(r, whole, keep=0 if r.random() < 0.2 else BLOCK)
    if r.random() < 0.7:
        length, digest = body_digest(io.BytesIO(changed))
        header = MAGIC + f"version {VERSION}\nlength {length}\nsha256 {digest}\n".encode()
        changed = header.ljust(BLOCK, b"\0") + changed[BLOCK:]
    return changed


def _other(r: Random, array: np.ndarray) -> np.ndarray:
    choice = r.randrange(5)
    if choice == 0:
        return array.astype(r.choice(["bool", "int8", "uint64", "float16", "float64"]))
    if choice == 1:
        return array.reshape(-1)
    if choice == 2:
        return np.zeros(r.choice([(0,), (1,), (2, 3), (1000,), ()]))
    return np.full_like(array, np.nan) if choice == 3 and array.dtype.kind == "f" else array


def _load(path: Path, options: dict[str, Any], r: Random) -> str:
    before = nm.model_manager.current, set(nm.model_manager.models)
    try:
        model = nm.modelload(path, **options)
    except NeuromancerError as error:
        if (nm.model_manager.current, set(nm.model_manager.models)) != before:
            raise WrongError("a model that could not be loaded was left behind") from error
        str(error)
        return type(error).__name__
    try:
        if model.training_state:
            zoo.resume(path)
        describe(model)
        if r.random() < 0.3:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                cli.main(["info", str(path)])
    except NeuromancerError as error:
        str(error)
    finally:
        for name in set(nm.model_manager.models) - before[1]:
            nm.model_manager.delmodel(name)
    return "loaded"


class Pickles:
    """Files of the original library."""

    def __init__(self, scratch: Path) -> None:
        self.path = scratch / "model.mdl"
        self.pickles = legacy_pickles()

    def prepare(self, r: Random) -> Callable[[], str]:
        """Prepare a case; return a function that loads it and returns the outcome."""
        self.path.write_bytes(self.keep(r))
        options = r.choice(OPTIONS)
        return lambda: _load(self.path, options, r)

    def keep(self, r: Random) -> bytes:
        """Return the file of a case."""
        return mutate_pickle(r, r.choice(self.pickles))


class Journals:
    """Journals of a prediction that is half done."""

    def __init__(self, scratch: Path) -> None:
        self.out = scratch / "result.npy"
        self.folder = scratch / "result.npy.progress"
        nm.seed(0)
        nm.model_manager.newmodel(None)
        inp = nm.Input((None, 1, 6, 6), "b,f,y,x", print_repr=False)
        self.node = nm.Conv(inp, 2, (3, 3), activation_func="tanh", print_repr=False)
        self.raw = np.random.default_rng(0).integers(0, 255, (1, 2, 14, 14)).astype("uint8")
        self.want = self.node.predict_dense(self.raw, progress=False)
        self.node.predict_dense(self.raw, out=self.out, tile=(1, 6, 6), shard=(0, 2), progress=False)
        self.half = self.out.read_bytes()
        self.files = {p.name: p.read_bytes() for p in self.folder.iterdir()}
        self.done = np.load(self.out) == self.want
        self._resume()  # compiles the network
        self._restore()

    def _restore(self) -> None:
        if self.folder.is_dir():
            shutil.rmtree(self.folder)
        for path in self.out.parent.glob("*result*"):
            if path != self.out:
                path.unlink()
        self.folder.mkdir()
        self.out.write_bytes(self.half)  # into the same file, as a journal may identify it by its inode
        for name, content in self.files.items():
            (self.folder / name).write_bytes(content)

    def _change(self, r: Random) -> bool:
        """Change the folder; return whether its header may now be false without a broken seal."""
        name = "run.json" if r.random() < 0.6 else r.choice(list(self.files))
        path, choice = self.folder / name, r.randrange(8)
        if name == "run.json" and choice < 5:
            header = json.loads(self.files[name])
            found = places(header)
            for _ in range(r.choice([1, 1, 2, 4])):
                place = r.choice(found)
                with contextlib.suppress(LookupError, TypeError):
                    if r.random() < 0.25:
                        del at(header, place[:-1])[place[-1]]
                    else:
                        at(header, place[:-1])[place[-1]] = anything(r, {"nodes": []}, [])
            header = json.loads(json.dumps(header))
            forged = r.random() < 0.6
            if forged:
                sealing.seal(header)
            path.write_text(json.dumps(header), errors="surrogatepass")
            return forged or not sealing.is_sealed(header)
        if choice == 5:
            other = r.choice(["copy.log", "x.log", "making", "a.failed", ".run.x", "run.json"])
            (self.folder / other).write_bytes(
                r.choice([r.randbytes(40), b"", b"\xff\xfe", self.files[name], b"host 1" + b"0" * 5_000])
            )
        elif choice == 6:
            path.unlink(missing_ok=True)
            if r.random() < 0.5:
                (self.folder / r.choice([name, "x.log", "making"])).mkdir(exist_ok=True)
        else:
            path.write_bytes(mutate_bytes(r, self.files[name]))
            # Without a seal, a flipped bit in the header cannot be detected.
            return name == "run.json" and not sealing.is_sealed(json.loads(self.files[name]))
        return False

    def prepare(self, r: Random) -> Callable[[], str]:
        """Prepare a case; return a function that resumes it and returns the outcome."""
        self._restore()
        lies = self._change(r)

        def resume() -> str:
            with patch("neuromancer.dense.creation_lock.WAIT", 0.1):  # for another process that creates the result
                return self._run(r, lies)

        return resume

    def _run(self, r: Random, lies: bool) -> str:
        try:
            found = Journal.find(self.folder)
            if found is not None:
                found.done(), found.failures()
        except NeuromancerError as error:
            str(error)
        outcome = "read"
        if r.random() < 0.4:
            try:
                self._resume()
                outcome = "resumed"
            except NeuromancerError as error:
                str(error)
                outcome = type(error).__name__
            if not lies:
                self._check(whole=outcome == "resumed")
        return outcome

    def _resume(self) -> None:
        self.node.predict_dense(self.raw, out=self.out, resume=True, progress=False)

    def _check(self, whole: bool) -> None:
        values = np.load(self.out)
        right = values.shape == self.want.shape and (values == self.want)[... if whole else self.done].all()
        if not right:
            raise WrongError("the result is wrong" if whole else "the result was damaged")

    def keep(self, r: Random) -> bytes:
        """Return the folder of a case."""
        self._restore()
        self._change(r)
        return pickle.dumps({p.name: p.read_bytes() for p in self.folder.iterdir() if p.is_file()})


KINDS: dict[str, Callable[[Path], Any]] = {"documents": Documents, "pickles": Pickles, "journals": Journals}


def random_of(kind: str, seed: int, number: int) -> Random:
    """Return the random generator of a case."""
    return Random(f"{kind}/{seed}/{number}")
