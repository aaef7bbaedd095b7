"""Translation of the original library's configuration files into the arguments of a Trainer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from neuromancer.errors import nearest_name
from neuromancer.models.model import Model
from neuromancer.optim.meta import CLIPS
from neuromancer.optim.optimisers import OPTIMISERS
from neuromancer.train.old_config.data import maker_of
from neuromancer.train.old_config.findings import Findings
from neuromancer.train.old_config.models import LoadedModel, created, weighted
from neuromancer.train.old_config.names import OLD, SHARED, TRANSLATED, WITHOUT_EFFECT
from neuromancer.train.old_config.preview import PreviewData
from neuromancer.train.sources import is_arrays

KINDS = ("dec", "lindec", "updates")
SECONDS, MINUTES = 60.0, 60.0


def is_old(names: Iterable[str]) -> bool:
    """Whether a file defines settings that only the original library has."""
    return any(name in OLD and name not in SHARED for name in names)


class Translation:
    """A configuration of the original library as arguments of a Trainer.

    Parameters
    ----------
    path : Path
        The configuration file.
    names : mapping of str to value
        All its variables.
    known : sequence of str
        Settings of this package.
    is_setting : callable
        Whether a variable, by name and value, can be a setting at all.
    changes : mapping of str to value
        Settings of this package that replace those of the file.

    Attributes
    ----------
    settings : dict
        Arguments of the Trainer.
    remarks : list of str
        What settings mean here, where that differs.

    Raises
    ------
    ArgumentError
        With one note for every setting that cannot be translated.
    """

    def __init__(
        self,
        path: Path,
        names: Mapping[str, Any],
        known: Iterable[str],
        is_setting: Callable[[str, Any], bool],
        changes: Mapping[str, Any],
    ) -> None:
        self.path, self.names, self.changes = path, names, dict(changes)
        self._findings, self._known = Findings(), tuple(known)
        self.remarks = self._findings.remarks
        own = [name for name in self._known if name in names and name not in OLD]
        self.settings = {name: names[name] for name in own if is_setting(name, names[name])}
        self._check_names(is_setting)
        self._translate_numbers()
        self._translate_folder()
        self._translate_switches()
        self._translate_optimiser()
        self._preview = self._translated_preview()
        self.load = self._translated_model()
        self._maker = self._translated_data()
        self._findings.raise_any(path)
        self.settings |= self.changes

    def _has(self, name: str) -> bool:
        return self.names.get(name) is not None

    # ---- checks
    def _check_names(self, is_setting: Callable[[str, Any], bool]) -> None:
        """Refuse misspelt settings, and those given twice; remark on those without effect."""
        every = (*OLD, *self._known)
        for name, value in self.names.items():
            if name in WITHOUT_EFFECT:
                self._findings.remark(f"{name}: {WITHOUT_EFFECT[name]}")
            elif name not in every and is_setting(name, value):
                near = nearest_name(name, every)
                if near:
                    self._findings.refuse(name, value, f"no such setting; nearest valid: {near!r}; or {name.upper()}")
                else:
                    self._findings.remark(f"{name}: not a setting, so it is the file's own variable")
        for name, others in TRANSLATED.items():
            twice = [other for other in others if self._has(name) and other in self.settings]
            if twice:
                self._findings.refuse(name, self.names[name], f"given twice; delete it, or {', '.join(twice)}")
        if self._has("lr_schedule") and self._has("schedules") and "lr" in dict(self.names["schedules"]):
            self._findings.refuse(
                "lr_schedule", self.names["lr_schedule"], "given twice; delete it, or schedules['lr']"
            )
        if self.names.get("use_ortho_init"):
            self._findings.refuse(
                "use_ortho_init", True, "write w=initweights(shape, mode='ortho', spatial_axes=...) in the layers"
            )

    def _number(self, name: str, least: float, whole: bool = False) -> float | None:
        """Return a number, or None if it is missing or refused."""
        value = self.names.get(name)
        if value is None:
            return None
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not value >= least:
            self._findings.refuse(name, value, f"needs a {'whole ' if whole else ''}number, at least {least:g}")
            return None
        return value

    # ---- settings
    def _set(self, name: str, value: Any) -> None:
        self.settings.setdefault(name, value)

    def _translate_numbers(self) -> None:
        seconds = self._number("max_runtime", 0)
        if seconds is not None:
            self._set("minutes", seconds / SECONDS)
        every = self._number("history_freq", 1, whole=True)
        if every is not None:
            self._set("history_every", every)
            self._set("validate_every", every)
        self.monitored = self._number("monitor_batch_size", 1, whole=True)
        hours = self._number("param_save_h", 0)
        if hours is not None:
            self._set("checkpoint_minutes", MINUTES * hours)
        steps = self._number("param_save_it", 1, whole=True)
        if steps is not None:
            self._set("keep_every", steps)

    def _translate_folder(self) -> None:
        """Set folder and name: ``save_path/save_name``, by default named like the file and beside it."""
        if not (self._has("save_path") or self._has("save_name")):
            return
        name = self.names.get("save_name") or self.path.stem
        place = self.names.get("save_path")
        for key, value in (("save_path", place), ("save_name", name)):
            if value is not None and not isinstance(value, (str, Path)):
                self._findings.refuse(key, value, "needs a string")
                return
        parent = self.path.parent if place is None else Path(place).expanduser()
        self._set("folder", str(parent / name))
        self._set("name", name)

    def _translate_switches(self) -> None:
        workers = self.names.get("background_processes")
        if workers is not None:
            if not isinstance(workers, int) or workers < 0:
                self._findings.refuse("background_processes", workers, "needs True, False or a number of workers")
            elif workers:
                self._set("workers", 2 if workers is True else workers)
        if self.names.get("plot_on") is not None and not self.names["plot_on"]:
            self._set("plots", False)  # True is the default: plots if matplotlib is installed
        if self._has("print_status"):
            self._set("progress", bool(self.names["print_status"]))

    def _translate_optimiser(self) -> None:
        """Check optimiser, its parameters and schedules; remove what the optimiser does not use."""
        optimiser = self.changes.get("optimiser", self.settings.get("optimiser", "Adam"))
        if optimiser not in OPTIMISERS:
            near = nearest_name(str(optimiser), OPTIMISERS)
            self._findings.refuse(
                "optimiser", optimiser, f"one of {list(OPTIMISERS)}; nearest valid: {near or 'Adam'!r}"
            )
            return
        schedules = self._schedules()
        params = self.settings.get("optimiser_params") or {}
        if not isinstance(params, Mapping):
            self._findings.refuse("optimiser_params", params, "needs a dict of numbers")
            return
        rule, params = OPTIMISERS[optimiser], dict(params)
        every = {name for other in OPTIMISERS.values() for name in other.meta_names}
        self._findings.check_names("optimiser_params", params, [*sorted(every), *CLIPS])
        allowed = [name for name in (*rule.meta_names, *CLIPS) if name not in rule.unused]
        for name in [n for n in params if n in every and n not in allowed]:
            del params[name]
            self._findings.remark(f"optimiser_params[{name!r}]: without effect, as {optimiser} does not use it")
        for target, schedule in schedules.items():
            if isinstance(schedule, Mapping) and "lindec" in schedule and params.pop(target, None) is not None:
                self._findings.remark(f"optimiser_params[{target!r}]: lindec sets {target} from the first step on")
        if "optimiser_params" in self.settings:
            self.settings["optimiser_params"] = params
        if schedules:
            self.settings["schedules"] = schedules

    def _schedules(self) -> dict[str, Any]:
        """Return the schedules by target, those of ``lr_schedule`` included."""
        schedules = self.settings.get("schedules") or {}
        rate = self.names.get("lr_schedule")
        for key, value in (("schedules", schedules), ("lr_schedule", rate)):
            if value is not None and not isinstance(value, Mapping):
                self._findings.refuse(key, value, "needs a dict such as {'lr': {'dec': 0.995}}")
                return {}
        schedules = dict(schedules)
        if rate:
            schedules |= dict(rate) if set(rate) == {"lr"} else {"lr": dict(rate)}
        for target, spec in schedules.items():
            if isinstance(spec, Mapping) and (len(spec) != 1 or next(iter(spec)) not in KINDS):
                self._findings.refuse(
                    f"schedules[{target!r}]", dict(spec), f"needs one key of {list(KINDS)}, or a Schedule"
                )
        return schedules

    # ---- model and data
    def _translated_preview(self) -> PreviewData | None:
        options = self.names.get("preview_kwargs") or {}
        if not isinstance(options, Mapping):
            self._findings.refuse("preview_kwargs", options, "needs a dict of arguments by name")
            return None
        if not self._has("preview_data_path"):
            return None
        return PreviewData(self.names["preview_data_path"], options, self.path.parent, self._findings)

    def _translated_model(self) -> LoadedModel | None:
        found = [key for key in ("model_load_args", "model_load_kwargs") if self._has(key)]
        options = self.names[found[0]] if found else {}
        if not isinstance(options, Mapping) or len(found) > 1:
            self._findings.refuse(found[0], options, "needs one dict of arguments of modelload")
            return None
        if not self._has("model_load_path"):
            if options:
                self._findings.refuse(found[0], dict(options), "no effect without model_load_path; delete it")
            return None
        if callable(self.names.get("create_model")):
            self._findings.remark("create_model(): not called, as model_load_path is given")
        return LoadedModel(self.names["model_load_path"], options, self.path.parent, self._findings)

    def _translated_data(self) -> Any:
        if not self._has("data_class"):
            for key in ("data_init_kwargs", "data_batch_args"):
                if self.names.get(key):
                    self._findings.refuse(key, self.names[key], "no effect without data_class; delete it")
            return None
        if callable(self.names.get("create_data")):
            self._findings.refuse("data_class", self.names["data_class"], "given twice; delete it, or create_data()")
        return maker_of(self.names, self.path, self._findings)

    # ---- what needs the model
    def model(self, create: Callable[[], Model] | None) -> Model:
        """Return the loaded model, or the one that ``create_model()`` makes, with class weights."""
        model = self.load() if self.load is not None else created(create)  # type: ignore[arg-type]
        return weighted(model, self.names["class_weights"]) if self._has("class_weights") else model

    @property
    def makes_data(self) -> bool:
        """Whether the file has a data class."""
        return self._maker is not None

    def data(self, model: Model) -> tuple[Any, Any]:
        """Return training and validation data of the data class."""
        size = self.settings.get("batch_size") or model.batch_size or 1
        validate = "validation" not in self.settings
        training, validation = self._maker(model, int(size), int(self.settings.get("seed", 0)), validate)
        if hasattr(training, "data") and self.settings.get("workers", 1) > 1 and not self.settings.get("processes"):
            self.settings["workers"] = 1
            self._findings.remark(
                "background_processes: one background thread calls getbatch; for processes, --set processes=True "
                "--set workers=2"
            )
        return training, validation

    def fitted(self, options: Mapping[str, Any], model: Model, data: Any) -> dict[str, Any]:
        """Return options of the Trainer that fit a model and its data: without those that would have no effect."""
        options = {**options, **({"workers": self.settings["workers"]} if "workers" in self.settings else {})}
        validation = options.get("validation")
        size = getattr(data, "batch_size", None) or options.get("batch_size") or model.batch_size or 1
        if not is_arrays(data):
            options.pop("batch_size", None)
        if validation is None:
            options.pop("n_validation", None)
            if self.monitored is not None:
                self._findings.remark("monitor_batch_size: without effect, as there is no validation data")
        elif self.monitored is not None:
            options.setdefault("n_validation", math.ceil(self.monitored / int(size)))
        if validation is None and model.error_node is None and "validate_every" not in self.changes:
            options.pop("validate_every", None)
        if self._preview is not None and "preview" not in options:
            options["preview"] = self._preview.volume(model)
        return options
