"""Autocast on the device: which ops compute in the narrow dtype, and what stays float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from skipway import nn


def leaf(shape: tuple[int, ...], seed: int = 1) -> Any:
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return nn.Parameter(sw.from_numpy(values).cuda())


NARROW: dict[str, Callable[[Any], Any]] = {
    "conv2d": lambda x: F.conv2d(x, leaf((4, 3, 3, 3)), leaf((4,)), padding=1),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x, leaf((3, 4, 2, 2)), stride=2),
    "linear": lambda x: F.linear(x, leaf((5, 6)), leaf((5,))),
    "matmul": lambda x: x @ leaf((6, 4)),
    "bmm": lambda x: sw.bmm(x[0], leaf((3, 6, 2))),
}
WIDE: dict[str, Callable[[Any], Any]] = {
    "cross_entropy": lambda x: F.cross_entropy(x[:, :, 0, 0], sw.tensor([0, 2]).cuda()),
    "mse_loss": lambda x: F.mse_loss(x, sw.zeros_like(x)),
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("op", [*NARROW, *WIDE])
def test_dtypes_and_gradients(op: str, dtype: str) -> None:
    """Results near those of float32; gradients of parameters and of a float32 input are float32."""
    f = NARROW.get(op) or WIDE[op]
    narrow = getattr(sw, dtype)
    x = leaf((2, 3, 6, 6))
    expected = f(x).detach().cpu().numpy()
    with sw.autocast("cuda", dtype=narrow):
        y = f(x)
        z = f(x.to(narrow)) if op in WIDE else y
    assert y.dtype is (narrow if op in NARROW else sw.float32) and z.dtype is y.dtype
    np.testing.assert_allclose(y.detach().float().cpu().numpy(), expected, rtol=0.03, atol=0.06)
    y.float().sum().backward()
    assert x.grad.dtype is sw.float32 and bool(x.grad.isfinite().all().item())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_statistics_and_master_weights_stay_float32(dtype: str) -> None:
    """Running statistics of a signal with an offset of 64 are right to float32; small updates are not rounded away."""
    narrow = getattr(sw, dtype)
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(16, 2)).cuda()
    x = leaf((8, 3, 2, 2)).detach() + 64
    optimizer = sw.optim.SGD(net.parameters(), lr=1e-6, momentum=0.9)
    before = [p.detach().clone() for p in net.parameters()]
    with sw.autocast("cuda", dtype=narrow):
        loss = F.cross_entropy(net(x), sw.zeros(8, dtype=sw.int64, device="cuda"))
    loss.backward()
    optimizer.step()
    bn = net[0]
    values = x.cpu().numpy()
    np.testing.assert_allclose(bn.running_mean.cpu().numpy(), 0.1 * values.mean((0, 2, 3)), rtol=1e-5)
    variance = values.transpose(1, 0, 2, 3).reshape(3, -1).var(1, ddof=1)
    np.testing.assert_allclose(bn.running_var.cpu().numpy(), 0.9 + 0.1 * variance, rtol=1e-4)
    for p in net.parameters():
        state = optimizer.state[p]["momentum_buffer"]
        assert p.dtype is p.grad.dtype is state.dtype is sw.float32
    assert not bool((net[3].weight == before[4]).all().item())
    assert (net[3].weight.to(narrow) == before[4].to(narrow)).float().mean().item() > 0.9, "narrow weights would not"


def test_a_parameter_is_cast_once_for_a_step() -> None:
    """Twice in the forward pass, in two passes; anew after the optimizer's step, and within a graph."""
    w = leaf((4, 3, 3, 3))
    x = leaf((1, 3, 4, 4)).detach()
    optimizer = sw.optim.SGD([w], lr=0.1)
    kept = sw._amp_state._casts._kept
    with sw.autocast("cuda", dtype=sw.bfloat16):
        first = F.conv2d(x, w) + F.conv2d(x, w)
        cast = kept[id(w)][2]
        second = F.conv2d(x, w)
        assert kept[id(w)][2] is cast and cast.dtype is sw.bfloat16
    first.float().sum().backward()
    second.float().sum().backward()
    twice = w.grad.clone()
    w.grad = None
    (3 * F.conv2d(x, w)).sum().backward()
    np.testing.assert_allclose(twice.cpu().numpy(), w.grad.cpu().numpy(), rtol=0.02, atol=0.02)
    optimizer.step()
    with sw.autocast("cuda", dtype=sw.bfloat16):
        F.conv2d(x, w)
        assert kept[id(w)][2] is not cast
    graph = sw.cuda.CUDAGraph()
    with sw.cuda.graph(graph), sw.autocast("cuda", dtype=sw.bfloat16), sw.no_grad():
        y = F.conv2d(x, w)
    with sw.no_grad():
        w.fill_(0.0)
    graph.replay()
    assert not y.any().item(), "replays cast the weights of the moment"
    assert id(w) not in kept, "what a graph cast is not used outside of it"
