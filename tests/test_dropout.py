"""Dropout: the mask follows from seed and logical index alone; exact zeros; backward with the same mask."""

import numpy as np
import pytest
from conftest import available_isas
from skipway import _core

pytestmark = pytest.mark.usefixtures("restore")

LOW = -1.7580993408473766  # -scale * alpha of SELU
ELEMENTWISE = ["dropout", "alpha_dropout"]
CHANNELWISE = ["dropout2d", "feature_alpha_dropout"]
DTYPES = {"float64": 1e-14, "float32": 1e-6, "bfloat16": 0.008}


def words_of(seed, n, offset=0):
    """The 32 bits of elements 0 to n - 1: Philox4x32-10 with NumPy integers."""
    e = np.arange(n, dtype=np.uint64)
    low = np.uint64(0xFFFFFFFF)
    c = [e // np.uint64(64) * np.uint64(16) + e % np.uint64(16)]
    c += [np.full(n, v, np.uint64) for v in (0, offset & 0xFFFFFFFF, offset >> 32)]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [
            (p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]),
            p1 & low,
            (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]),
            p0 & low,
        ]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c)[(e // np.uint64(16) % np.uint64(4)).astype(int), np.arange(n)]


def keep_of(seed, shape, p, per_channel=False, batched=True):
    draws = shape[: 2 if batched else 1] if per_channel else shape
    keep = words_of(seed, int(np.prod(draws))) >= round(p * 2**32)
    return np.broadcast_to(keep.reshape(draws + (1,) * (len(shape) - len(draws))), shape)


def expected(name, x, dy, keep, p):
    if p == 1:
        return np.zeros_like(x), np.zeros_like(x)
    if "alpha" in name:
        a = 1 / np.sqrt((1 - p) * (1 + p * LOW**2))
        b = -a * LOW * p
        return np.where(keep, a * x + b, a * LOW + b), np.where(keep, a * dy, 0)
    return np.where(keep, x / (1 - p), 0), np.where(keep, dy / (1 - p), 0)


def tensor(a, layout="row-major", dtype="float32"):
    t = _core.empty(a.shape, dtype=getattr(_core, dtype))
    if layout == "channels-last":
        t = t.contiguous(memory_format="channels_last")
    elif layout == "sliced":
        wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), np.float64 if dtype == "float64" else np.float32)
        t = _core.from_numpy(wide[..., ::2])
    t.copy_(_core.from_numpy(np.ascontiguousarray(a)))
    return t


def run(name, x, dy, p, inplace=False, **options):
    """(y, dx) as float64, and y itself."""
    x = x.requires_grad_()
    source = x.clone() if inplace else x
    y = getattr(_core, name)(source, p, True, inplace=inplace, **options)
    assert not inplace or y is source
    (dx,) = _core._grad([y], [x], [dy], False, False)
    return y.detach().numpy().astype(np.float64), dx.numpy().astype(np.float64), y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE + CHANNELWISE)
@pytest.mark.parametrize(
    "shape", [(3, 5), (1, 1), (2, 3, 7), (0, 4, 2), (4, 33, 5, 7), (2, 8, 65), (2, 3, 40, 41), (1, 70, 3, 3, 3)]
)
def test_mask_and_values(isa, name, shape, dtype):
    rng = np.random.default_rng(0)
    x = tensor(rng.standard_normal(shape), dtype=dtype)
    dy = tensor(rng.standard_normal(shape), dtype=dtype)
    xs, dys = x.numpy().astype(np.float64), dy.numpy().astype(np.float64)
    for p in (0.25, 0.9, 1.0):
        want = expected(name, xs, dys, keep_of(77, shape, p, name in CHANNELWISE), p)
        layouts = ["row-major", "sliced", "channels-last"] if len(shape) > 2 else ["row-major"]
        for layout in layouts if dtype == "float32" else layouts[:1] + layouts[2:]:
            for inplace in (False, True):
                _core.manual_seed(77)
                y, dx, out = run(name, tensor(xs, layout, dtype), dy, p, inplace)
                np.testing.assert_allclose(y, want[0], rtol=DTYPES[dtype], atol=DTYPES[dtype])
                np.testing.assert_allclose(dx, want[1], rtol=DTYPES[dtype], atol=DTYPES[dtype])
                assert str(out.dtype).endswith(dtype)
                if layout == "channels-last":
                    assert out._is_channels_last()
    _core.manual_seed(77)
    y, dx, _ = run(name, x, tensor(dys, "channels-last" if len(shape) > 2 else "row-major", dtype), 0.5)
    want = expected(name, xs, dys, keep_of(77, shape, 0.5, name in CHANNELWISE), 0.5)
    np.testing.assert_allclose(dx, want[1], rtol=DTYPES[dtype], atol=DTYPES[dtype])


