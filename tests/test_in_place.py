"""Elementwise ops in place: values, gradients, overlap and errors."""

import numpy as np
import pytest
from elementwise_tools import EPS, UNARY, uniform
from numeric import assert_within, backward, check_gradient, layouts, tensor
from skipway import _core

pytestmark = pytest.mark.usefixtures("isa")


IN_PLACE = {
    "add_": lambda x: x + 2, "sub_": lambda x: x - 2, "mul_": lambda x: x * 2, "div_": lambda x: x / 2,
    "pow_": lambda x: x**2, "floor_divide_": lambda x: x // 2, "remainder_": lambda x: x % 2,
}  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_changes_the_same_memory(name):
    a = uniform((3, 5), (0.5, 3), np.float32)
    for x in layouts(a).values():
        pointer = x.data_ptr()
        y = getattr(x, name)(2)
        assert y is x and x.data_ptr() == pointer
        assert_within(x, IN_PLACE[name](a), 2 * EPS, 1e-7)
    ours, out = tensor(a.astype(np.float64), True), tensor(a.astype(np.float64), True)
    backward(getattr(ours.clone(), name)(2), tensor(np.ones((3, 5))))
    backward(getattr(_core, name[:-1])(out, 2), tensor(np.ones((3, 5))))
    np.testing.assert_array_equal(ours.grad.numpy(), out.grad.numpy())


@pytest.mark.parametrize("name", sorted(set(UNARY) - {"logit"}))
def test_in_place_unary_has_the_gradient_of_its_copy(name):
    a = uniform((4, 9), UNARY[name][1])
    changed, copied = tensor(a, True), tensor(a, True)
    backward(getattr(changed.clone(), name + "_")(), tensor(np.ones((4, 9))))
    backward(getattr(_core, name)(copied), tensor(np.ones((4, 9))))
    np.testing.assert_array_equal(changed.grad.numpy(), copied.grad.numpy())


def test_in_place_gradients_of_both_operands():
    a, b = uniform((2, 3), (0.5, 2)), uniform((3,), (0.5, 2))
    for name in ["add_", "sub_", "mul_", "div_"]:
        check_gradient(lambda x, y, name=name: getattr(x.clone(), name)(y), a, b)
    check_gradient(lambda x, y: x.clone().mul_(y).mul_(y), a, b)
    check_gradient(lambda x: (lambda t: t.mul_(t))(x.clone()), a)
    check_gradient(lambda x, y, z: x.clone().addcmul_(y, z, value=3), a, b, b + 1)
    check_gradient(lambda x, y, z: x.clone().addcdiv_(y, z), a, b, b + 1)
    check_gradient(lambda x, y, z: x.clone().lerp_(y, z), a, b, b + 1)
    check_gradient(lambda x: x.clone().clamp_(0.8, 1.2), a)
    check_gradient(lambda x, v: x.clone().masked_fill_(tensor(a > 1), v), a, np.array(0.3))


def test_in_place_overlap_reads_the_old_values():
    memory = np.arange(1000.0)
    _core.from_numpy(memory[1:]).add_(_core.from_numpy(memory[:-1]))
    x = tensor(np.arange(6.0).reshape(2, 3))
    assert x.add_(x).tolist() == [[0, 2, 4], [6, 8, 10]]
    whole = tensor(np.arange(1000.0))
    whole[1:].add_(whole[:-1])
    np.testing.assert_array_equal(whole.numpy()[1:], np.arange(1, 1000) + np.arange(999.0))


def test_in_place_errors():
    x = tensor(np.zeros((2, 3), np.float32))
    with pytest.raises(
        ValueError, match=r"add_: in place, expected operands that broadcast to \(2, 3\), got .*\(4, 2, 3\)"
    ):
        x.add_(tensor(np.zeros((4, 2, 3), np.float32)))
    with pytest.raises(TypeError, match="add_: the result is float32, which a tensor of int64 cannot hold"):
        tensor(np.arange(3)).add_(0.5)
    with pytest.raises(TypeError, match="sqrt_: the result is float32"):
        tensor(np.arange(3)).sqrt_()
    with pytest.raises(RuntimeError, match="add_: a leaf tensor that requires grad"):
        tensor(np.zeros(3), True).add_(1)
    with pytest.raises(RuntimeError, match="add_: the tensor of shape .* was expanded"):
        tensor(np.zeros(3)).expand(2, 3).add_(1)
    y = tensor(np.ones(3), True)
    z = y * 1
    product = z * z
    z.add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        backward(product, tensor(np.ones(3)))
