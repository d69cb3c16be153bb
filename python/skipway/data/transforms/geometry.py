"""Transforms that move pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._image import (
    PAD_MODES,
    as_pair,
    as_sides,
    check_image,
    height_width,
    on_array,
    pad_array,
    randint,
    resize_array,
    uniform,
)


class InterpolationMode:
    """What `Resize` takes as ``interpolation``."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"


class Pad:
    """Adds a border: an int, (left/right, top/bottom) or (left, top, right, bottom) pixels."""

    def __init__(self, padding: int | Sequence[int], fill: float = 0, padding_mode: str = "constant") -> None:
        if padding_mode not in PAD_MODES:
            raise ValueError(f"Pad: padding_mode must be one of {list(PAD_MODES)}, got {padding_mode!r}")
        self.sides = as_sides("Pad", padding)
        self.fill, self.padding_mode = fill, padding_mode

    def __call__(self, img: Any) -> Any:
        return on_array("Pad", img, lambda a: pad_array(a, self.sides, self.fill, self.padding_mode))


class Resize:
    """To ``size`` (height, width); an int is for the shorter side, and the other keeps the proportions."""

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: str = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool = True,
    ) -> None:
        as_pair("Resize", size)
        if interpolation not in ("bilinear", "nearest"):
            raise ValueError(f"Resize: interpolation must be 'bilinear' or 'nearest', got {interpolation!r}")
        if not antialias:
            raise ValueError("Resize: only antialias=True is there")
        self.size, self.interpolation, self.max_size = size, interpolation, max_size

    def __call__(self, img: Any) -> Any:
        check_image("Resize", img)
        size = self.size
        if isinstance(size, int) or len(size) == 1:
            short = size if isinstance(size, int) else size[0]
            h, w = height_width(img)
            scale = short / min(h, w)
            if self.max_size is not None:
                scale = min(scale, self.max_size / max(h, w))
            size = (max(1, int(h * scale)), max(1, int(w * scale)))
        target = (int(size[0]), int(size[1]))
        return on_array("Resize", img, lambda a: resize_array(a, target, self.interpolation))


class CenterCrop:
    """The middle part of ``size`` (height, width); smaller images are padded with 0."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = as_pair("CenterCrop", size)

    def __call__(self, img: Any) -> Any:
        th, tw = self.size

        def work(a: np.ndarray) -> np.ndarray:
            h, w = a.shape[-2:]
            dy, dx = max(0, th - h), max(0, tw - w)
            if dy or dx:
                a = pad_array(a, (dx // 2, dy // 2, dx - dx // 2, dy - dy // 2), 0, "constant")
                h, w = a.shape[-2:]
            y, x = int(round((h - th) / 2)), int(round((w - tw) / 2))
            return a[..., y : y + th, x : x + tw]

        return on_array("CenterCrop", img, work)


class FiveCrop:
    """The four corners and the centre, as a tuple."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = as_pair("FiveCrop", size)

    def __call__(self, img: Any) -> tuple:
        th, tw = self.size
        h, w = height_width(img)
        if th > h or tw > w:
            raise ValueError(f"FiveCrop: size {self.size} is larger than the image's {(h, w)}")

        def crop(y: int, x: int) -> Any:
            return on_array("FiveCrop", img, lambda a: a[..., y : y + th, x : x + tw])

        return (crop(0, 0), crop(0, w - tw), crop(h - th, 0), crop(h - th, w - tw), CenterCrop(self.size)(img))


