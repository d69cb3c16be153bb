"""Fused optimizer steps against the published update rules, written here in NumPy float64."""

import numpy as np
import pytest
from skipway import _core

SHAPES = [(), (1,), (7,), (33,), (5, 3, 2), (0,), (16385,), (300, 150)]


def sgd(p, g, s, t, lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    g = g + weight_decay * p
    if momentum:
        s["v"] = g if t == 1 else momentum * s["v"] + (1 - dampening) * g
        g = g + momentum * s["v"] if nesterov else s["v"]
    return p - lr * g


def rmsprop(p, g, s, t, lr=0.01, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
    g = g + weight_decay * p
    s["s"] = alpha * s.get("s", 0) + (1 - alpha) * g**2
    square = s["s"]
    if centered:
        s["a"] = alpha * s.get("a", 0) + (1 - alpha) * g
        square = square - s["a"] ** 2
    u = g / (np.sqrt(square) + eps)
    if momentum:
        s["v"] = u = momentum * s.get("v", 0) + u
    return p - lr * u


def adam(p, g, s, t, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, amsgrad=False, decoupled=False):
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["s"] = beta2 * s.get("s", 0) + (1 - beta2) * g**2
    square = s["s"]
    if amsgrad:
        s["x"] = square = np.maximum(s.get("x", 0), square)
    return p - lr / (1 - beta1**t) * s["m"] / (np.sqrt(square) / np.sqrt(1 - beta2**t) + eps)


def adagrad(p, g, s, t, lr=0.01, lr_decay=0.0, weight_decay=0.0, eps=1e-10):
    g = g + weight_decay * p
    s["s"] = s.get("s", 0) + g**2
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["s"]) + eps)


def adadelta(p, g, s, t, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    g = g + weight_decay * p
    s["s"] = rho * s.get("s", 0) + (1 - rho) * g**2
    u = g * np.sqrt(s.get("d", 0) + eps) / np.sqrt(s["s"] + eps)
    s["d"] = rho * s.get("d", 0) + (1 - rho) * u**2
    return p - lr * u


class Fused:
    """Calls one fused step with states made as an optimizer class would."""

    def __init__(self, name, params, options):
        self.name, self.params, self.options, self.t = name, params, options, 0

        def states():
            made = []
            for p in params:
                dtype = _core.float32 if p.dtype is _core.bfloat16 else p.dtype
                made.append(_core.empty_strided(p.shape, p.stride(), dtype=dtype).zero_())
            return made

        self.states = [states() for _ in range(3)]
        self.buffers = []

    def step(self, grads):
        self.t += 1
        p, (a, b, c), options = self.params, self.states, self.options
        steps = [self.t] * len(p)
        if self.name == "sgd":
            self.buffers = _core.sgd_step(p, grads, self.buffers, **options)
        elif self.name == "rmsprop":
            _core.rmsprop_step(p, grads, a, b, c, **options)
        elif self.name == "adam":
            _core.adam_step(p, grads, a, b, c, steps, **options)
        elif self.name == "adamw":
            _core.adamw_step(p, grads, a, b, c, steps, **options)
        elif self.name == "adagrad":
            _core.adagrad_step(p, grads, a, steps, **options)
        else:
            _core.adadelta_step(p, grads, a, b, **options)


CASES = [
    ("sgd", sgd, dict(lr=0.1)),
    ("sgd", sgd, dict(lr=0.1, momentum=0.9, weight_decay=0.01)),
    ("sgd", sgd, dict(lr=0.1, momentum=0.9, dampening=0.3)),
    ("sgd", sgd, dict(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1)),
    ("rmsprop", rmsprop, dict(lr=0.01)),
    ("rmsprop", rmsprop, dict(lr=0.01, momentum=0.9, weight_decay=0.1, alpha=0.9, eps=0.01)),
    ("rmsprop", rmsprop, dict(lr=0.01, centered=True, momentum=0.5)),
    ("adam", adam, dict(lr=0.01)),
    ("adam", adam, dict(lr=0.01, weight_decay=0.1, beta1=0.8, beta2=0.95)),
    ("adam", adam, dict(lr=0.01, amsgrad=True)),
    ("adamw", adam, dict(lr=0.01, weight_decay=0.1)),
    ("adagrad", adagrad, dict(lr=0.1, lr_decay=0.1, weight_decay=0.1)),
    ("adadelta", adadelta, dict(lr=1.0, weight_decay=0.1)),
]


def run_case(name, reference, options, dtype, steps=4, shapes=SHAPES, maximize=False):
    rng = np.random.default_rng(0)
    d = getattr(_core, dtype)
    start = [rng.standard_normal(s) for s in shapes]
    params = []
    for a in start:
        t = _core.empty(a.shape, dtype=d)
        t.copy_(_core.from_numpy(np.array(a)))
        params.append(t)
    want = [p.numpy().astype(np.float64) for p in params]
    memory = [{} for _ in want]
    fused = Fused(name, params, dict(options, **({"maximize": True} if maximize else {})))
    arguments = dict(options, **({"decoupled": True} if name == "adamw" else {}))
    for t in range(1, steps + 1):
        grads = []
        for i, s in enumerate(shapes):
            g = _core.empty(s, dtype=d)
            g.copy_(_core.from_numpy(np.array(rng.standard_normal(s) * 10.0**-t)))
            grads.append(g)
            exact = g.numpy().astype(np.float64)
            want[i] = reference(want[i], -exact if maximize else exact, memory[i], t, **arguments)
        fused.step(grads)
    return [p.numpy().astype(np.float64) for p in params], want


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-12), ("float32", 3e-5), ("bfloat16", 0.03)])
@pytest.mark.parametrize("name, reference, options", CASES)
def test_against_update_rules(isa, name, reference, options, dtype, rtol):
    got, want = run_case(name, reference, options, dtype, shapes=SHAPES if dtype == "float32" else SHAPES[:6])
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name, reference, options", CASES)
def test_maximize(name, reference, options):
    for g, w in zip(*run_case(name, reference, options, "float64", shapes=[(5,), (2, 3)], maximize=True), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-12)


