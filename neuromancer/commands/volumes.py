"""The command ``neuromancer``: predict volumes with stored models, and look at models and plans."""

from __future__ import annotations

import argparse
import ast
import json
import math
import re
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import neuromancer as nm
from neuromancer.commands.console import DONE, USAGE, Parser, end_with, ending_at_once, prepare_streams, run, tell
from neuromancer.commands.console import FAILED as FAILED
from neuromancer.commands.console import INTERRUPTED as INTERRUPTED
from neuromancer.config import config
from neuromancer.errors import ArgumentError, FileError, IncompleteWarning, MetadataWarning, UnknownNameError
from neuromancer.printable import printable
from neuromancer.progress import say

INCOMPLETE = 3

EXAMPLES = """examples:
  neuromancer info nuclei.h5
  neuromancer plan nuclei.h5 1000 4096 4096 --memory 8GB
  neuromancer predict nuclei.h5 raw.h5:/em probs.zarr --uint8
  neuromancer predict nuclei.h5 raw.zarr probs.zarr --resume
  neuromancer predict nuclei.h5 raw.zarr probs.zarr --shard 3/100        one of 100 jobs
  neuromancer bench nuclei.h5
  neuromancer import unet.onnx nuclei.h5                                 a network of another library

exit status: 0 done; 1 an error, which is explained; 2 wrong usage; 3 done, but parts are missing (--on-error skip,
--on-missing fill);
130 interrupted: the same command with --resume continues.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = Parser(
        prog="neuromancer",
        description="Dense prediction of volumes of any size with stored models.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--version", action="version", version=f"neuromancer {nm.__version__}")
    result.add_argument(
        "--completion", choices=("bash", "zsh", "tcsh"), help="print the completion script for a shell and exit"
    )
    commands = result.add_subparsers(dest="command", metavar="COMMAND")
    _predict_options(commands.add_parser("predict", help="predict a volume", description=_predict.__doc__))
    info = commands.add_parser("info", help="describe a model", description=_info.__doc__)
    info.add_argument("model", help="model file (.h5, or .mdl of the original library)")
    info.add_argument("--json", action="store_true", help="print JSON")
    plan = commands.add_parser("plan", help="show how a volume would be predicted", description=_plan.__doc__)
    plan.add_argument("model", help="model file")
    plan.add_argument("shape", type=_count, nargs="+", help="spatial sizes of the volume, e.g. 1000 4096 4096")
    _shared_options(plan)
    imports = commands.add_parser("import", help="import a network of another library", description=_import.__doc__)
    imports.add_argument(
        "source", help="FILE.onnx, a Keras network (FILE.keras, .h5, model.json), or a package of bioimage.io"
    )
    imports.add_argument("model", help="model file (.h5) to write; never overwritten")
    imports.add_argument("--name", help="name of the model (default: that of the source)")
    imports.add_argument("--tags", help="spatial axes in their order, such as zyx (default: the last of these)")
    imports.add_argument(
        "--example", type=_count, nargs="+", metavar="SIZE", help="shape of an input, with batch and channels"
    )
    bench = commands.add_parser("bench", help="measure the speed on this machine", description=_bench.__doc__)
    bench.add_argument("model", help="model file")
    bench.add_argument("--shape", type=_count, nargs="+", help="spatial sizes (default: small, for some seconds)")
    bench.add_argument("--runs", type=_count, default=3, help="number of runs, for the median (default: 3)")
    _shared_options(bench)
    return result


def _shared_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--node", help="node to predict (default: the model's prediction node)")
    command.add_argument("--pad", action="store_true", help="mirror the volume at its borders: result of equal size")
    command.add_argument(
        "--memory", help="memory limit of each process, such as 4GB (default: a fraction of free memory)"
    )
    command.add_argument(
        "--statistics",
        choices=("volume",),
        help="for networks that see the whole image: 'volume' predicts as if it were evaluated at once",
    )
    window = command.add_argument_group("sliding window", "average over patches, for networks that see the whole image")
    window.add_argument("--sliding-window", type=_sizes, metavar="SIZES", help="voxels of a patch, such as 64,128,128")
    window.add_argument("--overlap", type=_number, help="least part of a patch shared with the next (default: 0.5)")
    window.add_argument(
        "--weights", choices=("gaussian", "constant"), help="weights of a patch's voxels (default: gaussian)"
    )
    window.add_argument("--convention", choices=("nnunet", "monai"), help="whose rules are followed (default: nnunet)")
    window.add_argument("--mirror", action="store_true", default=None, help="average over mirrored patches as well")
    command.add_argument("--device", help="cpu, cuda, cuda:N or auto (default: NEUROMANCER_DEVICE, else cpu)")


def _predict_options(command: argparse.ArgumentParser) -> None:
    where = "FILE.h5[:/dataset], FILE.zarr[:/array], FILE.tif, .nii[.gz], .mrc, .nrrd or .npy"
    command.add_argument("model", help="model file (.h5, or .mdl of the original library)")
    command.add_argument("raw", help=f"volume: {where}")
    command.add_argument("out", help=f"result: {where}; created, never overwritten")
    _shared_options(command)
    command.add_argument("--axes", help="order of the volume's axes, such as zyx, czyx or xyzc (default: as stored)")
    kind = command.add_mutually_exclusive_group()
    kind.add_argument("--uint8", action="store_true", help="store 8-bit integers, floor(255 p)")
    kind.add_argument("--reduce", type=_reduction, help="uint8, uint16, argmax, a channel number, or threshold=0.5")
    command.add_argument("--roi", help="part of the result to predict, such as 0:100,200:300,: (per spatial axis)")
    command.add_argument("--mask", help="volume that is 0 where nothing needs to be predicted")
    command.add_argument("--skip-empty", action="store_true", help="skip tiles of constant raw data")
    command.add_argument("--fill", type=_number, default=0, help="value where nothing was predicted (default: 0)")
    command.add_argument(
        "--augment", choices=("flips", "rotations", "all"), help="average over flipped or rotated volumes"
    )
    command.add_argument(
        "--precision", choices=("f32", "tf32", "bf16", "f16"), default="f32", help="arithmetic precision"
    )
    command.add_argument(
        "--voxel-size",
        nargs="+",
        metavar="LENGTH",
        help="voxel size of the result, z first, such as 40 4 4 (default: that of the volume)",
    )
    command.add_argument("--unit", help="unit of these lengths, such as nm or um (default: that of the volume)")
    command.add_argument("--resume", action="store_true", help="resume an interrupted run")
    command.add_argument("--shard", type=_shard, metavar="I/N", help="predict only the I-th of N shards, I from 0")
    command.add_argument("--workers", type=_workers, help="number of worker processes (default: none)")
    command.add_argument("--on-error", choices=("stop", "skip"), default="stop", help="on unreadable or bad parts")
    command.add_argument(
        "--on-missing",
        choices=("error", "fill"),
        default="error",
        help="on missing or damaged parts of the volume: fail, or read them as the file's fill value",
    )
    command.add_argument("--quiet", action="store_true", help="show no progress")


def _reduction(text: str) -> Any:
    if text in ("uint8", "uint16", "argmax"):
        return text
    with ending_at_once():
        from neuromancer.dense.reduction import reduction

    name, sign, value = text.partition("=")
    try:
        reduce = ("threshold", float(value)) if name == "threshold" and sign else ast.literal_eval(text)
        if reduce is None:
            raise ValueError
        reduction(reduce)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of uint8, uint16, argmax, a channel number, threshold=NUMBER"
        ) from None
    return reduce


def _number(text: str) -> float:
    """Parse a number; an int if it is whole."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if math.isinf(number) and "inf" not in text.lower():
        raise argparse.ArgumentTypeError(f"{text!r} is too large for a 64-bit float")
    return number


