"""Batch, group, instance, layer and local response normalisation on the device, against NumPy and the CPU kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F

EPS = {"float64": 2.3e-16, "float32": 1.2e-7, "bfloat16": 7.9e-3, "float16": 9.8e-4}
DTYPES = list(EPS)
ACTS: dict[str | None, Callable[[np.ndarray], np.ndarray]] = {
    None: lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z < 0, 0.01 * z, z),
    "relu6": lambda z: np.clip(z, 0, 6),
}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def numpy(t: sw.Tensor) -> np.ndarray:
    return t.detach().cpu().to(sw.float64).numpy()


def tensor(array: np.ndarray, dtype: str, device: str, grad: bool = False) -> sw.Tensor:
    t = sw.tensor(array).to(getattr(sw, dtype)).to(device)
    t.requires_grad_(grad)
    return t


def rounded(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Values that every dtype holds, none of them near a kink of an activation."""
    return (rng.integers(-12, 13, shape) * 2 + 1) / 8


def assert_close(actual: sw.Tensor | np.ndarray, expected: np.ndarray, dtype: str, factor: float = 64.0) -> None:
    actual = numpy(actual) if isinstance(actual, sw.Tensor) else actual
    assert actual.shape == expected.shape
    if expected.size == 0:
        return
    scale = 1 + np.abs(expected) + np.sqrt(np.mean(expected**2))
    limit = EPS[dtype] * scale * (2 if dtype in ("bfloat16", "float16") else factor)
    np.testing.assert_array_less(np.abs(actual - expected), limit)


def run(
    f: Callable[..., sw.Tensor], arrays: Sequence[np.ndarray], dy: np.ndarray, dtypes: Sequence[str], device: str
) -> list[np.ndarray]:
    """f's result and gradients, as float64."""
    leaves = [tensor(a, d, device, True) for a, d in zip(arrays, dtypes, strict=True)]
    y = f(*leaves)
    assert y.device.type == device
    y.backward(tensor(dy, dtypes[0], device))
    for leaf, d in zip(leaves, dtypes, strict=True):
        assert leaf.grad is not None and leaf.grad.dtype == getattr(sw, d) and leaf.grad.device.type == device
    return [numpy(y)] + [numpy(leaf.grad) for leaf in leaves if leaf.grad is not None]


def check(
    f: Callable[..., sw.Tensor],
    arrays: Sequence[np.ndarray],
    dy: np.ndarray,
    dtype: str,
    device: str,
    mixed: bool = False,
    factor: float = 64.0,
) -> None:
    """Against the CPU's float64 kernels. mixed: parameters in float32."""
    dtypes = ["float32" if mixed and a.ndim == 1 else dtype for a in arrays]
    want = run(f, arrays, dy, ["float64"] * len(arrays), "cpu")
    for got, expected in zip(run(f, arrays, dy, dtypes, device), want, strict=True):
        terms = max(1.0, dy.size / expected.size) if expected.size else 1
        assert_close(got, expected, dtype, factor * np.sqrt(terms))


