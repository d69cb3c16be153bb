"""What this build is and what it runs on."""

from __future__ import annotations

import platform
import sys

from . import _core


def config() -> dict[str, str]:
    """Versions, the compiler, the instruction set in use and the number of threads, by name."""
    import numpy

    from . import __version__

    return {
        "skipway": __version__,
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
        "compiler": _core._compiler(),
        "platform": platform.platform(),
        "instruction set": f"{_core.get_isa()} (this CPU runs up to {_core.best_isa()}; SKIPWAY_ISA chooses)",
        "threads": f"{_core.get_num_threads()} (SKIPWAY_NUM_THREADS or set_num_threads choose)",
        "cuda": "not in this build",
    }


def show_config() -> None:
    """Prints :func:`config`, a line each."""
    for name, value in config().items():
        print(f"{name + ':':18}{value}")
