"""Containers of transforms, and conversions between kinds of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ._image import (
    is_pil,
    is_tensor,
    uniform,
)


class Compose:
    """One transform after the other."""

    def __init__(self, transforms: Iterable[Callable]) -> None:
        self.transforms = list(transforms)

    def __call__(self, img: Any) -> Any:
        for t in self.transforms:
            img = t(img)
        return img

    def __repr__(self) -> str:
        return "Compose(\n" + "".join(f"    {t}\n" for t in self.transforms) + ")"


class Lambda:
    """Any function of an image."""

    def __init__(self, lambd: Callable) -> None:
        if not callable(lambd):
            raise TypeError(f"Lambda: expected a callable, got {type(lambd).__name__}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)


class RandomApply:
    """All the transforms with probability ``p``, none otherwise."""

    def __init__(self, transforms: Iterable[Callable], p: float = 0.5) -> None:
        self.transforms = list(transforms)
        self.p = p

    def __call__(self, img: Any) -> Any:
        if uniform() < self.p:
            for t in self.transforms:
                img = t(img)
        return img


class RandomChoice:
    """One of the transforms."""

    def __init__(self, transforms: Sequence[Callable], p: Sequence[float] | None = None) -> None:
        self.transforms = list(transforms)
        self.ends = np.cumsum([1.0] * len(self.transforms) if p is None else p)

    def __call__(self, img: Any) -> Any:
        return self.transforms[int(np.searchsorted(self.ends, uniform() * self.ends[-1], side="right"))](img)


class ToTensor:
    """A Pillow image or array (H, W) or (H, W, C) to a tensor (C, H, W); uint8 becomes float32 in [0, 1]."""

    def __call__(self, pic: Any) -> Any:
        import skipway as sw

        if is_tensor(pic) or not (is_pil(pic) or isinstance(pic, np.ndarray)):
            raise TypeError(f"ToTensor: expected a Pillow image or a NumPy array, got {type(pic).__name__}")
        if is_pil(pic) and pic.mode in ("1", "P", "CMYK", "YCbCr", "LAB", "HSV"):
            pic = pic.convert("L" if pic.mode == "1" else "RGB")
        a = np.asarray(pic)
        if a.ndim not in (2, 3):
            raise ValueError(f"ToTensor: expected 2 or 3 dimensions, got {a.ndim}")
        a = a[None] if a.ndim == 2 else a.transpose(2, 0, 1)
        if a.dtype == np.uint8:
            return sw.from_numpy(np.divide(a, np.float32(255), dtype=np.float32))
        return sw.from_numpy(np.array(a))

    def __repr__(self) -> str:
        return "ToTensor()"


class PILToTensor:
    """A Pillow image to a uint8 tensor (C, H, W)."""

    def __call__(self, pic: Any) -> Any:
        import skipway as sw

        if not is_pil(pic):
            raise TypeError(f"PILToTensor: expected a Pillow image, got {type(pic).__name__}")
        a = np.array(pic)
        return sw.from_numpy(np.ascontiguousarray(a[None] if a.ndim == 2 else a.transpose(2, 0, 1)))


class ToPILImage:
    """A tensor (C, H, W) or array (H, W, C) to a Pillow image; floating values are taken as [0, 1]."""

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def __call__(self, pic: Any) -> Any:
        from PIL import Image

        if is_tensor(pic):
            a = pic.detach().numpy()
            a = a.transpose(1, 2, 0) if a.ndim == 3 else a
            if a.dtype.kind == "f":
                a = (a * 255).astype(np.uint8)
        else:
            a = np.asarray(pic)
        if a.ndim == 3 and a.shape[2] == 1:
            a = a[:, :, 0]
        return Image.fromarray(np.ascontiguousarray(a), self.mode)


class Normalize:
    """(x - mean) / std per channel of a floating tensor (..., C, H, W)."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        self.mean, self.std, self.inplace = mean, std, inplace
        if any(float(s) == 0 for s in std):
            raise ValueError(f"Normalize: std must not be 0, got {list(std)}")

    def __call__(self, tensor: Any) -> Any:
        import skipway as sw

        if not is_tensor(tensor):
            raise TypeError(f"Normalize: expected a tensor, got {type(tensor).__name__}; put ToTensor() before it")
        if not tensor.is_floating_point():
            raise TypeError(f"Normalize: expected a floating tensor, got {tensor.dtype}")
        channels = int(tensor.shape[-3])
        if len(self.mean) not in (1, channels) or len(self.std) not in (1, channels):
            raise ValueError(f"Normalize: {len(self.mean)} means for {channels} channels")
        mean = sw.tensor(list(map(float, self.mean)), dtype=tensor.dtype).reshape(-1, 1, 1)
        std = sw.tensor(list(map(float, self.std)), dtype=tensor.dtype).reshape(-1, 1, 1)
        if self.inplace:
            return tensor.sub_(mean).div_(std)
        return (tensor - mean) / std

    def __repr__(self) -> str:
        return f"Normalize(mean={self.mean}, std={self.std})"
