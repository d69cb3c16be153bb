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

from cuda_emulator.build import ROOT, BuildError, compiler, locked, make, up_to_date

HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "amx_emulator"
FLAGS = [
    *("-std=gnu++20", "-O1", "-march=x86-64-v4", "-ffp-contract=off", "-Wall", "-Wextra"),
    *("-fPIC", "-fvisibility=hidden"),
]
LINK = ("-shared", "-Wl,-z,defs")

KERNEL = ROOT / "csrc" / "kernels" / "bf16_micro_cpu.cpp"
KERNEL_FLAGS = [
    *("-mavx512bf16", "-mamx-tile", "-mamx-bf16", "-DSW_AMX", "-DSW_ISA=amx", "-DSW_X86"),
    f"-I{ROOT / 'csrc'}",
]
HEADERS = [HERE / "unit.h", *sorted((ROOT / "csrc" / "kernels").glob("*.h"))]

COUNTED = ("ldtilecfg", "tilerelease", "tilezero", "tileloadd", "tilestored", "tdpbf16ps", "multiply_adds", "traps")


def possible(best: str) -> bool:
    """Can this machine, whose best level is `best`, run the kernels of level amx on the emulator?"""
    return best == "avx512_bf16" and sys.platform == "linux" and platform.machine() == "x86_64"


def _build(name: str, sources: Sequence[Path], *flags: str) -> Path:
    with locked(BUILD):
        target = BUILD / name
        command = [*compiler(), *FLAGS, *flags, *map(str, sources)]
        if not up_to_date(target, command, [*sources, *HEADERS]):
            make(target, command)
        return target


def library() -> Path:
    """The emulator, built if need be."""
    return _build("amx_emulator.so", [HERE / "emulator.cpp"], "-O3", *LINK)


def self_test_library() -> Path:
    """The instruction sequences of self_test.S."""
    return _build("self_test.so", [HERE / "self_test.S"], *LINK)


def kernel(name: str = "", find: str = "", replacement: str = "") -> Path:
    """bf16_micro_cpu.cpp with the driver of drive_micro.cpp, after an edit of its text if there is a name for it."""
    source = KERNEL
    if name:
        text = KERNEL.read_text()
        if text.count(find) != 1:
            raise BuildError(f"{name}: {KERNEL.name} was to hold this once, and does {text.count(find)} times: {find}")
        source = BUILD / "edited" / name / KERNEL.name
        source.parent.mkdir(parents=True, exist_ok=True)
        if not source.exists() or source.read_text() != text.replace(find, replacement):
            source.write_text(text.replace(find, replacement))
    driver = _build("drive_micro.o", [HERE / "drive_micro.cpp"], *KERNEL_FLAGS, "-c")
    return _build(f"kernel.{name}.so" if name else "kernel.so", [driver, source], *KERNEL_FLAGS, *LINK)


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
