"""Deferral never changes a bit: batch norm, sums and activations wait until they are read, and every way of reading,
changing or differentiating them in between gives what computing at once gives."""

from __future__ import annotations

import contextlib
import copy
import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from conftest import ISAS, runs
from skipway import _core, models, nn

DTYPES = [sw.float32, sw.bfloat16, sw.float64]


@contextlib.contextmanager
def deferral(on: bool) -> Iterator[None]:
    before = sw.backends.deferral.enabled
    sw.backends.deferral.enabled = on
    try:
        yield
    finally:
        sw.backends.deferral.enabled = before


def bits(t: sw.Tensor) -> np.ndarray:
    t = t.detach().cpu()
    return (t.to(sw.float32) if t.dtype in (sw.bfloat16, sw.float16) else t).numpy()


def same(a: sw.Tensor | None, b: sw.Tensor | None) -> None:
    assert (a is None) == (b is None)
    if a is not None and b is not None:
        np.testing.assert_array_equal(bits(a), bits(b))


def leaves(dtype: sw.dtype, channels: int = 16, size: int = 9, batch: int = 3, device: str = "cpu") -> list[sw.Tensor]:
    g = np.random.default_rng(5)

    def make(*shape: int, around: float = 0.0) -> sw.Tensor:
        values = sw.from_numpy((around + g.standard_normal(shape)).astype(np.float32))
        return values.to(dtype).to(device).requires_grad_()

    x, r = make(batch, channels, size, size), make(batch, channels, size, size)
    return [x, r, make(channels, around=1), make(channels), make(channels, channels, 3, 3)]


class Case:
    """The pieces of a network: x and r come from an op, as activations do, so that they are not leaves."""

    def __init__(self, dtype: sw.dtype, device: str = "cpu", **sizes: int) -> None:
        x, r, self.gamma, self.beta, self.weight = leaves(dtype, device=device, **sizes)
        self.leaf_x, self.leaf_r = x, r
        self.x, self.r = x * 1.5, r * 0.5

    def norm(self, x: sw.Tensor | None = None) -> sw.Tensor:
        return F.batch_norm(self.x if x is None else x, None, None, self.gamma, self.beta, training=True)

    def conv(self, x: sw.Tensor) -> sw.Tensor:
        return F.conv2d(x, self.weight, padding=1)

    def gradients(self) -> list[sw.Tensor | None]:
        return [t.grad for t in (self.leaf_x, self.leaf_r, self.gamma, self.beta, self.weight)]


def separate(c: Case) -> sw.Tensor:
    return F.relu(c.norm() + c.r)


def swapped(c: Case) -> sw.Tensor:
    return F.relu(c.r + c.norm())


def in_place(c: Case) -> sw.Tensor:
    y = c.norm()
    y += c.r
    return F.relu(y, inplace=True)


def into_conv(c: Case) -> sw.Tensor:
    return c.conv(F.relu(c.norm()))


def into_two_convs(c: Case) -> sw.Tensor:
    z = F.relu(c.norm())
    return c.conv(z) * c.conv(c.conv(z))


def norm_into_conv(c: Case) -> sw.Tensor:
    return c.conv(c.norm())


def fused_into_conv(c: Case) -> sw.Tensor:
    return c.conv(F.batch_norm(c.x, None, None, c.gamma, c.beta, training=True, activation="leaky_relu"))


def relu6_into_conv(c: Case) -> sw.Tensor:
    return c.conv(F.relu6(c.norm()))


def two_norms(c: Case) -> sw.Tensor:
    return F.relu(c.norm() + c.norm(c.r))


def long_sum(c: Case) -> sw.Tensor:
    s = c.norm()
    for _ in range(4):
        s = c.norm() + s
    return F.relu(s)


def read_between(c: Case) -> sw.Tensor:
    y = c.norm()
    first = y.sum()
    s = y + c.r
    second = s.mean()
    z = F.relu(s)
    return c.conv(z) * (first + second) + z


def norm_used_twice(c: Case) -> sw.Tensor:
    y = c.norm()
    return F.relu(y + c.r) + y * 2 + F.relu(y)


def views(c: Case) -> sw.Tensor:
    y = c.norm()
    part = y[:, 2:5]
    return F.relu(y).flatten(1).sum(1) + part.sum((1, 2, 3)) + y.permute(0, 2, 3, 1)[..., 1].sum((1, 2))


def source_changed(c: Case) -> sw.Tensor:
    with sw.no_grad():
        x = c.x.detach().clone()
        y = F.relu(F.batch_norm(x, None, None, c.gamma, c.beta, training=True))
        x.mul_(3)
        x[0] = 7
    return y * c.x


def residual_changed(c: Case) -> sw.Tensor:
    with sw.no_grad():
        r = c.r.detach().clone()
        s = F.batch_norm(c.x, None, None, c.gamma, c.beta, training=True) + r
        r.zero_()
    return s * c.x


def result_changed(c: Case) -> sw.Tensor:
    y = c.norm()
    y[:, 1] = 2.0
    y.mul_(0.5)
    return c.conv(y)


