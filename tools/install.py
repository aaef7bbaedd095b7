"""Run ``pip install`` with progress that fits where it is shown, and torch built for the CPU where it can be had.

``python tools/install.py [--torch cpu|default] ARGUMENTS`` passes the arguments on to ``pip install`` of the same
Python. On a terminal pip shows its own progress bars; elsewhere, as in a log, there is one line per package.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator, Sequence

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
SECONDS = 3.0
"""How long the index may take to answer before torch comes from where everything else does."""

_PACKAGE = re.compile(
    r"\s*(?:Downloading|Using cached|Processing) (?:\S*[/\\])?(\S+?)(?:\.whl|\.tar\.gz)( \([\d.]+ \wB\))?( |$)"
)
_INSTALLING = re.compile(r"Installing collected packages: (.+)")


def reachable(address: str, seconds: float = SECONDS) -> bool:
    """Tell whether a web address answers in time."""
    try:
        with urllib.request.urlopen(address, timeout=seconds):
            return True
    except (OSError, ValueError):
        return False


def index_options(torch: str, index: str = CPU_INDEX) -> list[str]:
    """Return pip's options for a build of torch: 'cpu', if its index can be reached, or 'default'.

    A release of the CPU index is called 2.13.0+cpu, which satisfies the pin 2.13.0 and which pip prefers to it.
    """
    return ["--extra-index-url", index] if torch == "cpu" and reachable(f"{index}/torch/") else []


def progress(lines: Iterable[str]) -> Iterator[str]:
    """Reduce pip's output to one line per package, and one when all are there."""
    for line in lines:
        if package := _PACKAGE.match(line.rstrip()):
            name = re.match(r"[^-]+-[^-]+", package[1])
            yield f"  {name[0] if name else package[1]}{package[2] or ''}"
        elif installing := _INSTALLING.match(line):
            yield f"installing {len(installing[1].split(','))} packages"


def main(arguments: Sequence[str] | None = None) -> int:
    """Install; return the exit status of pip."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--torch", choices=["cpu", "default"], default="default", help="which build of torch")
    options, others = parser.parse_known_args(arguments)
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    command += [*index_options(options.torch), *others]
    if sys.stdout.isatty():
        return subprocess.call(command)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as pip:
        assert pip.stdout is not None
        for line in progress(pip.stdout):
            print(line, flush=True)
    return pip.returncode


if __name__ == "__main__":
    sys.exit(main())
