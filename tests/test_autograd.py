"""The tape: what it computes, what it keeps, what it refuses."""

import gc
import weakref

import numpy as np
import pytest
import skipway as sw


def leaf(*values):
    return sw.tensor(list(values), dtype=sw.float64, requires_grad=True)


def test_simple_chain():
    x = leaf(1.0, 2.0, 3.0)
    ((x * x).sum() * 2).backward()
    assert x.grad.tolist() == [4.0, 8.0, 12.0]


def test_gradients_accumulate_over_calls_and_uses():
    x = leaf(3.0)
    y = x * 2 + x
    y.backward()
    (x * 4).backward()
    assert x.grad.item() == 7.0


def test_grad_is_the_same_object():
    x = leaf(3.0)
    (x * x).backward()
    assert x.grad is x.grad
    x.grad = None
    assert x.grad is None


def test_no_grad_and_enable_grad():
    x = leaf(1.0)
    with sw.no_grad():
        y = x * 2
        assert not y.requires_grad and not sw.is_grad_enabled()
        with sw.enable_grad():
            assert (x * 2).requires_grad
    assert sw.is_grad_enabled() and (x * 2).requires_grad

    @sw.no_grad()
    def decorated():
        return x * 2

    assert not decorated().requires_grad


def test_detach_shares_memory_and_cuts_history():
    x = leaf(1.0, 2.0)
    d = (x * 2).detach()
    assert not d.requires_grad and d.is_leaf
    e = x.detach()
    assert e.data_ptr() == x.data_ptr()


def test_grad_returns_gradients_and_leaves_grad_alone():
    x, w = leaf(2.0), leaf(5.0)
    y = x * x * w
    gx, gw = sw.autograd.grad(y, [x, w])
    assert (gx.item(), gw.item()) == (20.0, 4.0)
    assert x.grad is None and w.grad is None


def test_grad_of_an_intermediate():
    x = leaf(2.0)
    h = x * 3
    (g,) = sw.autograd.grad((h * h).sum(), [h])
    assert g.item() == 12.0


def test_unused_input():
    x, unused = leaf(1.0), leaf(1.0)
    with pytest.raises(RuntimeError, match="allow_unused"):
        sw.autograd.grad(x * 2, [unused])
    assert sw.autograd.grad(x * 2, [unused], allow_unused=True) == (None,)


def test_using_a_graph_twice_is_an_error():
    x = leaf(1.0)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()
    z = x * x
    z.backward(retain_graph=True)
    z.backward()
    assert x.grad.item() == 6.0


def test_second_derivative_is_an_error():
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match="second derivatives"):
        sw.autograd.grad(x * x, [x], create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives"):
        (x * x).backward(create_graph=True)


def test_backward_needs_a_scalar_or_a_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"got shape \(2,\)"):
        (x * x).backward()
    (x * x).backward(sw.tensor([1.0, 10.0], dtype=sw.float64))
    assert x.grad.tolist() == [2.0, 40.0]
    with pytest.raises(sw.ShapeError, match=r"expected a gradient of shape \(2,\), got \(3,\)"):
        (x * x).backward(sw.ones(3, dtype=sw.float64))
    with pytest.raises(RuntimeError, match="does not require grad"):
        sw.ones(1).backward()


def test_the_core_checks_its_lists():
    x = leaf(1.0)
    with pytest.raises(ValueError, match="each of 1 tensors, got 0"):
        sw._core._grad([x * 2], [x], [], False, False)


def test_saved_tensor_changed_in_place_is_an_error():
    x = leaf(1.0, 2.0)
    y = x * 2
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match=r"backward of mul.*changed in place"):
        z.sum().backward()


