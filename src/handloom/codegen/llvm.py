"""LLVM, wrapped: IR text in, object code out, object code linked into this process.

The only file that imports llvmlite, and it does so inside its functions, so that `import handloom` stays fast.
Kernels say everything explicitly (vectors, fused multiply-adds, reduction trees), therefore the vectorisers are off and
no fast-math flag exists here: LLVM is asked for registers, addressing and scheduling only.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import re
import threading
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from handloom.codegen.objects import symbols
from handloom.errors import HandloomError

ALLOWED_SYMBOLS = frozenset(
    {"memcpy", "memmove", "memset", "memset_pattern16", "bzero", "__bzero", "syscall", "sched_yield", "nanosleep"}
)
"""What an object may leave to be found in the process. Everything else is a library call that slipped in."""


class LLVMError(HandloomError):
    """IR that LLVM refuses, an object that cannot be linked, or a target that this LLVM does not know."""


@lru_cache(maxsize=1)
def _llvm() -> Any:
    """llvmlite.binding with every target registered (about 20 ms, once)."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()
    return llvm


def version() -> str:
    """All but IR and target that decides what object code comes out: versions, and this file (the passes chosen)."""
    import llvmlite

    numbers = ".".join(map(str, _llvm().llvm_version_info))
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    return f"llvmlite {llvmlite.__version__}, LLVM {numbers}, recipe {recipe}"


@lru_cache(maxsize=1)
def host() -> tuple[str, str, str]:
    """(CPU name, features such as "+avx2,-sse4a", triple) of the machine that this process runs on."""
    llvm = _llvm()
    features = ",".join(sorted(llvm.get_host_cpu_features().flatten().split(",")))
    return llvm.get_host_cpu_name(), features, llvm.get_process_triple()


def target_machine(cpu: str, features: str, triple: str | None = None) -> Any:
    """An llvmlite TargetMachine for position-independent code; triple None is the host's.

    Raises LLVMError if this LLVM cannot produce code for the triple.
    """
    llvm = _llvm()
    try:
        target = llvm.Target.from_triple(triple or host()[2])
    except RuntimeError as error:
        raise LLVMError(f"This LLVM has no target {triple!r} ({error}); try 'aarch64-unknown-linux-gnu'.") from None
    return target.create_target_machine(cpu=cpu, features=features, opt=2, reloc="pic", codemodel="default")


def compile_object(ir_text: str, cpu: str, features: str, triple: str | None = None, *, optimise: bool = True) -> bytes:
    """Relocatable object code for a module in IR text. Raises LLVMError with the offending line of IR."""
    machine = target_machine(cpu, features, triple)
    code: bytes = machine.emit_object(_module(ir_text, machine, optimise))
    return code


def assembly(ir_text: str, cpu: str, features: str, triple: str | None = None, *, optimise: bool = True) -> str:
    """The same code as compile_object's, to read."""
    machine = target_machine(cpu, features, triple)
    text: str = machine.emit_assembly(_module(ir_text, machine, optimise))
    return text


def undefined_symbols(code: bytes) -> set[str]:
    """Names that an object expects somebody else to define."""
    return set(symbols(code).undefined)


class Library:
    """Object code linked into this process, until the last reference to it goes: hold it while addresses are used."""

    def __init__(self, tracker: Any, names: Iterable[str]) -> None:
        self._tracker = tracker
        self.symbols = frozenset(names)

    def address(self, symbol: str) -> int:
        """Where the symbol's code begins. Raises LLVMError if the library does not define it."""
        if symbol not in self.symbols:
            raise LLVMError(f"The library defines no {symbol!r}; it has {', '.join(sorted(self.symbols)) or 'none'}.")
        return int(self._tracker[symbol])


_numbers = itertools.count()
_linking = threading.Lock()


@lru_cache(maxsize=1)
def _jit() -> Any:
    return _llvm().create_lljit_compiler(use_jit_link=True, suppress_errors=True)


def load(objects: Mapping[str, bytes]) -> Library:
    """Links objects (by a label that errors name) into one library and exports every symbol that they define.

    Raises LLVMError if a symbol is defined twice, or is neither defined here nor in ALLOWED_SYMBOLS: before linking,
    because LLVM itself would only find out when the code is called.
    """
    tables = {label: symbols(code) for label, code in objects.items()}
    owner: dict[str, str] = {}
    for label, table in tables.items():
        for name in table.defined:
            if name in owner:
                raise LLVMError(f"Both {owner[name]!r} and {label!r} define the symbol {name!r}.")
            owner[name] = label
    wanted: set[str] = set()
    for label, table in tables.items():
        missing = table.undefined - owner.keys()
        if missing - ALLOWED_SYMBOLS:
            raise LLVMError(f"{label!r} calls what nobody defines: {', '.join(sorted(missing - ALLOWED_SYMBOLS))}.")
        wanted |= missing
    builder = _llvm().JITLibraryBuilder()
    for code in objects.values():
        builder.add_object_img(code)
    for name in wanted:
        builder.import_symbol(name, _process_address(name))
    for name in owner:
        builder.export_symbol(name)
    with _linking:
        try:
            tracker = builder.link(_jit(), f"handloom.{next(_numbers)}")
        except RuntimeError as error:
            raise LLVMError(f"Linking {', '.join(objects)} failed: {error}") from None
    return Library(tracker, owner)


def _process_address(name: str) -> int:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except AttributeError:
        raise LLVMError(f"The C library of this system has no {name!r}.") from None
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _module(ir_text: str, machine: Any, optimise: bool) -> Any:
    """The parsed, verified and optimised module, in a context of its own."""
    llvm = _llvm()
    try:
        module = llvm.parse_assembly(ir_text, llvm.create_context())
        module.triple = machine.triple
        module.data_layout = str(machine.target_data)
        module.verify()
    except RuntimeError as error:
        raise LLVMError(_located(str(error), ir_text)) from None
    if optimise:
        # our IR is vectors and loops as they shall be: LLVM's own pipelines take twice as long for the same inner loops
        passes = llvm.create_new_module_pass_manager()
        passes.add_sroa_pass()
        passes.add_instruction_combine_pass()
        passes.add_simplify_cfg_pass()
        passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2)))
    return module


def _located(message: str, ir_text: str) -> str:
    """LLVM's message with the line of IR that it is about (the parser gives a number, the verifier quotes the text)."""
    lines = ir_text.splitlines()
    place = re.search(r"<string>:(\d+):\d+: error: (.*)", message)
    if place:
        number = min(int(place[1]), len(lines))
        return f"LLVM refuses line {number} of the IR: {place[2]}: {lines[number - 1].strip() if lines else ''}"
    quoted = {line.strip() for line in message.splitlines()[1:]}
    for number, line in enumerate(lines, 1):
        if line.strip() and line.strip() in quoted:
            return f"LLVM refuses line {number} of the IR: {message.splitlines()[0]} {line.strip()}"
    return f"LLVM refuses the IR: {message.strip()}"
