"""Networks on the device: the same results and the same training as on the CPU, from the same weights and seeds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from skipway import nn


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs, activation="relu")
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, activation="relu")
        same = stride == 1 and inputs == outputs
        self.downsample = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Any) -> Any:
        return self.bn2(self.conv2(self.bn1(self.conv1(x))), self.downsample(x))


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        Block(4, 4, 1), Block(4, 8, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(27, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, 3)
    )


def batches(size: int, n: int = 3) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(3)
    return [
        (sw.tensor(rng.normal(0, 1, (4, 3, size, size)), dtype=sw.float32), sw.tensor(rng.integers(0, 3, 4)))
        for _ in range(n)
    ]


def train(net: nn.Module, data: list[Any], device: str, make: Callable[[Any], Any]) -> list[float]:
    net.to(device).train()
    optimizer = make(net.parameters())
    losses = []
    sw.manual_seed(11)
    for x, y in data:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x.to(device)), y.to(device))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: sw.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "adamw": lambda p: sw.optim.AdamW(p, lr=1e-2),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("build, size", [(resnet, 9), (mlp, 3)])
def test_training_equals_the_cpus(build: Callable[[], nn.Module], size: int, optimizer: str) -> None:
    sw.manual_seed(0)
    here = build()
    there = copy.deepcopy(here)
    start = [p.detach().clone() for p in here.parameters()]
    data = batches(size)
    expected = train(here, data, "cpu", OPTIMIZERS[optimizer])
    got = train(there, data, "cuda", OPTIMIZERS[optimizer])
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    for (name, p), q, before in zip(here.named_parameters(), there.parameters(), start, strict=True):
        assert q.is_cuda and q.grad is not None and q.grad.is_cuda
        np.testing.assert_allclose(q.detach().cpu().numpy(), p.detach().numpy(), rtol=2e-3, atol=2e-4, err_msg=name)
        assert not np.array_equal(p.detach().numpy(), before.numpy()), f"{name} was not trained"
    for (name, a), b in zip(here.named_buffers(), there.buffers(), strict=True):
        np.testing.assert_allclose(b.cpu().numpy(), a.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)
    with sw.no_grad():
        x = data[0][0]
        np.testing.assert_allclose(there.eval()(x.cuda()).cpu().numpy(), here.eval()(x).numpy(), rtol=5e-3, atol=5e-3)


def test_two_runs_are_the_same_bits() -> None:
    sw.manual_seed(0)
    net = resnet()
    runs = []
    for _ in range(2):
        twin = copy.deepcopy(net)
        losses = train(twin, batches(9, 2), "cuda", OPTIMIZERS["sgd"])
        runs.append((losses, [p.detach().cpu().numpy().tobytes() for p in twin.parameters()]))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "drop",
    [
        lambda x: F.dropout(x, 0.4),
        lambda x: F.dropout1d(x[0], 0.4),
        lambda x: F.dropout2d(x, 0.4),
        lambda x: F.alpha_dropout(x, 0.4, training=True),
        lambda x: F.feature_alpha_dropout(x, 0.4, training=True),
    ],
    ids=["dropout", "dropout1d", "dropout2d", "alpha", "feature_alpha"],
)
def test_dropout_masks_are_the_cpus(drop: Callable[[Any], Any], dtype: str) -> None:
    x = (sw.arange(2 * 5 * 7 * 3).reshape(2, 5, 7, 3) + 1.0).to(getattr(sw, dtype))
    results, gradients = [], []
    for device in ("cpu", "cuda"):
        sw.manual_seed(7)
        leaf = x.detach().clone().to(device).requires_grad_()
        y = drop(leaf)
        y.sum().backward()
        results.append(y.detach().cpu().float().numpy())
        gradients.append(leaf.grad.cpu().float().numpy())
    tolerance = {"rtol": 1e-6} if dtype == "float32" else {"rtol": 2**-7}
    np.testing.assert_array_equal(gradients[1] == 0, gradients[0] == 0)
    np.testing.assert_allclose(results[1], results[0], **tolerance)
    np.testing.assert_allclose(gradients[1], gradients[0], **tolerance)
    assert 0 < (gradients[0] == 0).sum() < x.numel()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_autocast(dtype: str) -> None:
    sw.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3)).cuda()
    x, y = batches(3, 1)[0]
    full = net(x.cuda()).cpu()
    with sw.autocast("cuda", dtype=getattr(sw, dtype)):
        out = net(x.cuda())
        assert out.dtype is getattr(sw, dtype)
        assert net.cpu()(x).dtype is sw.float32, "the CPU is left alone"
        loss = F.cross_entropy(out, y.cuda())
    assert loss.dtype is sw.float32 and net[0](x).dtype is sw.float32
    net.cuda()
    np.testing.assert_allclose(out.detach().float().cpu().numpy(), full.detach().numpy(), rtol=0.05, atol=0.05)
    with sw.autocast("cpu"):
        assert net(x.cuda()).dtype is sw.float32
    with sw.autocast("cuda", dtype=getattr(sw, dtype)):
        F.cross_entropy(net(x.cuda()), y.cuda()).backward()
    assert all(p.grad is not None and p.grad.dtype is sw.float32 for p in net.parameters())


def test_an_optimizer_goes_on_after_loading() -> None:
    """The state comes back to the parameters' device."""
    sw.manual_seed(0)
    net = mlp()
    twin = copy.deepcopy(net)
    data = batches(3, 1)
    train(net, data, "cuda", OPTIMIZERS["adamw"])
    optimizer = sw.optim.AdamW(net.parameters(), lr=1e-2)
    F.cross_entropy(net(data[0][0].cuda()), data[0][1].cuda()).backward()
    optimizer.step()
    saved = optimizer.state_dict()
    moved = sw.optim.AdamW(twin.cuda().parameters(), lr=1e-2)
    on_cpu = {
        **saved,
        "state": {
            k: {n: v.cpu() if isinstance(v, sw.Tensor) else v for n, v in s.items()} for k, s in saved["state"].items()
        },
    }
    moved.load_state_dict(on_cpu)
    first = next(iter(moved.state.values()))
    assert all(v.is_cuda for v in first.values() if isinstance(v, sw.Tensor) and v.dim() > 0)
    F.cross_entropy(twin(data[0][0].cuda()), data[0][1].cuda()).backward()
    moved.step()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_momentum_has_the_dtype_of_its_parameter(dtype: str) -> None:
    """Each step's sum is formed in float32 and rounded once: packs of four elements, a tail, and a second chunk."""
    narrow = getattr(sw, dtype)
    rng = np.random.default_rng(3)

    def rounded(a: Any) -> Any:
        return sw.tensor(np.asarray(a, np.float32)).to(narrow).float().numpy()

    for n in (1, 7, 16384 + 33):
        start = rounded(rng.standard_normal(n))
        p = nn.Parameter(sw.tensor(start).to(narrow).cuda())
        optimizer = sw.optim.SGD([p], lr=0.1, momentum=0.9)
        momentum = np.zeros(n, np.float32)
        for _ in range(3):
            g = rounded(rng.standard_normal(n))
            p.grad = sw.tensor(g).to(narrow).cuda()
            optimizer.step()
            total = np.float32(0.9) * momentum + g
            start, momentum = rounded(start - np.float32(0.1) * total), rounded(total)
        buffer = optimizer.state[p]["momentum_buffer"]
        assert buffer.dtype is p.dtype is narrow
        last = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 1e-6}[dtype]  # the order of products may differ
        np.testing.assert_allclose(buffer.float().cpu().numpy(), momentum, rtol=last, atol=last)
        np.testing.assert_allclose(p.detach().float().cpu().numpy(), start, rtol=last, atol=last)
