"""softmax and the losses against NumPy in float64: values, gradients, layouts, errors, and the cases that surprise."""

import numpy as np
import pytest
from numeric import assert_close, cast, check_directional, gradients, leaf, numpy, tensor
from skipway import _core


@pytest.fixture
def rng():
    return np.random.default_rng(11)


# ---- the formulas ----------------------------------------------------------------------------------------------------


def log_softmax(x, axis):
    z = x - x.max(axis, keepdims=True)
    return z - np.log(np.exp(z).sum(axis, keepdims=True))


def reduce(losses, reduction, divisor=None):
    if reduction == "none":
        return losses
    return losses.sum() / (1 if reduction == "sum" else losses.size if divisor is None else divisor)


def cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean", smoothing=0.0, logits=True):
    """Row by row, from the definition. x: (N, C, ...)."""
    logp = np.moveaxis(log_softmax(x, 1) if logits else x, 1, -1)
    classes = logp.shape[-1]
    w = np.ones(classes) if weight is None else weight
    if target.dtype.kind == "f":
        q = (1 - smoothing) * np.moveaxis(target, 1, -1) + smoothing / classes
        return reduce(-(w * q * logp).sum(-1), reduction)
    losses, divisor = np.zeros(target.shape), 0.0
    for at in np.ndindex(target.shape):
        t = target[at]
        if t == ignore_index:
            continue
        losses[at] = -(1 - smoothing) * w[t] * logp[at][t] - smoothing / classes * (w * logp[at]).sum()
        divisor += w[t]
    return reduce(losses, reduction, divisor)


def softplus(x):
    return np.logaddexp(0, x)


def smooth_l1(x, t, beta):
    d = np.abs(x - t)
    return np.where(d < beta, d**2 / (2 * beta), d - beta / 2)


def huber(x, t, delta):
    d = np.abs(x - t)
    return np.where(d <= delta, d**2 / 2, delta * (d - delta / 2))


def bce(x, t):
    return -(t * np.log(x) + (1 - t) * np.log1p(-x))


# name: (op with reduction r, formula, values that x and t take)
POINTWISE = {
    "mse": (lambda x, t, r: _core.mse_loss(x, t, None, None, r), lambda x, t: (x - t) ** 2, "rr"),
    "l1": (lambda x, t, r: _core.l1_loss(x, t, reduction=r), lambda x, t: np.abs(x - t), "rr"),
    "smooth_l1": (
        lambda x, t, r: _core.smooth_l1_loss(x, t, reduction=r, beta=0.7),
        lambda x, t: smooth_l1(x, t, 0.7),
        "rr",
    ),
    "smooth_l1_0": (lambda x, t, r: _core.smooth_l1_loss(x, t, None, None, r, 0.0), lambda x, t: np.abs(x - t), "rr"),
    "huber": (lambda x, t, r: _core.huber_loss(x, t, r, 0.8), lambda x, t: huber(x, t, 0.8), "rr"),
    "bce": (lambda x, t, r: _core.binary_cross_entropy(x, t, reduction=r), bce, "pp"),
    "bce_logits": (
        lambda x, t, r: _core.binary_cross_entropy_with_logits(x, t, reduction=r),
        lambda x, t: (1 - t) * x + softplus(-x),
        "rp",
    ),
    "kl_div": (lambda x, t, r: _core.kl_div(x, t, reduction=r), lambda x, t: t * (np.log(t) - x), "rp"),
    "kl_div_log": (
        lambda x, t, r: _core.kl_div(x, t, reduction=r, log_target=True),
        lambda x, t: np.exp(t) * (t - x),
        "rr",
    ),
    "soft_margin": (lambda x, t, r: _core.soft_margin_loss(x, t, reduction=r), lambda x, t: softplus(-t * x), "rr"),
    "poisson": (lambda x, t, r: _core.poisson_nll_loss(x, t, reduction=r), lambda x, t: np.exp(x) - t * x, "rp"),
    "poisson_plain": (
        lambda x, t, r: _core.poisson_nll_loss(x, t, False, True, reduction=r, eps=0.0),
        lambda x, t: x - t * np.log(x) + np.where(t > 1, t * np.log(t) - t + 0.5 * np.log(2 * np.pi * t), 0),
        "PP",
    ),
}


def draw(rng, kind, shape):
    if kind == "r":
        return rng.standard_normal(shape)
    return rng.uniform(0.02, 0.98, shape) if kind == "p" else rng.uniform(0.2, 5, shape)


