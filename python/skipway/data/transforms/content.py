"""Transforms that change what pixels hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._image import (
    height_width,
    is_pil,
    is_tensor,
    on_array,
    randint,
    uniform,
)


class RandomErasing:
    """Erases a random rectangle of a tensor with probability ``p`` (Zhong et al. 2017)."""

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: float | str = 0,
        inplace: bool = False,
    ) -> None:
        if isinstance(value, str) and value != "random":
            raise ValueError(f"RandomErasing: value must be a number or 'random', got {value!r}")
        self.p, self.scale, self.ratio, self.value, self.inplace = p, scale, ratio, value, inplace

    def __call__(self, img: Any) -> Any:
        import skipway as sw

        if not is_tensor(img):
            raise TypeError(f"RandomErasing: expected a tensor, got {type(img).__name__}; put ToTensor() before it")
        if uniform() >= self.p:
            return img
        h, w = height_width(img)
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area, aspect = h * w * uniform(self.scale[0], self.scale[1]), math.exp(uniform(low, high))
            eh, ew = int(round(math.sqrt(area * aspect))), int(round(math.sqrt(area / aspect)))
            if eh < h and ew < w:
                y, x = randint(0, h - eh), randint(0, w - ew)
                img = img if self.inplace else img.clone()
                fill: Any = self.value
                if fill == "random":
                    fill = sw.randn(*img.shape[:-2], eh, ew)
                img[..., y : y + eh, x : x + ew] = fill
                return img
        return img


class Cutout:
    """A square of side ``length`` around a random pixel becomes ``fill``, cut at the border (DeVries, Taylor 2017)."""

    def __init__(self, length: int, n_holes: int = 1, fill: float = 0) -> None:
        if length < 1 or n_holes < 1:
            raise ValueError(f"Cutout: length and n_holes must be at least 1, got {length} and {n_holes}")
        self.length, self.n_holes, self.fill = length, n_holes, fill

    def __call__(self, img: Any) -> Any:
        def work(a: np.ndarray) -> np.ndarray:
            a = a.copy()
            h, w = a.shape[-2:]
            for _ in range(self.n_holes):
                y, x = randint(0, h - 1) - self.length // 2, randint(0, w - 1) - self.length // 2
                a[..., max(0, y) : max(0, y + self.length), max(0, x) : max(0, x + self.length)] = self.fill
            return a

        return on_array("Cutout", img, work)


class GaussianNoise:
    """Adds normal noise to a floating tensor."""

    def __init__(self, mean: float = 0.0, sigma: float = 0.1, clip: bool = True) -> None:
        self.mean, self.sigma, self.clip = mean, sigma, clip

    def __call__(self, img: Any) -> Any:
        import skipway as sw

        if not is_tensor(img) or not img.is_floating_point():
            raise TypeError("GaussianNoise: expected a floating tensor; put ToTensor() before it")
        out = img + self.mean + self.sigma * sw.randn(*img.shape)
        return out.clamp(0, 1) if self.clip else out


_LUMA = (0.2989, 0.587, 0.114)


def _blend(a: np.ndarray, b: Any, ratio: float, bound: float) -> np.ndarray:
    return np.clip(a * ratio + b * (1.0 - ratio), 0.0, bound)


def _luma(a: np.ndarray) -> np.ndarray:
    """(3, H, W) to (1, H, W)."""
    return np.tensordot(_LUMA, a, 1)[None] if a.ndim == 3 and a.shape[0] == 3 else a


def _finish(a: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return (np.rint(a) if dtype.kind in "ui" else a).astype(dtype)


class Grayscale:
    """The luminance (ITU-R BT.601 weights), in 1 channel or 3 equal ones."""

    def __init__(self, num_output_channels: int = 1) -> None:
        if num_output_channels not in (1, 3):
            raise ValueError(f"Grayscale: num_output_channels must be 1 or 3, got {num_output_channels}")
        self.num_output_channels = num_output_channels

    def __call__(self, img: Any) -> Any:
        if is_pil(img):
            gray = img.convert("L")
            return gray if self.num_output_channels == 1 else gray.convert("RGB")

        def work(a: np.ndarray) -> np.ndarray:
            g = _finish(_luma(a.astype(np.float64)), a.dtype)
            return np.repeat(g, self.num_output_channels, 0) if g.ndim == 3 else g

        return on_array("Grayscale", img, work)


class RandomGrayscale:
    """With probability ``p``, the same number of channels without colour."""

    def __init__(self, p: float = 0.1) -> None:
        self.p = p

    def __call__(self, img: Any) -> Any:
        if uniform() >= self.p:
            return img
        channels = len(img.getbands()) if is_pil(img) else img.shape[-3] if is_tensor(img) else img.shape[-1]
        return Grayscale(3 if channels == 3 else 1)(img)


class ColorJitter:
    """Random brightness, contrast and saturation, in random order; each a factor, from ``1 - x`` to ``1 + x``."""

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: float = 0) -> None:
        if hue:
            raise ValueError("ColorJitter: only hue=0 is there")
        self.ranges = [self._range(n, v) for n, v in zip(
            ("brightness", "contrast", "saturation"), (brightness, contrast, saturation), strict=True)]  # fmt: skip

    @staticmethod
    def _range(name: str, v: Any) -> tuple[float, float]:
        low, high = (max(0.0, 1.0 - v), 1.0 + v) if isinstance(v, (int, float)) else (float(v[0]), float(v[1]))
        if not 0 <= low <= high:
            raise ValueError(f"ColorJitter: {name} must be a number >= 0 or a range (low, high), got {v!r}")
        return low, high

    def __call__(self, img: Any) -> Any:
        factors = [uniform(*r) for r in self.ranges]
        order = sorted(range(3), key=[uniform() for _ in range(3)].__getitem__)

        def work(a: np.ndarray) -> np.ndarray:
            bound = 255.0 if a.dtype.kind in "ui" else 1.0
            x = a.astype(np.float64)
            for i in order:
                other = (0.0, _luma(x).mean(), _luma(x))[i]
                x = _blend(x, other, factors[i], bound)
            return _finish(x, a.dtype)

        return on_array("ColorJitter", img, work)
