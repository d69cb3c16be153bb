"""Optimizers: update rules in NumPy, groups, state dicts, options out of range."""

import copy

import numpy as np
import pytest
import skipway as sw
from skipway import nn, optim


def sgd(p, g, s, t, lr, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0, maximize=False):
    g = (-g if maximize else g) + weight_decay * p
    if momentum:
        s["b"] = g.copy() if "b" not in s else momentum * s["b"] + (1 - dampening) * g
        g = g + momentum * s["b"] if nesterov else s["b"]
    return p - lr * g


def adam(p, g, s, t, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, decoupled=False):
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    s["m"] = betas[0] * s.get("m", 0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0) + (1 - betas[1]) * g * g
    s["x"] = np.maximum(s.get("x", 0), s["v"])
    v = s["x"] if amsgrad else s["v"]
    return p - lr * (s["m"] / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)


def adamw(p, g, s, t, lr, weight_decay=1e-2, **options):
    return adam(p, g, s, t, lr, weight_decay=weight_decay, decoupled=True, **options)


def rmsprop(p, g, s, t, lr, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    g = g + weight_decay * p
    s["s"] = alpha * s.get("s", 0) + (1 - alpha) * g * g
    s["a"] = alpha * s.get("a", 0) + (1 - alpha) * g
    u = g / (np.sqrt(s["s"] - (s["a"] ** 2 if centered else 0)) + eps)
    s["b"] = momentum * s.get("b", 0) + u
    return p - lr * (s["b"] if momentum else u)


def adagrad(p, g, s, t, lr, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    g = g + weight_decay * p
    s["s"] = s.get("s", initial_accumulator_value) + g * g
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["s"]) + eps)


def adadelta(p, g, s, t, lr, rho=0.9, eps=1e-6, weight_decay=0.0):
    g = g + weight_decay * p
    s["s"] = rho * s.get("s", 0) + (1 - rho) * g * g
    u = np.sqrt(s.get("d", 0) + eps) / np.sqrt(s["s"] + eps) * g
    s["d"] = rho * s.get("d", 0) + (1 - rho) * u * u
    return p - lr * u


