"""Function, grad modes, and the Python side of backward."""

import pytest
import skipway as sw
from skipway.autograd import Function, Variable


class Cube(Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return x**3 * scale

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        assert ctx.needs_input_grad == (True, False)
        return grad * 3 * x**2 * ctx.scale, None


def test_function_gradient():
    x = sw.tensor([1.0, 2.0], requires_grad=True)
    y = Cube.apply(x, 2.0)
    assert y.requires_grad and not y.is_leaf and "Cube" in y.grad_fn.name()
    (y * sw.tensor([1.0, 10.0])).sum().backward()
    assert x.grad.tolist() == [6.0, 240.0]


def test_function_is_not_recorded_without_need():
    x = sw.tensor([1.0], requires_grad=True)
    with sw.no_grad():
        assert not Cube.apply(x, 1.0).requires_grad
    assert not Cube.apply(x.detach(), 1.0).requires_grad


def test_several_outputs_and_unused_ones():
    class Split(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, a, b):
            return a * 2 + b * 3

    x = sw.ones(2, requires_grad=True)
    first, second = Split.apply(x)
    first.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    assert second.requires_grad


def test_gradients_are_not_materialized_on_request():
    class Split(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, a, b):
            assert b is None
            return a * 2

    x = sw.ones(1, requires_grad=True)
    Split.apply(x)[0].backward()
    assert x.grad.item() == 2


def test_non_differentiable_outputs_and_integers():
    class Top(Function):
        @staticmethod
        def forward(ctx, x):
            mask = (x > 0).float()
            index = x.argmax()
            ctx.mark_non_differentiable(mask)
            return x * mask, mask, index

        @staticmethod
        def backward(ctx, grad, *unused):
            return grad

    x = sw.tensor([1.0, -1.0], requires_grad=True)
    y, mask, index = Top.apply(x)
    assert y.requires_grad and not mask.requires_grad and index.item() == 0


def test_identity_and_straight_through():
    class Sign(Function):
        @staticmethod
        def forward(ctx, x):
            return x.sign()

        @staticmethod
        def backward(ctx, grad):
            return grad

    class Same(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, grad):
            return grad * 5

    x = sw.tensor([-2.0, 3.0], requires_grad=True)
    Sign.apply(x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    x.grad = None
    Same.apply(x).sum().backward()
    assert x.grad.tolist() == [5.0, 5.0]


def test_saved_output_is_freed():
    import gc
    import weakref

    class Exp(Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.saved_tensors[0]

    x = sw.zeros(3, requires_grad=True)
    y = Exp.apply(x)
    ref = weakref.ref(y)
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]
    before = sw.memory_stats()["allocated_bytes"]
    del y
    gc.collect()
    assert ref() is None and sw.memory_stats()["allocated_bytes"] <= before


def test_changing_a_saved_tensor_is_an_error():
    x = sw.ones(2, requires_grad=True)
    z = x * 1
    y = Cube.apply(z, 1.0)
    z.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


def test_wrong_backward_results_are_errors():
    class Few(Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, grad):
            return grad

    class WrongShape(Function):
        @staticmethod
        def forward(ctx, x):
            return x.sum()

        @staticmethod
        def backward(ctx, grad):
            return grad

    x = sw.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="Few.*1 gradients for 2 arguments"):
        Few.apply(x, x).sum().backward()
    with pytest.raises(sw.ShapeError, match=r"WrongShape.*\(\).*\(2,\)"):
        WrongShape.apply(x).backward()


def test_errors_in_backward_reach_the_caller():
    class Fails(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, grad):
            raise KeyError("from backward")

    with pytest.raises(KeyError, match="from backward"):
        Fails.apply(sw.ones(1, requires_grad=True)).backward()


def test_setup_context():
    class Double(Function):
        @staticmethod
        def forward(x):
            return x * 2

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.factor = 2

        @staticmethod
        def backward(ctx, grad):
            return grad * ctx.factor

    x = sw.ones(1, requires_grad=True)
    Double.apply(x).backward()
    assert x.grad.item() == 2


def test_grad_modes():
    x = sw.ones(1, requires_grad=True)
    assert sw.is_grad_enabled()
    with sw.no_grad():
        assert not sw.is_grad_enabled() and not (x * 2).requires_grad
        with sw.enable_grad():
            assert (x * 2).requires_grad
    assert sw.is_grad_enabled()

    @sw.no_grad()
    def quiet():
        return x * 2

    @sw.no_grad
    def quiet_too():
        return x * 2

    assert not quiet().requires_grad and not quiet_too().requires_grad

    @sw.no_grad()
    def steps():
        yield sw.is_grad_enabled()
        yield sw.is_grad_enabled()

    for inside in steps():
        assert not inside and sw.is_grad_enabled()

    with sw.set_grad_enabled(False):
        assert not sw.is_grad_enabled()
    assert sw.is_grad_enabled()
    sw.set_grad_enabled(False)
    try:
        assert not sw.is_grad_enabled()
    finally:
        sw.set_grad_enabled(True)
    with sw.inference_mode():
        assert not sw.is_grad_enabled()
    with pytest.raises(RuntimeError, match="inside"), sw.no_grad():
        raise RuntimeError("inside")
    assert sw.is_grad_enabled()


def test_grad_and_backward():
    x = sw.tensor([1.0, 2.0], requires_grad=True)
    w = sw.tensor(3.0, requires_grad=True)
    unused = sw.ones(1, requires_grad=True)
    y = (x * w).sum()
    gx, gw = sw.autograd.grad(y, [x, w], retain_graph=True)
    assert gx.tolist() == [3.0, 3.0] and gw.item() == 3.0 and x.grad is None
    with pytest.raises(RuntimeError, match="allow_unused"):
        sw.autograd.grad(y, [unused], retain_graph=True)
    assert sw.autograd.grad(y, [unused], retain_graph=True, allow_unused=True) == (None,)
    assert sw.autograd.grad(y, [unused], retain_graph=True, materialize_grads=True)[0].tolist() == [0.0]
    sw.autograd.backward(y, retain_graph=True, inputs=[w])
    assert w.grad.item() == 3.0 and x.grad is None
    sw.autograd.backward([y, y * 2], [sw.tensor(1.0), sw.tensor(1.0)])
    assert x.grad.tolist() == [9.0, 9.0]
    with pytest.raises(RuntimeError, match="scalar"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="does not require grad"):
        sw.ones(1).backward()
    with pytest.raises(RuntimeError, match="second"):
        (x * x).sum().backward(create_graph=True)


def test_variable():
    x = Variable(sw.ones(2), requires_grad=True)
    assert isinstance(x, Variable) and isinstance(x, sw.Tensor) and x.requires_grad
    assert not Variable(sw.ones(2)).requires_grad
