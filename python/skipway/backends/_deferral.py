"""Whether results of pointwise ops around BatchNorm wait until they are read."""

from .. import _core


class Deferral:
    """``enabled``: batch norm, and the additions and ReLUs that follow it, compute their results when these are first
    read, in one pass; a convolution that reads one may apply it to what it loads instead. True unless set.

    No result depends on it, to the bit. With False each op computes its result before it returns, as timings
    of single ops want it.

    ``gradient_sums``: on CUDA devices the data gradient of a convolution that applied a norm to what it loaded also
    sums what the norm's backward pass needs, which spares that a pass over two tensors. False unless set: sums in
    another order are other bits, by rounding, and whether there are any depends on what waited.

    ``moments``: on CUDA devices a convolution without a bias, in training, also computes mean and variance of its
    result's channels as it writes them, which spares a batch norm that reads it a pass. False unless set: other bits,
    by rounding, and work for nothing where no batch norm follows."""

    @property
    def enabled(self) -> bool:
        return _core._deferral()

    @enabled.setter
    def enabled(self, on: bool) -> None:
        _core._set_deferral(bool(on))

    @property
    def gradient_sums(self) -> bool:
        return _core._gradient_sums()

    @gradient_sums.setter
    def gradient_sums(self, on: bool) -> None:
        _core._set_gradient_sums(bool(on))

    @property
    def moments(self) -> bool:
        return _core._moments()

    @moments.setter
    def moments(self, on: bool) -> None:
        _core._set_moments(bool(on))
