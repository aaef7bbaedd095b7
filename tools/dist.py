"""Build the packages, and check them as those who get them will use them; ``make dist`` runs this.

Sdist and wheel are built into ``dist``. What the sdist holds is compared with the files of the project. The wheel is
installed into a new environment, where the commands, the first network of the README and an example of the sdist run,
in a folder outside of the project.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
PROGRAMS = "Scripts" if os.name == "nt" else "bin"
NEEDED = (
    "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "conftest.py", "Makefile", "tests/test_public.py",
    "examples/unet3d_lite.py", "examples/data/nuclei.h5", "examples/data/LICENSE-nuclei.txt", "docs/index.md",
    "docs/images/architecture.svg", "benchmarks/dense.py", "neuromancer/py.typed", "neuromancer/pictures/page.js",
)  # fmt: skip
"""What someone who packages, tests or documents the project expects, one file of each kind."""

CACHES = re.compile(r"(^|/)(__pycache__|\.\w+_cache|\.venv[^/]*|output|_?build|dist|docs/auto_\w+)/|\.py[cod]$")
BUILT = re.compile(r"PKG-INFO|setup\.cfg|[^/]+\.egg-info/.+")
"""Files that building adds to the sdist."""


PYTHON = Path(sys.executable)


def run(*command: str | Path, cwd: Path = ROOT, quiet: bool = False) -> None:
    """Run a program without the settings of this environment's Python; exit if it fails.

    `quiet` shows what it prints only then.
    """
    print("$", " ".join(part.name if isinstance(part, Path) else part for part in command), flush=True)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    printed = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} if quiet else {}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, **printed)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"{done.stdout or ''}failed with status {done.returncode}")


def project_files() -> set[str]:
    """Return the files of the project that git does not ignore; none outside of a git repository."""
    try:
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return set()
    return {name for name in listed.decode().split("\0") if (ROOT / name).is_file()}


def faults(held: Iterable[str], files: Iterable[str]) -> list[str]:
    """Return what is wrong with the files of an sdist, given those of the project (none if not known)."""
    held, files = {name for name in held if not BUILT.fullmatch(name)}, set(files)
    missing = (files or set(NEEDED)) - held | set(NEEDED) - held
    surplus = {name for name in held if CACHES.search(name)} | (held - files if files else set())
    return [f"{name} is missing" for name in sorted(missing)] + [f"{name} is superfluous" for name in sorted(surplus)]


def first_block(page: Path) -> str:
    """Return the first block of Python on a page."""
    block = re.search(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert block is not None
    return block[1]


def build() -> tuple[Path, Path]:
    """Build sdist and wheel, the latter from the former, and check their metadata; return their paths."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(PYTHON, "-m", "build", "--outdir", DIST, quiet=True)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    run(PYTHON, "-m", "twine", "check", "--strict", sdist, wheel)
    run(PYTHON, "-m", "check_wheel_contents", wheel)
    return sdist, wheel


def unpack(sdist: Path, folder: Path) -> Path:
    """Check what an sdist holds and unpack it; return the folder of its files."""
    with tarfile.open(sdist) as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile()]
    if wrong := faults(names, project_files()):
        sys.exit(f"{sdist.name}:\n  " + "\n  ".join(wrong))
    print(f"{sdist.name}: {len(names)} files, none missing")
    shutil.unpack_archive(sdist, folder)
    return folder / sdist.name.removesuffix(".tar.gz")


def try_out(wheel: Path, source: Path, folder: Path, torch: str) -> None:
    """Install the wheel into a new environment in a folder, and use it there."""
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / PROGRAMS
    python, here = programs / "python", folder / "elsewhere"
    here.mkdir()
    run(python, ROOT / "tools" / "install.py", "--torch", torch, "--constraint", ROOT / "constraints.txt", wheel)
    version = wheel.name.split("-")[1]
    (here / "first.py").write_text(
        f"import neuromancer\nassert neuromancer.__version__ == {version!r}\n"
        f"assert {str(folder)!r} in neuromancer.__file__\n{first_block(source / 'README.md')}",
        encoding="utf-8",
    )
    run(programs / "neuromancer", "--version", cwd=here)
    for command in ("neuromancer-train", "neuromancer-convert"):
        run(programs / command, "--help", cwd=here, quiet=True)
    run(python, "first.py", cwd=here)
    example = source / "examples" / "unet3d_lite.py"
    run(programs / "neuromancer-train", example, "--steps", "1", "--set", "n_validation=1", "--folder", "run", cwd=here)


def main(arguments: Sequence[str] | None = None) -> None:
    """Build and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", choices=["cpu", "default"], default="cpu", help="which build of torch")
    options = parser.parse_args(arguments)
    sdist, wheel = build()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        try_out(wheel, unpack(sdist, folder), folder, options.torch)
    print(f"{sdist.name} and {wheel.name} are in {DIST.name}, and work")


if __name__ == "__main__":
    main()
