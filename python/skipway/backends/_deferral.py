"""Whether results of pointwise ops around BatchNorm wait until they are read."""

from .. import _core


class Deferral:
    """``enabled``: batch norm, and the additions and ReLUs that follow it, compute their results when these are first
    read, in one pass; a convolution that reads one may apply it to what it loads instead. True unless set.

    No result depends on it, to the bit. With False each op computes its result before it returns, as timings
    of single ops want it."""

    @property
    def enabled(self) -> bool:
        return _core._deferral()

    @enabled.setter
    def enabled(self, on: bool) -> None:
        _core._set_deferral(bool(on))
