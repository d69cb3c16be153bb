"""The shortcuts and orders of activations of CIFAR networks, each against its formula."""

import itertools

import numpy as np
import pytest
import skipway as sw
from layer_tools import close, data, sigmoid
from skipway import models, nn
from skipway.testing import gradcheck

SHORTCUTS = ["identity", "conv", "scaling", "exclusive-gating", "shortcut-gating", "conv1x1", "dropout", "none"]
BLOCKS = ["original", "bn-after-add", "relu-before-add", "relu-only-preact", "full-preact"]
PAIRS = list(itertools.product(SHORTCUTS, BLOCKS))


def conv(x, w, stride=1):
    n, c, h, wide = x.shape
    o, _, k, _ = w.shape
    p = np.pad(x, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    y = np.zeros((n, o, h, wide))
    for i, j in itertools.product(range(k), range(k)):
        y += np.einsum("nchw,oc->nohw", p[:, :, i : i + h, j : j + wide], w[:, :, i, j])
    return y[:, :, ::stride, ::stride]


def norm(x):
    return (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)


def relu(x):
    return np.maximum(x, 0)


def pad(x, extra, stride):
    return np.pad(x[:, :, ::stride, ::stride], ((0, 0), (extra // 2, extra - extra // 2), (0, 0), (0, 0)))


def expected(block, x, stride):
    """Figures 2 and 4 of the paper, written out."""
    w = {name: p.detach().numpy().astype(np.float64) for name, p in block.named_parameters()}
    kind, order = block.shortcut, block.block
    pre = {"full-preact": lambda v: relu(norm(v)), "relu-only-preact": relu}.get(order, lambda v: v)(x)
    f = conv(pre, w["conv1.weight"], stride)
    f = conv(relu(norm(f)), w["conv2.weight"])
    f = {"relu-before-add": lambda v: relu(norm(v)), "original": norm, "relu-only-preact": norm}.get(
        order, lambda v: v
    )(f)
    source = pre if stride != 1 else x
    if kind == "none":
        y = f
    else:
        if kind == "conv1x1" or (kind == "conv" and stride != 1):
            h = conv(source, w["downsample.0.weight"], stride)
            h = h if order == "full-preact" else norm(h)
        else:
            h = source if stride == 1 else pad(source, f.shape[1] - x.shape[1], stride)
        if kind.endswith("gating"):
            g = sigmoid(conv(source, w["gate.weight"], stride) + w["gate.bias"].reshape(1, -1, 1, 1))
            y = (1 - g) * h + (g * f if kind == "exclusive-gating" else f)
        else:
            y = 0.5 * (h + f) if kind == "scaling" else h + f
    return {"original": relu, "bn-after-add": lambda v: relu(norm(v))}.get(order, lambda v: v)(y)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shortcut, order", PAIRS)
def test_blocks_are_the_figures(shortcut, order, stride):
    sw.manual_seed(0)
    block = models.ShortcutBlock(4, 4 * stride, stride, shortcut, order, gate_bias=-0.5).double()
    for m in block.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0.0
    x = data(2, 4, 6, 6).astype(np.float64)
    close(block(sw.tensor(x)), expected(block, x, stride), 1e-8)


class Seeded(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        sw.manual_seed(3)
        return self.layer(x)


@pytest.mark.filterwarnings("ignore:gradcheck. left out")
@pytest.mark.parametrize("shortcut, order", PAIRS)
def test_gradients_of_blocks(shortcut, order):
    sw.manual_seed(1)
    block = models.ShortcutBlock(2, 3, 2, shortcut, order, gate_bias=-0.5)
    assert gradcheck(Seeded(block), (sw.tensor(data(2, 2, 4, 4).astype(np.float64), requires_grad=True),))


def test_dropout_shortcut_drops_half():
    sw.manual_seed(2)
    block = models.ShortcutBlock(4, 4, 1, "dropout", "relu-before-add")
    nn.init.zeros_(block.bn2.weight)
    y = block(sw.ones(8, 4, 8, 8)).detach().numpy()
    assert set(np.unique(y)) == {0.0, 2.0} and (y == 0).mean() == pytest.approx(0.5, abs=0.05)
    assert (block.eval()(sw.ones(1, 4, 4, 4)).detach().numpy() == 1).all()


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize("shortcut, order", PAIRS)
def test_networks_run_and_learn(shortcut, order):
    sw.manual_seed(0)
    model = models.cifar_resnet(8, shortcut=shortcut, block=order, width=4, num_classes=3)
    y = model(sw.tensor(data(2, 3, 8, 8)))
    assert tuple(y.shape) == (2, 3)
    nn.functional.cross_entropy(y, sw.tensor([0, 2])).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not np.isfinite(p.grad.numpy()).all()]
    assert not silent
    assert all(p.grad.abs().sum().item() > 0 for n, p in model.named_parameters() if "conv" in n)


def count(**options):
    return sum(p.numel() for p in models.cifar_resnet(20, **options).parameters())


def test_sizes():
    """Shortcuts cost what they say, and orders nothing but the normalizations at both ends."""
    plain = count(shortcut=None)
    assert plain == count(shortcut="none") == count(shortcut="A") == count(shortcut="identity") == 269_722
    assert count(shortcut="scaling") == count(shortcut="dropout") == plain
    assert count(shortcut="B") == count(shortcut="conv") == plain + 16 * 32 + 32 * 64 + 2 * (32 + 64)
    channels = [(16, 16)] * 3 + [(16, 32)] + [(32, 32)] * 2 + [(32, 64)] + [(64, 64)] * 2
    assert count(shortcut="conv1x1") == plain + sum(i * o + 2 * o for i, o in channels)
    gates = sum(i * o + o for i, o in channels)
    assert count(shortcut="exclusive-gating") == count(shortcut="shortcut-gating") == plain + gates
    for order in BLOCKS[:4]:
        assert count(shortcut="identity", block=order) == plain
    # The first normalization of the second and third stages has half the channels, and one of 64 is added; none is gone
    # but the stem's, of 16.
    assert count(shortcut="identity", block="full-preact") == plain - 2 * 16 - 2 * (16 + 32) + 2 * 64


def test_the_published_networks():
    model = models.resnet110(shortcut="shortcut-gating", width=2)
    assert len(model.layer1) == 18 and model.layer1[0].gate.bias.tolist() == [0.0] * 2
    assert models.resnet8(shortcut="exclusive-gating", width=2).layer1[0].gate.bias.tolist() == [-6.0] * 2
    assert models.resnet8(shortcut="exclusive-gating", width=2, gate_bias=-1).layer2[0].gate.bias.tolist() == [-1.0] * 4
    plain = models.cifar_resnet(8, shortcut=None)
    assert list(plain.state_dict()) == list(models.cifar_resnet(8, shortcut="A").state_dict())
    assert list(models.resnet20(shortcut="B").state_dict()) == list(models.resnet20().state_dict())


def test_a_plain_network_has_no_way_around():
    """With the convolutions of a block at 0, its input is gone; an identity shortcut carries it."""
    x = sw.tensor(data(2, 3, 8, 8))
    for shortcut, carried in ((None, False), ("identity", True)):
        sw.manual_seed(0)
        model = models.cifar_resnet(8, shortcut=shortcut, width=4).eval()
        nn.init.zeros_(model.layer2[0].conv2.weight)
        y = model(x).detach().numpy()
        assert (np.ptp(y, axis=0).max() > 1e-4) == carried


def test_first_block_of_full_preactivation_shares_the_activated_stem():
    model = models.cifar_resnet(14, shortcut="identity", block="full-preact", width=4)
    assert [b.share for s in (model.layer1, model.layer2) for b in s] == [True, False, True, False]
    assert not hasattr(model, "bn1") and model.bn_last.num_features == 16


def test_zero_init():
    model = models.cifar_resnet(8, shortcut="scaling", width=4, zero_init_residual=True)
    assert model.layer1[0].bn2.weight.abs().sum().item() == 0
    for shortcut, order in (("none", "original"), ("identity", "full-preact"), ("identity", "relu-before-add")):
        model = models.cifar_resnet(8, shortcut=shortcut, block=order, width=4, zero_init_residual=True)
        assert model.layer1[0].bn2.weight.sum().item() == 4, "such a block would never learn"


def test_other_norms_and_fusing():
    model = models.cifar_resnet(
        8, shortcut="scaling", block="full-preact", width=4, norm_layer=lambda c: nn.GroupNorm(2, c)
    )
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert tuple(model(sw.zeros(1, 3, 8, 8)).shape) == (1, 10)
    for shortcut, order in (("exclusive-gating", "original"), ("identity", "full-preact"), ("conv1x1", "bn-after-add")):
        model = models.cifar_resnet(8, shortcut=shortcut, block=order, width=4)
        model(sw.tensor(data(4, 3, 8, 8)))
        x = sw.tensor(data(2, 3, 8, 8, seed=1))
        close(sw.fuse(model, x)(x), model.eval()(x).detach().numpy(), 1e-3)


def test_unknown_names_list_the_known():
    for make in (models.ShortcutBlock, lambda *a, **k: models.cifar_resnet(8, **k)):
        with pytest.raises(ValueError, match=r"shortcut must be one of 'identity', .*'dropout', 'none', None, got 'C'"):
            make(4, 4, shortcut="C")
        with pytest.raises(ValueError, match=r"block must be one of 'original', .*'full-preact', got 'preact'"):
            make(4, 4, block="preact")
        with pytest.raises(ValueError, match=r"shortcut must be one of .*, got \['A'\]"):
            make(4, 4, shortcut=["A"])
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        models.cifar_resnet(8, width=0)
