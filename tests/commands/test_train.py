"""Settings on the command line of training."""

from __future__ import annotations

import pytest

from neuromancer.commands.train import changes_of, main, parser
from neuromancer.errors import ArgumentError


def changes(*arguments):
    return changes_of(parser().parse_args(["config.py", *arguments]))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--steps", "7"], {"n_steps": 7}),
        (["--minutes", "1.5", "--seed", "3"], {"minutes": 1.5, "seed": 3}),
        (["--seed", "0", "--steps", "0", "--minutes", "0"], {"seed": 0, "n_steps": 0, "minutes": 0.0}),
        (["--quiet"], {"progress": False}),
        (["--overwrite", "--folder", "out"], {"overwrite": True, "folder": "out"}),
        (["--resume", "--device", "cpu"], {}),
        (["--set", "batch=4"], {"batch": 4}),
        (["--set", " batch = 4"], {"batch": 4}),
        (["--set", "a=(1, 2.5)", "--set", "b=[None, 'x']", "--set", "c={'d': True}"], None),
        (["--set", "optimiser=Adam"], {"optimiser": "Adam"}),
        (["--set", "a=b=c"], {"a": "b=c"}),
        (["--set", "a="], {"a": ""}),
        (["--set", f"a={'(' * 500}"], {"a": "(" * 500}),
        (["--set", "a=__import__('os')"], {"a": "__import__('os')"}),
    ],
)
def test_settings_are_python_values_or_text(arguments, expected):
    assert changes(*arguments) == (
        expected if expected is not None else {"a": (1, 2.5), "b": [None, "x"], "c": {"d": True}}
    )


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--set", "a=1", "--set", "a=1"], "a"),
        (["--steps", "3", "--set", "n_steps=3"], "n_steps"),
        (["--quiet", "--set", "progress=True"], "progress"),
        (["--folder", "x", "--set", "folder=y"], "folder"),
        (["--seed", "0", "--set", "seed=1"], "seed"),
    ],
)
def test_a_setting_that_is_given_twice_is_named(arguments, name):
    with pytest.raises(ArgumentError) as caught:
        changes(*arguments)
    assert caught.value.node == name


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "batch"],
        ["--steps", "many"],
        ["--steps", "1.5"],
        ["--minutes", "x"],
        ["--resume", "--overwrite"],
        ["x"],
    ],
)
def test_wrong_usage_ends_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["config.py", *arguments])
    assert ended.value.code == 2 and "neuromancer-train" in capsys.readouterr().err