class RandomCrop:
    """A random part of ``size``, after padding."""

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: float = 0,
        padding_mode: str = "constant",
    ) -> None:
        if padding_mode not in PAD_MODES:
            raise ValueError(f"RandomCrop: padding_mode must be one of {list(PAD_MODES)}, got {padding_mode!r}")
        self.size = as_pair("RandomCrop", size)
        self.sides = None if padding is None else as_sides("RandomCrop", padding)
        self.pad_if_needed, self.fill, self.padding_mode = pad_if_needed, fill, padding_mode

    def __call__(self, img: Any) -> Any:
        th, tw = self.size

        def work(a: np.ndarray) -> np.ndarray:
            if self.sides is not None:
                a = pad_array(a, self.sides, self.fill, self.padding_mode)
            if self.pad_if_needed:
                dy, dx = max(0, th - a.shape[-2]), max(0, tw - a.shape[-1])
                a = pad_array(a, (dx, dy, dx, dy), self.fill, self.padding_mode)
            h, w = a.shape[-2:]
            if h < th or w < tw:
                raise ValueError(f"RandomCrop: size {self.size} is larger than the padded image's {(h, w)}")
            y, x = randint(0, h - th), randint(0, w - tw)
            return a[..., y : y + th, x : x + tw]

        return on_array("RandomCrop", img, work)

    def __repr__(self) -> str:
        return f"RandomCrop(size={self.size}, padding={self.sides})"


class RandomHorizontalFlip:
    """Left and right swapped with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, img: Any) -> Any:
        return on_array("RandomHorizontalFlip", img, lambda a: a[..., ::-1]) if uniform() < self.p else img

    def __repr__(self) -> str:
        return f"RandomHorizontalFlip(p={self.p})"


class RandomVerticalFlip:
    """Top and bottom swapped with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, img: Any) -> Any:
        return on_array("RandomVerticalFlip", img, lambda a: a[..., ::-1, :]) if uniform() < self.p else img


class RandomResizedCrop:
    """A random part, of random area and proportions, resized to ``size``."""

    def __init__(
        self,
        size: int | Sequence[int],
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: str = InterpolationMode.BILINEAR,
        antialias: bool = True,
    ) -> None:
        self.size = as_pair("RandomResizedCrop", size)
        self.scale, self.ratio, self.interpolation = scale, ratio, interpolation

    def _box(self, h: int, w: int) -> tuple[int, int, int, int]:
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area = h * w * uniform(self.scale[0], self.scale[1])
            aspect = math.exp(uniform(low, high))
            cw, ch = int(round(math.sqrt(area * aspect))), int(round(math.sqrt(area / aspect)))
            if 0 < cw <= w and 0 < ch <= h:
                return randint(0, h - ch), randint(0, w - cw), ch, cw
        ch = min(h, int(round(w / self.ratio[0])))  # the whole image, its proportions limited
        cw = min(w, int(round(h * self.ratio[1])))
        return (h - ch) // 2, (w - cw) // 2, ch, cw

    def __call__(self, img: Any) -> Any:
        def work(a: np.ndarray) -> np.ndarray:
            y, x, h, w = self._box(*a.shape[-2:])
            return resize_array(a[..., y : y + h, x : x + w], self.size, self.interpolation)

        return on_array("RandomResizedCrop", img, work)


class RandomRotation:
    """By a random angle in degrees, bilinear, same size; what comes from outside is ``fill``."""

    def __init__(self, degrees: float | Sequence[float], fill: float = 0) -> None:
        self.degrees = (-abs(degrees), abs(degrees)) if isinstance(degrees, (int, float)) else tuple(degrees)
        self.fill = fill

    def __call__(self, img: Any) -> Any:
        angle = math.radians(uniform(self.degrees[0], self.degrees[1]))
        c, s = math.cos(angle), math.sin(angle)

        def work(a: np.ndarray) -> np.ndarray:
            from ..batch import sample_bilinear

            h, w = a.shape[-2:]
            y, x = np.mgrid[:h, :w] - np.array([(h - 1) / 2, (w - 1) / 2]).reshape(2, 1, 1)
            planes = a.reshape(1, -1, h, w)
            out = sample_bilinear(
                planes, (c * y + s * x + (h - 1) / 2)[None], (c * x - s * y + (w - 1) / 2)[None], self.fill
            )
            return out.reshape(a.shape)

        return on_array("RandomRotation", img, work)
