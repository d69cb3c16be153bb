"""Initial values of whole networks, their report, and the parameters that weight decay is for."""

import math

import numpy as np
import pytest
import skipway as sw
from layer_tools import close, data
from skipway import models, nn, optim
from skipway.nn import init


def tower(depth, width, activation=nn.ReLU, **options):
    layers = []
    for _ in range(depth):
        layers += [nn.Linear(width, width, **options), activation()]
    return nn.Sequential(*layers[:-1])


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(8 * 36, 5)
    )


SCHEMES = {
    "normal": 0.01, "trunc_normal": 0.02, "xavier_normal": math.sqrt(2 / 192), "xavier_uniform": math.sqrt(2 / 192),
    "average_normal": math.sqrt(2 / 192), "kaiming_normal": math.sqrt(2 / 64), "kaiming_uniform": math.sqrt(2 / 64),
    "orthogonal": 1 / math.sqrt(128),
}  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
def test_apply_fills_and_reports(scheme):
    sw.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.LayerNorm(128), nn.Embedding(3, 2))
    kept = model[2].weight.detach().numpy().copy()
    report = init.apply(model, scheme)
    std = SCHEMES[scheme]
    assert report["0"].std == pytest.approx(std, rel=0.05) and report.scheme == scheme
    assert report[0].gain == pytest.approx(8 * std, rel=0.05) and report[0].fan_in == 64
    assert len(report) == 1 and [layer.name for layer in report] == ["0"]
    assert model[0].bias.abs().sum().item() == 0 and (model[2].weight.detach().numpy() == kept).all()
    assert scheme in str(report) and "Linear" in str(report) and "128x64" in str(report)


def test_gain_is_what_a_layer_does_to_noise():
    sw.manual_seed(0)
    x = data(4, 16, 12, 12)
    for layer in (nn.Conv2d(16, 32, 3, groups=2), nn.ConvTranspose2d(16, 32, 4, stride=2, padding=3)):
        report = init.apply(layer, "normal", std=0.2)
        y = layer(sw.tensor(x)).detach().numpy()
        assert math.sqrt((y**2).mean() / (x**2).mean()) == pytest.approx(report[0].gain, rel=0.05)
        assert init.gains(layer)[0] == report[0]


def test_apply_with_options_and_functions():
    model = models.resnet8(width=4)
    report = init.apply(model, "kaiming_normal", mode="fan_out")
    assert [layer.name for layer in report][:2] == ["conv1", "layer1.0.conv1"] and len(report) == 10
    report = init.apply(model, lambda w: w.fill_(0.5), bias=None)
    assert report["fc"].gain == pytest.approx(0.5 * 4) and report["fc"].std == 0
    assert init.apply(nn.Linear(3, 3), init.eye_, bias=2.0).scheme == "eye_"
    with pytest.raises(KeyError, match="no layer 'x'; there are conv1"):
        report["x"]
    draws = []
    for seed in (4, 4, 5):
        g = sw.Generator()
        g.manual_seed(seed)
        init.apply(model, "normal", generator=g)
        draws.append(model.fc.weight.detach().numpy().copy())
    assert (draws[0] == draws[1]).all() and (draws[0] != draws[2]).any()


def test_apply_refuses():
    with pytest.raises(ValueError, match="unknown scheme 'he'; expected a function or one of average_normal, kaiming_"):
        init.apply(nn.Linear(2, 2), "he")
    with pytest.raises(TypeError, match="apply: expected model to be a module, got 3"):
        init.apply(3, "normal")
    with pytest.raises(ValueError, match="layer '0' has no weight yet; call the model on a batch first"):
        init.apply(nn.Sequential(nn.LazyLinear(2)), "normal")
    with pytest.raises(ValueError, match="average_normal_: expected factor to be greater than 0, got 0"):
        init.average_normal_(sw.empty(2, 2), 0)


# ---------------------------------------------------------------- looks-linear


