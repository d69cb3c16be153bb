"""Containers, lazy modules and Residual."""

import pytest
import skipway as sw
from skipway import nn


def test_containers():
    layers = [nn.Linear(2, 2) for _ in range(4)]
    seq = nn.Sequential(*layers)
    assert len(seq) == 4 and seq[-1] is layers[3] and len(seq[1:3]) == 2 and list(seq)[2] is layers[2]
    assert len(seq + nn.Sequential(nn.ReLU())) == 5
    del seq[0]
    assert list(seq.state_dict()) == [f"{i}.{n}" for i in range(3) for n in ("weight", "bias")]
    seq.append(nn.ReLU()).insert(0, nn.Tanh()).extend([nn.ReLU()])
    assert isinstance(seq[0], nn.Tanh) and len(seq) == 6
    assert isinstance(seq.pop(0), nn.Tanh) and len(seq) == 5
    with pytest.raises(IndexError):
        seq[9]
    seq[0] = nn.Identity()
    assert isinstance(seq[0], nn.Identity)

    modules = nn.ModuleList(layers[:2])
    modules.append(layers[2])
    modules.extend([layers[3]])
    modules.insert(0, nn.ReLU())
    assert [n for n, _ in modules.named_children()] == list("01234")
    assert isinstance(modules[:2], nn.ModuleList) and len(modules + [nn.ReLU()]) == 6
    del modules[0]
    assert modules[0] is layers[0]

    table = nn.ModuleDict({"a": layers[0], "b": layers[1]})
    table["c"] = layers[2]
    assert list(table) == ["a", "b", "c"] and "b" in table and list(table.values())[2] is layers[2]
    assert table.pop("a") is layers[0] and len(table) == 2

    params = nn.ParameterList([sw.zeros(2), nn.Parameter(sw.ones(3))])
    assert len(params) == 2 and params[0].requires_grad and [n for n, _ in params.named_parameters()] == ["0", "1"]
    named = nn.ParameterDict({"x": sw.zeros(2)})
    named["y"] = nn.Parameter(sw.ones(1))
    assert sorted(k for k, _ in named.named_parameters()) == ["x", "y"] and named["x"].requires_grad
    assert named.get("y") is named["y"] and named.get("z") is None and named.get("z", 1) == 1


def test_lazy_modules():
    net = nn.Sequential(
        nn.LazyConv2d(4, 3, padding=1), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5, bias=False)
    )
    assert "Uninitialized" in repr(net[0].weight)
    assert tuple(net(sw.randn(2, 3, 4, 4)).shape) == (2, 5)
    assert type(net[0]) is nn.Conv2d and type(net[1]) is nn.BatchNorm2d and type(net[4]) is nn.Linear
    assert net[0].in_channels == 3 and net[4].in_features == 64 and type(net[4].weight) is nn.Parameter
    fresh = nn.Sequential(
        nn.LazyConv2d(4, 3, padding=1), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5, bias=False)
    )
    fresh.load_state_dict(net.state_dict())
    assert sw.equal(fresh[4].weight, net[4].weight)


def test_residual_and_fused_batch_norm():
    body = nn.Conv2d(4, 4, 3, padding=1)
    x = sw.randn(2, 4, 5, 5)
    assert sw.allclose(nn.Residual(body)(x), x + body(x), atol=1e-6)
    shortcut = nn.Conv2d(4, 4, 1)
    block = nn.Residual(body, shortcut, activation="relu")
    assert sw.allclose(block(x), (shortcut(x) + body(x)).relu(), atol=1e-6)
    assert [n for n, _ in block.named_children()] == ["body", "shortcut"]
    assert sw.allclose(nn.Residual(body, activation=nn.Tanh())(x), (x + body(x)).tanh(), atol=1e-6)

    fused, plain = nn.BatchNorm2d(4, activation="relu"), nn.BatchNorm2d(4)
    assert sw.allclose(fused(body(x), x), (plain(body(x)) + x).relu(), atol=1e-5)
    assert sw.allclose(fused.running_var, plain.running_var)
    assert "activation='relu'" in repr(fused) and list(fused.state_dict()) == list(plain.state_dict())