# ---- softmax ---------------------------------------------------------------------------------------------------------

SHAPES = [(3,), (4, 10), (7, 33), (2, 5, 4), (3, 17, 6, 5), (2, 1), (1, 5000), (64, 3, 40)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax_and_log_softmax(isa, rng, shape, dtype):
    x = cast(tensor(3 * rng.standard_normal(shape)), getattr(_core, dtype))
    wide = numpy(x)
    for dim in range(-1, len(shape)):
        logp = log_softmax(wide, dim)
        assert_close(_core.softmax(x, dim), np.exp(logp), dtype)
        assert_close(_core.log_softmax(x, dim), logp, dtype)
        assert_close(_core.softmin(x, dim), np.exp(log_softmax(-wide, dim)), dtype)
        if dtype == "float64":
            for op in (_core.softmax, _core.log_softmax, _core.softmin):
                check_directional(lambda x, op=op, dim=dim: op(x, dim), [wide], rng)


def test_softmax_extremes(isa):
    x = np.array([[1e30, 1e30, -1e30], [-np.inf, 0, 0], [88.0, 89.0, 90.0], [-1e4, -1e4 - 1, -1e4]], np.float32)
    for dim, a in ((1, x), (0, x.T.copy())):
        assert_close(_core.softmax(tensor(a), dim), np.exp(log_softmax(a.astype(np.float64), dim)), "float32")
    for bad in (np.nan, np.inf):
        y = np.ones((3, 40), np.float32)
        y[1, 7] = bad
        for a, dim in ((y, 1), (y.T.copy(), 0)):
            p = numpy(_core.softmax(tensor(a), dim))
            p = p if dim else p.T
            assert np.isnan(p[1]).all() and np.allclose(p[[0, 2]], 1 / 40)
    assert np.isnan(numpy(_core.softmax(tensor(np.full((2, 3), -np.inf)), 1))).all()


def test_softmax_implicit_dimension_dtype_and_empties(isa, rng):
    x = rng.standard_normal((2, 3, 4))
    assert np.array_equal(numpy(_core.softmax(tensor(x))), numpy(_core.softmax(tensor(x), 0)))
    assert np.array_equal(numpy(_core.softmax(tensor(x[0]))), numpy(_core.softmax(tensor(x[0]), 1)))
    y = _core.softmax(tensor(x.astype(np.float32)), 1, dtype=_core.float64)
    assert y.dtype is _core.float64
    assert numpy(_core.softmax(tensor(np.array(3.0)), 0)) == 1
    for shape, dim in (((0, 3), 1), ((3, 0), 1), ((3, 0), 0), ((2, 0, 4), 1)):
        a = leaf(np.zeros(shape))
        y = _core.log_softmax(a, dim)
        assert y.shape == shape and gradients(y, [a])[0].shape == shape
    permuted = tensor(x).permute(2, 0, 1)
    assert_close(_core.softmax(permuted, 2), np.exp(log_softmax(x.transpose(2, 0, 1), 2)), "float64")


# ---- cross entropy ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(6, 10), (3, 5, 7), (2, 17, 3, 4), (300, 65), (4, 1)], ids=str)
def test_cross_entropy_of_class_indices(isa, rng, shape, smoothing, weighted, reduction):
    x = 2 * rng.standard_normal(shape)
    target = rng.integers(0, shape[1], shape[:1] + shape[2:])
    target.flat[1] = -100
    weight = rng.uniform(0.5, 2, shape[1]) if weighted else None
    expected = cross_entropy(x, target, weight, reduction=reduction, smoothing=smoothing)
    for dtype in ("float64", "float32"):
        w = None if weight is None else cast(tensor(weight), getattr(_core, dtype))
        f = lambda x, w=w: _core.cross_entropy(x, tensor(target), w, reduction=reduction, label_smoothing=smoothing)  # noqa: E731
        assert_close(f(tensor(x.astype(dtype))), expected, dtype, None if reduction != "sum" else 2000)
        if dtype == "float64":
            check_directional(f, [x], rng)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(6, 10), (3, 5, 7), (2, 33, 3, 4)], ids=str)