BATCHES = [(5, 3), (40, 7), (3, 16, 5, 5), (9, 33, 8, 8), (2, 264, 3), (300, 2, 3), (2, 3, 2, 3, 4), (0, 8, 3)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", BATCHES, ids=str)
def test_batch_norm(rng: np.random.Generator, device: str, shape: tuple[int, ...], dtype: str) -> None:
    c = shape[1]
    arrays = [rounded(rng, *shape), rounded(rng, c), rounded(rng, c), rounded(rng, *shape)]
    dy = rounded(rng, *shape)

    def f(x: sw.Tensor, w: sw.Tensor, b: sw.Tensor, r: sw.Tensor) -> sw.Tensor:
        return F.batch_norm(x, None, None, w, b, True, residual=r, activation="relu")

    check(f, arrays, dy, dtype, device, mixed=dtype in ("bfloat16", "float16"))
    check(lambda x: F.batch_norm(x, None, None, None, None, True), arrays[:1], dy, dtype, device)


@pytest.mark.parametrize("activation", ACTS)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_fused(
    rng: np.random.Generator, device: str, training: bool, residual: bool, activation: str | None
) -> None:
    shape = (3, 8, 4, 3)
    arrays = [rounded(rng, *shape), rounded(rng, 8), rounded(rng, 8)] + [rounded(rng, *shape)] * residual
    mean, var = rng.standard_normal(8), rng.uniform(0.5, 2, 8)

    def f(x: sw.Tensor, w: sw.Tensor, b: sw.Tensor, r: sw.Tensor | None = None) -> sw.Tensor:
        stats = (sw.tensor(s).to(x.dtype).to(x.device) for s in (mean, var))
        return F.batch_norm(x, *stats, w, b, training, residual=r, activation=activation)

    for dtype in ("float32", "bfloat16"):
        check(f, arrays, rounded(rng, *shape), dtype, device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_running_statistics(rng: np.random.Generator, device: str, dtype: str) -> None:
    x = rounded(rng, 6, 9, 5)
    x[2, 4, 1] = np.inf  # this channel's statistics stay
    mean, var = (tensor(a, dtype, device) for a in (np.zeros(9), np.ones(9)))
    F.batch_norm(tensor(x, dtype, device), mean, var, None, None, True, momentum=0.25)
    x[:, 4] = np.array([1.0, -1.0] * 15).reshape(6, 5) * np.sqrt(29 / 30)  # what leaves them as they are
    assert_close(mean, 0.25 * x.mean((0, 2)), dtype)
    assert_close(var, 0.75 + 0.25 * x.var((0, 2), ddof=1), dtype)


def test_inference_keeps_its_statistics_for_backward(rng: np.random.Generator, device: str) -> None:
    arrays = [rounded(rng, 2, 5, 3)]
    stats = [tensor(rng.uniform(1, 2, 5), "float32", device) for _ in range(2)]
    x = tensor(arrays[0], "float32", device, True)
    y = F.batch_norm(x, *stats, None, None, False, eps=0.0)
    y.backward(tensor(np.ones((2, 5, 3)), "float32", device))
    assert x.grad is not None
    assert_close(x.grad, np.broadcast_to(1 / np.sqrt(numpy(stats[1]))[:, None], (2, 5, 3)), "float32")


@pytest.mark.parametrize("value", [1e10, -3e30, 3e38])
def test_constant_channels_become_zero(device: str, value: float) -> None:
    x = tensor(np.full((4, 6, 5), value), "float32", device)
    assert not numpy(F.batch_norm(x, None, None, None, None, True)).any()
    assert not numpy(F.layer_norm(x, (6, 5))).any()


@pytest.mark.parametrize("scale", [1e30, 1e-25])
@pytest.mark.parametrize("shape", [(9, 8, 5), (2, 3, 7)], ids=str)
def test_values_whose_squares_leave_float32(
    rng: np.random.Generator, device: str, shape: tuple[int, ...], scale: float
) -> None:
    x = rng.standard_normal(shape)
    big = tensor(x * scale, "float32", device)
    y = F.batch_norm(big, None, None, None, None, True, eps=0.0)
    assert_close(y, (x - x.mean((0, 2), keepdims=True)) / x.std((0, 2), keepdims=True), "float32")
    y = F.layer_norm(big, shape[1:], eps=0.0)
    assert_close(y, (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True), "float32")


def test_large_means(rng: np.random.Generator, device: str) -> None:
    x = (2000 + rng.standard_normal((40, 64))).astype(np.float32)
    wide = x.astype(np.float64)
    y = F.layer_norm(tensor(x, "float32", device), (64,))
    assert_close(y, (wide - wide.mean(1, keepdims=True)) / wide.std(1, keepdims=True), "float32", 64)
    y = F.batch_norm(tensor(x, "float32", device), None, None, None, None, True, eps=0.0)
    assert_close(y, (wide - wide.mean(0)) / wide.std(0), "float32", 64)


def test_first_values_far_from_the_rest(rng: np.random.Generator, device: str) -> None:
    x = rng.standard_normal((400, 4)).astype(np.float32)
    x[0] = 12345.678
    wide = x.astype(np.float64)
    y = numpy(F.batch_norm(tensor(x, "float32", device), None, None, None, None, True, eps=0.0))
    np.testing.assert_allclose(y, (wide - wide.mean(0)) / wide.std(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "groups"), [((3, 12, 5), 3), ((2, 40, 3, 3), 1), ((4, 6), 2), ((0, 4, 3), 2)])
def test_group_norm(rng: np.random.Generator, device: str, shape: tuple[int, ...], groups: int, dtype: str) -> None:
    arrays = [rounded(rng, *shape), rounded(rng, shape[1]), rounded(rng, shape[1])]
    mixed = dtype in ("bfloat16", "float16")
    check(lambda x, w, b: F.group_norm(x, groups, w, b), arrays, rounded(rng, *shape), dtype, device, mixed)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("use_input_stats", [False, True])
def test_instance_norm(rng: np.random.Generator, device: str, use_input_stats: bool, dtype: str) -> None:
    arrays = [rounded(rng, 3, 10, 4, 2), rounded(rng, 10), rounded(rng, 10)]
    running = [rng.standard_normal(10), rng.uniform(1, 2, 10)]
    after = []

    def f(x: sw.Tensor, w: sw.Tensor, b: sw.Tensor) -> sw.Tensor:
        stats = [sw.tensor(s).to(x.dtype).to(x.device) for s in running]
        y = F.instance_norm(x, *stats, w, b, use_input_stats)
        after.append([numpy(s) for s in stats])
        return y

    check(f, arrays, rounded(rng, 3, 10, 4, 2), dtype, device)
    for actual, expected in zip(after[1], after[0], strict=True):
        assert_close(actual, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7, 2), (9, 33), (300, 8), (5, 264), (3, 600), (2, 1032), (0, 5), (2, 0)], ids=str)
