"""What is found in a configuration of the original library: settings without a counterpart, and remarks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuromancer.errors import ArgumentError, nearest_name, short


@dataclass
class Findings:
    """Problems and remarks, collected so that one error can list all problems of a file.

    Attributes
    ----------
    problems, remarks : list of str
        One line per setting.
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def refuse(self, key: str, value: Any, instead: str) -> None:
        """Record a setting that cannot be translated, and what to write instead."""
        self.problems.append(f"{key} = {short(value, 100)}: {instead}")

    def remark(self, text: str) -> None:
        """Record what a setting means here if that differs from the original library."""
        self.remarks.append(text)

    def check_names(self, where: str, given: Iterable[str], known: Iterable[str]) -> None:
        """Refuse keys of a dict of arguments that are not known."""
        known = list(known)
        for key in given:
            if key not in known:
                near = nearest_name(key, known)
                advice = f"no such argument; nearest valid: {near!r}" if near else f"no such argument; one of {known}"
                self.problems.append(f"{where}[{key!r}]: {advice}")

    def raise_any(self, path: Path) -> None:
        """Raise an ArgumentError with one note per problem, if there is one."""
        if not self.problems:
            return
        n = len(self.problems)
        error = ArgumentError(
            f"{n} setting{'s' if n > 1 else ''} of the original library cannot be translated",
            where=str(path),
            got=[problem.partition(" = ")[0].partition(":")[0] for problem in self.problems],
            expected="the changes below, see docs/from-elektronn2.md",
        )
        for problem in self.problems:
            error.add_note(problem)
        raise error