@pytest.mark.parametrize("width", [16, 24])
def test_looks_linear_networks_begin_linear(width):
    """Balduzzi et al. 2017: y(a x + b z) = a y(x) + b y(z), for 20 layers, and an orthogonal map keeps lengths."""
    sw.manual_seed(0)
    layers = [nn.Linear(16, width), nn.CReLU()]
    for _ in range(18):
        layers += [nn.Linear(2 * width, width), nn.CReLU()]
    model = nn.Sequential(*layers, nn.Linear(2 * width, 16)).double()
    report = init.apply(model, "looks_linear")
    x, z = (data(5, 16, seed=i).astype(np.float64) for i in range(2))
    y = [model(sw.tensor(v)).detach().numpy() for v in (x, z, 2 * x - 3 * z)]
    np.testing.assert_allclose(y[2], 2 * y[0] - 3 * y[1], atol=1e-10)
    if width == 16:
        np.testing.assert_allclose(np.linalg.norm(y[0], axis=1), np.linalg.norm(x, axis=1), rtol=1e-9)
    assert report["0"].gain == pytest.approx(math.sqrt(16 / width)) and report["2"].gain == pytest.approx(math.sqrt(2))


def test_looks_linear_convolutions():
    sw.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.CReLU(), nn.Conv2d(12, 6, 3, padding=1)).double()
    init.apply(model, "looks_linear")
    w = model[2].weight.detach().numpy()
    np.testing.assert_array_equal(w[:, :6], -w[:, 6:])
    flat = w[:, :6].reshape(6, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(6), atol=1e-12)
    x = sw.tensor(data(1, 3, 5, 5).astype(np.float64))
    close(model(-x), -model(x).detach().numpy(), 1e-10)
    with pytest.raises(ValueError, match=r"an even number of inputs \(dim 1\), got \(2, 3\)"):
        init.looks_linear_(sw.empty(2, 3))


# ---------------------------------------------------------------- LSUV


def test_lsuv_gives_unit_variance():
    sw.manual_seed(0)
    model = tower(12, 32, nn.Tanh)
    x = sw.tensor(data(256, 32))
    report = init.apply(model, "lsuv", data=x, tol=0.05)
    y = x
    for layer, row in zip(model, [r for r in report for _ in range(2)], strict=False):
        y = layer(y)
        if isinstance(layer, nn.Linear):
            assert y.detach().numpy().var() == pytest.approx(1, abs=0.06)
            assert row.output_std == pytest.approx(y.detach().numpy().std(), rel=1e-3)
    weight = model[0].weight.detach().numpy()
    gram = weight @ weight.T
    np.testing.assert_allclose(gram, gram[0, 0] * np.eye(32), atol=1e-4)
    assert "output std" in str(report)


def test_lsuv_leaves_no_trace():
    sw.manual_seed(0)
    model = convolutions()
    model.add_module("unused", nn.Identity())
    model[0].eval()
    before = {k: v.numpy().copy() for k, v in model.state_dict().items() if "running" in k or "num_" in k}
    x = sw.tensor(data(16, 3, 8, 8))
    report = init.lsuv_(model, (x,))
    assert [r.name for r in report] == ["0", "5"] and report["0"].output_std == pytest.approx(1, abs=0.06)
    for k, v in before.items():
        np.testing.assert_array_equal(model.state_dict()[k].numpy(), v)
    assert model.training and not model[0].training and model[3].training
    assert not model[0]._forward_hooks and model[0].weight.grad is None


def test_lsuv_by_name_asks_for_data():
    with pytest.raises(ValueError, match="apply: scheme 'lsuv' expects data=, a batch of inputs"):
        init.apply(nn.Linear(2, 2), "lsuv")


