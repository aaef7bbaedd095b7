"""``data_class`` of the original library's configurations: built-in classes by name, and the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from neuromancer.errors import nearest_name
from neuromancer.models.model import Model
from neuromancer.train.old_config.cubes import Cubes, located
from neuromancer.train.old_config.digits import Digits
from neuromancer.train.old_config.findings import Findings
from neuromancer.train.old_config.own_class import check_class, sources
from neuromancer.train.python_file import executed

BUILT_IN = ("BatchCreatorImage", "MNISTData")
GONE = ("BatchCreatorSkel", "PianoData", "PianoData_perc", "MultiviewData", "AgentData")
INSTEAD = "write create_data(model), see docs/data.md, or a class with getbatch(batch_size, source='train')"
Pair = tuple[Any, Any]
Maker = Callable[[Model, int, int, bool], Pair]
"""Makes training and validation data from a model, batch size, seed, and whether validation data is wanted."""


def maker_of(names: Mapping[str, Any], path: Path, findings: Findings) -> Maker | None:
    """Return the function that makes the data of a configuration; None if it cannot be translated.

    Parameters
    ----------
    names : mapping of str to value
        Variables of the configuration file.
    path : Path
        The file.
    findings : Findings
        Gets what cannot be translated.
    """
    found = _resolved(names, path, findings)
    arguments = []
    for key in ("data_init_kwargs", "data_batch_args"):
        value = names.get(key)
        if value is not None and not (isinstance(value, Mapping) and all(isinstance(k, str) for k in value)):
            findings.refuse(key, value, "needs a dict of arguments by name")
            return None
        arguments.append({} if value is None else dict(value))
    init, batch = arguments
    if found is None:
        return None
    if found == "BatchCreatorImage":
        cubes = Cubes(init, batch, path.parent, findings)
        return lambda model, size, seed, validate: cubes.samplers(model, size, seed)
    if found == "MNISTData":
        digits = Digits(init, batch, findings)
        return lambda model, size, seed, validate: digits.arrays(model)
    check_class(found, init, batch, findings)
    return lambda model, size, seed, validate: sources(found, init, batch, model, size, seed, validate)


def _resolved(names: Mapping[str, Any], path: Path, findings: Findings) -> Any:
    """Return the data class, the name of a built-in one, or None."""
    given = names["data_class"]
    if isinstance(given, (tuple, list)):
        if len(given) == 2 and all(isinstance(part, (str, Path)) for part in given):
            return _imported(Path(given[0]).expanduser(), str(given[1]), path, findings)
        findings.refuse("data_class", given, "needs (path, 'ClassName')")
        return None
    if not isinstance(given, str):
        return given
    if given in BUILT_IN:
        return given
    if isinstance(names.get(given), type):
        return names[given]
    near = nearest_name(given, [*BUILT_IN, *(n for n, value in names.items() if isinstance(value, type))])
    if given in GONE or not near:
        findings.refuse("data_class", given, f"gone; {INSTEAD}")
    else:
        findings.refuse("data_class", given, f"no such class; nearest valid: {near!r}; otherwise {INSTEAD}")
    return None


def _imported(file: Path, name: str, path: Path, findings: Findings) -> Any:
    """Return a class in another Python file."""
    file = located(file, path.parent)
    if not file.is_file():
        findings.refuse("data_class", (str(file), name), "no such Python file")
        return None
    try:
        module = executed(file)
    except Exception as error:
        findings.refuse("data_class", (str(file), name), f"the file fails: {type(error).__name__}: {error}")
        return None
    if not hasattr(module, name):
        near = nearest_name(name, [n for n, value in vars(module).items() if isinstance(value, type)])
        findings.refuse("data_class", (str(file), name), f"no such class{f'; nearest valid: {near!r}' if near else ''}")
        return None
    return getattr(module, name)
