"""The emulator's own functions, through ctypes. As a program: the kernels that no test has launched.

SKIPWAY_EMULATOR_LAUNCHED=/tmp/launched pytest --device cuda
python tests/cuda_emulator/control.py build/cuda_emulator/checked/_cuda_emulated.so /tmp/launched
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path


class Emulator:
    """A loaded library that contains the emulator (see build.py)."""

    def __init__(self, path: Path | str) -> None:
        self.library = ctypes.CDLL(str(path))
        for name in ("launched", "kernels", "faults", "bank_conflicts"):
            getattr(self.library, f"emulator_{name}").restype = ctypes.c_char_p
        self.library.emulator_counter.restype = ctypes.c_ulonglong

    def _lines(self, name: str) -> list[str]:
        text = getattr(self.library, f"emulator_{name}")()
        return text.decode().splitlines()

    def checked(self) -> bool:
        """Is every memory access checked?"""
        return bool(self.library.emulator_checked())

    def launched(self) -> list[str]:
        """The kernels launched so far in this process: every instantiation, demangled."""
        return self._lines("launched")

    def kernels(self) -> list[str]:
        """All kernels in the library."""
        return self._lines("kernels")

    def faults(self) -> list[str]:
        """Everything reported since clear_faults(), also what an exception has carried already."""
        return self._lines("faults")

    def clear_faults(self) -> None:
        self.library.emulator_clear_faults()

    def set_seed(self, seed: int) -> None:
        """Of the order in which threads and blocks run."""
        self.library.emulator_set_seed(ctypes.c_ulonglong(seed))

    def set_memory_limit(self, bytes: int) -> None:
        """Of each device; at most 1 GiB."""
        self.library.emulator_set_memory_limit(ctypes.c_size_t(bytes))

    def set_time_limit(self, seconds: float) -> None:
        """Of one launch, after which it is a fault."""
        self.library.emulator_set_time_limit(ctypes.c_double(seconds))

    def set_event_limit(self, events: int) -> None:
        """Memory accesses and switches of one launch, after which it is a fault; 0 for no limit."""
        self.library.emulator_set_event_limit(ctypes.c_ulonglong(events))

    def count_bank_conflicts(self, on: bool) -> None:
        """Counts conflicts of plain accesses to shared memory too (slow)."""
        self.library.emulator_count_bank_conflicts(int(on))

    def bank_conflicts(self) -> dict[str, tuple[int, int]]:
        """Wavefronts and conflicts (wavefronts more than needed) since reset_counters(), by line of a kernel."""
        rows = [line.split(" ", 2) for line in self._lines("bank_conflicts")]
        return {place: (int(wavefronts), int(conflicts)) for wavefronts, conflicts, place in rows}

    def counter(self, name: str) -> int:
        """launches, blocks, accesses, switches, matrix_loads, matrix_load_conflicts, shared_wavefronts or
        shared_conflicts."""
        value = self.library.emulator_counter(name.encode())
        if value == 2**64 - 1:
            raise KeyError(name)
        return value

    def reset_counters(self) -> None:
        self.library.emulator_reset_counters()


def never_launched(library: Path | str, *lists: Path | str) -> list[str]:
    """Kernels of the library that no process has launched which wrote its list to one of these files, the file that
    SKIPWAY_EMULATOR_LAUNCHED named for it."""
    launched = {line for file in lists for line in Path(file).read_text().splitlines()}
    return [kernel for kernel in Emulator(library).kernels() if kernel not in launched]


if __name__ == "__main__":
    print("\n".join(never_launched(*sys.argv[1:])))
