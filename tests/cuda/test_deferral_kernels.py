"""On the device, too, deferral never changes a bit: convolutions that normalise what they load read what the
normalisation would have written, forward and for the weight gradient, in each of the kernels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from against_cpu import array_of
from skipway import _core, nn
from test_deferral import CASES, Block, Case, deferral, same

NARROW = ("float32", "bfloat16", "float16")


@pytest.mark.parametrize(
    ("build", "dtype"),
    [
        *((build, dtype) for build in CASES for dtype in ("float32", "float16")),
        *((build, dtype) for build in CASES[:5] for dtype in ("bfloat16", "float64")),
    ],
    ids=lambda v: v if isinstance(v, str) else v.__name__,
)
def test_same_bits_as_at_once(build: Callable[[Case], sw.Tensor], dtype: str) -> None:
    found = []
    for on in (False, True):
        with deferral(on):
            c = Case(getattr(sw, dtype), "cuda", size=7, batch=2)
            y = build(c)
            (y * y).sum().backward()
            found.append([y, *c.gradients()])
    for at_once, deferred in zip(*found, strict=True):
        same(deferred, at_once)


class Conv(NamedTuple):
    x: tuple[int, ...]
    w: tuple[int, ...]
    settings: dict[str, Any]
    loads: tuple[bool, bool] = (True, True)  # the norm: in float32, in 16-bit types


# In 16-bit types: in halos, in tiles, in tiles by groups; the weight gradient in tiles, small and large; all plain.
CONVS = {
    "few channels": Conv((3, 16, 9, 10), (24, 16, 3, 3), {"padding": 1}),
    "three channels": Conv((1, 3, 9, 10), (16, 3, 3, 3), {"padding": 1, "stride": 2}, (False, True)),
    "five channels": Conv((2, 5, 6, 7), (40, 5, 3, 2), {"padding": (1, 0)}, (False, True)),
    "64 channels": Conv((1, 64, 6, 7), (72, 64, 3, 3), {"padding": 1}),
    "stride 2": Conv((2, 24, 9, 8), (16, 24, 3, 3), {"padding": 1, "stride": 2}),
    "tiles": Conv((2, 80, 6, 5), (72, 80, 3, 3), {"padding": 1}),
    "dilation": Conv((1, 72, 9, 9), (16, 72, 3, 3), {"padding": 2, "dilation": 2}),
    "large tiles": Conv((2, 72, 16, 16), (136, 72, 1, 1), {}),
    "groups": Conv((1, 32, 6, 5), (48, 16, 3, 3), {"padding": 1, "groups": 2}),
    "plain": Conv((2, 5, 6, 5), (6, 5, 3, 3), {"padding": 1}, (False, False)),
}


def normal(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(("dtype", "activation"), [("float32", "relu"), ("bfloat16", None), ("float16", "relu")])
@pytest.mark.parametrize("name", CONVS)
def test_each_kernel_normalises_what_it_loads(name: str, dtype: str, activation: str | None) -> None:
    """The mean is far from zero, so that padding would show if it were normalised."""
    conv = CONVS[name]
    found, kernels = [], []
    for on in (False, True):
        with deferral(on):
            values = [normal(conv.x, 0) + 5, normal(conv.x[1:2], 1) + 1, normal(conv.x[1:2], 2), normal(conv.w, 3)]
            x, gamma, beta, w = (sw.tensor(v).to(getattr(sw, dtype)).cuda().requires_grad_() for v in values)

            def forward(x: Any, gamma: Any = gamma, beta: Any = beta, w: Any = w) -> Any:
                y = F.batch_norm(x * 2, None, None, gamma, beta, training=True, activation=activation)
                return F.conv2d(y, w, **conv.settings)

            z = forward(x)
            (z * z).sum().backward()
            found.append([z, x.grad, gamma.grad, beta.grad, w.grad])
            kernels.append(nodes(forward, x.detach()))
    for at_once, deferred in zip(*found, strict=True):
        same(deferred, at_once)
    assert kernels[0] - kernels[1] == int(conv.loads[dtype != "float32"]), "the pass that writes the norm's result"


def nodes(f: Any, *args: Any) -> int:
    """Kernels and copies of a call, as a graph counts them."""
    graph = sw.cuda.CUDAGraph()
    with sw.no_grad(), sw.cuda.graph(graph):
        f(*args)
    return graph._require().nodes


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("name", CONVS)
def test_a_prologue_is_the_norm_of_inference(name: str, dtype: str) -> None:
    """mean, scale and shift as given: bit for bit what batch_norm writes from statistics that are those numbers."""
    conv = CONVS[name]
    channels = conv.x[1]
    x, w = (sw.tensor(normal(s, i) * 3).to(getattr(sw, dtype)).cuda() for i, s in enumerate((conv.x, conv.w)))
    mean, scale, shift = (sw.tensor(normal((channels,), 5 + i).astype(np.float32)).cuda() for i in range(3))
    with deferral(False):
        # rstd = 1 and weight = scale
        y = F.batch_norm(x, mean, sw.ones(channels).cuda(), scale, shift, False, 0.1, 0.0, activation="leaky_relu")
        expected = F.conv2d(y, w, **conv.settings)
    z = _core._conv2d_fused(
        x, w, **conv.settings, in_mean=mean, in_scale=scale, in_shift=shift, in_activation="leaky_relu"
    )[0]
    np.testing.assert_array_equal(array_of(z), array_of(expected))


def test_coefficients_lie_where_packs_can_be_read() -> None:
    x, w, odd = sw.zeros(1, 8, 5, 5).cuda(), sw.zeros(8, 8, 3, 3).cuda(), sw.ones(9).cuda()[1:]
    with pytest.raises(ValueError, match="in_scale at a multiple of 16 bytes"):
        _core._conv2d_fused(x, w, in_scale=odd, in_shift=odd)


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float16"])
def test_training_by_graphs_and_by_steps(dtype: str | None) -> None:
    """PyTorch's spelling of a network, whose norms, sums and activations are calls of their own."""
    sw.manual_seed(1)
    start = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), Block(8), Block(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()).cuda()
    found = []
    for on, graphed in [(False, False), (True, False), (True, True)]:
        with deferral(on):
            model = copy.deepcopy(start)
            optimizer = sw.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

            def step(x: Any, y: Any, model: Any = model, optimizer: Any = optimizer) -> Any:
                optimizer.zero_grad()
                with sw.autocast("cuda", dtype=getattr(sw, dtype or "bfloat16"), enabled=dtype is not None):
                    loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                return loss

            call = sw.cuda.graph(step) if graphed else step
            losses = [
                call(sw.tensor(normal((3, 3, 12, 12), i).astype(np.float32)).cuda(), sw.tensor([0, 1, 7]).cuda())
                for i in range(4)
            ]
            found.append([*losses, *model.state_dict().values()])
    for at_once, deferred, replayed in zip(*found, strict=True):
        same(deferred, at_once)
        same(replayed, at_once)