def _count(text: str, least: int = 1) -> int:
    try:
        count = int(text)
    except ValueError:
        count = least - 1
    if count < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return count


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))


def _window(options: argparse.Namespace) -> nm.SlidingWindow | None:
    """Return the sliding window, if one is asked for."""
    names = ("overlap", "weights", "convention", "mirror")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.sliding_window is not None:
        return nm.SlidingWindow(options.sliding_window, **given)
    if given:
        name = f"--{next(iter(given))}"
        raise ArgumentError("requires --sliding-window", where=name, got="no --sliding-window", expected="both")
    return None


def _workers(text: str) -> int:
    return _count(text, 0)


def _shard(text: str) -> tuple[int, int]:
    first, sign, count = text.partition("/")
    if not (sign and first.isdecimal() and count.isdecimal() and int(first) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with 0 <= I < N")
    return int(first), int(count)


def _roi(text: str) -> tuple[slice, ...]:
    parts = [re.fullmatch(r"\s*(-?\d{1,18})?\s*:\s*(-?\d{1,18})?\s*", part) for part in text.split(",")]
    if not all(parts):
        raise ArgumentError("not a region", where="--roi", got=text, expected="such as 0:100,200:300,:")
    ends = [[None if n is None else int(n) for n in part.groups()] for part in parts if part]
    return tuple(slice(begin, end) for begin, end in ends)


def _store(options: argparse.Namespace) -> dict[str, Any] | None:
    """Return voxel size and unit of the result, if given."""
    spec: dict[str, Any] = {} if options.unit is None else {"unit": options.unit}
    if options.voxel_size is not None:
        try:
            spec["voxel_size"] = tuple(float(v) for v in ",".join(options.voxel_size).split(","))
        except ValueError:
            raise ArgumentError(
                "not lengths", where="--voxel-size", got=" ".join(options.voxel_size), expected="such as 40 4 4"
            ) from None
    return spec or None


def _import_library() -> None:
    """Import what takes seconds, and what ``--help`` and ``info`` do without."""
    with ending_at_once():
        import neuromancer.public  # noqa: F401


def _node(options: argparse.Namespace) -> nm.Node:
    _import_library()
    model = nm.modelload(options.model)
    if options.node is None:
        if model.prediction_node is None:
            raise UnknownNameError(
                "the model has no prediction node", where=options.model, got="no --node", expected=list(model.nodes)
            )
        return model.prediction_node
    return model[options.node]


def _steps(node: nm.Node) -> dict[str, Any]:
    """Return the pre- and postprocessing that belongs to the prediction node of a model."""
    model = nm.model_manager.current
    if model is None or node is not model.prediction_node:
        return {}
    return {"preprocess": model.preprocessing, "postprocess": model.postprocessing}


def _image_shape(node: nm.Node, spatial: Sequence[int]) -> tuple[int, ...]:
    return (int(node.input_nodes[0].shape["f"]), *spatial)


def _predict(options: argparse.Namespace) -> int:
    """Predict a volume with a stored model, tile by tile, in bounded memory; resumable.

    The result does not depend on the tiles. Its axes: channels first, then those of the volume.
    """
    node = _node(options)
    with ExitStack() as stack:
        executor = None
        if options.workers:
            from neuromancer.commands.pool import Pool

            executor = stack.enter_context(Pool(options.workers, options.device))
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always", IncompleteWarning)
        warnings.simplefilter("always", MetadataWarning)
        node.predict_dense(
            options.raw,
            as_uint8=options.uint8,
            pad_raw=options.pad,
            progress=not options.quiet,
            precision=options.precision,
            out=options.out,
            resume=options.resume,
            memory=options.memory,
            axes=options.axes,
            reduce=options.reduce,
            roi=None if options.roi is None else _roi(options.roi),
            mask=options.mask,
            skip_empty="constant" if options.skip_empty else None,
            fill=options.fill,
            augment=options.augment,
            statistics=options.statistics,
            sliding_window=_window(options),
            shard=options.shard,
            executor=executor,
            on_error=options.on_error,
            on_missing=options.on_missing,
            store=_store(options),
            **_steps(node),
        )
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        tell(f"neuromancer: {printable(message)}")
    return INCOMPLETE if any(issubclass(w.category, IncompleteWarning) for w in caught) else DONE


def _info(options: argparse.Namespace) -> int:
    """Describe a model: nodes, sizes, field of view, number of parameters."""
    with ending_at_once():
        from neuromancer.io.summary import stored_summary, summary_of

    facts = stored_summary(options.model)
    if facts is None:
        _import_library()
        facts = summary_of(nm.modelload(options.model))
    if options.json:
        say(json.dumps(facts, indent=1))
        return DONE
    width = max((len(printable(name)) for name in facts["nodes"]), default=0)
    say(f"{printable(facts['model'])}: {facts['parameters']:,} parameters")
    for name, shape in facts["nodes"].items():
        mark = "  <- prediction" if name == facts["prediction_node"] else ""
        say(f"  {printable(name):{width}}  {printable(shape)}{mark}")
    if "fov" in facts:
        say(f"field of view {facts['fov']}, strides {facts['strides']}, {facts['channels']['out']} channels out")
    return DONE


def _way(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of a prediction that commands share."""
    return {
        "pad_raw": options.pad,
        "memory": options.memory,
        "statistics": options.statistics,
        "sliding_window": _window(options),
    }


def _plan(options: argparse.Namespace) -> int:
    """Show how a volume would be predicted: sizes, tiles, memory, and the estimated time on this machine."""
    node = _node(options)
    shape = _image_shape(node, options.shape)
    plan = node.plan_dense(shape, **_way(options), **_steps(node))
    say(str(plan))
    return DONE


def _bench(options: argparse.Namespace) -> int:
    """Measure the prediction speed of a model on this machine in voxels per second, and show the plan."""
    node = _node(options)
    import numpy as np

    if options.shape is None:
        least = [int(n) for n in node.shape.fov]
        spatial = [n + 31 if len(least) == 3 else n + 127 for n in least]
    else:
        spatial = options.shape
    how = _way(options)
    # Refuses sizes that are too large to allocate.
    node.plan_dense(_image_shape(node, spatial), "float32", **how)
    raw = np.random.default_rng(0).random(_image_shape(node, spatial), dtype="float32")
    plan = node.plan_dense(raw, **how)
    run = lambda: node.predict_dense(raw, progress=False, **how)  # noqa: E731
    voxels = run()[0].size
    times = []
    for _ in range(max(1, options.runs)):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    say(str(plan))
    seconds = float(np.median(times))
    say(f"measured: {seconds:.2f} s, {voxels / seconds / 1e6:.4f} MVx/s (median of {len(times)} runs)")
    return DONE


def _import(options: argparse.Namespace) -> int:
    """Translate a network of another library into a model file, and verify it against its source on random data."""
    _import_library()
    from neuromancer.train.files import require_writable

    source, target = Path(options.source), Path(options.model)
    if target.exists():
        raise FileError("already exists and is not overwritten", where=options.model, expected="a new file")
    if not target.absolute().parent.is_dir():
        raise FileError("the folder does not exist", where=options.model, expected="a file in an existing folder")
    require_writable(target.absolute().parent)
    if source.suffix.lower() in TORCH:
        raise ArgumentError(
            "a PyTorch file holds weights, but no network that could be read without executing it",
            where=options.source,
            expected="FILE.onnx, FILE.keras, FILE.h5 or model.json; or nm.from_torch(module, example) in Python",
        )
    if _is_package(source):
        if options.example or options.tags:
            raise ArgumentError(
                "a package says these itself", where="--example" if options.example else "--tags", expected="neither"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MetadataWarning)  # the report says the same
            model = nm.from_bioimageio(options.source, name=options.name)
    else:
        read = nm.from_onnx if source.suffix.lower() == ".onnx" else nm.from_keras
        model = read(options.source, options.example, options.tags, options.name or source.stem)
    model.save(target)
    return DONE


def _is_package(source: Path) -> bool:
    """Return whether a file or folder is a package of bioimage.io, and no network of Keras."""
    if source.is_dir():
        return not (source / "model.json").exists() and any(source.glob("*.yaml"))
    return source.suffix.lower() in (".zip", ".yaml", ".yml")


TORCH = (".pt", ".pth", ".pt2", ".ckpt", ".safetensors")

COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "predict": _predict,
    "info": _info,
    "plan": _plan,
    "bench": _bench,
    "import": _import,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; ``neuromancer --help`` explains the exit status."""
    prepare_streams()
    command_line = parser()
    options = command_line.parse_args(arguments)
    again = "; the same command with --resume continues" if options.command == "predict" else ""

    def command() -> int:
        if options.completion:
            import shtab

            say(shtab.complete(command_line, options.completion))
            return DONE
        if options.command is None:
            say(command_line.format_help(), end="")
            return USAGE
        if getattr(options, "device", None) is not None:
            config.device = options.device
        return COMMANDS[options.command](options)

    return run("neuromancer", command, f"interrupted{again}")


def program() -> NoReturn:
    """Run the command line as the whole process."""
    end_with(main)


if __name__ == "__main__":
    program()
