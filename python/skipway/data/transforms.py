"""Image transforms with torchvision's names and arguments.

They take Pillow images, NumPy arrays (H, W) or (H, W, C), and tensors (..., C, H, W), and give back the same kind,
except where the name says otherwise. Random choices come from the library's global generator (``skipway.manual_seed``).
``skipway.data.batch`` has versions that work on whole batches at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "Cutout",
    "FiveCrop",
    "GaussianNoise",
    "Grayscale",
    "InterpolationMode",
    "Lambda",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToPILImage",
    "ToTensor",
]


class InterpolationMode:
    NEAREST = "nearest"
    BILINEAR = "bilinear"


# ------------------------------------------------------------------------------------------------------------ helpers


def _is_tensor(img: Any) -> bool:
    import skipway as sw

    return isinstance(img, sw.Tensor)


def _is_pil(img: Any) -> bool:
    return hasattr(img, "getbands") and hasattr(img, "mode")


def _uniform(low: float = 0.0, high: float = 1.0) -> float:
    import skipway as sw

    return low + (high - low) * float(sw.rand(1).item())


def _randint(low: int, high: int) -> int:
    """From low to high, both included."""
    import skipway as sw

    return int(sw.randint(low, high + 1, (1,)).item())


def _check(name: str, img: Any) -> None:
    if not (_is_tensor(img) or _is_pil(img) or isinstance(img, np.ndarray)):
        raise TypeError(f"{name}: expected a Pillow image, a NumPy array or a tensor, got {type(img).__name__}")


def _on_array(name: str, img: Any, work: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Runs ``work`` on an array whose last two dimensions are height and width, and gives back the kind of ``img``."""
    import skipway as sw

    _check(name, img)
    if _is_tensor(img):
        return sw.from_numpy(np.ascontiguousarray(work(img.detach().numpy())))
    array = np.asarray(img)
    if array.ndim not in (2, 3):
        raise ValueError(f"{name}: expected an array of shape (H, W) or (H, W, C), got {array.shape}")
    planes = array if array.ndim == 2 else array.transpose(2, 0, 1)
    out = work(planes)
    out = np.ascontiguousarray(out if out.ndim == 2 else out.transpose(1, 2, 0))
    if _is_pil(img):
        from PIL import Image

        return Image.fromarray(out, img.mode if img.mode in ("L", "RGB", "RGBA", "F", "I") else None)
    return out


def _size(img: Any) -> tuple[int, int]:
    """Height and width."""
    if _is_tensor(img):
        return int(img.shape[-2]), int(img.shape[-1])
    if _is_pil(img):
        return img.size[1], img.size[0]
    return img.shape[0], img.shape[1]


def _pair(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size) * (2 if len(size) == 1 else 1)
    if len(pair) != 2 or any(int(v) <= 0 for v in pair):
        raise ValueError(f"{name}: size must be one or two positive integers, got {size!r}")
    return int(pair[0]), int(pair[1])


def _sides(name: str, padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    """left, top, right, bottom."""
    p = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(p) not in (1, 2, 4):
        raise ValueError(f"{name}: padding must be 1, 2 or 4 integers, got {padding!r}")
    return {1: p * 4, 2: p * 2, 4: p}[len(p)]  # type: ignore[return-value]


_PAD_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}


def _pad(a: np.ndarray, sides: tuple[int, int, int, int], fill: float, mode: str) -> np.ndarray:
    left, top, right, bottom = sides
    width = [(0, 0)] * (a.ndim - 2) + [(top, bottom), (left, right)]
    if mode == "constant":
        return np.pad(a, width, constant_values=fill)
    return np.pad(a, width, mode=_PAD_MODES[mode])  # type: ignore[call-overload]


def resize_weights(n_in: int, n_out: int) -> np.ndarray:
    """(n_out, n_in) weights of linear interpolation; when shrinking, the triangle widens so that all pixels count."""
    scale = n_in / n_out
    support = max(scale, 1.0)
    centers = (np.arange(n_out) + 0.5) * scale
    distance = np.abs(np.arange(n_in)[None, :] + 0.5 - centers[:, None]) / support
    w = np.maximum(0.0, 1.0 - distance)
    return w / w.sum(1, keepdims=True)


