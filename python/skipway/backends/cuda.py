"""CUDA's switches, which can be set and change nothing."""


class _Matmul:
    allow_tf32: bool = False


matmul = _Matmul()


def is_built() -> bool:
    """False."""
    return False