def test_same_bits_for_any_number_of_threads():
    before, results = _core.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            _core.set_num_threads(threads)
            got, _ = run_case("adam", adam, dict(lr=0.01), "float32", steps=2)
            results.append([g.tobytes() for g in got])
    finally:
        _core.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def channels_last(a):
    """The same values with channels fastest in memory."""
    return _core.from_numpy(np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))


def test_layouts_of_parameter_gradient_and_state_may_differ():
    rng = np.random.default_rng(1)
    a, g = rng.standard_normal((4, 3, 5, 5)), rng.standard_normal((4, 3, 5, 5))
    want = adam(a, g, {}, 1, lr=0.1)
    wide = rng.standard_normal((4, 3, 5, 10))
    wide[..., ::2] = a
    makers = {
        "row-major": lambda x: _core.from_numpy(x.copy()),
        "channels-last": channels_last,
    }
    for p_layout in [*makers, "sliced"]:
        for g_layout in makers:
            for s_layout in makers:
                p = _core.from_numpy(wide.copy()[..., ::2]) if p_layout == "sliced" else makers[p_layout](a)
                m, v = makers[s_layout](np.zeros_like(a)), makers[s_layout](np.zeros_like(a))
                _core.adam_step([p], [makers[g_layout](g)], [m], [v], [], [1], lr=0.1)
                np.testing.assert_allclose(p.numpy(), want, rtol=1e-12)
                np.testing.assert_allclose(m.numpy(), 0.1 * g, rtol=1e-12)


def test_gradients_that_are_absent_and_lists_that_are_empty():
    p = _core.from_numpy(np.ones(3))
    q = _core.from_numpy(np.ones(3))
    buffers = _core.sgd_step([p, q], [None, q.clone()], [], lr=0.5, momentum=0.9)
    assert p.tolist() == [1, 1, 1] and q.tolist() == [0.5] * 3
    assert buffers[0] is None and buffers[1].tolist() == [1, 1, 1]
    assert _core.sgd_step([], [], [], lr=0.1) == []


