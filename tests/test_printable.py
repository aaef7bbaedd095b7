"""Displayed text contains no credentials and no terminal control characters."""

from __future__ import annotations

import pickle
import traceback

import pytest

from neuromancer.errors import (
    FileError,
    InputTypeError,
    MissingDependencyError,
    NeuromancerError,
    naming,
    short,
    translating,
)
from neuromancer.printable import LONGEST, Lines, described, escape, printable, redact

SECRETS = ("s3cret", "AKIAUSER", "tok3n", "sIgNature")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://AKIAUSER:s3cret@host:80/raw.zarr", "https://***@host:80/raw.zarr"),
        ("s3://AKIAUSER:s3c/s3cret@bucket/raw.zarr", "s3://***@bucket/raw.zarr"),
        ("https://AKIAUSER:it's3cret@host/a", "https://***@host/a"),
        ("http:/AKIAUSER:s3cret@host/a", "http:/***@host/a"),  # as pathlib writes it
        ("https://tok3n@host/a, and more", "https://***@host/a, and more"),
        ("simplecache::https://u:s3cret@h/a.zarr/0", "simplecache::https://***@h/a.zarr/0"),
        ("https://h/a.zarr?X-Amz-Signature=sIgNature&token=tok3n: no", "https://h/a.zarr?*** no"),
        ("https://h/a#access_token=tok3n", "https://h/a?***"),
        ("url: /a.zarr?sig=sIgNature&se=2 (refused)", "url: /a.zarr?sig=***&se=2 (refused)"),
        ("https://u:a s3cret@h/a.zarr", "https://***@h/a.zarr"),
        ("https://u:80 s3cret@h and https://v:c@d s3cret@i/a", "https://***@h and https://***@i/a"),
        ("https://u ser:a\ts3\ncret, s3cret@h/a", "https://***@h/a"),
        ("https://u:a\"b's3cret?#s3cret@h/a", "https://***@h/a"),
        ("x://u:s3cret@h/a", "x://***@h/a"),
        ("http:/u:a s3cret@h/a", "http:/***@h/a"),
        ("s3://AKIAUSER:9/s3cret@bucket/a", "s3://***@bucket/a"),
        ("simplecache::zip://a::https://u:b s3cret@h/a", "simplecache::zip://a::https://***@h/a"),
        ("got 'https://u:" + "s3cret" * 9, "got 'https://***"),
        ("'https://h/a b.zarr?any='s3cret'#tok3n': no", "'https://h/a b.zarr?***': no"),
        ("{'password': \"it's3cret\", 'n': 3}", "{'password': \"***\", 'n': 3}"),
        ("{'token': b's3cret', 'pwd': 123}", "{'token': b'***', 'pwd': ***}"),
        ("{'key': 'AKIAUSER', 'anon': False}", "{'key': '***', 'anon': False}"),
        ("auth=BasicAuth(login='u', password='s3cret')", "auth=BasicAuth(***)"),
        ("AccountKey=s3cret==;Endpoint=x", "AccountKey=***;Endpoint=x"),
        ("aws_secret_access_key='s3cret'", "aws_secret_access_key='***'"),
        ('{"access_key": "AKIAUSER", "path": "a"}', '{"access_key": "***", "path": "a"}'),
        ("Authorization: Bearer tok3n", "Authorization: ***"),
        ("s3://bucket/raw@2x.zarr", "s3://bucket/raw@2x.zarr"),
        ("http://host:8080/raw@2x.zarr", "http://host:8080/raw@2x.zarr"),
        ("C:\\data\\me@home.zarr, D:/a:b@c.npy", "C:\\data\\me@home.zarr, D:/a:b@c.npy"),
        ("memory://a.zarr:a_long_name", "memory://a.zarr:a_long_name"),
        ("'x.h5:/raw@2', http://h/a is down: me@h", "'x.h5:/raw@2', http://h/a is down: me@h"),
        ("seed=0, token 'b', a key=3, c:/data/raw@2.npy", "seed=0, token 'b', a key=3, c:/data/raw@2.npy"),
    ],
)
def test_credentials_are_masked(text, shown):
    assert redact(text) == shown == redact(shown)
    assert not any(secret in printable(text) for secret in SECRETS)


def test_control_characters_are_escaped():
    assert escape("a\x1b[2J\n\u202e\x00\ud800ü🧠") == "a\\x1b[2J\\n\\u202e\\x00\\ud800ü🧠"
    assert printable(Lines("a\x1b\nb")) == "a\\x1b\nb"
    assert len(printable("x" * 10**6)) == LONGEST
    error = NeuromancerError("bad\x1b", node="no\nde", got="a\x1b]0;", expected=["\u202e"], nearest="x\ny")
    assert str(error).isprintable() and "\\x1b]0;" in str(error)

    class Escape:
        name = "b\x1b"

    assert str(NeuromancerError("is bad", node=Escape())) == "Escape 'b\\x1b': is bad"


def test_any_object_can_be_described():
    class Broken:
        @property
        def shape(self):
            raise RuntimeError("closed")

        def __repr__(self):
            raise RuntimeError("closed")

    assert described(Broken()) == "Broken <Broken>"
    assert str(NeuromancerError("is bad", got=Broken())) == "is bad; got <Broken>"
    assert described([0] * 1000) == "list of 1000" and described("text") == "str 'text'"
    assert "int" in str(NeuromancerError("is bad", got=10**9999))


def test_errors_of_other_libraries_are_translated():
    for error, kind, says in (
        (RuntimeError("worker\nlost"), FileError, "got worker lost"),
        (KeyError("dtype"), FileError, "KeyError: 'dtype'"),
        (ModuleNotFoundError("No module named 's3fs'", name="s3fs"), MissingDependencyError, "pip install s3fs"),
        (ConnectionRefusedError(111, "Connection refused"), FileError, "Connection refused"),
    ):
        with pytest.raises(kind, match=says) as caught, translating("raw.zarr", "cannot be read"):
            raise error
        assert caught.value.node == "raw.zarr"
    for error in (MemoryError(), InputTypeError("no")):
        with pytest.raises(type(error)), translating("raw.zarr", "cannot be read"):
            raise error


@pytest.mark.parametrize("manager", [naming, translating])
def test_tracebacks_contain_no_credentials(manager):
    address = "https://AKIAUSER:" + "s3cret@host/a.zarr"
    with pytest.raises(FileError) as caught, manager(address, "cannot be read"):
        try:
            raise ValueError(address)
        except ValueError as inner:
            raise OSError(f"cannot reach {address}") from inner
    shown = "".join(traceback.format_exception(caught.value))
    assert not any(secret in shown for secret in SECRETS) and "https://***@host/a.zarr" in shown
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(FileError) as plain, manager("a.zarr", "cannot be read"):
        raise OSError("no address")
    assert isinstance(plain.value.__cause__, OSError)


def test_credentials_are_masked_before_a_text_is_truncated():
    address = "https://AKIAUSER:" + "s3cret " * 30 + "@h/a.zarr"
    for text in (described(address), described({"url": address}), short(address), str(FileError("no", got=address))):
        assert "s3cret" not in text and "https://***@" in text