def evaluated(c: Case) -> sw.Tensor:
    mean, var = sw.full((16,), 0.3).to(c.x), sw.full((16,), 2.0).to(c.x)
    return c.conv(F.relu(F.batch_norm(c.x, mean, var, c.gamma, c.beta, training=False)))


def pooled(c: Case) -> sw.Tensor:
    return F.max_pool2d(F.relu(c.norm()), 2)


def dropped(c: Case) -> sw.Tensor:
    sw.manual_seed(3)
    return c.conv(F.dropout(F.relu(c.norm()), 0.5))


def unused_branch(c: Case) -> sw.Tensor:
    y = c.norm()
    F.relu(y)
    return F.relu(y + c.r)


CASES: list[Callable[[Case], sw.Tensor]] = [
    separate,
    swapped,
    in_place,
    into_conv,
    into_two_convs,
    norm_into_conv,
    fused_into_conv,
    relu6_into_conv,
    two_norms,
    long_sum,
    read_between,
    norm_used_twice,
    views,
    source_changed,
    residual_changed,
    result_changed,
    evaluated,
    pooled,
    dropped,
    unused_branch,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("build", CASES, ids=lambda f: f.__name__)
def test_same_bits_as_at_once(build: Callable[[Case], sw.Tensor], dtype: sw.dtype) -> None:
    found = []
    for on in (False, True):
        with deferral(on):
            c = Case(dtype)
            y = build(c)
            (y * y).sum().backward()
            found.append([y, *c.gradients()])
    for at_once, deferred in zip(*found, strict=True):
        same(deferred, at_once)


@pytest.mark.parametrize("channels, size", [(3, 5), (16, 8), (32, 7), (48, 6), (17, 4)])
def test_odd_sizes(channels: int, size: int) -> None:
    found = []
    for on in (False, True):
        with deferral(on):
            c = Case(sw.float32, channels=channels, size=size)
            (c.conv(F.relu(c.norm())) * separate(c)).sum().backward()
            found.append(c.gradients())
    for at_once, deferred in zip(*found, strict=True):
        same(deferred, at_once)


def test_results_wait_and_conv_never_writes_them() -> None:
    with deferral(True):
        c = Case(sw.float32, channels=32, size=16, batch=8)
        x = c.conv(c.x)  # channels-last
        before = sw.memory_stats()["allocated_bytes"]
        z = F.relu(c.norm(x))
        assert sw.memory_stats()["allocated_bytes"] - before < 16 * 1024  # coefficients only: z has 256 KB
        y = c.conv(z)
        assert sw.memory_stats()["allocated_bytes"] - before < y.numel() * 4 + 64 * 1024
        y.sum().backward()
        z.sum()
        assert sw.memory_stats()["allocated_bytes"] - before > z.numel() * 4


CONVS = [  # input channels, size, weight, arguments
    (16, 9, (16, 16, 3, 3), dict(padding=1)),
    (3, 11, (5, 3, 5, 5), dict(padding=2, stride=2)),
    (24, 10, (40, 24, 3, 3), dict(padding=1, stride=2, dilation=1)),
    (33, 7, (18, 33, 3, 3), dict(padding=(1, 0))),
    (20, 8, (20, 1, 3, 3), dict(padding=1, groups=20)),
    (32, 8, (48, 8, 3, 3), dict(padding=2, dilation=2, groups=4)),
]


@pytest.mark.usefixtures("restore")
@pytest.mark.parametrize("level", [*ISAS, "avx512_bf16"])
@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
@pytest.mark.parametrize("dtype", [sw.float32, sw.bfloat16], ids=str)
@pytest.mark.parametrize("channels, size, weight, arguments", CONVS, ids=str)
def test_padded_convolutions_normalise_what_they_load(
    level: str, algorithm: str, dtype: sw.dtype, channels: int, size: int, weight: tuple, arguments: dict
) -> None:
    """The same bits, forward and backward, and the normalised activation is never written."""
    if not runs(level):
        pytest.skip(f"this machine has no {level}")
    _core.set_isa(level)
    sw.backends.cpu.set_conv_algorithm(algorithm)
    g = np.random.default_rng(1)
    x, w = g.standard_normal((3, channels, size, size)), g.standard_normal(weight)
    found = []
    for on in (False, True):
        with deferral(on):
            leaf = sw.from_numpy(x.astype(np.float32)).to(dtype).requires_grad_()
            kernel = sw.from_numpy(w.astype(np.float32)).to(dtype).requires_grad_()
            image = F.max_pool2d(leaf * 1.5, 1)  # channels-last
            z = F.relu(F.batch_norm(image, None, None, training=True))
            y = F.conv2d(z, kernel, **arguments)
            (y * y).sum().backward()
            assert _core._waits(z) == on
            found.append([y, leaf.grad, kernel.grad])
    for at_once, loaded in zip(*found, strict=True):
        same(loaded, at_once)


def test_hooks_and_retained_gradients_see_every_tensor() -> None:
    found = []
    for on in (False, True):
        with deferral(on):
            c = Case(sw.float32)
            seen: list[sw.Tensor] = []
            y = c.norm()
            s = y + c.r
            z = F.relu(s)
            out = c.conv(z)
            y.retain_grad()
            s.register_hook(seen.append)
            z.register_hook(lambda g: g * 2)
            (out * out).sum().backward()
            found.append([y.grad, *seen, *c.gradients()])
    for at_once, deferred in zip(*found, strict=True):
        same(deferred, at_once)


def test_gradients_of_intermediates() -> None:
    found = []
    for on in (False, True):
        with deferral(on):
            c = Case(sw.float32)
            y = c.norm()
            s = y + c.r
            z = F.relu(s)
            out = c.conv(z)
            found.append(sw.autograd.grad((out * out).sum(), [y, s, z, c.x, c.r, c.gamma]))
    for at_once, deferred in zip(*found, strict=True):
        same(deferred, at_once)


def test_numpy_may_change_what_a_norm_reads() -> None:
    with deferral(True), sw.no_grad():
        x = sw.randn(2, 4, 5, 5)
        y = F.batch_norm(x, None, None, training=True)
        x.numpy()[:] = 100.0  # exporting settles y, and x is no source from now on
        later = F.batch_norm(x, None, None, training=True)
        x.numpy()[:] = np.arange(50).reshape(2, 1, 5, 5)
        assert abs(y.numpy()).max() < 10
        np.testing.assert_array_equal(later.numpy(), 0)


def test_an_optimizer_may_change_what_a_sum_reads() -> None:
    with deferral(True):
        p = nn.Parameter(sw.ones(2, 4, 5, 5))
        x = sw.randn(2, 4, 5, 5)
        p.grad = sw.ones(2, 4, 5, 5)
        with sw.no_grad():
            s = F.batch_norm(x * 1, None, None, training=True) + p.detach()
            expected = (F.batch_norm(x, None, None, training=True).numpy() + 1).copy()
        sw.optim.SGD([p], lr=1.0).step()
        np.testing.assert_array_equal(s.numpy(), expected)


def test_a_changed_result_is_still_an_error_backward() -> None:
    with deferral(True):
        c = Case(sw.float32)
        z = F.relu(c.norm())
        out = c.conv(z)
        with sw.no_grad():
            z.mul_(2)
        with pytest.raises(RuntimeError, match="changed in place"):
            out.sum().backward()


class Block(nn.Module):
    def __init__(self, planes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: sw.Tensor) -> sw.Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.relu(out)


def train(model: nn.Module, dtype: sw.dtype | None, watch: bool = False) -> list[np.ndarray]:
    if watch:
        for m in model.modules():
            m.register_forward_hook(lambda m, args, out: print(out.abs().max().item()))
    optimizer = sw.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = sw.from_numpy(np.random.default_rng(0).standard_normal((4, 16, 12, 12)).astype(np.float32))
    for _ in range(3):
        optimizer.zero_grad()
        with sw.autocast("cpu", dtype=sw.bfloat16, enabled=dtype is not None):
            loss = (model(x).float() ** 2).mean()
        loss.backward()
        optimizer.step()
    return [v.numpy() for v in model.state_dict().values()] + [loss.detach().numpy()]


@pytest.mark.parametrize("dtype", [None, sw.bfloat16], ids=["float32", "autocast"])
@pytest.mark.parametrize("isa", ["baseline", "avx2", _core.best_isa()])
def test_training_does_not_depend_on_deferral_or_on_who_watches(dtype: sw.dtype | None, isa: str) -> None:
    before = _core.get_isa()
    _core.set_isa(isa)
    try:
        sw.manual_seed(1)
        start = nn.Sequential(Block(16), Block(16))
        found = []
        for on, watch in [(False, False), (True, False), (True, True)]:
            with deferral(on):
                found.append(train(copy.deepcopy(start), dtype, watch))
    finally:
        _core.set_isa(before)
    for values in zip(*found, strict=True):
        np.testing.assert_array_equal(values[1], values[0])
        np.testing.assert_array_equal(values[2], values[0])


def test_the_zoo_s_fused_spelling_too() -> None:
    found = []
    for on in (False, True):
        with deferral(on):
            sw.manual_seed(2)
            model = models.get("resnet20", num_classes=10)
            x = sw.randn(2, 3, 32, 32)
            F.cross_entropy(model(x), sw.tensor([1, 2])).backward()
            found.append([p.grad for p in model.parameters()])
    for at_once, deferred in zip(*found, strict=True):
        same(deferred, at_once)


def test_nothing_is_left_behind() -> None:
    gc.collect()
    before = sw.memory_stats()["allocated_bytes"]
    with deferral(True):
        c = Case(sw.float32)
        into_conv(c).sum().backward()
        with sw.no_grad():
            separate(c)  # never read
        del c
    gc.collect()
    assert sw.memory_stats()["allocated_bytes"] == before


def test_two_threads_may_read_one_result() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with deferral(True), sw.no_grad(), ThreadPoolExecutor(4) as pool:
        for _ in range(30):
            x = sw.randn(4, 16, 16, 16)
            z = F.relu(F.batch_norm(x * 1, None, None, training=True))
            sums = list(pool.map(lambda _, z=z: z.sum().item(), range(4)))
            assert len(set(sums)) == 1
