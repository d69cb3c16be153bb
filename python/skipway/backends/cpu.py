"""The CPU."""

from .. import _core


def get_cpu_capability() -> str:
    """The instruction set whose kernels run."""
    return _core.get_isa()