def resize_array(a: np.ndarray, size: tuple[int, int], interpolation: str = "bilinear") -> np.ndarray:
    """Resizes the last two dimensions, antialiased; integers are rounded."""
    h, w = a.shape[-2:]
    if (h, w) == size:
        return a
    if interpolation == "nearest":
        rows = np.minimum((np.arange(size[0]) + 0.5) * h / size[0], h - 1).astype(int)
        cols = np.minimum((np.arange(size[1]) + 0.5) * w / size[1], w - 1).astype(int)
        return a[..., rows, :][..., cols]
    out = resize_weights(h, size[0]) @ a.astype(np.float64) @ resize_weights(w, size[1]).T
    if a.dtype.kind in "ui":
        info = np.iinfo(a.dtype)
        out = np.clip(np.rint(out), info.min, info.max)
    return out.astype(a.dtype)


# --------------------------------------------------------------------------------------------------------- containers


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
        if _uniform() < self.p:
            for t in self.transforms:
                img = t(img)
        return img


class RandomChoice:
    """One of the transforms."""

    def __init__(self, transforms: Sequence[Callable], p: Sequence[float] | None = None) -> None:
        self.transforms = list(transforms)
        self.ends = np.cumsum([1.0] * len(self.transforms) if p is None else p)

    def __call__(self, img: Any) -> Any:
        return self.transforms[int(np.searchsorted(self.ends, _uniform() * self.ends[-1], side="right"))](img)


# -------------------------------------------------------------------------------------------------------- conversions


class ToTensor:
    """A Pillow image or array (H, W) or (H, W, C) to a tensor (C, H, W); uint8 becomes float32 in [0, 1]."""

    def __call__(self, pic: Any) -> Any:
        import skipway as sw

        if _is_tensor(pic) or not (_is_pil(pic) or isinstance(pic, np.ndarray)):
            raise TypeError(f"ToTensor: expected a Pillow image or a NumPy array, got {type(pic).__name__}")
        if _is_pil(pic) and pic.mode in ("1", "P", "CMYK", "YCbCr", "LAB", "HSV"):
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

        if not _is_pil(pic):
            raise TypeError(f"PILToTensor: expected a Pillow image, got {type(pic).__name__}")
        a = np.array(pic)
        return sw.from_numpy(np.ascontiguousarray(a[None] if a.ndim == 2 else a.transpose(2, 0, 1)))


class ToPILImage:
    """A tensor (C, H, W) or array (H, W, C) to a Pillow image; floating values are taken as [0, 1]."""

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def __call__(self, pic: Any) -> Any:
        from PIL import Image

        if _is_tensor(pic):
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

        if not _is_tensor(tensor):
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


# ----------------------------------------------------------------------------------------------------------- geometry


class Pad:
    def __init__(self, padding: int | Sequence[int], fill: float = 0, padding_mode: str = "constant") -> None:
        if padding_mode not in _PAD_MODES:
            raise ValueError(f"Pad: padding_mode must be one of {list(_PAD_MODES)}, got {padding_mode!r}")
        self.sides = _sides("Pad", padding)
        self.fill, self.padding_mode = fill, padding_mode

    def __call__(self, img: Any) -> Any:
        return _on_array("Pad", img, lambda a: _pad(a, self.sides, self.fill, self.padding_mode))


class Resize:
    """To ``size`` (height, width); an int is for the shorter side, and the other keeps the proportions."""

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: str = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool = True,
    ) -> None:
        _pair("Resize", size)
        if interpolation not in ("bilinear", "nearest"):
            raise ValueError(f"Resize: interpolation must be 'bilinear' or 'nearest', got {interpolation!r}")
        if not antialias:
            raise ValueError("Resize: only antialias=True is there")
        self.size, self.interpolation, self.max_size = size, interpolation, max_size

    def __call__(self, img: Any) -> Any:
        _check("Resize", img)
        size = self.size
        if isinstance(size, int) or len(size) == 1:
            short = size if isinstance(size, int) else size[0]
            h, w = _size(img)
            scale = short / min(h, w)
            if self.max_size is not None:
                scale = min(scale, self.max_size / max(h, w))
            size = (max(1, int(h * scale)), max(1, int(w * scale)))
        target = (int(size[0]), int(size[1]))
        return _on_array("Resize", img, lambda a: resize_array(a, target, self.interpolation))