def test_layer_norm(rng: np.random.Generator, device: str, shape: tuple[int, ...], dtype: str) -> None:
    arrays = [rounded(rng, *shape) for _ in range(1)] + [rounded(rng, shape[1]) for _ in range(2)]
    dy = rounded(rng, *shape)
    mixed = dtype in ("bfloat16", "float16")
    check(lambda x, w, b: F.layer_norm(x, shape[1:], w, b), arrays, dy, dtype, device, mixed)
    check(lambda x, w: F.rms_norm(x, shape[1:], w), arrays[:2], dy, dtype, device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cols", [4100, 4104])
def test_layer_norm_long_rows(rng: np.random.Generator, device: str, cols: int, dtype: str) -> None:
    """Rows that lie in shared memory; an odd number of columns more makes packs impossible."""
    for n in (cols, cols + 1):
        arrays = [rounded(rng, 2, n), rounded(rng, n), rounded(rng, n)]
        check(lambda x, w, b: F.layer_norm(x, x.shape[1:], w, b), arrays, rounded(rng, 2, n), dtype, device)


def test_layer_norm_rows_longer_than_shared_memory(rng: np.random.Generator, device: str) -> None:
    x = rng.standard_normal((1, 16400)) * 1e30
    y = F.layer_norm(tensor(x, "float32", device), (16400,))
    assert_close(y, (x - x.mean()) / x.std(), "float32")


def test_gradients_are_added_to_a_residual_stream(rng: np.random.Generator, device: str) -> None:
    """x's gradient comes from several norms: all but the first one's kernels add to what is there."""
    shape = (4, 8, 6)
    x0, dy = rounded(rng, *shape), rounded(rng, *shape)

    def gradient(dtype: str, on: str) -> np.ndarray:
        x = tensor(x0, dtype, on, True)
        ys = [F.batch_norm(x, None, None, None, None, True, activation="relu")]
        ys += [F.layer_norm(x, (6,)), F.group_norm(x, 2), F.local_response_norm(x, 3)]
        ys += [F.batch_norm(ys[0], None, None, None, None, True, residual=x, activation="relu6")]
        ys += [F.layer_norm(x.reshape(4, 48), (48,)), F.layer_norm(x[:, 1:], (6,))]
        dys = [tensor(dy, dtype, on)] * 5
        dys += [tensor(dy.reshape(4, 48), dtype, on), tensor(dy[:, 1:], dtype, on)]
        sw.autograd.backward(ys, dys)
        assert x.grad is not None
        return numpy(x.grad)

    want = gradient("float64", "cpu")
    for dtype in ("float32", "float64"):
        assert_close(gradient(dtype, device), want, dtype, 256)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "size"), [((2, 7, 5), 5), ((1, 3, 2, 2), 4), ((3, 33, 4), 40), ((2, 0, 3), 2)])
def test_local_response_norm(
    rng: np.random.Generator, device: str, shape: tuple[int, ...], size: int, dtype: str
) -> None:
    check(
        lambda x: F.local_response_norm(x, size, alpha=0.5, beta=0.75, k=2.0),
        [rounded(rng, *shape)],
        rounded(rng, *shape),
        dtype,
        device,
    )


def test_local_response_norm_of_large_values(device: str) -> None:
    x = np.full((1, 4, 3), 1e25)
    y = F.local_response_norm(tensor(x, "float32", device), 3, alpha=3.0, beta=0.75, k=1.0)
    terms = np.array([2, 3, 3, 2])[None, :, None]
    np.testing.assert_allclose(numpy(y), x * (1 + terms * x * x) ** -0.75, rtol=1e-5)


def test_parameters_on_another_device_are_named(device: str) -> None:
    x, w = sw.zeros(2, 3).to(device), sw.zeros(3)
    message = r"expected weight on the device of input float32 \(2, 3\) on cuda:0, got float32 \(3,\) on cpu"
    with pytest.raises(sw.DeviceError, match="batch_norm: " + message):
        F.batch_norm(x, None, None, w, None, True)
    with pytest.raises(sw.DeviceError, match="layer_norm: " + message):
        F.layer_norm(x, (3,), w)
