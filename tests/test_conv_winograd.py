"""Winograd convolutions against float64, and the choice between algorithms."""

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from numeric import leaf
from skipway import _core
from test_conv import Reference
from tolerances import WINOGRAD, allowed

pytestmark = pytest.mark.usefixtures("restore")

SHAPES = [  # batch, channels in, channels out, height, width, padding
    (2, 16, 16, 8, 8, 1),
    (3, 32, 48, 13, 9, 1),
    (5, 64, 32, 7, 7, 1),
    (1, 16, 80, 3, 30, 2),
    (2, 48, 16, 6, 11, 0),
    (40, 16, 32, 2, 2, 1),
    (1, 160, 16, 14, 14, (1, 0)),
    (7, 16, 16, 33, 31, 1),
    (1, 16, 16, 1, 1, 1),
    (2, 400, 208, 3, 7, 1),  # by blocks of channels
]


def sample(shape, seed=0):
    n, c, k, h, w, _ = shape
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, c, h, w)).astype(np.float32)
    weight = rng.standard_normal((k, c, 3, 3)).astype(np.float32)
    bias = rng.standard_normal(k).astype(np.float32)
    return x, weight, bias


def run(x, weight, bias, padding, dy=None):
    leaves = [leaf(a) for a in (x, weight, bias)]
    y = F.conv2d(*leaves, padding=padding)
    if dy is None:
        dy = np.random.default_rng(9).standard_normal(y.shape).astype(np.float32)
    y.backward(sw.from_numpy(dy))
    return dy, [y.detach().numpy(), *(t.grad.numpy() for t in leaves)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_close_to_float64(isa, shape):
    sw.backends.cpu.set_conv_algorithm("winograd")
    x, weight, bias = sample(shape)
    dy, results = run(x, weight, bias, shape[-1])
    wide = [a.astype(np.float64) for a in (x, weight, bias)]
    padding = shape[-1] if isinstance(shape[-1], tuple) else (shape[-1],) * 2
    reference = Reference(*wide, padding=padding)
    expected = [reference.y, *reference.backward(dy.astype(np.float64))]
    pixels = dy[:, 0].size
    lengths = weight[0].size, weight[0].size * shape[2] // shape[1], pixels, pixels
    for got, want, length in zip(results, expected, lengths, strict=True):
        error = np.abs(got - want)
        assert (error <= allowed("conv2d", "float32", want, length, 1.0, WINOGRAD)).all(), error.max()
    assert not np.array_equal(results[0], direct_result(x, weight, bias, padding)), "Winograd did not run"


def direct_result(x, weight, bias, padding):
    sw.backends.cpu.set_conv_algorithm("direct")
    return F.conv2d(*(sw.from_numpy(a) for a in (x, weight, bias)), padding=padding).numpy()


def test_more_tiles_than_are_transformed_at_a_time():
    x, weight, bias = sample((28, 272, 272, 16, 16, 1))
    results = {}
    for algorithm in ("direct", "winograd"):
        sw.backends.cpu.set_conv_algorithm(algorithm)
        results[algorithm] = run(x, weight, bias, 1)[1]
    pixels = 28 * 16 * 16
    lengths = 9 * 272, 9 * 272, pixels, pixels
    for direct, winograd, length in zip(results["direct"], results["winograd"], lengths, strict=True):
        limit = allowed("conv2d", "float32", direct, length, 1.0, WINOGRAD + 1)
        assert (np.abs(winograd - direct) <= limit).all()


def test_errors_are_about_those_of_the_plain_sum():
    """Root mean square error over the plain sum's, at most 3 (float64 as the reference)."""
    x, weight, bias = sample((4, 64, 64, 16, 16, 1), seed=1)
    errors = {}
    for algorithm in ("direct", "winograd"):
        sw.backends.cpu.set_conv_algorithm(algorithm)
        dy, results = run(x, weight, bias, 1)
        reference = Reference(*(a.astype(np.float64) for a in (x, weight, bias)), padding=1)
        expected = [reference.y, *reference.backward(dy.astype(np.float64))]
        errors[algorithm] = [
            np.sqrt(np.mean((a - b) ** 2) / np.mean(b**2)) for a, b in zip(results[:3], expected, strict=False)
        ]
    for direct, winograd in zip(errors["direct"], errors["winograd"], strict=True):
        assert winograd < WINOGRAD * max(direct, 2e-7), errors


@pytest.mark.parametrize("shape", [(9, 16, 16, 32, 32, 1), (6, 64, 32, 13, 17, 1), (30, 128, 64, 4, 4, 1)], ids=str)
def test_same_bits_at_any_number_of_threads(isa, shape):
    sw.backends.cpu.set_conv_algorithm("winograd")
    x, weight, bias = sample(shape)
    runs = []
    for threads in (1, 2, 5):
        sw.set_num_threads(threads)
        runs.append(run(x, weight, bias, shape[-1])[1])
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row, column", [(0, 0), (3, 4), (5, 10), (8, 7)])
def test_what_is_not_finite_never_vanishes(isa, value, row, column):
    """Each result that reads it is not finite, and results of tiles that do not are as they were."""
    sw.backends.cpu.set_conv_algorithm("winograd")
    x, weight, bias = sample((2, 16, 16, 9, 11, 1))
    weight[3] = 0  # 0 * inf is NaN
    clean = F.conv2d(*(sw.from_numpy(a) for a in (x, weight, bias)), padding=1).numpy()
    x[1, 5, row, column] = value
    y = F.conv2d(*(sw.from_numpy(a) for a in (x, weight, bias)), padding=1).numpy()
    assert not np.isfinite(y[1, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]).any()
    top, left = max(row - 1, 0) // 4 * 4, max(column - 1, 0) // 4 * 4
    touched = np.zeros(y.shape, bool)
    touched[1, :, top : (row + 1) // 4 * 4 + 4, left : (column + 1) // 4 * 4 + 4] = True
    np.testing.assert_array_equal(y[~touched], clean[~touched])


def test_gradients_that_are_not_finite_never_vanish(isa):
    sw.backends.cpu.set_conv_algorithm("winograd")
    x, weight, bias = sample((2, 16, 16, 9, 11, 1))
    dy = np.ones((2, 16, 9, 11), np.float32)
    dy[0, 2, 4, 4] = np.nan
    _, (_, dx, dweight, _) = run(x, weight, bias, 1, dy)
    assert np.isnan(dx[0, :, 3:6, 3:6]).all()
    assert np.isnan(dweight[2]).all()
    assert np.isfinite(dweight[3]).all()
    assert np.isfinite(dx[1]).all()


def test_gradients_add_to_what_is_there(isa):
    sw.backends.cpu.set_conv_algorithm("winograd")
    x, weight, bias = sample((2, 16, 32, 9, 11, 1))
    xs, ws = leaf(x), leaf(weight)
    (F.conv2d(xs, ws, padding=1).sum() + xs.sum()).backward()
    ones = np.ones((2, 32, 9, 11))
    dx, _, _ = Reference(x.astype(np.float64), weight.astype(np.float64), None, padding=1).backward(ones)
    assert (np.abs(xs.grad.numpy() - dx - 1) <= allowed("conv2d", "float32", dx, 9 * 32, 1.0, WINOGRAD)).all()


def plan(batch, channels, size, kernel=3, stride=1, groups=1, dtype=sw.float32, dilation=1):
    side = [1, kernel, kernel]
    padding = [0, kernel // 2, kernel // 2]
    return _core._conv_plan(
        batch, channels, channels, groups, [1, size, size], [1, size // stride, size // stride], side,
        [1, stride, stride], padding, [1, dilation, dilation], dtype,
    )  # fmt: skip


def test_the_choice_and_its_override():
    assert plan(128, 32, 16)["forward"] == "winograd"
    assert plan(128, 32, 16)["weight_gradient"] == "winograd"
    for other in (dict(stride=2), dict(kernel=1), dict(dtype=sw.float64), dict(dilation=2)):
        assert plan(128, 32, 16, **other)["forward"] == "direct"
    assert plan(128, 24, 16)["forward"] == "direct"
    assert plan(1, 512, 2)["forward"] == "direct"
    assert plan(128, 32, 16, groups=32)["forward"] == "lanes"
    sw.backends.cpu.set_conv_algorithm("winograd")
    assert sw.backends.cpu.get_conv_algorithm() == "winograd"
    assert plan(1, 512, 2)["data_gradient"] == "winograd"
    sw.backends.cpu.set_conv_algorithm("direct")
    assert plan(128, 32, 16)["data_gradient"] == "direct"
    with pytest.raises(ValueError, match="expected auto, direct or winograd, got fast"):
        sw.backends.cpu.set_conv_algorithm("fast")


def test_work_is_what_the_mathematics_asks_for():
    work = plan(8, 32, 16)
    assert work["flops"] == 2 * 8 * 32 * 32 * 9 * 16 * 16
    assert work["bytes"] == 4 * (2 * 8 * 32 * 16 * 16 + 32 * 32 * 9)