def test_cross_entropy_of_probabilities(isa, rng, shape, smoothing, reduction):
    x, weight = 2 * rng.standard_normal(shape), rng.uniform(0.5, 2, shape[1])
    q = rng.uniform(0, 1, shape)
    q /= q.sum(1, keepdims=True)
    for w in (None, weight):
        f = lambda x, q, w=w: _core.cross_entropy(  # noqa: E731
            x, q, None if w is None else tensor(w), reduction=reduction, label_smoothing=smoothing
        )
        assert_close(f(tensor(x), tensor(q)), cross_entropy(x, q, w, -100, reduction, smoothing), "float64")
        check_directional(f, [x, q], rng)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("shape", [(6, 10), (2, 17, 3, 4)], ids=str)
def test_nll_loss(isa, rng, shape, reduction):
    x, weight = rng.standard_normal(shape), rng.uniform(0.5, 2, shape[1])
    target = rng.integers(0, shape[1], shape[:1] + shape[2:])
    target.flat[2] = 4
    for w in (None, weight):
        f = lambda x, w=w: _core.nll_loss(x, tensor(target), None if w is None else tensor(w), None, 4, None, reduction)  # noqa: E731
        assert_close(f(tensor(x)), cross_entropy(x, target, w, 4, reduction, logits=False), "float64")
        check_directional(f, [x], rng)


def test_cross_entropy_is_nll_of_log_softmax(isa, rng):
    x, target = leaf(rng.standard_normal((9, 12))), tensor(rng.integers(0, 12, 9))
    fused, plain = _core.cross_entropy(x, target), _core.nll_loss(_core.log_softmax(x, 1), target)
    assert_close(fused, numpy(plain), "float64")
    assert_close(gradients(fused, [x])[0], gradients(plain, [x])[0], "float64")


def test_label_smoothing_ignores_ignored_rows(isa, rng):
    x, target = rng.standard_normal((5, 4)), np.array([1, -100, 3, -100, 0])
    kept = target >= 0
    for reduction in ("mean", "sum"):
        whole, part = (
            _core.cross_entropy(tensor(a), tensor(t), reduction=reduction, label_smoothing=0.3)
            for a, t in ((x, target), (x[kept], target[kept]))
        )
        assert_close(whole, numpy(part), "float64")
    a = leaf(x)
    y = _core.cross_entropy(a, tensor(target), label_smoothing=0.3)
    assert not gradients(y, [a])[0][~kept].any()


def test_target_dtypes_and_unbatched_input(isa, rng):
    x, target = rng.standard_normal((6, 5)), rng.integers(0, 5, 6)
    expected = numpy(_core.cross_entropy(tensor(x), tensor(target)))
    for dtype in (np.int32, np.uint8):
        assert numpy(_core.cross_entropy(tensor(x), tensor(target.astype(dtype)))) == expected
    one = _core.cross_entropy(tensor(x[0]), tensor(np.array(target[0])), reduction="none")
    assert one.shape == ()
    assert_close(one, cross_entropy(x[:1], target[:1], reduction="sum"), "float64")
    one = _core.nll_loss(tensor(x[0]), tensor(np.array(target[0])))
    assert numpy(one) == -x[0, target[0]]


def test_all_rows_ignored_and_empty_batch(isa):
    for target in (np.full(3, -100), np.zeros(0, np.int64)):
        x = leaf(np.ones((len(target), 4)))
        y = _core.cross_entropy(x, tensor(target))
        assert np.isnan(numpy(y))  # a mean over nothing, as NumPy's
        assert not gradients(y, [x])[0].any()
        assert numpy(_core.cross_entropy(x, tensor(target), reduction="sum")) == 0


def test_cross_entropy_extremes(isa):
    x = np.array([[1e4, 0, -1e4], [-np.inf, 0, 1], [3e38, -3e38, 0]], np.float32)
    y = numpy(_core.cross_entropy(tensor(x), tensor(np.array([1, 2, 0])), reduction="none"))
    assert_close(y, [1e4, np.log(1 + np.exp(-1.0)), 0], "float32")
    bad = np.zeros((2, 3), np.float32)
    bad[0, 2] = np.nan
    a = leaf(bad)
    z = _core.cross_entropy(a, tensor(np.array([0, 1])), reduction="none")
    assert np.isnan(numpy(z)[0]) and np.isfinite(numpy(z)[1])
    assert np.isnan(gradients(z, [a])[0][0]).all()


