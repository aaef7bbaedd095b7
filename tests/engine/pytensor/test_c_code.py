"""The C code of an operation is what PyTensor reads, and is read once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytensor.link.c.op import ExternalCOp
from pytensor.tensor.elemwise import DimShuffle

import neuromancer.engine.pytensor.c_code  # noqa: F401 (changes PyTensor)


def test_it_is_the_code_of_the_file():
    op = DimShuffle(input_ndim=2, new_order=(1, 0))
    (name,) = op.func_files
    text = DimShuffle.get_path(name).read_text(encoding="utf-8")
    assert op.func_codes == [text]
    assert op.code_sections and all(section in text for section in op.code_sections.values())


def test_it_is_read_once_and_not_shared(monkeypatch: pytest.MonkeyPatch):
    first = DimShuffle(input_ndim=2, new_order=(1, 0))
    expected = dict(first.code_sections), list(first.func_codes)

    def read_text(path: Path, **options: str) -> str:
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(Path, "read_text", read_text)
    first.code_sections.clear()
    first.func_codes.clear()
    second = DimShuffle(input_ndim=3, new_order=(2, "x", 0, 1))
    assert (second.code_sections, second.func_codes) == expected


def test_other_operations_have_their_own(tmp_path: Path):
    class Own(ExternalCOp):
        def __init__(self, path: Path) -> None:
            super().__init__([path])

        def perform(self, node: object, inputs: object, output_storage: object) -> None:
            raise AssertionError("it is not executed")

    for number in range(2):
        path = tmp_path / f"{number}.c"
        path.write_text(f"#section support_code\nint number = {number};\n")
        assert f"int number = {number};" in Own(path).code_sections["support_code"]
    with pytest.raises(FileNotFoundError):
        Own(tmp_path / "missing.c")
