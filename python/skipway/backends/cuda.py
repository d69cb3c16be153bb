"""CUDA's switches, which can be set and change nothing."""

from pathlib import Path

from .. import _core


class _Matmul:
    allow_tf32: bool = False


matmul = _Matmul()


def is_built() -> bool:
    """Does this build have CUDA kernels?"""
    return (Path(_core.__file__).parent / "_cuda.so").exists()
