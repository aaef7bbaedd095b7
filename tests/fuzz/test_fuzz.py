"""The fuzzer in the test run: a fixed number of cases of every kind; ``make fuzz`` runs any number."""

from __future__ import annotations

import copy
import os
import pickle
import socket
import subprocess
import traceback
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import mutations, runner, zoo
from tests.fuzz.cases import KINDS, random_of
from tests.fuzz.guard import ForbiddenError, Guard
from tests.fuzz.runner import Fault, Outcome

SEED = int(os.environ.get("FUZZ_SEED", "20"))
CASES = {"documents": 2_000, "pickles": 500, "journals": 500}
PARTS = {"documents": 2, "pickles": 1, "journals": 1}
"""Number of tests per kind, which can run in parallel."""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "part"), [(kind, part) for kind in CASES for part in range(PARTS[kind])])
def test_only_the_packages_errors_come_out(kind, part):
    n = CASES[kind] // PARTS[kind]
    outcome = runner.run(kind, SEED, part * n, (part + 1) * n)
    assert not outcome.faults, "\n\n".join(map(str, outcome.faults))
    assert sum(outcome.counts.values()) == n
    assert len(outcome.counts) > 1  # some were accepted, and some refused


# ---- the fuzzer itself
@pytest.mark.parametrize("kind", ["documents", "pickles"])
def test_cases_are_reproducible(tmp_path, kind):
    one, other = (KINDS[kind](tmp_path) for _ in range(2))
    assert one.keep(random_of(kind, 1, 5)) == other.keep(random_of(kind, 1, 5)) != one.keep(random_of(kind, 1, 6))


CHILD = """
import os, sys, time
print("begin 0", flush=True)
print("end 0 fine", flush=True)
print("begin 1", flush=True)
{what}
"""


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("os.abort()", "the process died with status -6"),
        ("sys.exit(3)", "the process died with status 3"),
        ("time.sleep(60)", "took too long"),
        ("print('fault 1 ' + chr(34) + 'wrong' + chr(34), flush=True)", "wrong"),
    ],
)
def test_cases_that_hang_die_or_fail_are_named(monkeypatch, what, problem):
    def start(command, *args, **kwargs):
        return popen([command[0], "-c", CHILD.format(what=what)], *args, **kwargs)

    popen = subprocess.Popen
    monkeypatch.setattr(runner.subprocess, "Popen", start)
    monkeypatch.setattr(runner, "CASE", 3.0)
    outcome = Outcome()
    number = runner.run_child("documents", 7, 0, 9, outcome, most=1)
    (fault,) = outcome.faults
    assert (fault.number, outcome.counts["fine"]) == (1, 1) and number in (2, 9)
    assert fault.problem.startswith(problem)
    assert "python -m tests.fuzz documents --seed 7 --case 1" in str(fault)


def guarded(scratch):
    """Try what a guard allows and what it forbids, in a process of its own, as its hook stays until the end."""
    guard, outside = Guard(scratch), Path("/tmp/outside")
    code = compile("1", "evil", "exec")
    (scratch / "inside").write_text("")
    allowed = [
        lambda: (scratch / "other").write_text("x"), lambda: (scratch / "inside").unlink(),
        lambda: list(Path("/").iterdir()),
    ]  # fmt: skip
    forbidden = [
        lambda: os.system("true"), lambda: subprocess.run(["true"]), lambda: outside.open("w"), lambda: exec(code),
        lambda: socket.create_connection(("localhost", 9)), lambda: os.open(outside, os.O_CREAT | os.O_WRONLY),
        outside.mkdir, outside.unlink, lambda: (scratch.parent / "b").symlink_to("a"),
        lambda: pickle.loads(b"cos\nsystem\n."),
    ]  # fmt: skip
    for action in allowed:
        with guard:
            action()
        assert not guard.noted, guard.noted
    for k, action in enumerate(forbidden):
        with suppress(ForbiddenError), guard:
            action()
        assert guard.noted, k
        guard.noted = []


def test_the_guard_notices_what_is_forbidden(tmp_path):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            guarded(tmp_path)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_all_mutations_of_documents_occur():
    r, done = Random(0), set()
    whole, arrays = zoo.documents()["layers"]
    for _ in range(100):
        document = copy.deepcopy(whole)
        done |= {word.split()[0] for word in mutations.mutate_document(r, document, list(arrays)).split("; ")}
    assert {"put", "dropped", "copied", "renamed", "repeated", "swapped"} <= done


def test_faults_say_how_to_reproduce_them():
    assert "(again: python -m tests.fuzz pickles --seed 3 --case 9)" in str(Fault("pickles", 3, 9, "wrong"))