def test_changes_are_counted_for_autograd():
    x = _core.from_numpy(np.ones(3)).requires_grad_()
    version = x._version
    _core.sgd_step([x], [_core.from_numpy(np.ones(3))], [], lr=0.1)
    assert x.requires_grad and x.is_leaf and x._version > version


def test_errors():
    p, g = _core.from_numpy(np.ones(3)), _core.from_numpy(np.ones(3))
    with pytest.raises(ValueError, match=r"sgd_step: expected a gradient of the parameter's shape \(3,\), got \(2,\)"):
        _core.sgd_step([p], [_core.from_numpy(np.ones(2))], [], lr=0.1)
    with pytest.raises(ValueError, match="sgd_step: expected 1 grads"):
        _core.sgd_step([p], [], [], lr=0.1)
    with pytest.raises(TypeError, match="expected exp_avgs of dtype float64, got float32"):
        bad = _core.from_numpy(np.zeros(3, np.float32))
        _core.adam_step([p], [g], [bad], [bad], [], [1], lr=0.1)
    with pytest.raises(ValueError, match="steps from 1 on, got 0"):
        _core.adam_step([p], [g], [p.clone()], [p.clone()], [], [0], lr=0.1)
    with pytest.raises(ValueError, match="expected 1 max_exp_avg_sqs"):
        _core.adam_step([p], [g], [p.clone()], [p.clone()], [], [1], lr=0.1, amsgrad=True)
    assert p.tolist() == [1, 1, 1]


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-13), ("float32", 1e-6), ("bfloat16", 0.01)])
def test_clip_grad_norm(isa, norm_type, dtype, rtol):
    rng = np.random.default_rng(2)
    grads = []
    for s in SHAPES:
        g = _core.empty(s, dtype=getattr(_core, dtype))
        g.copy_(_core.from_numpy(np.array(rng.standard_normal(s))))
        grads.append(g)
    flat = np.concatenate([g.numpy().astype(np.float64).ravel() for g in grads])
    want = np.linalg.norm(flat, norm_type)
    assert _core.grad_norm(grads, norm_type).item() == pytest.approx(want, rel=1e-6)
    before = [g.numpy().astype(np.float64) for g in grads]
    assert _core.clip_grad_norm([*grads, None], want * 2, norm_type).item() == pytest.approx(want, rel=1e-6)
    for g, b in zip(grads, before, strict=True):
        np.testing.assert_array_equal(g.numpy().astype(np.float64), b)
    _core.clip_grad_norm(grads, 0.5, norm_type)
    for g, b in zip(grads, before, strict=True):
        np.testing.assert_allclose(g.numpy().astype(np.float64), b * 0.5 / (want + 1e-6), rtol=rtol)


def test_clip_grad_norm_of_values_that_are_not_finite():
    g = _core.from_numpy(np.array([1.0, np.nan]))
    assert np.isnan(_core.clip_grad_norm([g], 1.0).item()) and np.all(np.isnan(g.numpy()))
    assert np.isnan(_core.grad_norm([_core.from_numpy(np.array([np.nan, 1.0, 2.0]))], float("inf")).item())
    with pytest.raises(RuntimeError, match="norm of the gradients is inf"):
        _core.clip_grad_norm([_core.from_numpy(np.array([np.inf]))], 1.0, error_if_nonfinite=True)
    big = _core.from_numpy(np.full(4, 1e30, np.float32))
    assert _core.clip_grad_norm([big], 1.0).item() == pytest.approx(2e30, rel=1e-6)
    assert _core.clip_grad_norm([], 1.0).item() == 0
    with pytest.raises(ValueError, match="norm_type > 0, got -1"):
        _core.grad_norm([g], -1.0)
