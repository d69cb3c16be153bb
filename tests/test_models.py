"""The model zoo: names, sizes and arguments."""

from __future__ import annotations

import pytest
import skipway as sw
from skipway import models, nn


def count(model):
    return sum(int(p.numel()) for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnext50_32x4d", 25_028_904),
        ("wide_resnet50_2", 68_883_240),
    ],
)
def test_sizes(name, parameters):
    with models.without_init():
        assert count(models.get(name)) == parameters


def test_depths_of_the_deep_ones():
    with_blocks = {"resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}
    for name, blocks in with_blocks.items():
        with models.without_init():
            m = models.get(name, num_classes=2)
        assert tuple(len(getattr(m, f"layer{i}")) for i in range(1, 5)) == blocks


# He et al. 2016, table 6: 0.27, 0.46, 0.66, 0.85 and 1.7 million with option A, to which option B adds 2,752.
@pytest.mark.parametrize(
    ("depth", "parameters"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)]
)
def test_cifar_sizes(depth, parameters):
    assert count(models.cifar_resnet(depth, shortcut="pad")) == parameters
    assert count(models.get(f"resnet{depth}")) == parameters + 16 * 32 + 32 * 64 + 2 * (32 + 64)
    m = models.cifar_resnet(depth)
    convs = [c for n, c in m.named_modules() if isinstance(c, nn.Conv2d) and "downsample" not in n]
    assert len(convs) + 1 == depth


def test_parameter_names():
    keys = list(models.resnet18().state_dict())
    assert keys[:6] == [
        "conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked",
    ]  # fmt: skip
    assert len(keys) == 122 and keys[-2:] == ["fc.weight", "fc.bias"]
    for k in ("layer1.0.conv1.weight", "layer2.0.downsample.0.weight", "layer2.0.downsample.1.running_var"):
        assert k in keys
    assert "layer4.2.conv3.weight" in models.resnet50(num_classes=2).state_dict()
    assert set(models.get("resnet8", shortcut="conv").state_dict()) >= {"layer3.0.downsample.0.weight", "fc.bias"}


def test_shapes_and_arguments():
    x = sw.randn(2, 3, 32, 32)
    assert tuple(models.resnet8(num_classes=7)(x).shape) == (2, 7)
    assert tuple(models.resnet8(shortcut="pad", width=4)(x).shape) == (2, 10)
    assert tuple(models.get("resnet8", in_channels=1)(sw.randn(2, 1, 8, 8)).shape) == (2, 10)
    m = models.resnet18(num_classes=5, zero_init_residual=True, in_channels=1)
    assert tuple(m(sw.randn(1, 1, 64, 64)).shape) == (1, 5)
    assert float(m.layer1[0].bn2.weight.abs().sum().item()) == 0
    assert float(m.layer1[0].bn1.weight.sum().item()) == 64
    dilated = models.ResNet(models.Bottleneck, [1, 1, 1, 1], replace_stride_with_dilation=[False, True, True])
    assert tuple(dilated.layer4[0].conv2.stride) == (1, 1) and tuple(dilated.layer4[0].conv2.dilation) == (2, 2)


def test_norm_layer():
    m = models.resnet8(norm_layer=lambda c: nn.GroupNorm(4, c))
    assert not any(isinstance(c, nn.BatchNorm2d) for c in m.modules())
    out = m(sw.randn(2, 3, 16, 16))
    out.sum().backward()
    assert all(p.grad is not None for p in m.parameters())


def test_a_block_is_what_the_paper_says():
    sw.manual_seed(0)
    block = models.BasicBlock(4, 4)
    x = sw.randn(2, 4, 6, 6)
    plain = nn.BatchNorm2d(4)
    y = plain(block.conv1(x)).relu()
    expected = (nn.BatchNorm2d(4)(block.conv2(y)) + x).relu()
    assert float((block(x) - expected).abs().max().item()) < 1e-5


def test_initial_values():
    sw.manual_seed(1)
    m = models.resnet18(num_classes=3)
    w = m.layer2[0].conv2.weight.detach()
    assert abs(float(w.std().item()) - (2 / (128 * 9)) ** 0.5) < 1e-3
    sw.manual_seed(1)
    assert (models.resnet18(num_classes=3).fc.weight == m.fc.weight).all()


def test_get():
    assert models.get("resnet26").depth == 26 and models.get("cifar_resnet20").depth == 20
    assert "resnet20" in models.list_models() and "resnet50" in models.list_models()
    with pytest.raises(ValueError, match="unknown model .resnet21.; expected one of resnet"):
        models.get("resnet21")
    with pytest.raises(ValueError, match="depth must be 6n"):
        models.cifar_resnet(21)
    with pytest.raises(ValueError, match="no weights to download"):
        models.resnet18(weights="DEFAULT")
    with pytest.raises(ValueError, match="shortcut must be"):
        models.cifar_resnet(20, shortcut="C")
    with pytest.raises(ValueError, match="groups=1"):
        models.BasicBlock(4, 4, groups=2)
