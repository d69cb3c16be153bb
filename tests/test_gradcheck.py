"""gradcheck finds wrong gradients, names them, and knows a kink from an error."""

from __future__ import annotations

import warnings

import pytest
import skipway as sw
import skipway.nn.functional as F
from skipway import nn
from skipway.testing import GradcheckError, gradcheck


def leaf(*values: float) -> sw.Tensor:
    return sw.tensor(values, dtype=sw.float32, requires_grad=True)


def half_wrong(x: sw.Tensor) -> sw.Tensor:
    """x^2, whose second factor is hidden from the tape in the element at index 1."""
    mask = sw.tensor([1.0, 0.0, 1.0], dtype=x.dtype)
    return x * (x * mask + x.detach() * (1.0 - mask))


def test_right_gradients_pass() -> None:
    x = leaf(0.3, -1.0, 2.0)
    assert gradcheck(lambda x: x * x.exp(), x)
    assert gradcheck(lambda x, y: (x * y, (x + y).sum()), (x, leaf(1.0, 2.0, 3.0)))
    assert x.dtype == sw.float32 and x.grad is None


def test_a_wrong_gradient_is_named() -> None:
    with pytest.raises(GradcheckError, match=r"input 0, index \(1,\), output 0 at \(1,\): analytic 2, numeric 4"):
        gradcheck(half_wrong, leaf(1.0, 2.0, 3.0))
    assert gradcheck(half_wrong, leaf(1.0, 2.0, 3.0), raise_exception=False) is False


def test_the_worst_input_and_output_are_named() -> None:
    with pytest.raises(GradcheckError, match=r"input 1, index \(1,\), output 1"):
        gradcheck(lambda x, y: (x * y, half_wrong(y)), (leaf(1.0, 2.0, 3.0), leaf(1.0, 2.0, 3.0)))


def test_a_missing_gradient_is_wrong() -> None:
    with pytest.raises(GradcheckError, match=r"analytic 0, numeric"):
        gradcheck(lambda x: x.detach() * 2.0, leaf(1.0))


def test_a_kink_is_left_out_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"left out 1 element\(s\) at a kink: input 0, index \(1,\)"):
        assert gradcheck(F.relu, leaf(1.0, 0.0, -1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gradcheck(F.relu, leaf(1.0, 0.5, -1.0))


def test_strong_curvature_is_not_a_kink() -> None:
    with pytest.raises(GradcheckError, match="numeric"):
        gradcheck(lambda x: (x.detach() * 300.0).sin() + 0.0 * x, leaf(0.5))


def test_modules_and_their_parameters() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    before = [p.detach().clone() for p in net.parameters()]
    sw.manual_seed(0)
    assert gradcheck(net, sw.randn(5, 3))
    assert all(sw.equal(p, b) and p.dtype == sw.float32 for p, b in zip(net.parameters(), before, strict=True))

    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(sw.ones(2))

        def forward(self, x: sw.Tensor) -> sw.Tensor:
            return x * self.scale.detach()

    with pytest.raises(GradcheckError, match="parameter scale, index"):
        gradcheck(Detached(), sw.ones(3, 2))


def test_it_is_where_pytorch_has_it() -> None:
    assert sw.autograd.gradcheck is gradcheck and sw.testing.gradcheck is gradcheck


def test_lists_of_tensors() -> None:
    assert gradcheck(lambda xs: sw.cat(xs), ([leaf(1.0, 2.0), leaf(3.0)],))


def test_nothing_to_check_is_an_error() -> None:
    with pytest.raises(ValueError, match="gradcheck: expected an input or a parameter that requires grad"):
        gradcheck(F.relu, sw.ones(3))


def test_random_functions_are_an_error() -> None:
    with pytest.raises(ValueError, match="two results for the same inputs"):
        gradcheck(lambda x: F.dropout(x, 0.5), leaf(*[1.0] * 64))
