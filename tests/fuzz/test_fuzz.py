"""The fuzzer in the test run: a fixed number of cases of every kind; ``make fuzz`` runs any number."""

from __future__ import annotations

import copy
import os
import subprocess
from random import Random

import pytest

from tests.fuzz import mutations, runner, zoo
from tests.fuzz.cases import KINDS, random_of
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
    first, second = (KINDS[kind](tmp_path).keep(random_of(kind, 1, 5)) for _ in range(2))
    assert first == second != KINDS[kind](tmp_path).keep(random_of(kind, 1, 6))


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


GUARDED = """
import os, pathlib, socket, subprocess, sys
from tests.fuzz.guard import ForbiddenError, Guard
scratch = pathlib.Path(sys.argv[1])
guard = Guard(scratch)
code = compile("1", "evil", "exec")
(scratch / "inside").write_text("")
allowed = [
    lambda: (scratch / "other").write_text("x"), lambda: (scratch / "inside").unlink(), lambda: os.listdir("/"),
]
forbidden = [
    lambda: os.system("true"), lambda: subprocess.run(["true"]), lambda: open("/tmp/outside", "w"), lambda: exec(code),
    lambda: socket.create_connection(("localhost", 9)), lambda: os.open("/tmp/outside", os.O_CREAT | os.O_WRONLY),
    lambda: os.mkdir("/tmp/outside"), lambda: os.remove("/tmp/outside"), lambda: os.symlink("a", scratch.parent / "b"),
    lambda: __import__("pickle").loads(b"cos\\nsystem\\n."),
]
import pickle
for k, action in enumerate(allowed):
    with guard:
        action()
    assert not guard.noted, guard.noted
for k, action in enumerate(forbidden):
    try:
        with guard:
            action()
    except ForbiddenError:
        pass
    assert guard.noted, k
    guard.noted = []
print("done")
"""


def test_the_guard_notices_what_is_forbidden(tmp_path):
    done = subprocess.run(
        [runner.sys.executable, "-c", GUARDED, str(tmp_path)], cwd=runner.ROOT, capture_output=True, text=True
    )
    assert done.stdout == "done\n", done.stderr


def test_all_mutations_of_documents_occur():
    r, done = Random(0), set()
    whole, arrays = zoo.documents()["layers"]
    for _ in range(100):
        document = copy.deepcopy(whole)
        done |= {word.split()[0] for word in mutations.mutate_document(r, document, list(arrays)).split("; ")}
    assert {"put", "dropped", "copied", "renamed", "repeated", "swapped"} <= done


def test_faults_say_how_to_reproduce_them():
    assert "(again: python -m tests.fuzz pickles --seed 3 --case 9)" in str(Fault("pickles", 3, 9, "wrong"))
