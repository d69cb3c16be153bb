"""The engine on the device: seeds, sums of gradients, hooks, and in-place changes."""

from __future__ import annotations

import numpy as np
import pytest
import skipway as sw
from against_cpu import FLOATS, array_of, close, make


@pytest.mark.parametrize("dtype", FLOATS)
def test_seed_of_a_scalar(dtype: str) -> None:
    x = sw.tensor(3.0, dtype=getattr(sw, dtype), device="cuda", requires_grad=True)
    (x * x * 2).backward()
    assert x.grad.is_cuda and x.grad.shape == () and x.grad.item() == 12 and x.grad.dtype == x.dtype
    (x * 2).backward()
    assert x.grad.item() == 14
    (gradient,) = sw.autograd.grad(x**3, x)
    assert gradient.item() == 27


@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_of_gradients(dtype: str) -> None:
    """One use, two, and many (summed in float32 where the dtype has 16 bits)."""
    values = np.linspace(-1, 1, 35).reshape(5, 7)
    for uses in (1, 2, 5):
        grads = []
        for device in ("cpu", "cuda"):
            x = make(values, dtype).to(device).requires_grad_()
            h = x * 1.5
            y = h * 0.125
            for i in range(1, uses):
                y = y + h * (i + 0.25)
            for _ in range(2):
                y.backward(sw.ones_like(y), retain_graph=True)
            grads.append(x.grad)
        close(grads[1], grads[0], 2, uses)


def test_views_and_in_place() -> None:
    grads = []
    for device in ("cpu", "cuda"):
        x = make(np.arange(24.0).reshape(4, 6)).to(device).requires_grad_()
        h = x * 2
        h[1:3].mul_(3)
        h.t()[0].add_(1)
        (h * h).backward(sw.ones(4, 6, device=device))
        grads.append(x.grad)
    close(grads[1], grads[0], 2)


def test_hooks_and_retained_gradients() -> None:
    x = sw.ones(5, device="cuda", requires_grad=True)
    seen = []
    h = x * 3
    h.register_hook(lambda g: seen.append(g.device.type) or g * 2)
    h.retain_grad()
    (h * h).backward(sw.ones(5, device="cuda"))
    assert seen == ["cuda"] and h.grad.tolist() == [12.0] * 5 and x.grad.tolist() == [36.0] * 5
    with pytest.raises(sw.DeviceError, match="cuda:0"):
        (x * 2).backward(sw.ones(5))
    with pytest.raises(RuntimeError, match="changed in place"):
        y = x * 1
        z = y * y
        y.add_(1)
        z.backward(sw.ones(5, device="cuda"))


def test_gradients_cross_devices() -> None:
    x = sw.arange(4.0).requires_grad_()
    (x.cuda() * 2).cpu().backward(sw.ones(4))
    np.testing.assert_array_equal(array_of(x.grad), [2, 2, 2, 2])
    assert x.grad.is_cpu
