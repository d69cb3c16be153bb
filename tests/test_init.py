"""nn.init: fans, gains, bounds, and the statistics of what is drawn."""

import math

import numpy as np
import pytest
import skipway as sw
from skipway import nn
from skipway.nn import init


def test_gains():
    assert init.calculate_gain("linear") == init.calculate_gain("conv2d") == init.calculate_gain("sigmoid") == 1
    assert init.calculate_gain("tanh") == 5 / 3 and init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu", 0.5) == math.sqrt(2 / 1.25) and init.calculate_gain("selu") == 0.75
    with pytest.raises(ValueError, match="unsupported nonlinearity 'x'"):
        init.calculate_gain("x")
    with pytest.raises(ValueError, match="not a valid number"):
        init.calculate_gain("leaky_relu", "a")


def test_fans():
    assert init._calculate_fan_in_and_fan_out(sw.empty(6, 4)) == (4, 6)
    assert init._calculate_fan_in_and_fan_out(sw.empty(6, 4, 3, 5)) == (60, 90)
    with pytest.raises(ValueError, match=r"at least 2 dimensions, got shape \(3,\)"):
        init.xavier_uniform_(sw.empty(3))
    with pytest.raises(ValueError, match="expected mode 'fan_in', 'fan_out' or 'fan_avg', got 'fan'"):
        init.kaiming_normal_(sw.empty(3, 3), mode="fan")


SHAPE = (64, 32, 3, 3)
FAN_IN, FAN_OUT = 32 * 9, 64 * 9
NORMAL = [
    (lambda t: init.normal_(t, 1.0, 0.5), 1.0, 0.5),
    (lambda t: init.xavier_normal_(t, gain=2.0), 0.0, 2 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
    (lambda t: init.kaiming_normal_(t), 0.0, math.sqrt(2 / FAN_IN)),
    (lambda t: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"), 0.0, math.sqrt(2 / FAN_OUT)),
    (lambda t: init.kaiming_normal_(t, a=1.0), 0.0, math.sqrt(1 / FAN_IN)),
    (lambda t: init.kaiming_normal_(t, mode="fan_avg", nonlinearity="relu"), 0.0, math.sqrt(4 / (FAN_IN + FAN_OUT))),
    (lambda t: init.xavier_normal_(t, mode="fan_in"), 0.0, math.sqrt(1 / FAN_IN)),
    (lambda t: init.xavier_normal_(t, mode="fan_out"), 0.0, math.sqrt(1 / FAN_OUT)),
    (lambda t: init.average_normal_(t), 0.0, math.sqrt(2 / (FAN_IN + FAN_OUT))),
    (lambda t: init.average_normal_(t, 4), 0.0, math.sqrt(4 / (FAN_IN + FAN_OUT))),
]


@pytest.mark.parametrize("case", range(len(NORMAL)))
def test_normal_draws(case):
    fill, mean, std = NORMAL[case]
    sw.manual_seed(case)
    t = sw.empty(*SHAPE)
    assert fill(t) is t
    values = t.numpy().astype(np.float64).ravel()
    assert abs(values.mean() - mean) < 5 * std / math.sqrt(values.size)
    assert values.std() == pytest.approx(std, rel=0.02)
    assert abs(((values - mean) / std) ** 4).mean() == pytest.approx(3, rel=0.1)


UNIFORM = [
    (lambda t: init.uniform_(t, -3.0, 3.0), 3.0),
    (lambda t: init.xavier_uniform_(t), math.sqrt(6 / (FAN_IN + FAN_OUT))),
    (lambda t: init.xavier_uniform_(t, mode="fan_in"), math.sqrt(3 / FAN_IN)),
    (lambda t: init.kaiming_uniform_(t, mode="fan_avg"), math.sqrt(12 / (FAN_IN + FAN_OUT))),
    (lambda t: init.kaiming_uniform_(t, a=math.sqrt(5)), 1 / math.sqrt(FAN_IN)),
    (
        lambda t: init.kaiming_uniform_(t, mode="fan_out", nonlinearity="tanh"),
        math.sqrt(3) * 5 / 3 / math.sqrt(FAN_OUT),
    ),
]


@pytest.mark.parametrize("case", range(len(UNIFORM)))
def test_uniform_draws(case):
    fill, bound = UNIFORM[case]
    sw.manual_seed(case)
    values = fill(sw.empty(*SHAPE)).numpy().astype(np.float64)
    assert np.abs(values).max() <= bound * (1 + 1e-6)
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_truncated_normal():
    sw.manual_seed(0)
    values = init.trunc_normal_(sw.empty(40000), mean=0.5, std=2.0, a=-1.0, b=1.5).numpy()
    assert values.min() >= -1.0 and values.max() <= 1.5
    assert values.mean() == pytest.approx(0.5 + 2 * _truncated_mean(-0.75, 0.5), abs=0.02)


def _truncated_mean(a, b):
    def pdf(x):
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    return (pdf(a) - pdf(b)) / (0.5 * (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2))))


