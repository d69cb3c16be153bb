"""Mixed precision on the CPU: what autocast computes in bfloat16, what stays float32, and what it casts."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from conftest import runs
from op_cases import round_to
from op_runner import array_of
from skipway import _amp_state, _core, models, nn
from skipway.testing import reference as R
from tolerances import WINOGRAD, allowed

LEVELS = ("avx2", "avx512", "avx512_bf16", "amx")


@pytest.fixture(params=LEVELS)
def level(request: Any, restore: None) -> str:
    if not runs(request.param):
        pytest.skip(f"this machine has no {request.param}")
    _core.set_isa(request.param)
    return str(request.param)


def half(x: np.ndarray) -> np.ndarray:
    return round_to(x, "bfloat16")


@pytest.mark.parametrize("x_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kwargs", [dict(padding=1), dict(stride=(2, 1), padding=(0, 1)), dict(groups=2)], ids=str)
def test_convolution_of_float32_parameters(level: str, x_dtype: str, kwargs: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    groups = kwargs.get("groups", 1)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((3, 16, 9, 7), (24, 16 // groups, 3, 3), (24,)))
    tx, tw, tb = (sw.from_numpy(a).requires_grad_() for a in (x, w, b))
    with sw.autocast("cpu", dtype=sw.bfloat16):
        y = F.conv2d(tx.to(getattr(sw, x_dtype)), tw, tb, **kwargs)
    assert y.dtype is sw.bfloat16
    dy = half(rng.standard_normal(y.shape))
    y.backward(sw.from_numpy(dy.astype(np.float32)).to(sw.bfloat16))
    narrow = [half(a.astype(np.float64)) for a in (x, w, b)]
    pixels = dy.size // 24
    expected = [R.conv2d(*narrow, **kwargs), *R.conv2d_backward(dy, *narrow, **kwargs)]
    for got, value, length in zip((y, tx.grad, tw.grad, tb.grad), expected, (145, 217, pixels, pixels), strict=True):
        limit = allowed("conv2d", "bfloat16", value, length, 1.0, WINOGRAD)
        assert np.all(np.abs(array_of(got) - value) <= limit)
    assert all(t.grad.dtype is sw.float32 for t in (tx, tw, tb))
    if groups == 1 and level in ("avx512_bf16", "amx"):  # sums that were not rounded to bfloat16
        assert np.all(np.abs(array_of(tw.grad) - expected[2]) <= allowed("conv2d", "float32", expected[2], pixels, 1.0))


def test_activations_stay_bfloat16_and_the_rest_float32() -> None:
    seen: list[Any] = []
    model = models.resnet20(num_classes=10)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.AdaptiveAvgPool2d, nn.Linear)):
            module.register_forward_hook(lambda module, inputs, y: seen.append((type(module).__name__, y.dtype)))
    with sw.autocast("cpu", dtype=sw.bfloat16):
        loss = F.cross_entropy(model(sw.randn(4, 3, 16, 16)), sw.arange(4))
    loss.backward()
    assert len(seen) > 40 and {dtype for _, dtype in seen} == {sw.bfloat16}, seen
    assert loss.dtype is sw.float32
    assert {p.dtype for p in model.parameters()} == {p.grad.dtype for p in model.parameters()} == {sw.float32}
    assert all(b.dtype is sw.float32 for name, b in model.named_buffers() if "running" in name)


def test_parameters_are_cast_once_in_inference() -> None:
    layer, x = nn.Conv2d(4, 8, 3), sw.randn(1, 4, 6, 6)

    def run(layer: nn.Module) -> np.ndarray:
        with sw.no_grad(), sw.autocast("cpu", dtype=sw.bfloat16):
            return array_of(layer(x))

    first = run(layer)
    cast = _amp_state._casts._kept[id(layer.weight)][2]
    np.testing.assert_array_equal(run(layer), first)
    assert _amp_state._casts._kept[id(layer.weight)][2] is cast
    with sw.no_grad():
        layer.weight.mul_(2.0)
        layer.bias.mul_(2.0)
    np.testing.assert_array_equal(run(layer), 2 * first)  # the change is seen
    layer.weight.data = sw.zeros(8, 4, 3, 3)
    assert np.all(run(layer) == run(layer)[:, :, :1, :1])  # other memory too
    count = len(_amp_state._casts._kept)
    del layer, cast
    gc.collect()
    assert len(_amp_state._casts._kept) == count - 2  # nothing outlives its parameter


def test_padding_by_name_and_missing_dimensions() -> None:
    layer = nn.Conv2d(4, 8, 3, padding="same")
    with sw.autocast("cpu", dtype=sw.bfloat16):
        y = layer(sw.randn(4, 6, 6))
        z = layer(sw.randn(2, 4, 6, 6))
        with pytest.raises(sw.ShapeError, match="expected 4 input channels"):
            nn.Conv2d(4, 8, 3)(sw.randn(2, 3, 6, 6))
        with pytest.raises(TypeError):
            F.conv2d(sw.randn(2, 4, 6, 6).to(sw.float64), layer.weight)
    assert y.shape == (8, 6, 6) and z.shape == (2, 8, 6, 6) and y.dtype is z.dtype is sw.bfloat16
    (y.sum() + z.sum()).backward()
    assert layer.weight.grad.dtype is sw.float32


def test_a_network_trains_as_in_float32() -> None:
    """The losses of a few steps; bfloat16 keeps 8 bits."""
    rng = np.random.default_rng(1)
    x, target = sw.from_numpy(rng.standard_normal((16, 3, 8, 8)).astype(np.float32)), sw.arange(16) % 4
    losses: dict[bool, list[float]] = {True: [], False: []}
    for narrow, values in losses.items():
        sw.manual_seed(0)
        model = models.resnet8(num_classes=4)
        optimizer = sw.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for _ in range(12):
            with sw.autocast("cpu", dtype=sw.bfloat16, enabled=narrow):
                loss = F.cross_entropy(model(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(loss.item())
    assert losses[False][-1] < 0.5 * losses[False][0]
    assert abs(losses[True][0] - losses[False][0]) < 0.02 * losses[False][0]
    assert losses[True][-1] < 0.5 * losses[True][0]


def test_gradients_of_a_step_have_the_same_bits_at_any_number_of_threads(restore: None) -> None:
    found = []
    for threads in (1, 2, 3):
        sw.set_num_threads(threads)
        sw.manual_seed(0)
        model = models.resnet8(num_classes=4)
        with sw.autocast("cpu", dtype=sw.bfloat16):
            F.cross_entropy(model(sw.randn(24, 3, 16, 16)), sw.arange(24) % 4).backward()
        found.append([p.grad.numpy() for p in model.parameters()])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
