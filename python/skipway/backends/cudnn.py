"""cuDNN is not used; most switches can be set and change nothing.

``allow_tf32`` does: with it, float32 convolutions on CUDA devices may round their operands to tf32 (10 bits of
fraction) and run on tensor cores. False unless set, unlike PyTorch's.
"""

import sys
import types

from .. import _core

enabled: bool = False
benchmark: bool = False
deterministic: bool = True
allow_tf32: bool


def is_available() -> bool:
    """False."""
    return False


def version() -> None:
    """None."""


class _Switches(types.ModuleType):
    @property
    def allow_tf32(self) -> bool:
        return _core._conv_tf32()

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        _core._set_conv_tf32(bool(allowed))


sys.modules[__name__].__class__ = _Switches