def test_in_place_on_a_leaf_is_an_error():
    x = leaf(1.0)
    with pytest.raises(RuntimeError, match="leaf tensor that requires grad"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[0] = 3.0
    with sw.no_grad():
        x.add_(1)
    assert x.item() == 2.0


def test_in_place_on_an_expanded_tensor_is_an_error():
    x = sw.zeros(3, 1).expand(3, 4)
    with pytest.raises(RuntimeError, match=r"expanded.*clone\(\)"):
        x.add_(1)


def test_in_place_keeps_history():
    x = leaf(1.0, 2.0)
    y = x * 3
    y.mul_(x)  # 3 x^2
    y += 1
    y.sum().backward()
    assert x.grad.tolist() == [6.0, 12.0]


def test_assignment_into_a_view():
    x, v = leaf(1.0, 2.0, 3.0), leaf(10.0)
    y = x * 1
    before = y[:2]
    y[1] = v * 2
    (y * y).sum().backward()
    assert x.grad.tolist() == [2.0, 0.0, 6.0]
    assert v.grad.item() == 2 * 20 * 2
    assert before.tolist() == [1.0, 20.0]


def test_a_view_sees_its_bases_new_history():
    x = leaf(1.0, 2.0)
    y = x * 1
    view = y[1:]
    y.mul_(5)
    view.sum().backward()
    assert x.grad.tolist() == [0.0, 5.0]


def test_assignment_into_a_constant_makes_it_depend():
    v = leaf(2.0, 3.0)
    out = sw.zeros(4, dtype=sw.float64)
    out[1:3] = v * v
    out.sum().backward()
    assert v.grad.tolist() == [4.0, 6.0]


def test_tensor_hooks():
    x = leaf(1.0)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g.item()))
    handle = y.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    (y * 1).backward(retain_graph=True)
    assert seen == [1.0] and x.grad.item() == 21.0
    handle.remove()
    x.grad = None
    (y * 1).backward()
    assert x.grad.item() == 3.0


def test_an_exception_in_a_hook_arrives():
    x = leaf(1.0)
    y = x * 2

    def broken(grad):
        raise KeyError("mine")

    y.register_hook(broken)
    with pytest.raises(KeyError, match="mine"):
        (y * 1).backward()


def test_retain_grad():
    x = leaf(1.0)
    y = x * 2
    y.retain_grad()
    (y * 3).backward()
    assert y.grad.item() == 3.0


def test_long_chains_neither_recurse_nor_leak():
    x = leaf(1.0)
    before = sw.memory_stats()["allocated_bytes"]
    y = x
    for _ in range(200_000):
        y = y + 1
    y.backward()
    assert x.grad.item() == 1.0
    y = x
    for _ in range(200_000):
        y = y * 1
    del y  # freed without having been walked
    x.grad = None
    gc.collect()
    assert sw.memory_stats()["allocated_bytes"] <= before + 1024


def test_the_graph_is_freed_as_it_is_walked():
    x = sw.ones(1 << 18, requires_grad=True)
    y = x
    for _ in range(20):
        y = y * y
    loss = y.sum()
    del y
    held = sw.memory_stats()["allocated_bytes"]
    sw.reset_peak_memory_stats()
    loss.backward()
    assert sw.memory_stats()["max_allocated_bytes"] < held + 5 * 4 * (1 << 18)
    assert sw.memory_stats()["allocated_bytes"] <= held - 18 * 4 * (1 << 18)


def test_results_do_not_keep_each_other_alive():
    x = leaf(1.0)
    y = sw.exp(x)  # saves its own result
    alive = weakref.ref(y)
    del y
    assert alive() is None


def test_custom_function():
    class Cube(sw.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * 3 * x * x

    x = leaf(2.0)
    Cube.apply(x).backward()
    assert x.grad.item() == 12.0


def test_gradient_dtype_and_layout():
    x = sw.randn(2, 3, 4, 5, requires_grad=True)
    x.permute(0, 2, 3, 1).contiguous().sum().backward()
    assert x.grad.shape == x.shape and x.grad.dtype == x.dtype
    assert np.array_equal(x.grad.numpy(), np.ones((2, 3, 4, 5), np.float32))


def test_requires_grad_needs_a_floating_dtype():
    with pytest.raises(RuntimeError, match="floating"):
        sw.ones(2, dtype=sw.int64).requires_grad_()
