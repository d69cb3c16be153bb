"""Fused models on the device: plans of fused convolutions compute what the model computes, in fewer launches."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from against_cpu import array_of
from skipway import nn
from skipway.fuse import _TOLERANCE

DTYPES = ("float32", "bfloat16", "float16")


class Basic(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = (
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs, activation="relu"),
        )
        self.relu = nn.ReLU()
        self.downsample = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Any) -> Any:
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))), self.downsample(x))


class Bottleneck(nn.Module):
    def __init__(self, channels: int, narrow: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, narrow, 1, bias=False), nn.BatchNorm2d(narrow)
        self.conv2, self.bn2 = nn.Conv2d(narrow, narrow, 3, 1, 1, groups=2), nn.BatchNorm2d(narrow)
        self.conv3, self.bn3 = nn.Conv2d(narrow, channels, 1, bias=False), nn.BatchNorm2d(channels, activation="relu")
        self.relu = nn.ReLU()

    def forward(self, x: Any) -> Any:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))), x)


def network(dtype: str) -> nn.Module:
    """Convolutions in halos, in tiles, and the plain ones, in eval mode with running statistics of their own."""
    sw.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), Basic(8, 16, 2),
        Basic(16, 16, 1), nn.Conv2d(16, 72, 1), nn.BatchNorm2d(72), Bottleneck(72, 16), Basic(72, 5, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3),
    )  # fmt: skip
    net.train()
    with sw.no_grad():
        net(sw.randn(8, 3, 12, 12))
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.weight.copy_(sw.rand(m.num_features) + 0.5)
                m.bias.copy_(sw.rand(m.num_features) - 0.5)
    return net.to(getattr(sw, dtype)).eval().cuda()


def images(dtype: str, count: int = 2, seed: int = 5) -> Any:
    values = np.random.default_rng(seed).standard_normal((count, 3, 12, 12))
    return sw.tensor(values).to(getattr(sw, dtype)).cuda()


def as_written(fused: Any, x: Any) -> Any:
    return type(fused).forward(fused, x)


def nodes(f: Any, *args: Any) -> int:
    """Kernels and copies of a call, as a graph counts them."""
    graph = sw.cuda.CUDAGraph()
    with sw.cuda.graph(graph):
        f(*args)
    return graph._require().nodes


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_plan_computes_what_the_model_computes(dtype: str) -> None:
    net = network(dtype)
    fused = sw.fuse(net, input_size=(2, 3, 12, 12))
    assert len(fused.fuse_report.fused) == 13 and not fused.fuse_report.skipped
    assert all(p.is_cuda and p.dtype == getattr(sw, dtype) for p in fused.parameters())
    tolerance = _TOLERANCE[dtype] / 4
    with sw.no_grad():
        for count in (2, 3):
            x = images(dtype, count)
            expected, got = array_of(net(x)), array_of(fused(x))
            assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()
            assert np.abs(got - array_of(as_written(fused, x))).max() <= tolerance * np.abs(expected).max()
        (plan,) = fused.forward.plans.values()
        convs = sum(isinstance(m, nn.Conv2d) for m in fused.modules())
        assert plan and len(plan) == convs + 4  # the two pools, flatten, linear
        layers, planned, unfused = nodes(as_written, fused, x), nodes(fused, x), nodes(net, x)
    # The additions and relu of ten convolutions are gone, but of the plain ones: of 5 channels, or 3 in float32.
    assert layers - planned == 10 - (3 if dtype == "float32" else 2)
    assert planned <= unfused - 12


@pytest.mark.parametrize("dtype", DTYPES)
def test_graphs_of_plans(dtype: str) -> None:
    """The first call, which is eager, makes the plan that the capture uses; replays see new images and weights."""
    fused = sw.fuse(network(dtype), input_size=(2, 3, 12, 12))
    call = sw.cuda.graph(fused)
    with sw.no_grad():
        for seed in range(4):
            x = images(dtype, seed=seed)
            np.testing.assert_array_equal(array_of(call(x)), array_of(fused(x)))
            fused[0].weight.mul_(1.25)
    assert call.graphs == 1 and all(fused.forward.plans.values())


def test_a_capture_without_a_plan_runs_the_model_as_written() -> None:
    fused = sw.fuse(network("float32"), input_size=(2, 3, 12, 12))
    x = images("float32")
    graph = sw.cuda.CUDAGraph()
    with sw.no_grad():
        with sw.cuda.graph(graph):
            y = fused(x)
        graph.replay()
        assert not fused.forward.plans
        np.testing.assert_array_equal(array_of(y), array_of(as_written(fused, x)))
        np.testing.assert_allclose(array_of(fused(x)), array_of(y), rtol=1e-4, atol=1e-4)
    assert all(fused.forward.plans.values())


def test_a_model_that_moves_has_a_plan_for_each_device() -> None:
    fused = sw.fuse(copy.deepcopy(network("float32")).cpu(), input_size=(2, 3, 12, 12))
    x = images("float32")
    with sw.no_grad():
        here = array_of(fused(x.cpu()))
        fused.cuda()
        np.testing.assert_allclose(array_of(fused(x)), here, rtol=1e-4, atol=1e-4)
        fused.cpu()
        np.testing.assert_array_equal(array_of(fused(x.cpu())), here)
    assert any(fused.forward.plans.values())


def test_autocast_and_gradients_run_the_model_as_written() -> None:
    fused = sw.fuse(network("float32"), input_size=(2, 3, 12, 12))
    x = images("float32")
    with sw.no_grad():
        fused(x)
        with sw.autocast("cuda", dtype=sw.bfloat16):
            narrow = fused(x)
            np.testing.assert_array_equal(array_of(narrow), array_of(as_written(fused, x)))
        assert narrow.dtype == sw.bfloat16
    loss = F.cross_entropy(fused(x), sw.tensor([0, 2]).cuda())
    loss.backward()
    assert all(p.grad is not None for p in fused.parameters())
