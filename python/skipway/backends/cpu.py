"""The CPU."""

from .. import _core


def get_cpu_capability() -> str:
    """The instruction set whose kernels run."""
    return _core.get_isa()


def get_conv_algorithm() -> str:
    """The algorithm that convolutions prefer: "auto", "direct" or "winograd"."""
    return _core._get_conv_algorithm()


def set_conv_algorithm(name: str) -> None:
    """Chooses how float32 convolutions with 3x3 filters and stride 1 are computed; also `SKIPWAY_CONV=name`.

    "auto": the faster by a cost model. "direct": sums of products. "winograd": F(4x4, 3x3) (Lavin & Gray 2016) wherever
    it is defined, which needs 36 products where the sum needs 144. Its rounding errors are about twice those of the
    sum, and spread over tiles of 4x4 results: a NaN or an infinity makes its whole tile NaN or infinite, where the
    sum only touches what reads it. Neither ever vanishes. `sw.show_plan` prints what is chosen for each layer.

    Raises ValueError for another name.
    """
    _core._set_conv_algorithm(name)