def test_bfloat16_losses_accumulate_in_float32(isa):
    n = 20000  # bfloat16 has 8 bits: adding 1 to 256 would change nothing
    x, t = cast(tensor(np.ones(n)), _core.bfloat16), cast(tensor(np.zeros(n)), _core.bfloat16)
    assert numpy(_core.mse_loss(x, t, reduction="sum")) == pytest.approx(n, rel=0.004)
    logits = cast(tensor(np.zeros((n, 2))), _core.bfloat16)
    y = _core.cross_entropy(logits, tensor(np.zeros(n, np.int64)), reduction="sum")
    assert numpy(y) == pytest.approx(n * np.log(2), rel=0.004)


# ---- pointwise losses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_losses(isa, rng, name, reduction):
    op, formula, kinds = POINTWISE[name]
    for shape in ((), (7,), (3, 17), (2, 5, 4, 3), (130, 70)):
        x, t = draw(rng, kinds[0], shape), draw(rng, kinds[1], shape)
        expected = reduce(np.asarray(formula(x, t)), reduction)
        assert_close(op(tensor(x), tensor(t), reduction), expected, "float64")
        f32 = [np.asarray(a, np.float32) for a in (x, t)]
        expected = reduce(np.asarray(formula(*(a.astype(np.float64) for a in f32))), reduction)
        assert_close(op(*map(tensor, f32), reduction), expected, "float32", 200 if reduction == "none" else 2000)
        if shape != (130, 70):
            check_directional(lambda x, t: op(x, t, reduction), [x, t], rng, h=1e-7, tolerance=1e-5)


def test_weights_of_pointwise_losses(isa, rng):
    x, t = rng.standard_normal((2, 6, 5))
    w, row = rng.uniform(0.5, 2, (6, 5)), rng.uniform(0.5, 2, 5)
    for op, formula in ((_core.mse_loss, np.square), (_core.l1_loss, np.abs)):
        assert_close(op(tensor(x), tensor(t), weight=tensor(w)), (w * formula(x - t)).sum() / w.sum(), "float64")
        assert_close(op(tensor(x), tensor(t), weight=tensor(w), reduction="none"), w * formula(x - t), "float64")
    assert_close(_core.huber_loss(tensor(x), tensor(t), weight=tensor(w)), (w * huber(x, t, 1)).mean(), "float64")
    p = 1 / (1 + np.exp(-t))
    op = _core.binary_cross_entropy_with_logits
    expected = w * ((1 - p) * x + (1 + (row - 1) * p) * softplus(-x))
    assert_close(op(tensor(x), tensor(p), tensor(w), reduction="none", pos_weight=tensor(row)), expected, "float64")
    check_directional(lambda x, p: op(x, p, tensor(row), pos_weight=tensor(row)), [x, p], rng)
    q = 1 / (1 + np.exp(-x))
    assert_close(_core.binary_cross_entropy(tensor(q), tensor(p), tensor(row)), (row * bce(q, p)).mean(), "float64")


def test_hinge_embedding_and_batchmean(isa, rng):
    x, sign = rng.standard_normal((4, 9)), rng.choice([-1.0, 1.0], (4, 9))
    expected = np.where(sign == 1, x, np.maximum(0, 0.5 - x))
    f = lambda x: _core.hinge_embedding_loss(x, tensor(sign), 0.5, reduction="none")  # noqa: E731
    assert_close(f(tensor(x)), expected, "float64")
    check_directional(f, [x], rng, h=1e-7, tolerance=1e-5)
    p = rng.uniform(0.1, 1, (4, 9))
    assert_close(_core.kl_div(tensor(x), tensor(p), reduction="batchmean"), (p * (np.log(p) - x)).sum() / 4, "float64")


def test_pointwise_edges(isa):
    zero, one = tensor(np.zeros(3)), tensor(np.ones(3))
    assert numpy(_core.binary_cross_entropy(zero, one)) == 100  # log stops at -100
    assert numpy(_core.kl_div(one, zero)) == 0
    big = tensor(np.array([-1e4, 1e4, 800.0]))
    assert_close(_core.binary_cross_entropy_with_logits(big, zero, reduction="none"), [0, 1e4, 800], "float64")
    for op in (_core.mse_loss, _core.l1_loss, _core.huber_loss, _core.smooth_l1_loss):
        assert np.isnan(numpy(op(tensor(np.array([np.nan, 1.0])), tensor(np.zeros(2)), reduction="sum")))
        empty = leaf(np.zeros((0, 3)))
        assert numpy(op(empty, tensor(np.zeros((0, 3))), reduction="sum")) == 0
        assert gradients(op(empty, tensor(np.zeros((0, 3)))), [empty])[0].shape == (0, 3)


