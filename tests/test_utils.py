"""Valid names, file names made from them, and per-thread random generators."""

from __future__ import annotations

import threading
import unicodedata

import numpy as np
import pytest

import neuromancer as nm
from neuromancer.errors import ArgumentError, InputTypeError
from neuromancer.utils import check_name, rng, safe_file_name


@pytest.mark.parametrize("name", ["", "conv 1", "a/b", "..", "Schicht_ä_層", "emoji😀", "👩\u200d🔬", "x" * 1000])
def test_printable_names(name):
    assert check_name(name, "conv") == name


@pytest.mark.parametrize("name", [7, b"conv", ("a",), None, np.zeros(2)])
def test_a_name_is_a_string(name):
    with pytest.raises(InputTypeError, match=r"'conv': a name must be a string; got \w+ .*; expected a str"):
        check_name(name, "conv")


def test_names_can_contain_non_printable_characters():
    for odd in ("\0", "\n", "\x1b", "\x7f", "\x85", "\u2028"):
        assert check_name(f"a{odd}b", "model", stored=True) == f"a{odd}b"
    assert check_name("a\ud800b", "conv") == "a\ud800b"
    with pytest.raises(ArgumentError, match=r"cannot be stored; got .* in 'a.*b'.*nearest valid: ab") as caught:
        check_name("a\ud800b", "model", stored=True)
    assert str(caught.value).isprintable()


def test_too_long_names_are_refused():
    with pytest.raises(ArgumentError, match=r"the name is too long; got 100000 characters.*expected at most 1000"):
        check_name("w" * 100_000, "conv")


@pytest.mark.parametrize("name", ["net", "layer 1", "a.b", "Schicht_ä_層", "emoji😀", "console", "x" * 120])
def test_ordinary_names_are_used_as_file_names(name):
    assert safe_file_name(name) == name


HARD = [
    "", ".", "..", "/", "../out", "run/1", "run\\1", "run_1", "a:b", "a?b", "a*b", '"a"', "<a>", "a|b", " a", "a ",
    "a.", ".a", "a\0", "a\n", "CON", "con", "nul.txt", "COM1", "LPT9.h5", "x" * 121, "x" * 300, "x" * 301, "層" * 200,
    "é", unicodedata.normalize("NFD", "é"), "a\u202eb", "a\ud800b", "run_1-a7becdaa",
]  # fmt: skip


def test_file_names_are_safe_and_distinct():
    files = {safe_file_name(name) for name in HARD}
    assert len(files) == len(HARD)
    assert len({unicodedata.normalize("NFD", file) for file in files}) == len(HARD)
    for file in files:
        assert len(file.encode()) <= 120
        assert file.isprintable()
        assert not set(file) & set('/\\:*?"<>|')
        assert file == file.strip(". ") != ""
        assert file.split(".")[0].lower() not in ("con", "nul", "com1", "lpt9")
        assert unicodedata.is_normalized("NFC", file)


def test_every_file_name_can_be_written(tmp_path):
    for k, name in enumerate(HARD):
        (tmp_path / f"{safe_file_name(name)}-last.h5").write_text(str(k))
    assert len(list(tmp_path.iterdir())) == len(HARD)


def drawn_in_threads(n):
    """Return the first number drawn by each of `n` consecutive threads."""
    drawn = []
    for _ in range(n):
        thread = threading.Thread(target=lambda: drawn.append(rng().random()))
        thread.start()
        thread.join()
    return drawn


def test_threads_have_independent_streams():
    nm.seed(3)
    first = rng().random()
    others = drawn_in_threads(3)
    second = rng().random()
    nm.seed(3)
    assert [rng().random(), rng().random()] == [first, second]
    assert drawn_in_threads(3) == others
    assert len({first, second, *others}) == 5


def test_a_single_thread_draws_the_same_numbers_as_the_main_thread():
    nm.seed(3)
    here = rng().random()
    nm.seed(3)
    assert drawn_in_threads(1) == [here]