def test_constants():
    t = sw.empty(3, 4)
    assert init.constant_(t, 0.25).tolist() == [[0.25] * 4] * 3
    assert init.ones_(t).sum().item() == 12 and init.zeros_(t).sum().item() == 0
    np.testing.assert_array_equal(init.eye_(t).numpy(), np.eye(3, 4))
    with pytest.raises(ValueError, match="2 dimensions"):
        init.eye_(sw.empty(3))


def test_dirac_hands_channels_through():
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
    init.dirac_(conv.weight, groups=2)
    x = sw.randn(1, 4, 5, 5)
    assert sw.equal(conv(x), x)
    with pytest.raises(ValueError, match="divisible by groups, got 4 and 3"):
        init.dirac_(conv.weight, groups=3)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (8, 2, 3, 3)])
def test_orthogonal(shape):
    w = init.orthogonal_(sw.empty(*shape), gain=2.0).numpy().reshape(shape[0], -1).astype(np.float64)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-5)


def test_sparse():
    w = init.sparse_(sw.empty(10, 6), 0.25).numpy()
    assert ((w == 0).sum(0) == 3).all()


def test_generator_and_seed():
    g = sw.Generator()
    g.manual_seed(3)
    a = init.normal_(sw.empty(5), generator=g)
    g.manual_seed(3)
    assert sw.equal(a, init.normal_(sw.empty(5), generator=g))


def test_parameters_may_be_filled_and_former_names_work():
    layer = nn.Linear(3, 3)
    init.xavier_normal_(layer.weight)
    assert layer.weight.requires_grad and layer.weight.is_leaf
    init.kaiming_normal(layer.weight, mode="fan_out")
    init.constant(layer.bias, 1.0)
    assert layer.bias.tolist() == [1.0] * 3


def test_default_initialisation_of_layers():
    sw.manual_seed(0)
    conv = nn.Conv2d(16, 64, 3)
    bound = 1 / math.sqrt(16 * 9)
    for t in (conv.weight, conv.bias):
        assert t.abs().max().item() <= bound and t.detach().numpy().std() == pytest.approx(
            bound / math.sqrt(3), rel=0.2
        )
    linear = nn.Linear(256, 64)
    assert linear.weight.abs().max().item() <= 1 / 16 and linear.bias.abs().max().item() <= 1 / 16
    bn = nn.BatchNorm2d(3)
    assert bn.weight.tolist() == [1.0] * 3 and bn.bias.tolist() == [0.0] * 3 and bn.running_var.tolist() == [1.0] * 3
    assert nn.PReLU(2).weight.tolist() == [0.25] * 2
    embedding = nn.Embedding(1000, 8, padding_idx=2)
    assert embedding.weight[2].abs().sum().item() == 0 and embedding.weight.detach().numpy().std() == pytest.approx(
        1, rel=0.05
    )