@pytest.mark.parametrize(
    "name, shape, batched",
    [
        ("dropout1d", (6, 5), False),
        ("dropout1d", (3, 6, 5), True),
        ("dropout2d", (3, 6), True),
        ("dropout3d", (4, 3, 2, 5), False),
        ("dropout3d", (2, 4, 3, 2, 5), True),
    ],
)
def test_channels(name, shape, batched):
    x = np.random.default_rng(1).standard_normal(shape)
    _core.manual_seed(5)
    y, _, _ = run(name, tensor(x, dtype="float64"), tensor(x, dtype="float64"), 0.5)
    keep = keep_of(5, shape, 0.5, True, batched)
    np.testing.assert_allclose(y, np.where(keep, 2 * x, 0), rtol=1e-15)


def test_same_bits_for_any_number_of_threads_and_instruction_set():
    x = np.random.default_rng(2).standard_normal((3, 50, 33, 31)).astype(np.float32)
    results = []
    for isa in available_isas():
        for threads in (1, 2, 5):
            for layout in ("row-major", "channels-last"):
                _core.set_isa(isa)
                _core.set_num_threads(threads)
                _core.manual_seed(3)
                results.append(_core.dropout(tensor(x, layout), 0.3).numpy())
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)
    dropped = (results[0] == 0).mean()
    assert abs(dropped - 0.3) < 0.005


@pytest.mark.parametrize("name", ELEMENTWISE + CHANNELWISE)
def test_infinite_and_nan_inputs(name):
    shape = (4, 16, 3, 3)
    x = np.full(shape, np.inf)
    x[:, ::2] = np.nan
    for layout in ("row-major", "channels-last"):
        for p in (0.5, 1.0):
            _core.manual_seed(1)
            y = getattr(_core, name)(tensor(x, layout), p, True).numpy()
            keep = keep_of(1, shape, p, name in CHANNELWISE)
            with np.errstate(invalid="ignore"):
                want = expected(name, x, x, keep, p)[0]
            np.testing.assert_allclose(y, want, rtol=1e-6)
            assert p == 0.5 or not np.signbit(y).any()


@pytest.mark.parametrize(
    "name", ["dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"]
)
def test_identity_and_errors(name):
    f = getattr(_core, name)
    x = _core.rand((2, 3, 4, 5) if name != "dropout1d" else (2, 3, 4))
    state = _core.get_rng_state().tolist()
    assert f(x, 0.5, False) is x and f(x, 0.0, True) is x and f(x, 0.0, True, True) is x
    assert _core.get_rng_state().tolist() == state
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=rf"{name}: expected p in \[0, 1\], got"):
            f(x, p)
    with pytest.raises(TypeError, match=name):
        f(_core.empty(tuple(x.shape), dtype=_core.int64), 0.5, True)
    with pytest.raises(RuntimeError, match=name):
        f(_core.rand_like(x).requires_grad_(), 0.5, True, True)


def test_wrong_dimensions():
    for name, shape in [
        ("dropout1d", (3,)),
        ("dropout1d", (2, 3, 4, 5)),
        ("dropout2d", (3,)),
        ("dropout3d", (2, 3, 4)),
    ]:
        with pytest.raises(_core.ShapeError, match=f"{name}: expected"):
            getattr(_core, name)(_core.rand(shape))


def test_alpha_dropout_keeps_mean_and_variance():
    _core.manual_seed(0)
    y = _core.alpha_dropout(_core.randn(400_000), 0.4, True).numpy().astype(np.float64)
    assert abs(y.mean()) < 0.01 and abs(y.var() - 1) < 0.02


def test_each_call_draws_anew():
    _core.manual_seed(0)
    x = _core.from_numpy(np.ones(1000, np.float32))
    assert _core.dropout(x, 0.5).tolist() != _core.dropout(x, 0.5).tolist()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("shape", [(2, 8, 5, 7), (3, 16, 4, 4), (1, 24, 9), (2, 12, 3, 3)])
def test_gradient_in_either_layout(name, shape):
    """What the forward pass kept is in its memory order; a gradient in another order has the mask drawn again."""
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal(shape), rng.standard_normal(shape)
    want = expected(name, x, dy, keep_of(5, shape, 0.4), 0.4)
    for layout in ("row-major", "channels-last"):
        for other in ("row-major", "channels-last"):
            _core.manual_seed(5)
            leaf = tensor(x, layout).requires_grad_()
            y = getattr(_core, name)(leaf, 0.4, True)
            (dx,) = _core._grad([y], [leaf], [tensor(dy, other)], False, False)
            np.testing.assert_allclose(dx.numpy(), want[1], rtol=1e-6, atol=1e-6)
