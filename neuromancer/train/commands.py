"""Commands to a running training: from a file in its folder, or from a menu after Ctrl-C."""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from neuromancer.errors import ArgumentError, FileError, NeuromancerError, naming, nearest_name, reason, short
from neuromancer.printable import printable

Actions = Mapping[str, Callable[[], str]]
FILE, LOG = "commands.txt", "commands.log"
POLL = 1.0
"""Seconds between looks at the file."""
LONGEST = 10_000
"""Number of bytes of a file that are read."""
WORDS = {
    "continue": "go on (also an empty line)",
    "preview": "predict the preview volumes now",
    "save": "write the last checkpoint now",
    "end": "save and end (also stop)",
    "kill": "end at once, without saving",
}
SYNONYMS = {"": "continue", "c": "continue", "stop": "end", "quit": "end", "q": "end", "?": "help"}
CHANGE = re.compile(r"\s*([^\s=:]+)\s*[=:\s]\s*(\S+)\s*")


class Commands:
    """Commands to a training, one per line: a word, or a name and a value.

    Parameters
    ----------
    change : callable
        ``change(name, value)`` changes a value, and returns what holds now.
    targets : callable
        Returns the names that can be changed.
    actions : mapping of str to callable
        Functions of words that do something before training goes on, and return what they did.

    Attributes
    ----------
    ending : str
        '', or the word that ends the training: 'end' or 'kill'.

    Examples
    --------
    >>> commands = Commands(lambda name, value: f"{name} is {value:g}", lambda: ["lr"], {"save": lambda: "saved"})
    >>> commands.execute("lr = 1e-4"), commands.execute("save"), commands.execute("lr=fast")
    ('lr is 0.0001', 'saved', "refused: 'lr': not a number; got fast; expected a finite number such as 1e-4")
    """

    def __init__(self, change: Callable[[str, float], str], targets: Callable[[], list[str]], actions: Actions) -> None:
        self.change, self.targets, self.actions = change, targets, actions
        self.ending = ""

    def execute(self, line: str) -> str:
        """Execute a line; return what it did, or why it was refused."""
        try:
            return self._execute(line.partition("#")[0].strip())
        except NeuromancerError as error:
            return f"refused: {error}"

    def _execute(self, line: str) -> str:
        word = SYNONYMS.get(line.lower(), line.lower())
        if word in self.actions:
            return self.actions[word]()
        if word in ("end", "kill"):
            self.ending = word
            return "the training ends"
        if word == "continue":
            return "goes on"
        found = CHANGE.fullmatch(line)
        if found is None or (found[1] not in self.targets() and not _is_float(found[2])):
            words = [word for word in WORDS if word in self.actions or word in ("continue", "end", "kill")]
            raise ArgumentError(
                "no such command", got=line[:100], nearest=nearest_name(word[:100], words),
                expected=f"{', '.join(words)}, or a new value as {self.targets()[0]}=...",
            )  # fmt: skip
        if not _is_float(found[2]):
            raise ArgumentError(
                "not a number", where=found[1], got=found[2][:100], expected="a finite number such as 1e-4"
            )
        return self.change(found[1], float(found[2]))

    def help(self) -> str:
        """Return a table of the commands."""
        words = {word: text for word, text in WORDS.items() if word not in ("preview", "save") or word in self.actions}
        rows = [*words.items(), ("lr=1e-4", f"change a value: {', '.join(self.targets())}")]
        return "\n".join(f"  {word:<12}{text}" for word, text in rows)


def _is_float(text: str) -> bool:
    with suppress(ValueError):
        return math.isfinite(float(text))
    return False


class CommandFile:
    """A file of commands in the folder of a run, which is removed when it is read.

    Parameters
    ----------
    folder : Path
        Answers are appended to ``commands.log`` in it.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.log = folder / FILE, folder / LOG
        self._looked, self._refused, self._growing = -POLL, (0, 0), (0, 0)

    def lines(self) -> list[str]:
        """Return the commands in the file, and remove it; look at it at most once in POLL seconds.

        Raises
        ------
        FileError
            If the file cannot be read or removed; raised once for each state of the file.
        """
        now = time.monotonic()
        if now - self._looked < POLL:
            return []
        self._looked = now
        try:
            status = self.path.stat()
        except OSError:
            return []
        state = (status.st_mtime_ns, status.st_size)
        if status.st_size == 0 or state == self._refused:  # somebody begins to write it
            return []
        try:
            if state != self._growing and not self._ends_with_line():
                self._growing = state  # obeyed at the next look, unless the rest of the line comes
                return []
            return self._taken()
        except OSError as error:
            self._refused = state
            raise FileError("the commands cannot be read", where=str(self.path), got=reason(error)) from error

    def _ends_with_line(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _taken(self) -> list[str]:
        # Renamed first: a command that is written meanwhile goes into a new file.
        taken = self.path.with_name(f".{FILE}.{os.getpid()}.tmp")
        with self.path.open("rb"):  # not a folder, and readable
            self.path.rename(taken)
        with taken.open("rb") as file:
            text = file.read(LONGEST).decode("utf-8", "backslashreplace")
        taken.unlink()
        lines = [line.strip() for line in text.splitlines()]
        return [line for line in lines if line and not line.startswith("#")]

    def answer(self, step: int, line: str, answer: str) -> str:
        """Append an answer to the log, and return the text of it."""
        text = printable(f"step {step}: {short(line, 100)[1:-1]}: {answer}")
        with naming(self.log), self.log.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
        return text


def has_terminal() -> bool:
    """Whether somebody can answer a menu."""
    try:
        return sys.stdin.isatty() and sys.stderr.isatty()
    except (AttributeError, ValueError):  # closed, or there is none
        return False


def ask(commands: Commands, title: str) -> None:
    """Show the menu on the terminal and execute commands until one goes on or ends the training.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C.
    """
    _tell(f"\n{title}; Ctrl-C again ends at once\n{commands.help()}")
    while not commands.ending:
        sys.stderr.write("> ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if SYNONYMS.get(line.strip().lower(), line.strip().lower()) == "continue":  # also the end of the input
            return
        help_wanted = SYNONYMS.get(line.strip(), line.strip()) == "help"
        _tell(commands.help() if help_wanted else printable(commands.execute(line)))


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")
