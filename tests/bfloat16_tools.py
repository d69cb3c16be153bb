"""What the tests of bfloat16 share: data whose sums show every rounding, and the check that there is only one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import skipway as sw
from op_cases import round_to
from op_runner import array_of, as_list, tensor_of

N, K = 5000, 16


def columns(*shape: int, seed: int = 0, low: float = 1.0, high: float = 2.0) -> np.ndarray:
    """Constant along every axis but the last."""
    line = round_to(np.random.default_rng(seed).uniform(low, high, shape[-1:]), "bfloat16")
    return np.broadcast_to(line, shape).copy()


def spread(*shape: int, seed: int = 0, low: float = 1.0, high: float = 2.0) -> np.ndarray:
    return round_to(np.random.default_rng(seed).uniform(low, high, shape), "bfloat16")


def assert_rounded_once(got: np.ndarray, expected: np.ndarray, what: str) -> None:
    """|got - expected| <= half a spacing of bfloat16, and a 16th of that for the float32 sums themselves."""
    expected = np.asarray(expected, np.float64)
    assert got.shape == expected.shape, f"{what}: {got.shape}, expected {expected.shape}"
    _, exponent = np.frexp(expected)
    limit = np.ldexp(1.0, exponent - 9) * (1 + 1 / 16) + 2.0**-14 * np.abs(expected).max(initial=0.0)
    limit = np.where(expected == 0, limit.max(initial=0.0) / 16, limit)
    off = np.abs(got - expected) / limit
    worst = np.argmax(off)
    times = float(off.flat[worst])
    assert times <= 1, f"{what}: {times:.3} times the rounding, {got.flat[worst]} for {expected.flat[worst]}"


def check(call: Callable[..., Any], forward: Any, backward: Any, dy: Any, *arrays: np.ndarray) -> None:
    """forward(*arrays) and backward(dy, *arrays) in float64; either may be None: then it is not compared."""
    tensors = [tensor_of(a, "bfloat16") for a in arrays]
    floating = [t.requires_grad_() for t in tensors if t.is_floating_point()]
    results = as_list(call(*tensors))
    if forward is not None:
        for number, (y, r) in enumerate(zip(results, as_list(forward(*arrays)), strict=True)):
            assert y.dtype == sw.bfloat16
            assert_rounded_once(array_of(y), np.asarray(r), f"result {number}")
    if backward is None:
        return
    results[0].backward(tensor_of(np.asarray(dy), "bfloat16"))
    expected = [g for g in backward(dy, *arrays) if g is not None]
    for number, (x, r) in enumerate(zip(floating, expected, strict=False)):
        assert_rounded_once(array_of(x.grad), r, f"gradient {number}")


def summed(dy: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return dy.reshape(-1, *shape).sum(0) if dy.shape != shape else dy


TALL, LINE, DY = columns(N, K, seed=1), columns(K, seed=2), columns(N, K, seed=3)
