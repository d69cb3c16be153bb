"""finfo and iinfo: the numerical properties of dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._creation import as_dtype, get_default_dtype


class _Info:
    """What NumPy knows of a dtype's range."""

    def __init__(self, dtype: Any = None) -> None:
        self._dtype = as_dtype(dtype or get_default_dtype())
        if self._dtype.is_floating_point != (type(self).__name__ == "finfo"):
            raise TypeError(f"{type(self).__name__}: wrong kind of dtype: {self._dtype}")
        self.dtype = self._dtype.name
        self.bits = 8 * self._dtype.itemsize

    def __repr__(self) -> str:
        names = [k for k in vars(self) if not k.startswith("_")]
        return f"{type(self).__name__}({', '.join(f'{k}={vars(self)[k]}' for k in names)})"


class finfo(_Info):
    """The numerical properties of a floating-point dtype."""

    def __init__(self, type: Any = None) -> None:
        super().__init__(type)
        import ml_dtypes

        info = ml_dtypes.finfo(self._dtype.dtype)
        self.eps = float(info.eps)
        self.max = float(info.max)
        self.min = float(info.min)
        self.tiny = self.smallest_normal = float(info.smallest_normal)
        self.resolution = float(info.resolution)


class iinfo(_Info):
    """The numerical properties of an integer dtype."""

    def __init__(self, type: Any) -> None:
        super().__init__(type)
        info = np.iinfo(self._dtype.dtype)
        self.max = int(info.max)
        self.min = int(info.min)
