"""Results on the device against those of the same call on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import skipway as sw

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}
FLOATS = tuple(EPS)
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, -1e-42, 1e30, -1e30, 1.0, -1.0, 88.5, -88.5, -104.0, 0.5, 2.5]


def name_of(dtype: Any) -> str:
    return str(dtype).split(".")[-1]


def array_of(t: Any) -> np.ndarray:
    t = t.detach().cpu()
    return np.array((t.double() if t.is_floating_point() else t).numpy())


def make(values: Any, dtype: str = "float32", layout: str = "dense") -> Any:
    """A tensor on the CPU, in one of the layouts: dense, transposed, sliced (every second element), shifted (dense, but
    not at a multiple of 16 bytes)."""
    array = np.asarray(values)
    t = sw.tensor(array.astype(np.float64) if array.dtype.kind == "f" else array).to(getattr(sw, dtype))
    if layout == "transposed":
        return t.t().contiguous().t()
    if layout == "sliced":
        return sw.stack([t, t], -1)[..., 0]
    if layout == "shifted":
        return sw.cat([t.reshape(-1)[:1], t.reshape(-1)])[1:].view(t.shape)
    return t


def close(actual: Any, expected: Any, ulps: float = 2, what: Any = "", of_largest: bool = False) -> None:
    """Same dtype, shape and values; `ulps` of float32's (or float64's) rounding errors, and one of the stored type.

    of_largest: rounding errors of the largest value, for what is conditioned as 1 - y is.
    """
    dtype = name_of(expected.dtype)
    assert name_of(actual.dtype) == dtype and actual.shape == expected.shape, (what, actual.dtype, actual.shape)
    assert actual.is_cuda and expected.is_cpu
    a, e = array_of(actual), array_of(expected)
    if dtype not in EPS or ulps == 0:
        np.testing.assert_array_equal(a, e, str(what))
        return
    one = 0.0 if EPS[dtype] <= EPS["float32"] else EPS[dtype]
    tiny = {"float64": 1e-307, "float16": 1e-7}.get(dtype, 1e-37)
    eps = EPS["float64"] if dtype == "float64" else EPS["float32"]
    if of_largest:
        tiny += ulps * eps * np.abs(e).max(initial=0)
    np.testing.assert_allclose(a, e, rtol=ulps * eps + one, atol=tiny, equal_nan=True, err_msg=str(what))


def same(f: Callable[..., Any], tensors: Sequence[Any], ulps: float = 2, grads: bool = False, what: Any = "") -> None:
    """f of these CPU tensors, and of copies on the device: the results, and with `grads` the gradients."""
    there = [on_device(t) for t in tensors]
    if grads:
        tensors = [t.detach().requires_grad_(t.is_floating_point()) for t in tensors]
        there = [t.requires_grad_(t.is_floating_point()) for t in there]
    expected, actual = f(*tensors), f(*there)
    close(actual, expected, ulps, what)
    if not grads:
        return
    dy = make(np.linspace(-2, 2, max(expected.numel(), 1))[: expected.numel()].reshape(expected.shape))
    expected.backward(dy.to(expected.dtype))
    actual.backward(dy.to(expected.dtype).cuda())
    for i, (t, u) in enumerate(zip(tensors, there, strict=True)):
        assert (t.grad is None) == (u.grad is None), (what, i)
        if t.grad is not None:
            close(u.grad, t.grad, 4 * ulps, f"{what}, gradient {i}", of_largest=True)


def on_device(t: Any) -> Any:
    """A copy with the same strides and the same offset from 16 bytes."""
    base = t.detach()
    if base.numel() == 0 or base.storage_offset() == 0 and base.is_contiguous():
        return base.cuda()
    span = sum((n - 1) * s for n, s in zip(base.shape, base.stride(), strict=True)) + 1
    whole = sw.zeros(base.storage_offset() + span, dtype=base.dtype, device="cuda")
    view = whole.as_strided(base.shape, base.stride(), base.storage_offset())
    view.copy_(base)
    return view