def test_lsuv_refuses():
    with pytest.raises(ValueError, match=r"the output of layer '0' has variance 0\.0 for this data"):
        init.lsuv_(tower(2, 4, bias=False), sw.zeros(3, 4))
    with pytest.raises(ValueError, match="expected tol above 0 and max_trials of at least 1, got 0 and 10"):
        init.lsuv_(nn.Linear(2, 2), sw.zeros(1, 2), tol=0)
    model = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="expected input whose last dimension is 4"):
        init.lsuv_(model, sw.zeros(3, 5))
    assert not model._forward_hooks and model.training


# ---------------------------------------------------------------- zero gamma


def test_zero_gamma_finds_the_last_normalization():
    x = sw.tensor(data(2, 3, 8, 8))
    model = models.cifar_resnet(8, shortcut="A", width=4)
    assert init.zero_gamma_(model) == ["layer1.0.bn2", "layer2.0.bn2", "layer3.0.bn2"]
    inner = model.bn1(model.conv1(x))
    close(model.layer1(inner), np.maximum(inner.detach().numpy(), 0))
    assert init.zero_gamma_(models.resnet50(num_classes=2))[-1] == "layer4.2.bn3"
    assert len(init.zero_gamma_(models.cifar_resnet(8, shortcut="scaling"))) == 3
    assert init.zero_gamma_(models.cifar_resnet(8, block="full-preact")) == []
    body = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.LayerNorm(4), nn.StochasticDepth(0.5, "row")))
    assert init.zero_gamma_(nn.Residual(body)) == ["body.1.0"] and body[1][0].weight.abs().sum().item() == 0
    assert init.zero_gamma_(nn.Residual(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4)))) == []
    assert init.zero_gamma_(nn.Residual(nn.BatchNorm1d(4, affine=False))) == []


class Block(nn.Module):
    """As third-party files write it, before or behind the activation."""

    def __init__(self, preact):
        super().__init__()
        parts = [("conv1", nn.Conv2d(4, 4, 1)), ("bn1", nn.BatchNorm2d(4))]
        parts += [("conv2", nn.Conv2d(4, 4, 1)), ("bn2", nn.BatchNorm2d(4))]
        for i in (1, 0, 3, 2) if preact else (0, 1, 2, 3):
            self.add_module(*parts[i])
        self.shortcut = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))


def test_zero_gamma_of_blocks_of_ones_own():
    assert init.zero_gamma_(Block(False)) == ["bn2"] and init.zero_gamma_(Block(True)) == []


# ---------------------------------------------------------------- weight decay


def test_param_groups_leave_biases_and_normalization_out():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.LayerNorm((6, 6)), nn.RMSNorm((6, 6)), nn.GRU(6, 2)
    )
    names = {id(p): n for n, p in model.named_parameters()}
    decayed, others = optim.param_groups(model, 0.1)
    assert [names[id(p)] for p in decayed["params"]] == ["0.weight", "5.weight_ih_l0", "5.weight_hh_l0"]
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) + len(others["params"]) == len(names)
    shared = nn.Linear(3, 3, bias=False)
    assert len(optim.param_groups(nn.ModuleList([shared, shared]), 0.1)[0]["params"]) == 1
    assert len(optim.param_groups(nn.ModuleList([shared]), 0.1)) == 1


def test_only_decayed_parameters_shrink():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    nn.init.ones_(model[0].bias)
    before = model[0].weight.detach().numpy().copy()
    optimizer = optim.SGD(optim.param_groups(model, 0.5), lr=0.1)
    for p in model.parameters():
        p.grad = sw.zeros(*p.shape)
    optimizer.step()
    close(model[0].weight, before * 0.95)
    assert model[0].bias.tolist() == [1.0] * 3 and model[1].weight.tolist() == [1.0] * 3


def test_param_groups_refuses():
    with pytest.raises(TypeError, match="param_groups: expected model to be a module, got "):
        optim.param_groups([sw.zeros(2)], 0.1)
    with pytest.raises(ValueError, match="expected weight_decay to be at least 0, got -1"):
        optim.param_groups(nn.Linear(2, 2), -1)
