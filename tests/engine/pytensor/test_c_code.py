"""The C code of an operation is what PyTensor reads, and is read once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytensor.link.c.op import ExternalCOp

import neuromancer.engine.pytensor.c_code  # noqa: F401 (changes PyTensor)


class Own(ExternalCOp):
    """An operation with code in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__([path])

    def perform(self, node: object, inputs: object, output_storage: object) -> None:
        raise AssertionError("it is not executed")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "first.c"
    path.write_text("#section support_code\nint number = 1;\n")
    return path


def test_it_is_the_code_of_the_file(path: Path):
    op = Own(path)
    assert op.func_codes == [path.read_text()]
    assert op.code_sections["support_code"].strip() == "int number = 1;"


def test_it_is_read_once_and_not_shared(path: Path, monkeypatch: pytest.MonkeyPatch):
    first = Own(path)
    expected = dict(first.code_sections), list(first.func_codes)

    def read_text(path: Path, **options: str) -> str:
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(Path, "read_text", read_text)
    first.code_sections.clear()
    first.func_codes.clear()
    second = Own(path)
    assert (second.code_sections, second.func_codes) == expected


def test_other_operations_and_files_have_their_own(path: Path):
    class Other(Own):
        """Has the same file."""

    before = Own(path)
    path.write_text("#section support_code\nint number = 2;\n")
    assert "2" in Other(path).code_sections["support_code"] and "1" in before.code_sections["support_code"]
    another = path.with_name("another.c")
    another.write_text("#section support_code\nint number = 3;\n")
    assert "3" in Own(another).code_sections["support_code"]
    with pytest.raises(FileNotFoundError):
        Own(path.with_name("missing.c"))
