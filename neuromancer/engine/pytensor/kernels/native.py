"""Functions written as LLVM instructions, compiled for this processor in a few hundredths of a second.

They get addresses and sizes, check nothing, and run without the GIL.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

FLOAT, INT = ir.FloatType(), ir.IntType(64)
FLOATS, INTS = FLOAT.as_pointer(), INT.as_pointer()
CTYPES: dict[Any, Any] = {FLOATS: ctypes.c_void_p, INTS: ctypes.c_void_p, INT: ctypes.c_int64}
FLOAT_BYTES = 4

_lock = Lock()


@dataclass(frozen=True)
class Vectors:
    """Vector registers of a processor.

    Attributes
    ----------
    lanes : int
        float32 values per register.
    registers : int
    """

    lanes: int
    registers: int


@cache
def vectors() -> Vectors:
    """Return the vector registers of this processor."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f") and features.get("avx512vl"):
        return Vectors(16, 32)
    if features.get("avx2") and features.get("fma"):
        return Vectors(8, 16)
    # NEON has 32 registers; SSE has 16
    return Vectors(4, 32 if "neon" in features or "asimd" in features else 16)


@cache
def processor() -> str:
    """Return LLVM's name of this processor."""
    return str(llvm.get_host_cpu_name())


@cache
def _target() -> tuple[Any, str, str]:
    """Return the target, this processor's name and its features."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # LLVM otherwise prefers 256-bit registers on some processors that have larger ones
    features = llvm.get_host_cpu_features()
    flags = [f"{'+' if on else '-'}{name}" for name, on in features.items()]
    flags += ["-prefer-256-bit"] if features.get("avx512f") else []
    return llvm.Target.from_default_triple(), processor(), ",".join(flags)


class Function:
    """A compiled function; calling it takes addresses and integers.

    Attributes
    ----------
    address : int
        Of the machine code, for other compiled functions that call it.
    """

    def __init__(self, engine: Any, address: int, argument_types: Sequence[Any]) -> None:
        self._engine = engine  # owns the machine code
        self.address = address
        self._call = ctypes.CFUNCTYPE(None, *(CTYPES[kind] for kind in argument_types))(address)

    def __call__(self, *arguments: int) -> None:
        """Run the function."""
        self._call(*arguments)


def build(
    name: str, argument_types: Sequence[Any], emit: Callable[..., None], apart: bool = False, unrolled: bool = True
) -> Function:
    """Compile a function.

    Parameters
    ----------
    name : str
    argument_types : sequence
        Of `FLOATS`, `INTS` and `INT`.
    emit : callable
        Takes the module, a builder at the beginning of the function and its arguments; emits all but the return.
    apart : bool
        Arrays never overlap.
    unrolled : bool
        LLVM may unroll loops.
    """
    module = ir.Module(name)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), argument_types), name)
    for argument in function.args:
        if apart and argument.type in (FLOATS, INTS):
            argument.attributes.add("noalias")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    emit(module, builder, *function.args)
    builder.ret_void()
    # LLVM's context is one for the process
    with _lock:
        target, processor, features = _target()
        # the compiler owns its machine, which is freed with the function
        machine = target.create_target_machine(cpu=processor, features=features, opt=3)
        module.triple, module.data_layout = machine.triple, str(machine.target_data)
        parsed = llvm.parse_assembly(str(module))
        options = llvm.PipelineTuningOptions(speed_level=2)
        options.loop_vectorization = True
        options.loop_unrolling = unrolled
        passes = llvm.create_pass_builder(machine, options)
        passes.getModulePassManager().run(parsed, passes)
        engine = llvm.create_mcjit_compiler(parsed, machine)
        engine.finalize_object()
        return Function(engine, engine.get_function_address(name), argument_types)


@contextmanager
def counted(builder: Any, count: Any, start: Any = None, step: int = 1) -> Iterator[Any]:
    """Emit a loop over ``range(start, count, step)``; the block has the loop's index. Nothing runs if that is empty."""
    start = INT(0) if start is None else start
    before = builder.block
    head, body, after = (builder.append_basic_block(part) for part in ("head", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(INT)
    index.add_incoming(start, before)
    builder.cbranch(builder.icmp_signed("<", index, count), body, after)
    builder.position_at_end(body)
    yield index
    index.add_incoming(builder.add(index, INT(step)), builder.block)
    builder.branch(head)
    builder.position_at_end(after)