class CenterCrop:
    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _pair("CenterCrop", size)

    def __call__(self, img: Any) -> Any:
        th, tw = self.size

        def work(a: np.ndarray) -> np.ndarray:
            h, w = a.shape[-2:]
            dy, dx = max(0, th - h), max(0, tw - w)
            if dy or dx:
                a = _pad(a, (dx // 2, dy // 2, dx - dx // 2, dy - dy // 2), 0, "constant")
                h, w = a.shape[-2:]
            y, x = int(round((h - th) / 2)), int(round((w - tw) / 2))
            return a[..., y : y + th, x : x + tw]

        return _on_array("CenterCrop", img, work)


class FiveCrop:
    """The four corners and the centre, as a tuple."""

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _pair("FiveCrop", size)

    def __call__(self, img: Any) -> tuple:
        th, tw = self.size
        h, w = _size(img)
        if th > h or tw > w:
            raise ValueError(f"FiveCrop: size {self.size} is larger than the image's {(h, w)}")

        def crop(y: int, x: int) -> Any:
            return _on_array("FiveCrop", img, lambda a: a[..., y : y + th, x : x + tw])

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
        if padding_mode not in _PAD_MODES:
            raise ValueError(f"RandomCrop: padding_mode must be one of {list(_PAD_MODES)}, got {padding_mode!r}")
        self.size = _pair("RandomCrop", size)
        self.sides = None if padding is None else _sides("RandomCrop", padding)
        self.pad_if_needed, self.fill, self.padding_mode = pad_if_needed, fill, padding_mode

    def __call__(self, img: Any) -> Any:
        th, tw = self.size

        def work(a: np.ndarray) -> np.ndarray:
            if self.sides is not None:
                a = _pad(a, self.sides, self.fill, self.padding_mode)
            if self.pad_if_needed:
                dy, dx = max(0, th - a.shape[-2]), max(0, tw - a.shape[-1])
                a = _pad(a, (dx, dy, dx, dy), self.fill, self.padding_mode)
            h, w = a.shape[-2:]
            if h < th or w < tw:
                raise ValueError(f"RandomCrop: size {self.size} is larger than the padded image's {(h, w)}")
            y, x = _randint(0, h - th), _randint(0, w - tw)
            return a[..., y : y + th, x : x + tw]

        return _on_array("RandomCrop", img, work)

    def __repr__(self) -> str:
        return f"RandomCrop(size={self.size}, padding={self.sides})"


class RandomHorizontalFlip:
    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, img: Any) -> Any:
        return _on_array("RandomHorizontalFlip", img, lambda a: a[..., ::-1]) if _uniform() < self.p else img

    def __repr__(self) -> str:
        return f"RandomHorizontalFlip(p={self.p})"


class RandomVerticalFlip:
    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, img: Any) -> Any:
        return _on_array("RandomVerticalFlip", img, lambda a: a[..., ::-1, :]) if _uniform() < self.p else img


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
        self.size = _pair("RandomResizedCrop", size)
        self.scale, self.ratio, self.interpolation = scale, ratio, interpolation

    def _box(self, h: int, w: int) -> tuple[int, int, int, int]:
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area = h * w * _uniform(self.scale[0], self.scale[1])
            aspect = math.exp(_uniform(low, high))
            cw, ch = int(round(math.sqrt(area * aspect))), int(round(math.sqrt(area / aspect)))
            if 0 < cw <= w and 0 < ch <= h:
                return _randint(0, h - ch), _randint(0, w - cw), ch, cw
        ch = min(h, int(round(w / self.ratio[0])))  # the whole image, its proportions limited
        cw = min(w, int(round(h * self.ratio[1])))
        return (h - ch) // 2, (w - cw) // 2, ch, cw

    def __call__(self, img: Any) -> Any:
        def work(a: np.ndarray) -> np.ndarray:
            y, x, h, w = self._box(*a.shape[-2:])
            return resize_array(a[..., y : y + h, x : x + w], self.size, self.interpolation)

        return _on_array("RandomResizedCrop", img, work)


