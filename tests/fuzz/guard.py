"""Guard against side effects of untrusted files: no process, no connection, no new code, nothing written elsewhere."""

from __future__ import annotations

import os
import resource
import sys
import sysconfig
from pathlib import Path
from typing import Any

import neuromancer as nm

NEVER = (
    "os.exec", "os.fork", "os.forkpty", "os.kill", "os.posix_spawn", "os.putenv", "os.spawn", "os.startfile",
    "os.system", "pickle.find_class", "pty.spawn", "socket.bind", "socket.connect", "socket.getaddrinfo",
    "subprocess.Popen", "webbrowser.open", "ctypes.dlopen", "code.__new__", "urllib.Request",
)  # fmt: skip
CHANGES = (
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
    "os.utime", "shutil.copyfile", "shutil.move", "shutil.rmtree",
)  # fmt: skip
MODIFY = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class ForbiddenError(BaseException):
    """Raised before a forbidden action; not an Exception, so no error handler catches it."""


class Guard:
    """Audit hook that stops and records forbidden actions of this process.

    Parameters
    ----------
    scratch : Path
        The only folder in which files may be created and changed.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = os.path.realpath(scratch)
        self.noted: list[str] = []
        self.active = False
        roots = {str(Path(nm.__file__).parents[1]), sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}
        self._sources = tuple(os.path.realpath(root) for root in roots)
        sys.addaudithook(self._hook)

    def __enter__(self) -> Guard:
        self.active = True
        return self

    def __exit__(self, *_: object) -> None:
        self.active = False

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.active and self._forbidden(event, args):
            self.active = False  # while the fault is reported
            self.noted.append(f"{event} {args!r}"[:500])
            raise ForbiddenError(event)

    def _forbidden(self, event: str, args: tuple[Any, ...]) -> bool:
        if event == "open":
            path, mode, flags = args
            writes = bool((flags or 0) & MODIFY) or (isinstance(mode, str) and mode.strip("rbt") != "")
            return writes and not self._inside(path)
        if event == "exec":
            name = str(getattr(args[0], "co_filename", ""))
            generated = name.startswith(("<frozen", "<__array_function__"))
            ours = name.startswith("/") and os.path.realpath(name).startswith(self._sources)
            return not generated and not ours
        if event in CHANGES:
            handles = [a for a in args[1:] if type(a) is int and a >= 0]
            folder = Path(f"/proc/self/fd/{handles[-1]}" if handles else ".")
            return not all(self._inside(folder / os.fsdecode(a)) for a in args if isinstance(a, (str, bytes, Path)))
        return event in NEVER

    def _inside(self, path: Any) -> bool:
        if isinstance(path, int) or path in ("/dev/null", b"/dev/null"):
            return True
        return os.path.realpath(os.fsdecode(path)).startswith(self.scratch + os.sep)


def limit_memory(more: int) -> None:
    """Limit the memory of this process to its present size plus `more` bytes."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        now = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmSize"))
        resource.setrlimit(resource.RLIMIT_AS, (now + more, resource.getrlimit(resource.RLIMIT_AS)[1]))
