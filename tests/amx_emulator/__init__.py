"""AMX's tile unit where the CPU has none: emulator.cpp executes its instructions, which trap. x86-64 Linux only.

    emulator = Emulator(library()); emulator.install()

The rest of our AMX kernels needs a CPU with AVX512-BF16. A wrong use of the unit is reported on stderr, and ends the
process.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from cuda_emulator.build import ROOT, compiler, locked, make, up_to_date

HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "amx_emulator"
FLAGS = ("-std=gnu++20", "-O3", "-g1", "-march=x86-64-v4", "-ffp-contract=off", "-Wall", "-Wextra", "-fPIC")
LINK = ("-fvisibility=hidden", "-shared", "-Wl,-z,defs")

COUNTED = ("ldtilecfg", "tilerelease", "tilezero", "tileloadd", "tilestored", "tdpbf16ps", "multiply_adds", "traps")


def possible(best: str) -> bool:
    """Can this machine, whose best level is `best`, run the kernels of level amx on the emulator?"""
    return best == "avx512_bf16" and sys.platform == "linux" and platform.machine() == "x86_64"


def _build(name: str, sources: Sequence[Path]) -> Path:
    with locked(BUILD):
        target = BUILD / name
        command = [*compiler(), *FLAGS, *map(str, sources), *LINK]
        if not up_to_date(target, command, sources):
            make(target, command)
        return target


def library() -> Path:
    """The emulator, built if need be."""
    return _build("amx_emulator.so", [HERE / "emulator.cpp"])


def self_test_library() -> Path:
    """The instruction sequences of self_test.S."""
    return _build("self_test.so", [HERE / "self_test.S"])


class Emulator:
    """The emulator of this process."""

    def __init__(self, path: Path | str) -> None:
        self.library = ctypes.CDLL(str(path))

    def install(self) -> None:
        if self.library.amx_emulator_install() != 0:
            raise OSError("the handler of SIGILL was refused")

    def counts(self) -> dict[str, int]:
        """Instructions of each kind since the library was loaded; the multiply-adds of all tdpbf16ps; traps."""
        numbers = (ctypes.c_uint64 * len(COUNTED))()
        self.library.amx_emulator_counts(numbers)
        return dict(zip(COUNTED, numbers, strict=True))

    def held(self) -> int:
        """How many threads have configured the unit and not released it."""
        return int(self.library.amx_emulator_held())
