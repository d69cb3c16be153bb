"""GradScaler on the CPU: PyTorch's semantics, with a count of the steps that were left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skipway as sw
from skipway import nn


def run(values: list[float], **options: Any) -> tuple[list[Any], Any]:
    """SGD with momentum on p, whose gradient is each value in turn."""
    p = nn.Parameter(sw.ones(3))
    optimizer = sw.optim.SGD([p], lr=0.5, momentum=0.9)
    scaler = sw.amp.GradScaler("cpu", **options)
    seen = []
    for v in values:
        optimizer.zero_grad()
        scaler.scale((p * v).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        seen.append(p.detach().tolist())
    return seen, scaler


def test_powers_of_two_do_not_change_a_step() -> None:
    values = [0.1, -0.7, 3.3, 1e-7]
    plain, _ = run(values, enabled=False)
    scaled, scaler = run(values)
    assert plain == scaled and scaler.get_scale() == 65536.0 and scaler.skipped_steps == 0


def test_infinite_gradients_leave_steps_out() -> None:
    seen, scaler = run([1.0, np.inf, 1.0, np.nan], init_scale=8.0)
    finite, _ = run([1.0, 1.0], enabled=False)
    assert seen == [finite[0], finite[0], finite[1], finite[1]]
    assert scaler.get_scale() == 2.0 and scaler.skipped_steps == 2
    assert scaler.state_dict() == {
        "scale": 2.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0,
        "_skipped_steps": 2,
    }  # fmt: skip


def test_growth() -> None:
    _, scaler = run([1.0] * 7, init_scale=2.0, growth_factor=3.0, growth_interval=3)
    assert scaler.get_scale() == 18.0 and scaler.state_dict()["_growth_tracker"] == 1
    scaler.update(5.0)
    assert scaler.get_scale() == 5.0
    scaler.update(sw.tensor(7.0))
    assert scaler.get_scale() == 7.0
    scaler.set_growth_factor(4.0), scaler.set_backoff_factor(0.25), scaler.set_growth_interval(9)
    assert (scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()) == (4.0, 0.25, 9)


def test_without_scaling_everything_is_the_optimizers() -> None:
    scaler = sw.amp.GradScaler(enabled=False)
    x = sw.ones(2)
    assert scaler.scale(x) is x and scaler.state_dict() == {} and not scaler.is_enabled() and scaler.get_scale() == 1.0
    optimizer = sw.optim.SGD([nn.Parameter(x)], lr=1.0)
    scaler.unscale_(optimizer)
    assert scaler.step(optimizer, lambda: 3.0) == 3.0
    scaler.update()
    scaler.load_state_dict({})


def test_nested_outputs_and_two_optimizers() -> None:
    p, q = nn.Parameter(sw.ones(2)), nn.Parameter(sw.ones(2))
    first, second = sw.optim.SGD([p], lr=1.0), sw.optim.SGD([q], lr=1.0)
    scaler = sw.amp.GradScaler("cpu", init_scale=4.0)
    a, (b,) = scaler.scale((p.sum(), [(q * float("inf")).sum()]))
    assert a.item() == 8.0
    (a + b).backward()
    scaler.step(first), scaler.step(second)
    scaler.update()
    assert p.tolist() == [0.0, 0.0] and q.tolist() == [1.0, 1.0], "each optimizer's step is its own"
    assert scaler.get_scale() == 2.0 and scaler.skipped_steps == 1


def test_unscale_before_clipping() -> None:
    p = nn.Parameter(sw.ones(4))
    optimizer = sw.optim.SGD([p], lr=1.0)
    scaler = sw.amp.GradScaler("cpu")
    scaler.scale((3 * p).sum()).backward()
    scaler.unscale_(optimizer)
    assert p.grad.tolist() == [3.0] * 4
    assert nn.utils.clip_grad_norm_([p], 1.0).item() == 6.0
    scaler.step(optimizer)
    np.testing.assert_allclose(p.detach().numpy(), 0.5, rtol=1e-5)


def test_wrong_orders_and_values_are_errors() -> None:
    p = nn.Parameter(sw.ones(2))
    optimizer = sw.optim.SGD([p], lr=1.0)
    scaler = sw.amp.GradScaler("cpu")
    with pytest.raises(RuntimeError, match="no loss has been scaled yet"):
        scaler.step(optimizer)
    scaler.scale(p.sum()).backward()
    with pytest.raises(RuntimeError, match="no step or unscale_"):
        scaler.update()
    with pytest.raises(RuntimeError, match="closure"):
        scaler.step(optimizer, lambda: 0)
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match=r"unscale_: it was called for this optimizer"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"called after step"):
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match=r"step: it was called for this optimizer"):
        scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    with pytest.raises(RuntimeError, match="no parameter of the optimizer has a gradient"):
        scaler.step(optimizer)
    with pytest.raises(TypeError, match="expected tensors, got str"):
        scaler.scale("x")
    with pytest.raises(RuntimeError, match="empty"):
        scaler.load_state_dict({})
    for options, message in (
        ({"growth_factor": 1.0}, "growth_factor > 1, got 1.0"), ({"backoff_factor": 1.0}, "backoff_factor"),
        ({"init_scale": 0.0}, "init_scale > 0"), ({"growth_interval": 0}, "growth_interval >= 1"),
        ({"device": "tpu"}, "'cpu' or 'cuda', got 'tpu'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            sw.amp.GradScaler(**options)


def test_casts_of_parameters_are_kept_until_they_change() -> None:
    w = nn.Parameter(sw.ones(4, 4))
    x = sw.ones(2, 4)
    kept = sw._amp_state._casts
    with sw.autocast("cpu", dtype=sw.bfloat16):
        first = (x @ w).sum()
        cast = kept._kept[id(w)][2]
        second = (x @ w).sum()
        assert kept._kept[id(w)][2] is cast, "cast once"
        with sw.no_grad():
            assert not (x @ w).requires_grad and kept._kept[id(w)][2] is cast
            w.mul_(2.0)
            assert (x @ w).sum().item() == 64.0 and kept._kept[id(w)][2] is not cast, "changed in place"
            w.data = sw.zeros(4, 4)
            assert (x @ w).sum().item() == 0.0, "other memory"
    first.backward(), second.backward()
    assert w.grad.dtype is sw.float32 and w.grad.tolist() == [[4.0] * 4] * 4
    number = id(w)
    del w, first, second
    assert number not in kept._kept
