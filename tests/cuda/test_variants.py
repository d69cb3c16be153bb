"""Variants of kernels that the op table does not reach: products of integers and of all layouts, elements of one byte,
tensors that are not aligned, the steps of all optimizers, norms of gradients."""

from __future__ import annotations

import numpy as np
import pytest
import skipway as sw
from against_cpu import EPS, FLOATS, array_of, close, make, on_device, same

INTEGERS = ("uint8", "int32", "int64")


@pytest.mark.parametrize("b_layout", ["dense", "transposed"])
@pytest.mark.parametrize("a_layout", ["dense", "transposed"])
@pytest.mark.parametrize("dtype", [*INTEGERS, "float64"])
def test_products_of_all_layouts(dtype: str, a_layout: str, b_layout: str) -> None:
    a, b = np.arange(15).reshape(5, 3) % 7, np.arange(12).reshape(3, 4) % 5 + 1
    same(lambda x, y: x @ y, [make(a, dtype, a_layout), make(b, dtype, b_layout)])


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS, "float32"])
def test_sums_at_positions(dtype: str) -> None:
    """Twice at one position, which adds up in order."""
    x, values = make(np.arange(9) % 2), make([1, 2, 3, 0])
    x, values = (t.to(getattr(sw, dtype)) for t in (x, values))
    same(lambda x, p, v: x.index_add(0, p, v), [x, sw.tensor([3, 0, 3, 8]), values])


@pytest.mark.parametrize("dtype", ["bool", "uint8"])
def test_elements_of_one_byte(dtype: str) -> None:
    x = make(np.arange(7 * 35).reshape(7, 35) % 3, "int64").to(getattr(sw, dtype))
    same(lambda t: t.t().contiguous(), [x])

    def put(t: sw.Tensor, p: sw.Tensor, v: sw.Tensor) -> sw.Tensor:
        t = t.clone()
        t[p] = v
        return t

    same(put, [x[0].clone(), sw.tensor([3, 0, 3]), x[1, :3].clone()])


@pytest.mark.parametrize("layout", ["dense", "shifted"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_residual_add_aligned_and_not(dtype: str, layout: str) -> None:
    """Against float64; with float16's numbers, which the CPU does not add."""
    numbers = [np.linspace(-3, 2, 37), np.linspace(4, -5, 37), np.linspace(-2, 2, 37)]
    x, branch, dy = (on_device(make(n, dtype, layout)) for n in numbers)
    x, branch = x.requires_grad_(), branch.requires_grad_()
    y = sw.residual_add(x, branch, scale=0.5, activation="relu")
    y.backward(dy)
    z = array_of(x) + 0.5 * array_of(branch)
    expected = [np.maximum(z, 0), (z > 0) * array_of(dy), 0.5 * (z > 0) * array_of(dy)]
    for result, reference in zip((y, x.grad, branch.grad), expected, strict=True):
        np.testing.assert_allclose(array_of(result), reference, rtol=EPS[dtype], atol=EPS[dtype])


OPTIMIZERS = {
    "adadelta": lambda p: sw.optim.Adadelta(p, lr=0.5),
    "adagrad": lambda p: sw.optim.Adagrad(p, lr=0.5),
    "rmsprop": lambda p: sw.optim.RMSprop(p, lr=0.5, momentum=0.9, centered=True),
    "adam": lambda p: sw.optim.Adam(p, lr=0.5, amsgrad=True),
    "sgd": lambda p: sw.optim.SGD(p, lr=0.5, momentum=0.9, nesterov=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str) -> None:
    """Two steps, of a tensor in packs with a tail and of one that is not aligned."""
    here = [make(np.linspace(-1, 1, 37)), make(np.linspace(2, 3, 5), layout="shifted")]
    there = [on_device(t) for t in here]
    for parameters in (here, there):
        optimizer = OPTIMIZERS[name]([p.requires_grad_() for p in parameters])
        for step in range(2):
            for p in parameters:
                p.grad = (p.detach() * (step + 1)).clone()
            optimizer.step()
    for p, expected in zip(there, here, strict=True):
        close(p.detach(), expected.detach(), 16)


@pytest.mark.parametrize("p", [2.0, 1.0, 3.0, float("inf")])
@pytest.mark.parametrize("dtype", FLOATS)
def test_clipped_gradients(dtype: str, p: float) -> None:
    parameters = [
        on_device(make(np.linspace(-1, 1, 37), dtype)),
        on_device(make(np.linspace(2, 3, 5), dtype, "shifted")),
    ]
    for t in parameters:
        t.grad = t.detach().clone()
    together = np.concatenate([array_of(t) for t in parameters])
    norm = array_of(sw.nn.utils.clip_grad_norm_(parameters, 0.5, p))
    expected = np.linalg.norm(together, p)
    np.testing.assert_allclose(norm, expected, rtol=2 * EPS[dtype])
    clipped = np.concatenate([array_of(t.grad) for t in parameters])
    np.testing.assert_allclose(clipped, together * (0.5 / expected), rtol=4 * EPS[dtype] + 1e-6, atol=1e-6)