def test_layouts_and_promotion(isa, rng):
    x, t = rng.standard_normal((2, 3, 5, 4, 6))
    last = tensor(x.transpose(0, 2, 3, 1)).permute(0, 3, 1, 2)
    y = _core.mse_loss(last, tensor(t), reduction="none")
    assert_close(y, (x - t) ** 2, "float64")
    wide = tensor(np.concatenate([x, x], 3))[:, :, :, :6]
    assert_close(_core.l1_loss(wide, last), np.abs(x - x).mean(), "float64")
    check_directional(lambda a, b: _core.mse_loss(a.permute(1, 0, 2, 3), b.permute(1, 0, 2, 3)), [x, t], rng)
    mixed = _core.mse_loss(tensor(x.astype(np.float32)), tensor(np.ones(x.shape, np.int64)))
    assert mixed.dtype is _core.float32
    assert_close(mixed, ((x.astype(np.float32).astype(np.float64) - 1) ** 2).mean(), "float32")


def test_any_number_of_threads_gives_the_same_bits(isa, rng):
    x, target = rng.standard_normal((3000, 33)).astype(np.float32), rng.integers(0, 33, 3000)
    before, seen = _core.get_num_threads(), []
    for n in (1, 2, 5):
        _core.set_num_threads(n)
        a = leaf(x)
        loss = _core.cross_entropy(a, tensor(target), label_smoothing=0.1)
        other = _core.mse_loss(_core.softmax(a, 1), tensor(x))
        columns = _core.log_softmax(a, 0)
        seen.append([numpy(v) for v in (loss, other, columns)] + gradients(loss, [a]) + gradients(other, [a]))
    _core.set_num_threads(before)
    for values in seen[1:]:
        assert all(np.array_equal(p, q) for p, q in zip(seen[0], values, strict=True))


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: _core.mse_loss(ones(4, 1), ones(4)),
            ValueError,
            "mse_loss: expected input and target of one shape, got",
        ),
        (lambda: _core.mse_loss(ones(2), ones(2), reduction="avg"), ValueError, 'got "avg"'),
        (lambda: _core.huber_loss(ones(2), ones(2), delta=0.0), ValueError, "huber_loss: expected delta > 0, got 0"),
        (lambda: _core.binary_cross_entropy(ones(2) * 1.5, ones(2)), ValueError, "input values in [0, 1]"),
        (lambda: _core.mse_loss(tensor(np.ones(2, int)), tensor(np.ones(2, int))), TypeError, "mse_loss"),
        (lambda: _core.cross_entropy(ones(2, 3), index(0, 3)), IndexError, "in 0 to 2 (3 classes), got 3 at row 1"),
        (lambda: _core.cross_entropy(ones(2, 3), index(-1, 0)), IndexError, "got -1 at row 0"),
        (lambda: _core.nll_loss(ones(2, 3), index(0, 7)), IndexError, "nll_loss: expected target classes in 0 to 2"),
        (
            lambda: _core.cross_entropy(ones(2, 3), index(0)),
            ValueError,
            "expected target of shape (2,) for input (2, 3), got (1,)",
        ),
        (lambda: _core.cross_entropy(ones(2, 3), ones(2)), ValueError, "class indices need an integer dtype"),
        (lambda: _core.cross_entropy(ones(2, 3), index(0, 1), ones(2)), ValueError, "weight of shape (3,)"),
        (lambda: _core.cross_entropy(ones(2, 3), index(0, 1), label_smoothing=1.5), ValueError, "in [0, 1], got 1.5"),
        (lambda: _core.cross_entropy(index(1, 2), index(0)), TypeError, "cross_entropy"),
        (lambda: _core.nll_loss(ones(2, 3), ones(2)), TypeError, "dtype int64, int32 or uint8, got float64"),
        (lambda: _core.softmax(ones(2, 3), 2), IndexError, "softmax"),
        (lambda: _core.softmax(index(1, 2), 0), TypeError, "softmax"),
    ],
)
def test_errors_say_what_was_expected(call, error, message):
    with pytest.raises(error) as e:
        call()
    assert message in str(e.value)


def ones(*shape):
    return tensor(np.ones(shape))


def index(*classes):
    return tensor(np.array(classes))
