"""Gradients by central differences, for tests whose reference is a NumPy function without a derivative of its own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import skipway as sw


def as_tuple(y: Any) -> tuple[Any, ...]:
    return tuple(y) if isinstance(y, (tuple, list)) else (y,)


def check_gradient(f: Callable[..., Any], *arrays: np.ndarray, step: float = 1e-6, tolerance: float = 1e-6) -> None:
    """Compares backward() of a weighted sum of f's floating results with central differences, element by element."""
    rng = np.random.default_rng(7)
    tensors = [sw.tensor(a, dtype=sw.float64, requires_grad=True) for a in arrays]
    results = [y for y in as_tuple(f(*tensors)) if y.dtype == sw.float64]
    assert all(y.requires_grad for y in results)
    weights = [rng.standard_normal(tuple(y.shape)) for y in results]

    def value(*inputs: np.ndarray) -> float:
        with sw.no_grad():
            ys = [y for y in as_tuple(f(*[sw.tensor(i, dtype=sw.float64) for i in inputs])) if y.dtype == sw.float64]
        return float(sum((w * y.numpy()).sum() for w, y in zip(weights, ys, strict=True)))

    loss = sw.tensor(0.0, dtype=sw.float64)
    for w, y in zip(weights, results, strict=True):
        loss = loss + (y * sw.tensor(w, dtype=sw.float64)).sum()
    loss.backward()
    for k, array in enumerate(arrays):
        expected = np.zeros_like(array, dtype=np.float64)
        for at in np.ndindex(array.shape):
            moved = [a.astype(np.float64).copy() for a in arrays]
            moved[k][at] += step
            above = value(*moved)
            moved[k][at] -= 2 * step
            expected[at] = (above - value(*moved)) / (2 * step)
        gradient = tensors[k].grad
        assert gradient is not None and gradient.shape == tensors[k].shape and gradient.dtype == sw.float64
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=tolerance * 10, atol=tolerance * 10)


def same(tensor: sw.Tensor, array: Any) -> None:
    """The tensor has exactly these values, and their shape."""
    array = np.asarray(array)
    assert tuple(tensor.shape) == array.shape
    np.testing.assert_array_equal(tensor.detach().numpy(), array)


def layouts(array: np.ndarray) -> dict[str, sw.Tensor]:
    """The same values as tensors with different strides."""
    x = sw.tensor(array)
    found = {"contiguous": x}
    if array.ndim >= 2:
        order = list(range(array.ndim))[::-1]
        reverse = sw.tensor(np.ascontiguousarray(array.transpose(order))).permute(*order)
        found["reversed"] = reverse
        wide = np.repeat(array, 2, axis=-1)
        found["sliced"] = sw.tensor(wide)[..., ::2]
    if array.ndim == 4:
        found["channels_last"] = sw.tensor(np.ascontiguousarray(array.transpose(0, 2, 3, 1))).permute(0, 3, 1, 2)
    return found
