"""Matrix products and linear layers of bfloat16 on instructions that multiply it: every level."""

from __future__ import annotations

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from numeric import assert_exact, integers, leaf
from op_cases import round_to
from op_runner import array_of, tensor_of
from tolerances import allowed

# m, k, n: tails of every kind, several slices of k, a k that is cut among tasks, and blocks below and beside each other
# in all ways, which share panels or pack their own
SIZES = [
    (5, 1311, 5), (16, 129, 16), (17, 64, 33), (33, 62, 47), (31, 2049, 15), (130, 250, 70), (500, 34, 100),
    (64, 5000, 24), (20, 33, 1000), (200, 2048, 64), (300, 801, 450), (113, 1600, 385),
]  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_any_layout_is_exact(bf16_level: str, size: tuple[int, int, int]) -> None:
    m, k, n = size
    rng = np.random.default_rng(0)
    a, b = integers(rng, (m, k), "bfloat16"), integers(rng, (k, n), "bfloat16")
    expected = a.astype(np.float64) @ b.astype(np.float64)
    lefts, rights = (
        [
            leaf(x),
            leaf(np.ascontiguousarray(x.T)).t(),
            leaf(np.repeat(x, 2, axis=1))[:, ::2],
        ]
        for x in (a, b)
    )
    for left in lefts:
        for right in rights:
            assert_exact(left @ right, expected, "bfloat16")


def test_panels_that_are_packed_some_columns_at_a_time() -> None:
    """16400 x 520 elements are more than blocks share at a time."""
    rng = np.random.default_rng(4)
    a, b = integers(rng, (113, 16400), "bfloat16"), integers(rng, (16400, 520), "bfloat16")
    assert_exact(leaf(a) @ leaf(b), a.astype(np.float64) @ b.astype(np.float64), "bfloat16")


@pytest.mark.parametrize("rows", [100, 200, 336, 1000])
@pytest.mark.parametrize("columns", [64, 300, 513])
def test_every_cut_covers_the_result(bf16_level: str, rows: int, columns: int) -> None:
    for inner in (64, 512, 2048):
        product = sw.ones(rows, inner, dtype=sw.bfloat16) @ sw.ones(inner, columns, dtype=sw.bfloat16)
        assert float(product.min()) == float(product.max()) == inner


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("size", [(70, 64, 10), (128, 65, 100), (300, 512, 40)], ids=str)
def test_linear(bf16_level: str, size: tuple[int, int, int], activation: str | None) -> None:
    rows, inner, out = size
    rng = np.random.default_rng(1)
    x, w, b = (round_to(rng.standard_normal(s), "bfloat16") for s in ((rows, inner), (out, inner), (out,)))
    tx, tw, tb = (tensor_of(a, "bfloat16").requires_grad_() for a in (x, w, b))
    y = F.linear(tx, tw, tb, activation=activation)
    expected = x @ w.T + b
    dy = round_to(rng.standard_normal(expected.shape), "bfloat16")
    y.backward(tensor_of(dy, "bfloat16"))
    if activation:
        expected = np.maximum(expected, 0)
        dy = np.where(array_of(y) > 0, dy, 0)
    for got, value, length in (
        (y, expected, inner),
        (tx.grad, dy @ w, out),
        (tw.grad, dy.T @ x, rows),
        (tb.grad, dy.sum(0), rows),
    ):
        assert np.all(np.abs(array_of(got) - value) <= allowed("linear", "bfloat16", value, length, 1.0))


def test_batches_of_matrices(bf16_level: str) -> None:
    rng = np.random.default_rng(2)
    a, b = integers(rng, (3, 1, 40, 70), "bfloat16"), integers(rng, (2, 70, 50), "bfloat16")
    assert_exact(leaf(a) @ leaf(b), a.astype(np.float64) @ b.astype(np.float64), "bfloat16")


def test_any_number_of_threads_gives_the_same_bits(bf16_level: str) -> None:
    rng = np.random.default_rng(3)
    a, b = (tensor_of(round_to(rng.standard_normal(s), "bfloat16"), "bfloat16") for s in ((100, 3000), (3000, 90)))
    results = []
    for threads in (1, 2, 5):
        sw.set_num_threads(threads)
        results.append(array_of(a @ b))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