class RandomRotation:
    """By a random angle in degrees, bilinear, same size; what comes from outside is ``fill``."""

    def __init__(self, degrees: float | Sequence[float], fill: float = 0) -> None:
        self.degrees = (-abs(degrees), abs(degrees)) if isinstance(degrees, (int, float)) else tuple(degrees)
        self.fill = fill

    def __call__(self, img: Any) -> Any:
        angle = math.radians(_uniform(self.degrees[0], self.degrees[1]))
        c, s = math.cos(angle), math.sin(angle)

        def work(a: np.ndarray) -> np.ndarray:
            from .batch import sample_bilinear

            h, w = a.shape[-2:]
            y, x = np.mgrid[:h, :w] - np.array([(h - 1) / 2, (w - 1) / 2]).reshape(2, 1, 1)
            planes = a.reshape(1, -1, h, w)
            out = sample_bilinear(
                planes, (c * y + s * x + (h - 1) / 2)[None], (c * x - s * y + (w - 1) / 2)[None], self.fill
            )
            return out.reshape(a.shape)

        return _on_array("RandomRotation", img, work)


# ------------------------------------------------------------------------------------------------------------ contents


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

        if not _is_tensor(img):
            raise TypeError(f"RandomErasing: expected a tensor, got {type(img).__name__}; put ToTensor() before it")
        if _uniform() >= self.p:
            return img
        h, w = _size(img)
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(10):
            area, aspect = h * w * _uniform(self.scale[0], self.scale[1]), math.exp(_uniform(low, high))
            eh, ew = int(round(math.sqrt(area * aspect))), int(round(math.sqrt(area / aspect)))
            if eh < h and ew < w:
                y, x = _randint(0, h - eh), _randint(0, w - ew)
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
                y, x = _randint(0, h - 1) - self.length // 2, _randint(0, w - 1) - self.length // 2
                a[..., max(0, y) : max(0, y + self.length), max(0, x) : max(0, x + self.length)] = self.fill
            return a

        return _on_array("Cutout", img, work)


class GaussianNoise:
    """Adds normal noise to a floating tensor."""

    def __init__(self, mean: float = 0.0, sigma: float = 0.1, clip: bool = True) -> None:
        self.mean, self.sigma, self.clip = mean, sigma, clip

    def __call__(self, img: Any) -> Any:
        import skipway as sw

        if not _is_tensor(img) or not img.is_floating_point():
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
    def __init__(self, num_output_channels: int = 1) -> None:
        if num_output_channels not in (1, 3):
            raise ValueError(f"Grayscale: num_output_channels must be 1 or 3, got {num_output_channels}")
        self.num_output_channels = num_output_channels

    def __call__(self, img: Any) -> Any:
        if _is_pil(img):
            gray = img.convert("L")
            return gray if self.num_output_channels == 1 else gray.convert("RGB")

        def work(a: np.ndarray) -> np.ndarray:
            g = _finish(_luma(a.astype(np.float64)), a.dtype)
            return np.repeat(g, self.num_output_channels, 0) if g.ndim == 3 else g

        return _on_array("Grayscale", img, work)


class RandomGrayscale:
    """With probability ``p``, the same number of channels without colour."""

    def __init__(self, p: float = 0.1) -> None:
        self.p = p

    def __call__(self, img: Any) -> Any:
        if _uniform() >= self.p:
            return img
        channels = len(img.getbands()) if _is_pil(img) else img.shape[-3] if _is_tensor(img) else img.shape[-1]
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
        factors = [_uniform(*r) for r in self.ranges]
        order = sorted(range(3), key=[_uniform() for _ in range(3)].__getitem__)

        def work(a: np.ndarray) -> np.ndarray:
            bound = 255.0 if a.dtype.kind in "ui" else 1.0
            x = a.astype(np.float64)
            for i in order:
                other = (0.0, _luma(x).mean(), _luma(x))[i]
                x = _blend(x, other, factors[i], bound)
            return _finish(x, a.dtype)

        return _on_array("ColorJitter", img, work)