CASES = [
    (optim.SGD, sgd, {}),
    (optim.SGD, sgd, {"momentum": 0.9}),
    (optim.SGD, sgd, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    (optim.SGD, sgd, {"momentum": 0.9, "nesterov": True, "maximize": True}),
    (optim.Adam, adam, {}),
    (optim.Adam, adam, {"betas": (0.8, 0.9), "weight_decay": 0.1, "amsgrad": True}),
    (optim.AdamW, adamw, {}),
    (optim.AdamW, adamw, {"weight_decay": 0.3, "eps": 1e-3}),
    (optim.RMSprop, rmsprop, {}),
    (optim.RMSprop, rmsprop, {"momentum": 0.9, "centered": True, "weight_decay": 0.1}),
    (optim.Adagrad, adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.2}),
    (optim.Adadelta, adadelta, {"rho": 0.8, "weight_decay": 0.1}),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_update_rule(case):
    cls, rule, options = CASES[case]
    rng = np.random.default_rng(case)
    starts = [rng.standard_normal((3, 4)), rng.standard_normal(5)]
    params = [nn.Parameter(sw.tensor(a)) for a in starts]
    opt = cls(params, lr=0.05, **options)
    states = [{}, {}]
    for t in range(1, 6):
        for i, p in enumerate(params):
            g = rng.standard_normal(starts[i].shape)
            p.grad = sw.tensor(g)
            starts[i] = rule(starts[i], g, states[i], t, 0.05, **options)
        opt.step()
    for p, expected in zip(params, starts, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_groups():
    a, b = nn.Parameter(sw.zeros(1)), nn.Parameter(sw.zeros(1))
    opt = optim.SGD([{"params": [a], "lr": 1.0}], lr=0.1, weight_decay=0.5)
    opt.add_param_group({"params": b})
    assert [g["lr"] for g in opt.param_groups] == [1.0, 0.1] and opt.param_groups[1]["weight_decay"] == 0.5
    a.grad, b.grad = sw.ones(1), sw.ones(1)
    opt.step()
    assert a.item() == -1.0 and b.item() == pytest.approx(-0.1)
    with pytest.raises(ValueError, match="more than one parameter group"):
        opt.add_param_group({"params": [a]})


def test_parameters_without_gradient_stay():
    a, b = nn.Parameter(sw.ones(1)), nn.Parameter(sw.ones(1))
    opt = optim.SGD([a, b], lr=0.1, momentum=0.9)
    a.grad = sw.ones(1)
    opt.step()
    assert b.item() == 1.0 and b not in opt.state


def test_zero_grad():
    p = nn.Parameter(sw.ones(2))
    opt = optim.SGD([p], lr=0.1)
    p.grad = sw.ones(2)
    opt.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0, 0.0]
    opt.zero_grad()
    assert p.grad is None


def test_closure():
    p = nn.Parameter(sw.ones(1))
    opt = optim.SGD([p], lr=0.1)

    def closure():
        opt.zero_grad()
        loss = (p * 3).sum()
        loss.backward()
        return loss

    with sw.no_grad():
        loss = opt.step(closure)
    assert loss.item() == 3.0 and p.item() == pytest.approx(0.7)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_state_dict_resumes_to_the_same_bits(case):
    cls, _, options = CASES[case]

    def walk(stop):
        rng = np.random.default_rng(1)
        p = nn.Parameter(sw.tensor(rng.standard_normal(7).astype(np.float32)))
        opt = cls([p], lr=0.05, **options)
        for t in range(6):
            if t == stop:
                state = copy.deepcopy(opt.state_dict())
                p = nn.Parameter(p.detach().clone())
                opt = cls([p], lr=0.9, **options)
                opt.load_state_dict(state)
            p.grad = sw.tensor(rng.standard_normal(7).astype(np.float32))
            opt.step()
        return p.detach().numpy()

    np.testing.assert_array_equal(walk(3), walk(None))


def test_state_dict_layout():
    params = [nn.Parameter(sw.zeros(2)), nn.Parameter(sw.zeros(3))]
    opt = optim.Adam(params, lr=0.1)
    for p in params:
        p.grad = sw.ones(*p.shape)
    opt.step()
    state = opt.state_dict()
    assert state["param_groups"][0]["params"] == [0, 1] and sorted(state["state"]) == [0, 1]
    assert {"step", "exp_avg", "exp_avg_sq"} <= set(state["state"][0])
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optim.Adam([{"params": params[:1]}, {"params": params[1:]}]).load_state_dict(state)
    with pytest.raises(ValueError, match="2 parameters, expected 1"):
        optim.Adam(params[:1]).load_state_dict(state)


def test_bfloat16_parameters_keep_float32_states():
    p = nn.Parameter(sw.ones(4, dtype=sw.bfloat16))
    opt = optim.Adam([p])
    p.grad = sw.ones(4, dtype=sw.bfloat16)
    opt.step()
    assert opt.state[p]["exp_avg"].dtype is sw.float32
    opt.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert opt.state[p]["exp_avg"].dtype is sw.float32
    opt.step()


def sgd_of(p, buffer=None):
    """An optimizer of p that made one step, with the momentum buffer that it has or is to have."""
    opt = optim.SGD([p], lr=0.1, momentum=0.9)
    p.grad = sw.ones(*p.shape, dtype=p.dtype)
    opt.step()
    if buffer is not None:
        opt.state[p]["momentum_buffer"] = buffer
    return opt


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_momentum_has_the_dtype_of_its_parameter(dtype):
    p = nn.Parameter(sw.ones(19, dtype=getattr(sw, dtype)))
    opt = sgd_of(p)
    assert opt.state[p]["momentum_buffer"].dtype is p.dtype
    q = nn.Parameter(p.detach().clone())
    other = optim.SGD([q], lr=0.1)
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    for x, o in ((p, opt), (q, other)):
        x.grad = sw.full((19,), 0.5, dtype=x.dtype)
        o.step()
        assert o.state[x]["momentum_buffer"].dtype is x.dtype
    assert p.tolist() == pytest.approx([1 - 0.1 - 0.14] * 19, rel=1 / 128 if dtype == "bfloat16" else 1e-6)
    np.testing.assert_array_equal(p.detach().float().numpy(), q.detach().float().numpy())


def test_momentum_of_another_dtype_is_cast():
    """A float32 buffer of a bfloat16 parameter, loaded or already there, and a parameter whose dtype changed."""
    p = nn.Parameter(sw.ones(5, dtype=sw.bfloat16))
    opt = sgd_of(p, buffer=sw.full((5,), 2.0))
    loaded = optim.SGD([p], lr=0.1, momentum=0.9)
    loaded.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert loaded.state[p]["momentum_buffer"].dtype is sw.bfloat16
    assert loaded.state[p]["momentum_buffer"].tolist() == [2.0] * 5
    opt.step()
    assert opt.state[p]["momentum_buffer"].dtype is sw.bfloat16
    assert opt.state[p]["momentum_buffer"].tolist() == pytest.approx([2.8] * 5, rel=1 / 256)
    p.data = p.data.float()
    p.grad = sw.ones(5)
    opt.step()
    assert opt.state[p]["momentum_buffer"].dtype is sw.float32


def test_momentum_of_bfloat16_does_not_stand_still():
    """It follows a gradient that became small, to within its rounding, and goes on to 0 with one that is 0."""
    p = nn.Parameter(sw.zeros(4, dtype=sw.bfloat16))
    opt = optim.SGD([p], lr=0.0, momentum=0.9)
    for steps, g, expected in ((1, 1000.0, 1000.0), (200, 1e-3, 1e-2), (2000, 0.0, 0.0)):
        p.grad = sw.full((4,), g, dtype=sw.bfloat16)
        for _ in range(steps):
            opt.step()
        buffer = opt.state[p]["momentum_buffer"].float().numpy()
        np.testing.assert_allclose(buffer, expected, rtol=0.03, atol=1e-38)


def test_repr_and_hooks():
    p = nn.Parameter(sw.ones(1))
    opt = optim.SGD([p], lr=0.1)
    assert repr(opt).startswith("SGD (\nParameter Group 0\n    dampening: 0\n") and "    lr: 0.1\n" in repr(opt)
    calls = []
    before = opt.register_step_pre_hook(lambda o, args, kwargs: calls.append("before"))
    opt.register_step_post_hook(lambda o, args, kwargs: calls.append("after"))
    opt.step()
    before.remove()
    opt.step()
    assert calls == ["before", "after", "after"]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: optim.SGD([p], lr=-1), "Invalid learning rate: -1"),
        (lambda p: optim.SGD([p], momentum=-1), "Invalid momentum value: -1"),
        (lambda p: optim.SGD([p], nesterov=True), "Nesterov momentum requires"),
        (lambda p: optim.Adam([p], betas=(1.0, 0.9)), "beta parameter at index 0: 1.0"),
        (lambda p: optim.AdamW([p], eps=-1), "Invalid epsilon value: -1"),
        (lambda p: optim.RMSprop([p], alpha=-1), "Invalid alpha value: -1"),
        (lambda p: optim.Adadelta([p], rho=2), "Invalid rho value: 2"),
        (lambda p: optim.Adagrad([p], lr_decay=-1), "Invalid lr_decay value: -1"),
        (lambda p: optim.SGD([]), "empty parameter list"),
        (lambda p: optim.SGD([p * 1]), "non-leaf"),
        (lambda p: optim.SGD([p, p]), "more than once"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make(nn.Parameter(sw.ones(1)))


def test_bad_parameters():
    with pytest.raises(TypeError, match="got a single tensor"):
        optim.SGD(nn.Parameter(sw.ones(1)))
    with pytest.raises(TypeError, match="one of the params is int"):
        optim.SGD([3])


def test_clip_grad():
    params = [nn.Parameter(sw.zeros(2)), nn.Parameter(sw.zeros(1))]
    params[0].grad, params[1].grad = sw.tensor([3.0, 0.0]), sw.tensor([4.0])
    norm = nn.utils.clip_grad_norm_(params, 1.0)
    assert norm.item() == pytest.approx(5.0)
    assert params[0].grad[0].item() == pytest.approx(0.6, rel=1e-5)
    assert nn.utils.clip_grad_norm_(params, 10.0, norm_type=float("inf")).item() == pytest.approx(0.8, rel=1e-5)
    nn.utils.clip_grad_value_(params, 0.7)
    assert params[1].grad.item() == pytest.approx(0.7)
    params[0].grad = sw.tensor([float("nan"), 0.0])
    with pytest.raises(RuntimeError, match="norm of the gradients is nan"):
        nn.utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert nn.utils.clip_grad_norm_([nn.Parameter(sw.zeros(1))], 1.0).item() == 0


def test_parameters_as_a_vector():
    net = nn.Linear(3, 2)
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert tuple(vector.shape) == (8,)
    nn.utils.vector_to_parameters(sw.arange(8.0), net.parameters())
    assert net.weight.tolist() == [[0, 1, 2], [3, 4, 5]] and net.bias.tolist() == [6, 7]
    with pytest.raises(sw.ShapeError, match="expected 8 elements, got 3"):
        nn.utils.vector_to_parameters(sw.zeros(3), net.parameters())
