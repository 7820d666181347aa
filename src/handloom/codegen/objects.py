"""Reads the symbol table of object code: ELF and Mach-O, 64 bits, little endian; Handloom compiles for no other."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from handloom.errors import HandloomError


@dataclass(frozen=True, slots=True)
class Symbols:
    """Global names that an object defines, and names that it leaves to others, spelt as in the IR."""

    defined: frozenset[str]
    undefined: frozenset[str]


def symbols(code: bytes) -> Symbols:
    """The symbol table of an object file. Raises HandloomError for bytes of another format."""
    if code[:6] == b"\x7fELF\x02\x01":
        return _elf(code)
    if code[:4] == b"\xcf\xfa\xed\xfe":
        return _mach_o(code)
    raise HandloomError(f"Not object code: it begins with {code[:6]!r}; 64-bit ELF or Mach-O was expected.")


def _name(code: bytes, start: int) -> str:
    return code[start : code.index(b"\0", start)].decode()


def _elf(code: bytes) -> Symbols:
    section_table = struct.unpack_from("<Q", code, 0x28)[0]
    entry_size, count = struct.unpack_from("<HH", code, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, section_table + i * entry_size) for i in range(count)]
    defined: set[str] = set()
    undefined: set[str] = set()
    for _, kind, _, _, offset, size, link, _, _, _ in sections:
        if kind != 2:  # SHT_SYMTAB
            continue
        strings = sections[link][4]
        for name, info, _, section, _, _ in struct.iter_unpack("<IBBHQQ", code[offset : offset + size]):
            if name == 0 or info >> 4 == 0:  # nameless, or local to the object
                continue
            (defined if section else undefined).add(_name(code, strings + name))
    return Symbols(frozenset(defined), frozenset(undefined - {"_GLOBAL_OFFSET_TABLE_"}))


def _mach_o(code: bytes) -> Symbols:
    defined: set[str] = set()
    undefined: set[str] = set()
    at = 32
    for _ in range(struct.unpack_from("<I", code, 16)[0]):
        command, size = struct.unpack_from("<II", code, at)
        if command == 2:  # LC_SYMTAB
            table, count, strings, _ = struct.unpack_from("<IIII", code, at + 8)
            for name, kind, _, _, _ in struct.iter_unpack("<IBBHQ", code[table : table + 16 * count]):
                if kind & 0x01 and not kind & 0xE0:  # external, and no debugging entry
                    (defined if kind & 0x0E else undefined).add(_name(code, strings + name).removeprefix("_"))
        at += size
    return Symbols(frozenset(defined), frozenset(undefined))
