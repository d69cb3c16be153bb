"""Activations on the device against the CPU: values and gradients, in packs and element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from against_cpu import FLOATS, SPECIAL, close, make, on_device, same

RNG = np.random.default_rng(9)
ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "leaky_relu_negative": lambda x: F.leaky_relu(x, -0.5),
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 1.5),
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "softplus": lambda x: F.softplus(x, 2.0, 5.0),
    "silu": F.silu,
    "mish": F.mish,
    "hardtanh": lambda x: F.hardtanh(x, -0.3, 1.2),
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "softsign": F.softsign,
    "logsigmoid": F.logsigmoid,
    "tanhshrink": F.tanhshrink,
    "softshrink": lambda x: F.softshrink(x, 0.4),
    "hardshrink": lambda x: F.hardshrink(x, 0.4),
    "threshold": lambda x: F.threshold(x, 0.2, -1.0),
    "glu": F.glu,
    "crelu": lambda x: sw.nn.CReLU(0)(x),
    "identity": lambda x: sw.nn.Identity()(x) * 1,
}


def of_largest(f: Callable[..., Any], x: Any, ulps: float, what: str) -> None:
    """Rounding errors of values near 1, for functions that subtract from 1."""
    expected = f(x)
    actual = f(on_device(x))
    finite = sw.where(sw.isfinite(expected), expected, 0)
    close(sw.where(sw.isfinite(actual), actual, 0), finite, ulps, what, of_largest=True)
    same(lambda t: sw.isfinite(f(t)), [x], what=what)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_gradients(name: str, dtype: str) -> None:
    f = ACTIVATIONS[name]
    for shape, layout in (((4, 10), "dense"), ((6, 4), "transposed"), ((2, 4), "sliced"), ((4, 2), "shifted")):
        x = make(RNG.uniform(-4, 4, shape), dtype, layout)
        of_largest(f, x, 8, layout)
        a, b = x.detach().requires_grad_(), on_device(x).requires_grad_()
        dy = make(RNG.uniform(-2, 2, f(a).shape), dtype)
        f(a).backward(dy)
        f(b).backward(dy.cuda())
        close(b.grad, a.grad, 16, f"{layout}, gradient", of_largest=True)
    assert f(make(np.zeros((0, 2)), dtype).cuda()).numel() == 0


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n not in ("glu", "crelu")])
def test_special_values(name: str, dtype: str) -> None:
    f = ACTIVATIONS[name]
    x = make(SPECIAL, dtype)
    a, b = x.clone().requires_grad_(), x.cuda().requires_grad_()
    y, z = f(a), f(b)
    # tanhshrink(1e-42) and the like cancel to 0 or to a denormal number
    np.testing.assert_allclose(z.detach().cpu().double().numpy(), y.detach().double().numpy(), 1e-2, 1e-6)
    y.backward(sw.ones_like(y))
    z.backward(sw.ones_like(z))
    np.testing.assert_allclose(b.grad.cpu().double().numpy(), a.grad.double().numpy(), 1e-2, 1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_gradients_are_added_to(dtype: str) -> None:
    """Where a gradient is there already, the kernel adds to it: relu backward after the skip's."""
    for layout in ("dense", "sliced"):
        x = make(RNG.uniform(-4, 4, (3, 11)), dtype, layout)
        same(lambda x: F.gelu(x * 2) + F.relu(x * 2), [x], 16, what=layout)
        same(lambda t: (lambda h: F.silu(h) + h)(t * 2), [x], 16, grads=True, what=layout)


def test_in_place() -> None:
    x = make(RNG.uniform(-3, 3, (5, 7)))
    for f in (F.relu_, F.elu_, F.leaky_relu_, F.hardtanh_):
        same(lambda t, f=f: f(t.clone()), [x], 8)
    same(lambda t: F.relu(t * 2, inplace=True), [x], 8, grads=True)
    same(lambda t: sw.relu(t), [make([-2, 0, 3], "int64")])


@pytest.mark.parametrize("dtype", FLOATS)
def test_prelu_values(dtype: str) -> None:
    x = make(RNG.uniform(-3, 3, (2, 16, 3, 2)), dtype)
    per_channel, one = make(RNG.uniform(0, 1, 16), dtype), make([0.3], dtype)
    for t in (x, x.contiguous(memory_format=sw.channels_last), x[:, ::2]):
        for w in (per_channel[: t.shape[1]], one):
            there = t.cuda() if t.is_contiguous() else on_device(t)
            y = F.prelu(there, w.cuda())
            close(y, F.prelu(t, w), 2)
            assert y.is_contiguous(memory_format=sw.channels_last) == (t.stride()[1] == 1)


@pytest.mark.parametrize("dtype", FLOATS)
def test_prelu_gradients(dtype: str) -> None:
    x, w = make(RNG.uniform(-3, 3, (3, 8, 5)), dtype), make(RNG.uniform(0, 1, 8), dtype)
    same(F.prelu, [x, w], 8, grads=True)
    same(F.prelu, [x, w[:1]], 64, grads=True)
    same(lambda x, w: F.prelu(x[:, ::2], w[::2]), [x, w], 8, grads=True)
    results = []
    for _ in range(2):
        a = w.cuda().requires_grad_()
        F.prelu(x.cuda(), a).backward(x.cuda())
        results.append(a.grad.cpu().double().numpy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("dtype", FLOATS)
def test_maxout(dtype: str) -> None:
    x = make(RNG.integers(-2, 3, (2, 12, 3)).astype(float), dtype)  # with ties: the first takes the gradient
    same(lambda x: sw.nn.functional.maxout(x, 3), [x], grads=True)
    x[0, 0, 0] = np.nan
    same(lambda x: sw.nn.functional.maxout(x, 4), [x])
