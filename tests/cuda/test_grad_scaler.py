"""Loss scaling on the device: steps are left out there, counts go on as PyTorch's do, and graphs take part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from skipway import nn
from test_graphs import OPTIMIZERS, Run, batches, bits, compare, mlp, resnet


def scaler(**options: Any) -> Any:
    return sw.amp.GradScaler("cuda", **{"init_scale": 2.0**10, "growth_interval": 2, **options})


def test_float16_training_replays_to_the_bit() -> None:
    """A small growth interval makes the scale overflow now and then: those steps are left out, in replays too."""
    run = compare(
        resnet, "sgd", batches(6), dtype=sw.float16,
        scaler=lambda: scaler(init_scale=2.0**17, growth_interval=1, growth_factor=4.0),
    )  # fmt: skip
    assert 0 < run.scaler.skipped_steps < 6


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_that_is_left_out_changes_nothing(optimizer: str) -> None:
    """Infinite gradients in steps 0, 1 and 3 of 6: the others are those of a run without them, in graphs too."""
    values = [np.inf, np.nan, 1.0, -np.inf, 2.0, 3.0]

    def run(values: list[float], graphed: bool, scaling: bool) -> tuple[list[bytes], Any]:
        sw.manual_seed(0)
        p = nn.Parameter(sw.randn(37, device="cuda"))
        q = nn.Parameter(sw.randn(5, 3, device="cuda"))
        optimizer_ = OPTIMIZERS[optimizer]([p, q])
        s = scaler(growth_interval=100, enabled=scaling)
        weights = sw.arange(37.0, device="cuda") - 11

        def step(x: Any) -> Any:
            optimizer_.zero_grad()
            loss = (p * weights).sum() * x + (q * q).sum() + p.sum()
            s.scale(loss).backward()
            s.step(optimizer_)
            s.update()
            return loss

        call = sw.cuda.graph(step) if graphed else step
        for v in values:
            call(sw.tensor(v, device="cuda"))
        states = [v for t in (p, q) for v in optimizer_.state[t].values() if isinstance(v, sw.Tensor) and v.dim() > 0]
        return bits(p, q, *states), (s, optimizer_)

    eager, (s, o) = run(values, False, True)
    assert s.skipped_steps == 3 and s.get_scale() == 2.0**7
    assert eager == run(values, True, True)[0]
    expected = run([v for v in values if np.isfinite(v)], False, False)[0]
    for a, b in zip(eager, expected, strict=True):  # bias corrections are worked out on the device, in float64
        np.testing.assert_allclose(np.frombuffer(a, np.float32), np.frombuffer(b, np.float32), rtol=1e-5, atol=1e-6)
    counts = {int(float(state["step"])) for state in o.state.values() if "step" in state}
    assert optimizer in ("plain_sgd", "rmsprop", "adadelta") or counts == {3}


def test_growth_and_backoff() -> None:
    p = nn.Parameter(sw.ones(3, device="cuda"))
    optimizer = sw.optim.SGD([p], lr=0.1)
    s = scaler()
    seen = []
    for v in (1.0, 1.0, 1.0, np.inf, 1.0, 1.0):
        optimizer.zero_grad()
        s.scale((p * float(v)).sum()).backward()
        s.step(optimizer)
        s.update()
        seen.append(s.get_scale())
    assert seen == [1024.0, 2048.0, 2048.0, 1024.0, 1024.0, 2048.0]
    state = s.state_dict()
    assert state["_growth_tracker"] == 0 and state["_skipped_steps"] == 1 == s.skipped_steps
    other = scaler(init_scale=3.0)
    other.load_state_dict(state)
    assert other.get_scale() == 2048.0 and other.skipped_steps == 1
    other.scale(sw.ones(1, device="cuda"))
    other.load_state_dict({**state, "scale": 8.0})
    assert other.get_scale() == 8.0
    largest = scaler(init_scale=2.0**127, growth_interval=1)
    optimizer.zero_grad()
    p.grad = sw.zeros(3, device="cuda")
    largest.scale(sw.zeros((), device="cuda"))
    largest.step(optimizer)
    largest.update()
    assert largest.get_scale() == 2.0**127, "it stays finite"


@pytest.mark.parametrize("where", [0, 20_000, 40_000])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_one_infinite_gradient_among_many(where: int, value: float) -> None:
    grads = [sw.full((n,), 3.0, device="cuda") for n in (7, 16385, 40_001)]
    grads.append(sw.full((9,), 3.0, dtype=sw.float64, device="cuda"))
    grads.append(sw.full((33,), 3.0, dtype=sw.bfloat16, device="cuda"))
    found = sw.zeros((), device="cuda")
    scale = sw.tensor(4.0, device="cuda")
    sw._core.unscale_gradients(grads, scale, found)
    assert found.item() == 0.0 and all((g == 0.75).all().item() for g in grads)
    grads[2][where] = value
    sw._core.unscale_gradients(grads, scale, found)
    assert found.item() == 1.0


def test_unscaled_gradients_are_clipped_on_the_device() -> None:
    def run(graphed: bool) -> list[bytes]:
        net = mlp().cuda()
        optimizer = OPTIMIZERS["adamw"](net.parameters())
        s = scaler()

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            s.scale(F.cross_entropy(net(x), y)).backward()
            s.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            s.step(optimizer)
            s.update()
            return norm

        call: Callable[..., Any] = sw.cuda.graph(step) if graphed else step
        sw.manual_seed(1)
        norms = [call(x.cuda(), y.cuda()) for x, y in batches(4, size=2)]
        assert all(n.item() > 0.1 for n in norms)
        return bits(*norms, *net.parameters())

    assert run(False) == run(True)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_clipping_is_the_cpus(p: float, dtype: str) -> None:
    rng = np.random.default_rng(0)
    norms, results = [], []
    for device in ("cpu", "cuda"):
        rng = np.random.default_rng(0)
        params = []
        for n in (5, 16390, 40):
            q = nn.Parameter(sw.zeros(n, dtype=getattr(sw, dtype), device=device))
            q.grad = sw.tensor(rng.normal(0, 1, n)).to(getattr(sw, dtype)).to(device)
            params.append(q)
        norms.append(nn.utils.clip_grad_norm_(params, 2.0, p).item())
        results.append(np.concatenate([q.grad.double().cpu().numpy() for q in params]))
    np.testing.assert_allclose(norms[1], norms[0], rtol=1e-6)
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6 if dtype != "bfloat16" else 2**-7)


def test_optimizers_go_on_without_a_scaler_after_one_with() -> None:
    net = mlp().cuda()
    for name in ("sgd", "adamw"):
        run = Run(net, name, False, scaler=scaler()).run(batches(2, size=2))
        run.scaler = None
        run.run(batches(2, size=2))
        steps = [s.get("step") for s in run.optimizer.state.values()]
        assert steps == [None if name == "sgd" else 4] * len(steps)
        saved = run.optimizer.state_dict()
        run.optimizer.load_state_dict(saved)
        run.run(batches(1, size=2))


def test_found_inf_must_lie_with_the_parameters() -> None:
    p, g = sw.ones(3, device="cuda"), sw.ones(3, device="cuda")
    with pytest.raises(sw.DeviceError, match="found_inf and the parameters on one CUDA device, got cpu and cuda:0"):
        sw._core.sgd_step([p], [g], [], lr=0.1, found_inf=sw.zeros(1))
    with pytest.raises(TypeError, match="found_inf of dtype float32"):
        sw._core.sgd_step([p], [g], [], lr=0.1, found_inf=sw.zeros(1, device="cuda", dtype=sw.float64))
    with pytest.raises(sw.DeviceError, match="scale on cuda:0, got cpu"):
        sw._core.unscale_gradients([g], sw.ones(1), sw.zeros(1, device="cuda"))
