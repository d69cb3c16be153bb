"""Residual, highway and multi-branch layers, and noise on weights and branches, against the NumPy references."""

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from layer_tools import close, data, sigmoid
from skipway import nn
from skipway.testing import gradcheck, reference

IMAGE = (2, 4, 3, 3)
EPS = 1e-3


class Seeded(nn.Module):
    """Calls a layer that draws random numbers from the same seed each time."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, *args):
        sw.manual_seed(7)
        return self.layer(*args)


def leaf(*shape, seed=0):
    return sw.tensor(data(*shape, seed=seed).astype(np.float64), requires_grad=True)


def numeric(f, arrays, i, dy):
    """Central differences of (dy * f(arrays)).sum() with respect to arrays[i]."""
    gradient = np.zeros_like(arrays[i])
    for at in np.ndindex(gradient.shape):
        moved = [[a.copy() for a in arrays] for _ in range(2)]
        moved[0][i][at] += EPS
        moved[1][i][at] -= EPS
        gradient[at] = ((f(*moved[0]) - f(*moved[1])) * dy).sum() / (2 * EPS)
    return gradient


LAYERS = [
    (nn.Highway(4, "tanh"), [(3, 4)]),
    (nn.HighwayConv2d(4, activation="tanh"), [IMAGE]),
    (nn.TransformerEncoderLayer(4, 2, 6, 0.3, activation="gelu"), [(3, 2, 4)]),
    (nn.TransformerEncoderLayer(4, 2, 6, 0.0, activation=nn.Tanh(), norm_first=True, batch_first=True), [(2, 3, 4)]),
    (nn.DropConnectLinear(4, 3), [(3, 4)]),
    (nn.DropConnectLinear(4, 3, per_sample=True), [(3, 2, 4)]),
    (nn.DropConnectConv1d(4, 2, 3, per_sample=True), [(2, 4, 5)]),
    (nn.DropConnectConv2d(4, 2, 3, padding=1, groups=2, stride=2, per_sample=True), [IMAGE]),
    (nn.DropConnectConv2d(4, 2, 3, padding=1, padding_mode="reflect", bias=False, per_sample=True), [IMAGE]),
    (nn.DropConnectConv3d(2, 2, 2), [(1, 2, 3, 3, 2)]),
    (nn.StochasticDepth(0.4, "row"), [(5, 3)]),
    (nn.SpatialDropout(0.4), [IMAGE]),
    (nn.ShakeShake("shake", "keep"), [IMAGE, IMAGE]),
    (nn.ShakeShake("even", "even", level="batch"), [(3, 2), (3, 2)]),
    (nn.AxisNorm(4), [IMAGE]),
    (nn.AxisNorm(4, (0, 2), affine=False), [IMAGE]),
    (nn.Residual(nn.Linear(4, 4), scale=(0.5, 2.0), activation="silu"), [(3, 4)]),
    (nn.Residual(nn.Linear(4, 4), scale=nn.Parameter(sw.tensor([0.5]))), [(3, 4)]),
    (nn.Residual(nn.Linear(4, 4), gate=nn.Linear(4, 1), gate_mode="shortcut", activation="gelu"), [(3, 4)]),
    (nn.Residual(nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1), gate=nn.Conv2d(4, 2, 1), preact=nn.Tanh()), [IMAGE]),
]


@pytest.mark.parametrize("case", range(len(LAYERS)), ids=lambda i: f"{type(LAYERS[i][0]).__name__}-{i}")
def test_gradients(case):
    layer, shapes = LAYERS[case]
    assert gradcheck(Seeded(layer), tuple(leaf(*shape, seed=i) for i, shape in enumerate(shapes)))


# ---------------------------------------------------------------- residual sums and gates


def test_residual_shares():
    x = data(3, 4)
    t = sw.tensor(x)
    body, around = nn.Linear(4, 4), nn.Linear(4, 4)
    f, h = body(t).detach().numpy(), around(t).detach().numpy()
    close(nn.Residual(body, scale=0.1)(t), x + 0.1 * f)
    close(nn.Residual(body, around, "relu", scale=(0.5, 0.25))(t), np.maximum(0.5 * h + 0.25 * f, 0))
    close(nn.Residual(body, scale=nn.Parameter(sw.zeros(1)))(t), x)
    gate = nn.Linear(4, 4)
    g = sigmoid(gate(t).detach().numpy())
    close(nn.Residual(body, gate=gate)(t), (1 - g) * x + g * f)
    close(nn.Residual(body, around, nn.ReLU(), gate=gate, gate_mode="shortcut")(t), np.maximum((1 - g) * h + f, 0))


def test_residual_under_autocast():
    """The branch is bfloat16, the identity float32: the sum is float32, as that of `+` is."""
    x, body = sw.tensor(data(3, 4)), nn.Linear(4, 4)
    with sw.amp.autocast("cpu", dtype=sw.bfloat16):
        for block in (nn.Residual(body), nn.Residual(body, scale=(0.5, 0.5)), nn.Residual(body, gate=nn.Linear(4, 4))):
            y = block(x)
            assert y.dtype == sw.float32
            y.sum().backward()
    assert body.weight.grad.dtype == sw.float32


def test_residual_preactivation():
    """The identity is the input itself; a projection reads what the body reads."""
    x = data(2, 4, 3, 3) + 1
    t = sw.tensor(x)
    body, around = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    n = (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
    ready = sw.tensor(np.maximum(n, 0))
    preact = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())
    close(nn.Residual(body, preact=preact)(t), x + body(ready).detach().numpy())
    close(nn.Residual(body, around, preact=preact)(t), (around(ready) + body(ready)).detach().numpy())
    block = nn.Residual(body, preact=preact, scale=nn.Parameter(sw.ones(1)))
    names = [n for n, _ in block.named_parameters()]
    assert names[0] == "scale" and "preact.0.weight" in names and "scale=learned" in repr(block)


@pytest.mark.parametrize("mode", ["exclusive", "shortcut"])
def test_gated_sum(mode):
    arrays = [data(3, 4, seed=i).astype(np.float64) for i in range(2)] + [data(3, 1, seed=2).astype(np.float64)]
    tensors = [sw.tensor(a, requires_grad=True) for a in arrays]
    dy = data(3, 4, seed=3).astype(np.float64)
    y = F.gated_sum(*tensors, mode)
    close(y, reference.gated_sum(*arrays, mode), 1e-12)
    y.backward(sw.tensor(dy))
    for i, dx in enumerate(reference.gated_sum_backward(dy, *arrays, mode)):
        close(tensors[i].grad, dx, 1e-12)
        close(tensors[i].grad, numeric(lambda *a: reference.gated_sum(*a, mode), arrays, i, dy), 1e-5)


def test_highway_begins_by_carrying():
    sw.manual_seed(0)
    x = data(5, 8)
    layer = nn.Highway(8)
    assert layer.gate.bias.tolist() == [-2.0] * 8
    t = sw.tensor(x)
    expected = reference.gated_sum(
        x, np.maximum(layer.transform(t).detach().numpy(), 0), layer.gate(t).detach().numpy(), "exclusive"
    )
    close(layer(t), expected)
    assert np.allclose(nn.Highway(8, gate_bias=-30.0)(t).detach().numpy(), x, atol=1e-5)
    conv = nn.HighwayConv2d(4, 3, "tanh", -30.0)
    image = sw.tensor(data(*IMAGE))
    assert np.allclose(conv(image).detach().numpy(), image.numpy(), atol=1e-5)
    assert [n for n, _ in conv.named_parameters()] == ["transform.weight", "transform.bias", "gate.weight", "gate.bias"]


# ---------------------------------------------------------------- stochastic depth


def test_stochastic_depth_drops_samples_or_the_batch():
    x = sw.ones(4000, 2)
    sw.manual_seed(3)
    y = F.stochastic_depth(x, 0.25, "row").numpy()
    kept = y[:, 0] != 0
    assert (y[:, 0] == y[:, 1]).all() and kept.mean() == pytest.approx(0.75, abs=0.03)
    close(sw.tensor(y), reference.stochastic_depth(np.ones((4000, 2)), kept, 0.25))
    batches = [F.stochastic_depth(sw.ones(3, 2), 0.5, "batch").numpy() for _ in range(40)]
    assert {tuple(np.unique(b)) for b in batches} == {(0.0,), (2.0,)}
    assert F.stochastic_depth(x, 0.5, "row", training=False) is x and F.stochastic_depth(x, 0.0, "row") is x
    layer = nn.StochasticDepth(0.5, "row").eval()
    assert sw.equal(layer(x), x)


def test_a_dropped_branch_is_zero_whatever_it_holds():
    x = sw.tensor([[float("inf"), float("nan")], [1.0, 2.0]], requires_grad=True)
    y = F.stochastic_depth(x, 1.0, "row")
    y.sum().backward()
    assert y.abs().sum().item() == 0 and x.grad.abs().sum().item() == 0


def test_stochastic_depth_gradient_and_reference():
    x, dy = data(6, 3).astype(np.float64), data(6, 3, seed=1).astype(np.float64)
    t = sw.tensor(x, requires_grad=True)
    sw.manual_seed(1)
    y = F.stochastic_depth(t, 0.5, "row")
    mask = (y.detach().numpy() != 0).any(1)
    assert 0 < mask.sum() < 6
    y.backward(sw.tensor(dy))
    (dx,) = reference.stochastic_depth_backward(dy, x, mask, 0.5)
    close(t.grad, dx, 1e-12)
    close(t.grad, numeric(lambda a: reference.stochastic_depth(a, mask, 0.5), [x], 0, dy), 1e-5)


def test_survival_falls_linearly():
    assert F.linear_survival(4, 0.5) == [0.875, 0.75, 0.625, 0.5] and F.linear_survival(0) == []
    layers = nn.StochasticDepth.linear_decay(54, mode="batch")
    assert len(layers) == 54 and layers[-1].p == 0.5 and layers[26].p == pytest.approx(0.25)
    assert {layer.mode for layer in layers} == {"batch"}
    with pytest.raises(ValueError, match="expected blocks to be an integer of at least 0, got -1"):
        F.linear_survival(-1)
    with pytest.raises(ValueError, match="expected last between 0 and 1, got 2"):
        F.linear_survival(3, 2)


# ---------------------------------------------------------------- shake-shake


@pytest.mark.parametrize("level, count", [("image", 5), ("batch", 1)])
@pytest.mark.parametrize("backward", ["shake", "even", "keep"])
@pytest.mark.parametrize("forward", ["shake", "even"])
def test_shake_shake(forward, backward, level, count):
    """The shares follow from y and dx1; they are what the options say, and agree with the reference."""
    x1, x2 = sw.zeros(5, 2, 3, dtype=sw.float64), sw.ones(5, 2, 3, dtype=sw.float64)
    x1.requires_grad_()
    x2.requires_grad_()
    sw.manual_seed(11)
    y = nn.ShakeShake(forward, backward, level)(x1, x2)
    dy = data(5, 2, 3).astype(np.float64)
    y.backward(sw.tensor(dy))
    a, b = 1 - y.detach().numpy()[:, 0, 0], (x1.grad.numpy() / dy)[:, 0, 0]
    close(y, reference.shake_shake(x1.detach().numpy(), x2.detach().numpy(), a, b))
    for t, dx in zip((x1, x2), reference.shake_shake_backward(dy, 0, 1, a, b), strict=True):
        close(t.grad, dx)
    assert ((a >= 0) & (a <= 1) & (b >= 0) & (b <= 1)).all()
    assert len(np.unique(a.round(9))) == (1 if forward == "even" else count)
    assert (a == 0.5).all() == (forward == "even") and (b == 0.5).all() == (
        backward == "even" or forward == "even" and backward == "keep"
    )
    assert np.allclose(a, b) == (backward == "keep" or forward == backward == "even")


def test_shake_shake_in_evaluation_and_its_seed():
    x1, x2 = sw.tensor(data(3, 2)), sw.tensor(data(3, 2, seed=1))
    close(nn.ShakeShake().eval()(x1, x2), (x1.numpy() + x2.numpy()) / 2)
    draws = []
    for seed in (5, 5, 6):
        sw.manual_seed(seed)
        draws.append(F.shake_shake(x1, x2).numpy())
    assert (draws[0] == draws[1]).all() and (draws[0] != draws[2]).any()
    with pytest.raises(ValueError, match="expected backward to be one of 'shake', 'even', 'keep', got 'odd'"):
        F.shake_shake(x1, x2, backward="odd")


# ---------------------------------------------------------------- DropConnect


def test_drop_connect_masks_weights():
    w = sw.ones(50, 40)
    sw.manual_seed(2)
    v = F.drop_connect(w, 0.3).numpy()
    close(sw.tensor(v), reference.drop_connect(w.numpy(), v != 0, 0.3))
    assert (v != 0).mean() == pytest.approx(0.7, abs=0.03)
    each = F.drop_connect(w, 0.3, samples=4).numpy()
    assert each.shape == (4, 50, 40) and (each[0] != each[1]).any()
    assert F.drop_connect(w, 0.3, training=False) is w and F.drop_connect(w, 1.0).abs().sum().item() == 0


def test_drop_connect_gradient_and_reference():
    w, dy = data(3, 2).astype(np.float64), data(4, 3, 2, seed=1).astype(np.float64)
    t = sw.tensor(w, requires_grad=True)
    v = F.drop_connect(t, 0.5, samples=4)
    mask = v.detach().numpy() != 0
    v.backward(sw.tensor(dy))
    (dw,) = reference.drop_connect_backward(dy, w, mask, 0.5)
    close(t.grad, dw, 1e-12)
    close(t.grad, numeric(lambda a: reference.drop_connect(a, mask, 0.5), [w], 0, dy), 1e-5)


def test_drop_connect_layers():
    x = sw.tensor(data(*IMAGE))
    conv = nn.DropConnectConv2d(4, 6, 3, padding=1, p=0.4, per_sample=True)
    close(conv.eval()(x), F.conv2d(x, conv.weight, conv.bias, padding=1).detach().numpy())
    conv.train()
    nn.init.ones_(conv.weight)
    nn.init.zeros_(conv.bias)
    same = sw.ones(2, 4, 3, 3)
    y = conv(same).detach().numpy()
    assert (y[0] != y[1]).any() and sorted(conv.state_dict()) == ["bias", "weight"]
    conv.per_sample = False
    y = conv(same).detach().numpy()
    assert (y[0] == y[1]).all()
    linear = nn.DropConnectLinear(4, 3, per_sample=True)
    sw.manual_seed(0)
    total = sum(linear(sw.ones(500, 4)).detach().numpy().mean(0) for _ in range(10)) / 10
    close(linear.eval()(sw.ones(1, 4)), total[None], 0.1)
    assert tuple(linear.train()(sw.zeros(0, 4)).shape) == (0, 3) and tuple(linear(sw.ones(4)).shape) == (3,)
    conv.per_sample = True
    assert tuple(conv(sw.zeros(0, 4, 3, 3)).shape) == (0, 6, 3, 3)


# ---------------------------------------------------------------- normalization


@pytest.mark.parametrize(
    "axes, groups", [((1, 2, 3), 1), ((1, 2, 3), 2), ((2, 3), 1), ((0, 2, 3), 1), (1, 1), ((-1, 0), 1), ((1,), 2)]
)
def test_axis_norm(axes, groups):
    x, w, b, dy = (data(*s, seed=i).astype(np.float64) for i, s in enumerate([IMAGE, (4,), (4,), IMAGE]))
    x = 3 * x + 5
    tensors = [sw.tensor(a, requires_grad=True) for a in (x, w, b)]
    y = F.axis_norm(tensors[0], axes, *tensors[1:], eps=0.1, groups=groups)
    close(y, reference.axis_norm(x, axes, w, b, 0.1, groups), 1e-10)
    y.backward(sw.tensor(dy))
    for i, g in enumerate(reference.axis_norm_backward(dy, x, axes, w, b, 0.1, groups)):
        close(tensors[i].grad, g, 1e-10)
        close(
            tensors[i].grad,
            numeric(lambda *a: reference.axis_norm(a[0], axes, a[1], a[2], 0.1, groups), [x, w, b], i, dy),
            1e-4,
        )


def test_axis_norm_is_the_others():
    x = sw.tensor(data(*IMAGE) + 2)
    close(nn.AxisNorm(4, (2, 3))(x), nn.InstanceNorm2d(4)(x).numpy())
    close(nn.AxisNorm(4, groups=2)(x), nn.GroupNorm(2, 4)(x).detach().numpy())
    close(nn.AxisNorm(4)(x), nn.GroupNorm(1, 4)(x).detach().numpy())
    close(nn.AxisNorm(4, (0, 2, 3))(x), nn.BatchNorm2d(4)(x).detach().numpy())
    assert tuple(nn.AxisNorm(4)(sw.zeros(0, 4, 3, 3)).shape) == (0, 4, 3, 3)


@pytest.mark.parametrize(
    "layer, shape", [(nn.BatchNorm1d, (6, 3)), (nn.BatchNorm2d, (2, 3, 4, 4)), (nn.BatchNorm3d, (2, 3, 2, 2, 2))]
)
def test_frozen_batch_norm(layer, shape):
    bn = layer(3)
    bn(sw.tensor(data(*shape) * 2 + 1))
    x = sw.tensor(data(*shape, seed=1))
    expected = bn.eval()(x).detach().numpy()
    mean, seen = bn.running_mean.tolist(), bn.num_batches_tracked.item()
    assert bn.freeze() is bn and "frozen=True" in repr(bn)
    close(bn.train()(x), expected)
    assert bn.running_mean.tolist() == mean and bn.num_batches_tracked.item() == seen
    assert not bn.weight.requires_grad and not bn.bias.requires_grad
    close(bn(sw.ones(1, *shape[1:])), bn.eval()(sw.ones(1, *shape[1:])).detach().numpy())
    bn.train().unfreeze()
    bn(x)
    assert bn.running_mean.tolist() != mean and bn.weight.requires_grad and "frozen" not in repr(bn)
    assert bn.freeze(affine=False).weight.requires_grad
    with pytest.raises(ValueError, match=f"{layer.__name__}: freeze.. needs running statistics"):
        layer(3, track_running_stats=False).freeze()


# ---------------------------------------------------------------- transformer


def _norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_block(norm_first):
    layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True, norm_first=norm_first)
    x = data(2, 3, 4)

    def attend(v):
        t = sw.tensor(v)
        return layer.self_attn(t, t, t)[0].detach().numpy()

    def feed(v):
        w1, b1, w2, b2 = (p.detach().numpy() for m in (layer.linear1, layer.linear2) for p in (m.weight, m.bias))
        return np.maximum(v @ w1.T + b1, 0) @ w2.T + b2

    if norm_first:
        h = x + attend(_norm(x))
        expected = h + feed(_norm(h))
    else:
        h = _norm(x + attend(x))
        expected = _norm(h + feed(h))
    close(layer(sw.tensor(x)), expected, 1e-4)
    causal = sw.ones(3, 3, dtype=sw.bool).triu(1)
    first = layer(sw.tensor(x), causal)[:, 0].detach().numpy()
    x[:, 1:] += 1
    close(layer(sw.tensor(x), causal)[:, 0], first, 1e-4)
    assert tuple(layer(sw.tensor(x[0])).shape) == (3, 4)


def test_a_stack_of_random_depth_prints_its_probabilities_short():
    assert [layer.extra_repr() for layer in nn.StochasticDepth.linear_decay(5)][:2] == [
        "p=0.1, mode='row'",
        "p=0.2, mode='row'",
    ]
