"""Convolutions that sum, on their way out, what a norm needs: the data gradient for the backward pass of the norm
before it, the forward pass for the norm behind it."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from against_cpu import array_of
from skipway import _core, nn
from test_deferral import Block, deferral, same
from test_deferral_kernels import CONVS, NARROW, Conv, normal

CASES = {
    **CONVS,
    "stride 2, large tiles": Conv((2, 136, 15, 16), (72, 136, 3, 3), {"stride": 2, "padding": 1}),
    "phases without taps": Conv((1, 16, 9, 9), (8, 16, 1, 1), {"stride": 2}),
    "more phases than a launch": Conv((1, 8, 11, 9), (72, 8, 5, 3), {"stride": (3, 2), "padding": (2, 1)}),
    "many parts": Conv((4, 8, 33, 33), (8, 8, 1, 1), {}),  # which are added up in two steps
}


@pytest.fixture(autouse=True)
def off_again() -> Iterator[None]:
    yield
    sw.backends.deferral.gradient_sums = False
    sw.backends.deferral.moments = False


def integers(shape: tuple[int, ...], seed: int, most: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(-most, most + 1, shape).astype(np.float64)


class Exact:
    """A norm of inference and a convolution, whose sums are whole numbers, or halves: exact in any order."""

    def __init__(self, conv: Conv, dtype: str, activation: str | None) -> None:
        def make(values: np.ndarray) -> Any:
            return sw.tensor(values).to(getattr(sw, dtype)).cuda().requires_grad_()

        c = conv.x[1]
        self.conv, self.activation = conv, activation
        self.leaf, self.weight = make(integers(conv.x, 0)), make(integers(conv.w, 1, 1))
        self.gamma, self.beta = make(integers((c,), 2) * 2 + 1), make(integers((c,), 3))
        self.mean, self.var = sw.ones(c).to(self.leaf.detach()), sw.full((c,), 4.0).to(self.leaf.detach())
        self.dtype = self.leaf.dtype

    def norm(self, x: Any) -> Any:
        return F.batch_norm(x, self.mean, self.var, self.gamma, self.beta, False, 0.1, 0.0)

    def into(self, z: Any) -> Any:
        return F.conv2d(z, self.weight, **self.conv.settings)

    def forward(self) -> Any:
        x = self.leaf * 1
        if self.activation == "fused":
            return self.into(F.batch_norm(x, self.mean, self.var, self.gamma, self.beta, False, 0.1, 0.0, activation="relu6"))  # fmt: skip  # noqa: E501
        y = self.norm(x)
        return self.into(F.relu(y) if self.activation == "relu" else y)

    def gradients(self, forward: Callable[[Exact], Any] | None = None) -> list[Any]:
        out = self.forward() if forward is None else forward(self)
        out.backward(sw.tensor(integers(tuple(out.shape), 4, 1)).to(self.dtype).cuda())
        return [out, self.leaf.grad, self.gamma.grad, self.beta.grad, self.weight.grad]


def with_and_without(run: Callable[[], list[Any]]) -> tuple[list[Any], list[Any], int]:
    """Results without the sums and with them, and how many norms took sums that were ready."""
    sw.backends.deferral.gradient_sums = False
    without = run()
    sw.backends.deferral.gradient_sums = True
    before = _core._gradient_sums_taken()
    return without, run(), _core._gradient_sums_taken() - before


@pytest.mark.parametrize(("dtype", "activation"), [("float32", None), ("bfloat16", "relu"), ("float16", "fused")])
@pytest.mark.parametrize("name", CASES)
def test_sums_of_each_kernel(name: str, dtype: str, activation: str | None) -> None:
    conv = CASES[name]
    without, summed, taken = with_and_without(lambda: Exact(conv, dtype, activation).gradients())
    for a, b in zip(without, summed, strict=True):
        same(b, a)
    loads = conv.loads[dtype != "float32"] and conv.x[1] % 8 == 0  # else the data gradient is the plain one
    assert taken == int(loads)
    assert len(np.unique(array_of(summed[2]))) > 2, "the case sees zeros only"


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("name", ["64 channels", "tiles", "groups"])
def test_training(name: str, dtype: str) -> None:
    """Ordinary numbers and batch statistics, far from zero, against float64."""
    conv = CASES[name]

    def run(dtype: str, device: str) -> list[Any]:
        values = [normal(conv.x, 0) + 5, normal(conv.x[1:2], 1) + 1, normal(conv.x[1:2], 2), normal(conv.w, 3)]
        tensors = [
            sw.tensor(v).to(getattr(sw, rounded)).to(getattr(sw, dtype)).to(device).requires_grad_() for v in values
        ]
        x, gamma, beta, w = tensors
        z = F.conv2d(F.relu(F.batch_norm(x * 2, None, None, gamma, beta, True)), w, **conv.settings)
        z.backward(sw.tensor(normal(tuple(z.shape), 4)).to(getattr(sw, rounded)).to(z))
        return [t.grad for t in tensors]

    rounded = dtype
    without, summed, taken = with_and_without(lambda: run(dtype, "cuda"))
    assert taken == 1
    for a, b, e in zip(without, summed, run("float64", "cpu"), strict=True):
        largest = np.abs(array_of(e)).max()
        eps = {"float32": 2.0**-20, "bfloat16": 2.0**-7, "float16": 2.0**-10}[dtype]
        assert np.abs(array_of(b) - array_of(a)).max() <= eps * largest
        wrong, wrong_before = (np.abs(array_of(t) - array_of(e)).max() for t in (b, a))
        assert wrong <= 1.5 * wrong_before + eps * largest


def twice(c: Exact) -> Any:
    z = F.relu(c.norm(c.leaf * 1))
    return c.into(z) + c.into(z * 1)


def two_convolutions(c: Exact) -> Any:
    z = F.relu(c.norm(c.leaf * 1))
    return c.into(z) + F.conv2d(z, c.weight.detach() * 2, **c.conv.settings)


def doubled_by_a_hook(c: Exact) -> Any:
    z = F.relu(c.norm(c.leaf * 1))
    z.register_hook(lambda g: g * 2)
    return c.into(z)


def changed_by_a_hook(c: Exact) -> Any:
    z = F.relu(c.norm(c.leaf * 1))
    z.register_hook(lambda g: g.mul_(2))
    return c.into(z)


def norm_in_a_sum_too(c: Exact) -> Any:
    y = c.norm(c.leaf * 1)
    return c.into(F.relu(y)) + y.sum()


def pooled_too(c: Exact) -> Any:
    z = F.relu(c.norm(c.leaf * 1))
    return F.max_pool2d(z, 2, ceil_mode=True).sum() + c.into(z)


def of_a_sum(c: Exact) -> Any:
    return c.into(F.relu(c.norm(c.leaf * 1) + c.leaf))


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize(
    "forward",
    [twice, two_convolutions, doubled_by_a_hook, changed_by_a_hook, norm_in_a_sum_too, pooled_too, of_a_sum],
    ids=lambda f: f.__name__,
)
def test_gradients_that_are_not_the_convolution_s_alone(forward: Callable[[Exact], Any], dtype: str) -> None:
    conv = CASES["64 channels"]
    without, summed, taken = with_and_without(lambda: Exact(conv, dtype, None).gradients(forward))
    for a, b in zip(without, summed, strict=True):
        same(b, a)
    assert taken == 0


def test_nothing_is_left_behind() -> None:
    def run() -> list[Any]:
        return Exact(CASES["64 channels"], "bfloat16", "relu").gradients(changed_by_a_hook)

    sw.backends.deferral.gradient_sums = True
    run()  # what the first call allocates for good
    gc.collect()
    before = sw.cuda.memory_allocated()
    run()
    gc.collect()
    assert sw.cuda.memory_allocated() <= before


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_training_by_graphs_and_by_steps(dtype: str | None) -> None:
    sw.manual_seed(1)
    start = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), Block(8), Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()).cuda()
    found = []
    sw.backends.deferral.gradient_sums = True
    before = _core._gradient_sums_taken()
    with deferral(True):
        for graphed in (False, True):
            model = copy.deepcopy(start)
            optimizer = sw.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

            def step(x: Any, y: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
                optimizer.zero_grad()
                with sw.autocast("cuda", dtype=sw.bfloat16, enabled=dtype is not None):
                    loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                return loss

            call = sw.cuda.graph(step) if graphed else step
            for i in range(4):
                x = sw.tensor(normal((3, 3, 12, 12), i).astype(np.float32)).cuda()
                loss = call(x, sw.tensor([0, 1, 7]).cuda())
            found.append([loss, *model.state_dict().values()])
    assert _core._gradient_sums_taken() - before >= 2 * 4  # of the first norm of each block
    for eager, replayed in zip(*found, strict=True):
        same(replayed, eager)


def normalised(name: str, dtype: str, between: Callable[[Any], Any] = lambda y: y, **more: Any) -> list[Any]:
    conv = CASES[name]
    x = sw.tensor(integers(conv.x, 0)).to(getattr(sw, dtype)).cuda()
    w = sw.tensor(integers(conv.w, 1, 1)).to(getattr(sw, dtype)).cuda().requires_grad_()
    y = between(F.conv2d(x, w, **conv.settings, **more))
    mean, var = sw.zeros(conv.w[0], device="cuda"), sw.ones(conv.w[0], device="cuda")
    z = F.batch_norm(y, mean, var, training=True)
    dz = sw.tensor(integers(tuple(z.shape), 4, 1)).to(z)
    return [mean, var, z, *sw.autograd.grad(z, [w], dz)] if z.requires_grad else [mean, var, z]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_moments_of_each_kernel(name: str, dtype: str) -> None:
    without = normalised(name, dtype)
    sw.backends.deferral.moments = True
    before = _core._moments_used()
    ready = normalised(name, dtype)
    assert _core._moments_used() == before + 1
    eps = {"float32": 2.0**-18, "bfloat16": 2.0**-7, "float16": 2.0**-9}[dtype]
    for a, b in zip(without, ready, strict=True):
        np.testing.assert_allclose(array_of(b), array_of(a), rtol=eps, atol=eps * np.abs(array_of(a)).max())
    assert np.ptp(array_of(ready[0])) > 0, "the case sees zeros only"


def test_moments_of_what_was_changed_are_not_used() -> None:
    sw.backends.deferral.moments = True
    before = _core._moments_used()
    changed = normalised("64 channels", "float32", lambda y: y.mul_(3))
    assert _core._moments_used() == before
    with sw.no_grad():
        normalised("64 channels", "float32")
    normalised("64 channels", "float32", bias=sw.zeros(CASES["64 channels"].w[0], device="cuda"))
    normalised("64 channels", "float32", lambda y: y[:, :, 1:])
    assert _core._moments_used() == before
    sw.backends.deferral.moments = False
    for a, b in zip(normalised("64 channels", "float32", lambda y: y.mul_(3)), changed, strict=True):
        same(b, a)
