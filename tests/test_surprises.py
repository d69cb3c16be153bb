"""What surprises people in other libraries, in one place: each op alone has more tests of its own."""

from __future__ import annotations

import math

import pytest
import skipway as sw
import skipway.nn.functional as F

DTYPES = [sw.float32, sw.bfloat16, sw.float64]
INF, NAN = math.inf, math.nan


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_normalization_of_large_values(dtype: sw.dtype) -> None:
    sw.manual_seed(0)
    assert (F.batch_norm(sw.full((8, 3), 1e10).to(dtype), None, None, training=True) == 0).all()
    huge = (sw.randn(64, 4, dtype=sw.float64) * 1e30).to(dtype)
    for y in (F.batch_norm(huge, None, None, training=True), F.layer_norm(huge, (4,)), F.group_norm(huge, 2)):
        assert y.isfinite().all() and 0.9 < float((y.double() ** 2).mean()) < 1.1


def test_layer_norm_far_from_zero() -> None:
    sw.manual_seed(0)
    y = F.layer_norm(sw.randn(64, 64) + 2000.0, (64,))
    assert abs(float(y.var(dim=1, correction=0).mean()) - 1.0) < 1e-3


def test_dropout_of_infinity() -> None:
    sw.manual_seed(0)
    assert set(F.dropout(sw.full((1000,), INF), 0.5).tolist()) == {0.0, INF}
    for x in (sw.full((5,), INF, requires_grad=True), sw.full((5,), NAN, requires_grad=True)):
        y = F.dropout(x, 1.0)
        y.sum().backward()
        assert y.tolist() == [0.0] * 5 and x.grad.tolist() == [0.0] * 5


@pytest.mark.parametrize("n", [300, 10_000, 1_000_000])
def test_bfloat16_sums_accumulate_in_float32(n: int) -> None:
    ones = sw.ones(n, dtype=sw.bfloat16)
    expected = float(sw.tensor(float(n)).to(sw.bfloat16))
    assert float(ones.sum()) == expected and float(ones.mean()) == 1.0 and float(ones.cumsum(0)[-1]) == expected
    assert float(F.linear(ones, ones.reshape(1, n))) == expected


def test_nan_stays() -> None:
    bad = sw.tensor([1.0, NAN, -1.0, 2.0])
    assert F.relu(bad).isnan().tolist() == [False, True, False, False]
    assert F.max_pool1d(bad.reshape(1, 1, 4), 2).isnan().flatten().tolist() == [True, False]
    for y in (bad.max(), bad.min(), bad.sum(), bad.max(dim=0).values, bad.amax(0), F.softmax(bad, 0)):
        assert y.isnan().all()
    assert F.linear(sw.zeros(1, 2), sw.tensor([[NAN, 0.0]])).isnan().all()
    assert F.conv2d(sw.zeros(1, 1, 3, 3), sw.full((1, 1, 3, 3), NAN), padding=1).isnan().all()
    assert F.conv_transpose2d(sw.zeros(1, 1, 3, 3), sw.full((1, 1, 3, 3), NAN)).isnan().all()


def test_label_smoothing_leaves_ignored_rows_out() -> None:
    sw.manual_seed(0)
    scores, target = sw.randn(3, 4), sw.tensor([0, -100, 2])
    kept = sw.tensor([0, 2])
    for smoothing in (0.0, 0.3):
        with_ignored = F.cross_entropy(scores, target, label_smoothing=smoothing)
        without = F.cross_entropy(scores[kept], target[kept], label_smoothing=smoothing)
        assert math.isclose(float(with_ignored), float(without), rel_tol=1e-6)


def test_a_column_against_a_row_is_an_error() -> None:
    for loss in (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy_with_logits):
        with pytest.raises(sw.ShapeError, match="one shape"):
            loss(sw.zeros(5, 1), sw.zeros(5))


def test_writing_into_an_expanded_tensor_is_an_error() -> None:
    x = sw.zeros(1, 3).expand(4, 3)
    with pytest.raises(RuntimeError, match="expanded"):
        x += 1
    assert (x == 0).all()


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        (lambda x: F.conv2d(x, sw.zeros(4, 3, 3, 3)), (0, 4, 6, 6)),
        (lambda x: F.conv_transpose2d(x, sw.zeros(3, 4, 3, 3)), (0, 4, 10, 10)),
        (lambda x: F.max_pool2d(x, 2), (0, 3, 4, 4)),
        (lambda x: F.avg_pool2d(x, 2), (0, 3, 4, 4)),
        (lambda x: F.adaptive_avg_pool2d(x, 1), (0, 3, 1, 1)),
        (lambda x: F.batch_norm(x, None, None, training=True), (0, 3, 8, 8)),
        (lambda x: F.layer_norm(x, (8,)), (0, 3, 8, 8)),
        (lambda x: F.group_norm(x, 3), (0, 3, 8, 8)),
        (lambda x: F.instance_norm(x), (0, 3, 8, 8)),
        (lambda x: F.dropout2d(x, 0.5), (0, 3, 8, 8)),
        (lambda x: F.interpolate(x, size=(4, 4)), (0, 3, 4, 4)),
        (lambda x: F.pad(x, (1, 1)), (0, 3, 8, 10)),
        (lambda x: F.linear(x, sw.zeros(5, 8)), (0, 3, 8, 5)),
        (lambda x: F.softmax(x, 1), (0, 3, 8, 8)),
        (lambda x: sw.cat([x, x]), (0, 3, 8, 8)),
        (lambda x: x.mean(dim=(2, 3)), (0, 3)),
    ],
)
def test_empty_batches_work(op: object, shape: tuple[int, ...]) -> None:
    x = sw.zeros(0, 3, 8, 8, requires_grad=True)
    y = op(x)  # type: ignore[operator]
    assert tuple(y.shape) == shape
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_empty_batches_leave_parameters_gradients_zero() -> None:
    weight = sw.ones(4, 3, 3, 3, requires_grad=True)
    F.conv2d(sw.zeros(0, 3, 8, 8), weight).sum().backward()
    assert (weight.grad == 0).all()
