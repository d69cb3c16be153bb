"""The references against central differences, against SciPy, and against values known without computing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import scipy.special
import scipy.stats
from op_cases import CASES, OpCase, Sample
from op_cases.case import float_arrays
from skipway.testing import reference

RNG = np.random.default_rng(5)


def floats(result: Any) -> list[np.ndarray]:
    """Copies: a result may be a view of the input."""
    results = result if isinstance(result, (list, tuple)) else [result]
    return [np.array(y) for y in results if np.asarray(y).dtype.kind == "f"]


def check_gradients(case: OpCase, sample: Sample) -> int:
    """|dy . (f(x + h) - f(x - h)) / 2h - dx| for up to 20 elements of each input; how many there were."""
    rng = np.random.default_rng(11)
    args, kwargs = sample.arrays("float64", seed=3)
    args, kwargs = _own(args), _own(kwargs)
    inputs = float_arrays((*args, kwargs))
    if not sum(a.size for a in inputs):
        return 0
    result = case.forward(*args, **kwargs)
    centres = floats(result)
    dys = [rng.normal(size=y.shape) for y in centres]
    several = isinstance(result, tuple) and len(dys) == len(result)
    grads = [g for g in case.backward(tuple(dys) if several else dys[0], *args, **kwargs) if g is not None]
    wanted = [i.grad for i in sample.inputs() if np.asarray(i.make(np.random.default_rng(0))).dtype == np.float64]
    if len(grads) != len(inputs):
        inputs = [a for a, grad in zip(inputs, wanted, strict=True) if grad]
    checked, h = 0, 1e-5
    for x, dx in zip(inputs, grads, strict=True):
        assert dx.shape == x.shape
        places = list(np.ndindex(x.shape))
        for at in [places[i] for i in rng.permutation(len(places))[:20]]:
            centre, slopes = x[at], []
            for step in (h, -h):
                x[at] = centre + step
                moved = floats(case.forward(*args, **kwargs))
                slopes.append(
                    sum(float((dy * (y - c)).sum()) for dy, y, c in zip(dys, moved, centres, strict=True)) / step
                )
            x[at] = centre
            numeric = 0.5 * (slopes[0] + slopes[1])
            if abs(slopes[0] - slopes[1]) > 1e-2 * (1 + abs(numeric)):
                continue  # a kink
            checked += 1
            assert abs(numeric - dx[at]) <= 1e-6 * (1 + abs(numeric)) + 1e-3 * abs(slopes[0] - slopes[1]), (
                case.name,
                at,
            )
    return checked


def _own(tree: Any) -> Any:
    if isinstance(tree, np.ndarray):
        return tree.copy()
    if isinstance(tree, dict):
        return {k: _own(v) for k, v in tree.items()}
    return type(tree)(_own(v) for v in tree) if isinstance(tree, (list, tuple)) else tree


_DROPOUT = ("dropout", "alpha")  # their mask comes from the library, see test_ops.py
CHECKED = [c for c in CASES if c.gradient and not c.not_derivative and not c.name.startswith(_DROPOUT)]


@pytest.mark.parametrize("case", CHECKED, ids=lambda c: c.name)
def test_backward_is_the_derivative(case: OpCase) -> None:
    checked = 0
    for sample in case.samples:
        checked += check_gradients(case, sample)
        if checked > 300:
            break
    assert checked


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("relu6", ()),
        ("hardtanh", ()),
        ("relu", ()),
        ("softplus", ()),
        ("mish", ()),
        ("gelu", ()),
        ("abs", ()),
        ("sort", ()),
    ],
)
def test_inputs_are_left_alone(name: str, args: tuple[Any, ...]) -> None:
    x = RNG.normal(size=(3, 4))
    before = x.copy()
    getattr(reference, name)(x, *args)
    getattr(reference, name + "_backward")(np.ones((3, 4)), x, *args)
    np.testing.assert_array_equal(x, before)


def test_every_op_has_its_backward() -> None:
    without = {
        "argmax", "argmin", "argsort", "all", "any", "one_hot", "batch_norm_running", "eq", "ne", "lt", "le", "gt",
        "ge", "logical_and", "logical_or", "logical_not", "logical_xor", "isnan", "isinf",
        "isfinite",
    }  # fmt: skip
    names = set(reference.__all__)
    missing = {n for n in names if not n.endswith("_backward") and n + "_backward" not in names} - without
    assert not missing
    undocumented = {n for n in names if not (getattr(reference, n).__doc__ or "").strip()}
    assert not undocumented


# ---------------------------------------------------------------- against SciPy


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (reference.erf, scipy.special.erf),
        (reference.sigmoid, scipy.special.expit),
        (reference.logsigmoid, scipy.special.log_expit),
        (reference.gelu, lambda x: x * scipy.stats.norm.cdf(x)),
        (lambda x: reference.softmax(x, -1), lambda x: scipy.special.softmax(x, -1)),
        (lambda x: reference.log_softmax(x, 0), lambda x: scipy.special.log_softmax(x, 0)),
        (lambda x: reference.logsumexp(x, 1), lambda x: scipy.special.logsumexp(x, 1)),
        (lambda x: reference.var(x, 1), lambda x: np.var(x, axis=1, ddof=1)),
        (lambda x: reference.norm(x, 3, 1), lambda x: np.linalg.norm(x, 3, axis=1)),
        (lambda x: reference.huber_loss(x, 0 * x, "none", 0.7), lambda x: scipy.special.huber(0.7, x)),
        (
            lambda x: reference.kl_div(np.log(np.abs(x)), x * x, "none"),
            lambda x: scipy.special.rel_entr(x * x, np.abs(x)),
        ),
    ],
)
def test_against_scipy(ours: Any, theirs: Any) -> None:
    x = RNG.normal(0, 3, (7, 33))
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_convolution_against_scipy(n: int) -> None:
    x, w = RNG.normal(size=(1, 1, *[7] * n)), RNG.normal(size=(1, 1, *[3] * n))
    conv, transpose = getattr(reference, f"conv{n}d"), getattr(reference, f"conv_transpose{n}d")
    np.testing.assert_allclose(
        conv(x, w)[0, 0], scipy.signal.correlate(x[0, 0], w[0, 0], "valid"), rtol=1e-12, atol=1e-13
    )
    np.testing.assert_allclose(
        conv(x, w, padding="same")[0, 0], scipy.signal.correlate(x[0, 0], w[0, 0], "same"), rtol=1e-12, atol=1e-13
    )
    np.testing.assert_allclose(
        transpose(x, w)[0, 0], scipy.signal.convolve(x[0, 0], w[0, 0], "full"), rtol=1e-12, atol=1e-13
    )


def test_transposed_convolution_is_the_adjoint() -> None:
    """<conv(x), y> = <x, conv_transpose(y)> with the same weight."""
    x, y, w = RNG.normal(size=(2, 4, 9, 8)), RNG.normal(size=(2, 6, 5, 4)), RNG.normal(size=(6, 2, 3, 3))
    left = (reference.conv2d(x, w, None, 2, 1, 1, 2) * y).sum()
    right = (x * reference.conv_transpose2d(y, w, None, 2, 1, (0, 1), 2)).sum()
    assert math.isclose(left, right, rel_tol=1e-12)


def test_max_pool_against_scipy() -> None:
    x = RNG.normal(size=(1, 1, 9, 11))
    ours = reference.max_pool2d(x, 3, 1, 1)[0, 0]
    np.testing.assert_array_equal(ours, scipy.ndimage.maximum_filter(x[0, 0], 3, mode="constant", cval=-np.inf))


# ---------------------------------------------------------------- known values


def test_normalization_normalizes() -> None:
    x = RNG.normal(2000.0, 3.0, (6, 4, 5, 5))
    y = reference.batch_norm(x, None, None, training=True, eps=0.0)
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0.0, atol=1e-9)
    np.testing.assert_allclose(y.var(axis=(0, 2, 3)), 1.0, rtol=1e-9)
    np.testing.assert_array_equal(reference.batch_norm(np.full((4, 2), 1e10), None, None, training=True), 0.0)
    mean, var = reference.batch_norm_running(np.array([[1.0], [3.0]]), [0.0], [1.0], momentum=0.5)
    assert (mean[0], var[0]) == (1.0, 1.5)


def test_selu_keeps_mean_and_variance() -> None:
    grid = np.linspace(-12, 12, 400_001)
    density = np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi) * (grid[1] - grid[0])
    y = reference.selu(grid)
    assert abs((y * density).sum()) < 1e-6
    assert abs((y * y * density).sum() - 1.0) < 1e-6


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    x = reference.selu(RNG.normal(size=400_000))
    y = reference.alpha_dropout(x, RNG.random(400_000) < 0.8, 0.2)
    assert abs(y.mean() - x.mean()) < 0.01
    assert abs(y.var() - x.var()) < 0.01


def test_losses_of_known_predictions() -> None:
    uniform_scores = np.zeros((3, 8))
    assert math.isclose(reference.cross_entropy(uniform_scores, [1, 2, 3]), math.log(8))
    onehot = reference.one_hot([1, 2, 3], 8).astype(float)
    scores = RNG.normal(size=(3, 8))
    assert math.isclose(reference.cross_entropy(scores, onehot), reference.cross_entropy(scores, [1, 2, 3]))
    log_p = reference.log_softmax(scores, 1)
    assert math.isclose(reference.nll_loss(log_p, [1, 2, 3]), reference.cross_entropy(scores, [1, 2, 3]))
    p = reference.sigmoid(scores)
    bce, logits = reference.binary_cross_entropy(p, onehot), reference.binary_cross_entropy_with_logits(scores, onehot)
    assert math.isclose(bce, logits, rel_tol=1e-12)


def test_ignored_rows_are_as_if_absent() -> None:
    scores, target = RNG.normal(size=(6, 5)), np.array([0, -100, 3, -100, 4, 1])
    kept = target >= 0
    for smoothing in (0.0, 0.3):
        both = [
            reference.cross_entropy(x, t, label_smoothing=smoothing)
            for x, t in ((scores, target), (scores[kept], target[kept]))
        ]
        assert math.isclose(*both)


def test_dropout_of_infinity_is_zero_or_infinity() -> None:
    keep = np.array([True, False])
    np.testing.assert_array_equal(reference.dropout([np.inf, np.inf], keep, 0.5), [np.inf, 0.0])
    np.testing.assert_array_equal(reference.dropout([np.inf, 2.0], [False, False], 1.0), [0.0, 0.0])


def test_equal_elements() -> None:
    """amax shares the gradient, max with an axis gives it to the element it names, sorting keeps equals in order."""
    x = np.array([[1.0, 5.0, 5.0]])
    np.testing.assert_array_equal(reference.amax_backward([6.0], x, 1)[0], [[0.0, 3.0, 3.0]])
    np.testing.assert_array_equal(reference.max_backward([6.0], x, 1)[0], [[0.0, 6.0, 0.0]])
    np.testing.assert_array_equal(reference.argsort([2.0, 1.0, 2.0, 1.0]), [1, 3, 0, 2])
    np.testing.assert_array_equal(reference.argsort([2.0, 1.0, 2.0, 1.0], descending=True), [0, 2, 1, 3])


def test_broadcast_gradients_add_up() -> None:
    da, db = reference.mul_backward(np.ones((2, 3)), np.full((2, 3), 5.0), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(da, [[1.0, 2.0, 3.0]] * 2)
    np.testing.assert_array_equal(db, [10.0, 10.0, 10.0])
    assert reference.add_backward(np.ones(3), np.ones(3), 2.0)[1] is None
