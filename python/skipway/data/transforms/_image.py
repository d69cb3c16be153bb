"""What the transforms share: kinds of images, random draws, padding and resizing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def is_tensor(img: Any) -> bool:
    import skipway as sw

    return isinstance(img, sw.Tensor)


def is_pil(img: Any) -> bool:
    return hasattr(img, "getbands") and hasattr(img, "mode")


def uniform(low: float = 0.0, high: float = 1.0) -> float:
    import skipway as sw

    return low + (high - low) * float(sw.rand(1).item())


def randint(low: int, high: int) -> int:
    """From low to high, both included."""
    import skipway as sw

    return int(sw.randint(low, high + 1, (1,)).item())


def check_image(name: str, img: Any) -> None:
    if not (is_tensor(img) or is_pil(img) or isinstance(img, np.ndarray)):
        raise TypeError(f"{name}: expected a Pillow image, a NumPy array or a tensor, got {type(img).__name__}")


def on_array(name: str, img: Any, work: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Runs ``work`` on an array whose last two dimensions are height and width, and gives back the kind of ``img``."""
    import skipway as sw

    check_image(name, img)
    if is_tensor(img):
        return sw.from_numpy(np.ascontiguousarray(work(img.detach().numpy())))
    array = np.asarray(img)
    if array.ndim not in (2, 3):
        raise ValueError(f"{name}: expected an array of shape (H, W) or (H, W, C), got {array.shape}")
    planes = array if array.ndim == 2 else array.transpose(2, 0, 1)
    out = work(planes)
    out = np.ascontiguousarray(out if out.ndim == 2 else out.transpose(1, 2, 0))
    if is_pil(img):
        from PIL import Image

        return Image.fromarray(out, img.mode if img.mode in ("L", "RGB", "RGBA", "F", "I") else None)
    return out


def height_width(img: Any) -> tuple[int, int]:
    """Height and width."""
    if is_tensor(img):
        return int(img.shape[-2]), int(img.shape[-1])
    if is_pil(img):
        return img.size[1], img.size[0]
    return img.shape[0], img.shape[1]


def as_pair(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size) * (2 if len(size) == 1 else 1)
    if len(pair) != 2 or any(int(v) <= 0 for v in pair):
        raise ValueError(f"{name}: size must be one or two positive integers, got {size!r}")
    return int(pair[0]), int(pair[1])


def as_sides(name: str, padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    """left, top, right, bottom."""
    p = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(p) not in (1, 2, 4):
        raise ValueError(f"{name}: padding must be 1, 2 or 4 integers, got {padding!r}")
    return {1: p * 4, 2: p * 2, 4: p}[len(p)]  # type: ignore[return-value]


PAD_MODES = {"constant": "constant", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}


def pad_array(a: np.ndarray, sides: tuple[int, int, int, int], fill: float, mode: str) -> np.ndarray:
    left, top, right, bottom = sides
    width = [(0, 0)] * (a.ndim - 2) + [(top, bottom), (left, right)]
    if mode == "constant":
        return np.pad(a, width, constant_values=fill)
    return np.pad(a, width, mode=PAD_MODES[mode])  # type: ignore[call-overload]


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
