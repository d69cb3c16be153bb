"""CUDA's switches. Those that are not described here can be set and change nothing."""

from pathlib import Path

from .. import _core


class _Matmul:
    """``allow_tf32``: float32 products on CUDA devices of compute capability 8.0 and up (matmul, linear layers, their
    gradients) may round their operands to tf32 (10 bits of fraction) and run on tensor cores. False unless set, as
    PyTorch's. It governs the products that cuBLASLt computes; the kernels of our own, which compute what cuBLASLt does
    not take (operands of which neither stride is 1) or everything with SKIPWAY_CUBLAS=0, multiply in float32 either
    way, as the CPU does. Convolutions have a switch of their own, ``backends.cudnn.allow_tf32``."""

    @property
    def allow_tf32(self) -> bool:
        return _core._matmul_tf32()

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        _core._set_matmul_tf32(bool(allowed))


matmul = _Matmul()


def is_built() -> bool:
    """Does this build have CUDA kernels?"""
    return (Path(_core.__file__).parent / "_cuda.so").exists()
