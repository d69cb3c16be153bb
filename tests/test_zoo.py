"""The model zoo: sizes and keys against the published ones, one training step of each, and what its arguments do."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from skipway import cli, models, nn

# Of torchvision 0.29: parameters, entries of the state dict, and the start of the SHA-256 of its keys and shapes,
# "\n".join(f"{key} {tuple(value.shape)}" for key, value in model.state_dict().items()).
TORCHVISION = {
    "alexnet": (61_100_840, 16, "9c198ebdae1863e4"),
    "vgg11": (132_863_336, 22, "cb3dc23f2a13e182"),
    "vgg11_bn": (132_868_840, 62, "8b6717e727c0ecf9"),
    "vgg13": (133_047_848, 26, "67c1dc8b57fde74b"),
    "vgg13_bn": (133_053_736, 76, "f6b0597d18a7e4d2"),
    "vgg16": (138_357_544, 32, "35c4623e0cd4a39d"),
    "vgg16_bn": (138_365_992, 97, "347371586a8ea365"),
    "vgg19": (143_667_240, 38, "4723255af8f6c485"),
    "vgg19_bn": (143_678_248, 118, "fc3ff6fab2b5cc09"),
    "googlenet": (13_004_888, 364, "7f541ca29410efb1"),
    "resnet18": (11_689_512, 122, "84fb10d9c6905a1c"),
    "resnet34": (21_797_672, 218, "28f9096d51307499"),
    "resnet50": (25_557_032, 320, "d7e4f8bb0a536344"),
    "resnet101": (44_549_160, 626, "02c0f34f4842751f"),
    "resnet152": (60_192_808, 932, "685c66205bc823aa"),
    "resnext50_32x4d": (25_028_904, 320, "e3bad165c034e60f"),
    "resnext101_32x8d": (88_791_336, 626, "da7dd7525807e2ee"),
    "wide_resnet50_2": (68_883_240, 320, "41203d1d536c02ed"),
    "wide_resnet101_2": (126_886_696, 626, "4f088c0a152b8f5c"),
}

# The others. In millions, papers give: preact-164 1.7, -1001 10.2 (He et al. 2016b); ResNet-1202 19.4 (He et al. 2016);
# shake-shake 2x32d 2.9, 2x96d 26.2 (Gastaldi 2017); FCN-5 and -8 118 and 131, AlexNet-R 0.085 (Shi et al. 2016).
OWN = {
    "lenet5": 61_706, "zfnet": 62_357_608, "plain18": 11_515_688, "plain34": 21_623_848, "resnet1202": 19_424_026,
    "preact_resnet50": 25_549_352, "preact_resnet110": 1_730_522, "preact_resnet164": 1_703_258,
    "preact_resnet200": 64_666_152, "preact_resnet1001": 10_327_706, "stochastic_depth_resnet110": 1_727_962,
    "shake_shake26_2x32d": 2_923_162, "shake_shake26_2x96d": 26_192_922, "highway10": 80_560, "highway100": 539_560,
    "highway_conv19": 342_970, "fcn5": 117_997_696, "fcn8": 130_586_752, "fcn_r": 14_205_962, "alexnet_r": 85_098,
}  # fmt: skip


def count(model):
    return sum(int(p.numel()) for p in model.parameters())


def blank(name, **kwargs):
    with models.without_init():
        return models.get(name, **kwargs)


@pytest.mark.parametrize("name", TORCHVISION)
def test_keys_and_shapes_are_torchvisions(name):
    state = blank(name).state_dict()
    text = "\n".join(f"{key} {tuple(value.shape)}" for key, value in state.items())
    assert (len(state), hashlib.sha256(text.encode()).hexdigest()[:16]) == TORCHVISION[name][1:]
    assert count(blank(name)) == TORCHVISION[name][0]


@pytest.mark.parametrize("name", OWN)
def test_sizes(name):
    assert count(blank(name)) == OWN[name]


def tiny(name):
    """Arguments and the shape of an image that make a network small and keep all of its layers."""
    size, kwargs = models.card(name).input_size, {"num_classes": 3}
    if name in ("alexnet", "zfnet"):
        return {**kwargs, "hidden": 8}, (3, 67, 67)
    if name.startswith("vgg"):
        return {**kwargs, "hidden": 8}, (3, 32, 32)
    if name in ("fcn5", "fcn8"):
        return {**kwargs, "in_features": 8, "hidden": 8}, (8,)
    if name.startswith(("wide_", "resnext", "resnet50", "resnet101", "resnet152")):
        kwargs["width_per_group"] = 2
    if name.startswith(("preact_resnet", "stochastic_depth", "resnet110", "resnet1202", "plain110")):
        kwargs["width"] = 4
    if name.startswith("stochastic_depth"):
        kwargs["mode"] = "row"
    if size == (3, 32, 32) and name != "alexnet_r":
        size = (3, 8, 8)
    return kwargs, (3, 32, 32) if size[-1] > 100 else size


@pytest.mark.parametrize("name", models.list_models())
def test_forward_and_backward(name):
    kwargs, shape = tiny(name)
    sw.manual_seed(0)
    model = models.get(name, **kwargs)
    y = model(sw.randn(2, *shape))
    outputs = list(y) if isinstance(y, tuple) else [y]
    assert all(tuple(o.shape) == (2, 3) for o in outputs)
    sum(o.square().sum() for o in outputs).backward()
    for key, p in model.named_parameters():
        assert p.grad is not None and bool(sw.isfinite(p.grad).all()), key
    assert not any(isinstance(m, nn.Module) and not m.__doc__ for m in model.modules())


def test_googlenet_while_training_and_after():
    sw.manual_seed(0)
    model = models.googlenet(num_classes=4)
    x = sw.randn(2, 3, 64, 64)
    out = model(x)
    assert isinstance(out, models.GoogLeNetOutputs) and out._fields == ("logits", "aux_logits2", "aux_logits1")
    assert isinstance(model.eval()(x), sw.Tensor)
    seen = []
    model.aux1.register_forward_hook(lambda m, args, y: seen.append(("aux1", args[0].shape[1], y)))
    model.aux2.register_forward_hook(lambda m, args, y: seen.append(("aux2", args[0].shape[1], y)))
    out = model.train()(x)
    assert [(s[0], s[1]) for s in seen] == [("aux1", 512), ("aux2", 528)]  # after 4a and 4d
    assert seen[0][2] is out.aux_logits1 and seen[1][2] is out.aux_logits2
    without = blank("googlenet", aux_logits=False)
    assert count(without) == 6_624_904 and isinstance(without.train()(x), sw.Tensor)
    paper = 6_998_552  # with biases; batch normalization has 7,280 scales more
    assert count(blank("googlenet", aux_logits=False, paper_5x5=True)) == paper + 7_280


def test_googlenet_transforms_its_input():
    """From (pixel - mean) / std with ImageNet's to 2 pixel - 1."""
    sw.manual_seed(0)
    model = models.googlenet(num_classes=4, aux_logits=False).eval()
    pixels = np.random.default_rng(0).random((1, 3, 48, 48)).astype(np.float32)
    mean, std = (np.float32(v).reshape(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    expected = model(sw.from_numpy(2 * pixels - 1))
    model.transform_input = True
    got = model(sw.from_numpy((pixels - mean) / std))
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-7)
    with pytest.raises(sw.ShapeError, match=r"transform_input expects \(N, 3, H, W\), got \(1, 1, 48, 48\)"):
        model(sw.zeros(1, 1, 48, 48))
    with pytest.raises(ValueError, match="transform_input is for 3 channels, got in_channels=1"):
        models.googlenet(transform_input=True, in_channels=1)


def test_alexnet_takes_both_sizes():
    model = blank("alexnet")
    for size, conv1 in ((227, 56), (224, 55)):
        shapes = []
        model.features[0].register_forward_hook(lambda m, a, y, shapes=shapes: shapes.append(y.shape[2]))
        assert tuple(model.features(sw.zeros(1, 3, size, size)).shape) == (1, 256, 6, 6)
        assert shapes == [conv1]


def test_imagenet_shortcuts_and_strides():
    a = blank("resnet34", shortcut="A")
    assert count(a) == count(blank("plain34")) == 21_797_672 - sum(c * 2 * c + 4 * c for c in (64, 128, 256))
    assert tuple(a.layer2[0](sw.zeros(1, 64, 8, 8)).shape) == (1, 128, 4, 4)
    paper = blank("resnet50", stride_in_1x1=True).layer2[0]
    assert tuple(paper.conv1.stride) == (2, 2) and tuple(paper.conv2.stride) == (1, 1)
    assert tuple(blank("resnet50").layer2[0].conv2.stride) == (2, 2)
    with pytest.raises(ValueError, match="shortcut must be 'A', 'B' or 'none', got 'C'"):
        models.resnet18(shortcut="C")
    with pytest.raises(ValueError, match="made of basic blocks, not bottlenecks"):
        models.resnet50(shortcut="none")


def test_a_plain_block_has_no_way_around():
    sw.manual_seed(0)
    block = models.PlainBlock(4, 4).eval()
    x = sw.randn(1, 4, 5, 5)
    f = block.bn2(block.conv2(block.bn1(block.conv1(x))))  # both normalizations end in ReLU
    assert bool((block(x) == f).all()) and bool((models.BasicBlock.forward(block, x) != f).any())


def test_preactivation_blocks():
    """He et al. 2016b, equation 3 and the appendix: a projection reads the activated input, the identity does not."""
    sw.manual_seed(0)
    x = sw.randn(2, 4, 6, 6)
    for block in (models.PreActBlock(4, 4), models.PreActBlock(4, 6, 2), models.PreActBottleneck(4, 2, 2)):
        ready = F.relu(nn.BatchNorm2d(4)(x))
        y = block.conv2(F.relu(nn.BatchNorm2d(block.conv1.weight.shape[0])(block.conv1(ready))))
        if hasattr(block, "conv3"):
            y = block.conv3(F.relu(nn.BatchNorm2d(2)(y)))
        expected = y + (x if block.downsample is None else block.downsample(ready))
        assert float((block(x) - expected).abs().max()) < 1e-5
    model = blank("preact_resnet18")
    assert model.layer1[0].bn1 is None and model.layer2[0].bn1 is not None
    depths = {"preact_resnet20": 20, "preact_resnet164": 164, "preact_resnet50": 50, "preact_resnet200": 200}
    for name, depth in depths.items():
        modules = blank(name).named_modules()
        assert sum(isinstance(m, nn.Conv2d) and "downsample" not in n for n, m in modules) + 1 == depth


def test_stochastic_depth():
    sw.manual_seed(0)
    model = models.stochastic_depth_resnet110(width=4)
    blocks = [m for m in model.modules() if isinstance(m, models.StochasticDepthBlock)]
    assert [round(1 - b.drop.p, 6) for b in blocks] == [round(1 - i / 54 * 0.5, 6) for i in range(1, 55)]
    for mode in ("batch", "row"):
        block = models.StochasticDepthBlock(3, 3, 1, 0.5, mode)
        x = sw.randn(64, 3, 4, 4)
        dropped = F.relu(x)
        branch = nn.BatchNorm2d(3)(block.conv2(nn.BatchNorm2d(3, activation="relu")(block.conv1(x))))
        kept = F.relu(x + 2 * branch)
        counts = []
        for _ in range(20):
            y = block(x)
            same = [(y - other).abs().amax((1, 2, 3)) < 1e-4 for other in (dropped, kept)]
            assert bool((same[0] | same[1]).all())
            counts.append(int(same[0].sum()))
        assert (set(counts) == {0, 64}) if mode == "batch" else (min(counts) > 15 and max(counts) < 50)
        block.eval()
        block.bn1.running_var, block.bn2.running_var = sw.ones(3), sw.ones(3)
        block.bn1.running_mean, block.bn2.running_mean = sw.zeros(3), sw.zeros(3)
        once = F.relu(x + block.bn2(block.conv2(block.bn1(block.conv1(x)))))
        assert float((block(x) - once).abs().max()) < 1e-5
    always = models.StochasticDepthBlock(3, 3, 1, 1.0)
    (always(x) + always.conv1.weight.sum() * 0).sum().backward()
    assert always.conv2.weight.grad is None  # the branch was not computed
    assert int(always.bn1.num_batches_tracked) == 0


def test_shake_shake_in_evaluation_is_the_mean_of_its_branches():
    sw.manual_seed(0)
    block = models.ShakeBlock(4, 4, 1, nn.ShakeShake()).eval()
    x = sw.randn(3, 4, 6, 6)
    expected = x + 0.5 * (block.branch1(x) + block.branch2(x))
    assert float((block(x) - expected).abs().max()) < 1e-5
    first, second = block.train()(x), block(x)
    assert float((first - second).abs().max()) > 1e-3
    shift = models.stochastic.ShiftShortcut(4, 6).eval()
    y = shift(x)
    assert tuple(y.shape) == (3, 6, 3, 3)
    one = shift.conv2(F.pad(x[:, :, 1::2, 1::2], (0, 0, 0, 0)))
    scale = 1 / np.sqrt(1 + 1e-5)
    assert float((y[:, 3:] - one * scale).abs().max()) < 1e-5


def test_highway_gates_start_closed():
    model = models.highway50(width=7)
    layers = [m for m in model.modules() if isinstance(m, nn.Highway)]
    assert len(layers) == 48 and all(float(m.gate.bias.max()) == -2.0 for m in layers)
    assert tuple(model(sw.randn(5, 784)).shape) == tuple(model(sw.randn(5, 1, 28, 28)).shape) == (5, 10)
    conv = models.get("highway_conv10")
    assert sum(isinstance(m, nn.HighwayConv2d) for m in conv.modules()) == 6


def test_names():
    names = models.list()
    assert names == models.list_models() and len(names) == len(set(names)) > 55
    assert all(hasattr(models, name) and name in models.__all__ for name in names)
    assert models.get("plain26", width=2).shortcut == "none" and models.get("resnet26", width=2).depth == 26
    assert models.get("highway7", width=3).layers and models.get_model is models.get
    assert models.get("preact_resnet26", width=2).stages == 3
    card = models.card("googlenet")
    assert card.make is models.googlenet and card.input_size == (3, 224, 224) and card.source == "Szegedy et al. 2015"
    with pytest.raises(ValueError, match="'resnet26' is not one of the listed models"):
        models.card("resnet26")


@pytest.mark.parametrize(
    ("wrong", "first"),
    [("vgg-16", "vgg16"), ("GoogLeNet2", "googlenet"), ("alex_net", "alexnet"), ("resnet103", "resnet101")],
)
def test_unknown_names_list_the_valid_ones_the_closest_first(wrong, first):
    with pytest.raises(ValueError) as caught:
        models.get(wrong)
    message = str(caught.value)
    assert message.startswith(f"unknown model {wrong!r}; expected one of {first}, ")
    assert all(name in message for name in models.list_models()) and "N = 6n + 2" in message


def test_the_command(capsys):
    assert cli.main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == models.list_models() and lines[0].endswith("LeCun et al. 1998")
    assert cli.main(["models", "vgg16"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("VGG, input 3x224x224") and "138,358" in out.splitlines()[-3]
    assert cli.main(["models", "resnet26", "--input", "3x8x8"]) == 0
    assert capsys.readouterr().out.startswith("CifarResNet, input 3x8x8")
    assert cli.main(["models", "googlenet", "--training"]) == 0 and "aux1.fc1" in capsys.readouterr().out
    assert cli.main(["models", "lenet5", "--input", "1x3x3"]) == 1  # and what could be seen
    assert "the model stopped here" in capsys.readouterr().out
    for args, message in ((["vgg"], "unknown model 'vgg'"), (["vgg11", "--input", "3xa"], "invalid literal")):
        assert cli.main(["models", *args]) == 2
        assert f"skipway models: error: {message}" in capsys.readouterr().err


def test_initial_values_can_be_left_out():
    before = nn.init.kaiming_normal_
    with pytest.raises(RuntimeError), models.without_init():
        assert nn.init.kaiming_normal_ is not before
        raise RuntimeError
    assert nn.init.kaiming_normal_ is before
    sw.manual_seed(3)
    state = sw.get_rng_state()
    blank("resnet20")
    assert bool((sw.get_rng_state() == state).all())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.get(3), "expected the name of a model, a str, got int"),
        (lambda: models.lenet5(activation="sin"), "activation must be one of 'tanh', 'relu', 'sigmoid', got 'sin'"),
        (lambda: models.zfnet(filters=(1, 2)), r"filters must be three numbers, of convolutions 3 to 5, got \(1, 2\)"),
        (lambda: models.vgg16(weights="DEFAULT"), "vgg16: there are no weights to download"),
        (lambda: models.googlenet(weights="DEFAULT"), "googlenet: there are no weights to download"),
        (lambda: models.PreActResNet(models.PreActBlock, []), "layers must be a positive number of blocks"),
        (lambda: models.cifar_preact_resnet(21), r"depth must be 6n \+ 2, got 21; or 9n \+ 2 with bottleneck=True"),
        (lambda: models.cifar_preact_resnet(20, bottleneck=True, width=2), None),
        (lambda: models.cifar_preact_resnet(21, bottleneck=True), r"depth must be 9n \+ 2, got 21"),
        (lambda: models.StochasticDepthResNet(21), r"depth must be 6n \+ 2 \(8, 14, 20, ...\), got 21"),
        (lambda: models.ShakeShakeResNet(1), "expected 3 stages of blocks and width >= 2, got 4, 1"),
        (lambda: models.ShakeShakeResNet(forward_mode="keep"), "forward_mode"),
        (lambda: models.HighwayNet(2), "depth must be at least 3, got 2"),
        (lambda: models.HighwayConvNet(8), r"depth must be 3n \+ 1 \(7, 10, 13, ...\), got 8"),
    ],
)
def test_bad_arguments(call, message):
    if message is None:
        assert call() is not None
        return
    with pytest.raises((TypeError, ValueError), match=message):
        call()
