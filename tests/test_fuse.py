"""Folding BatchNorm."""

from __future__ import annotations

import pytest
import skipway as sw
from skipway import models, nn
from skipway.fuse import FoldedNorm, FuseError


def stir(model, seed=0):
    """Running statistics and affine parameters as after training."""
    sw.manual_seed(seed)
    for m in model.modules():
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            for t, low, high in (
                (m.running_mean, -1, 1),
                (m.running_var, 0.5, 2),
                (m.weight, 0.5, 1.5),
                (m.bias, -1, 1),
            ):
                if t is not None:
                    with sw.no_grad():
                        t.copy_(sw.rand(*t.shape, dtype=t.dtype) * (high - low) + low)
    return model.eval()


def norms(model):
    return [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d))]


def check(model, x, fused_count, kept=0):
    stir(model)
    before = model(x)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    fused = sw.fuse(model, x)
    after = fused(x)
    scale = max(1e-3, float(before.abs().max().item()))
    assert float((before - after).abs().max().item()) <= 1e-5 * scale
    assert len(fused.fuse_report.fused) == fused_count and len(norms(fused)) == kept == len(fused.fuse_report.skipped)
    assert all((state[k] == v).all() for k, v in model.state_dict().items())  # the model itself is untouched
    return fused


def test_cifar_resnet():
    fused = check(models.resnet8(), sw.randn(2, 3, 16, 16), 9)
    assert ("layer2.0.downsample.0", "layer2.0.downsample.1") in fused.fuse_report.fused
    assert isinstance(fused.layer1[0].bn2, FoldedNorm) and "fused 9" in str(fused.fuse_report)
    assert not fused.training


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.ReLU()), (2, 3, 8, 8)),
        (lambda: nn.Sequential(nn.Conv1d(3, 4, 3, bias=False), nn.BatchNorm1d(4)), (2, 3, 9)),
        (lambda: nn.Sequential(nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4)), (1, 2, 5, 5, 5)),
        (lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6)), (2, 4, 5, 5)),
        (lambda: nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 2)), (3, 5)),
        (lambda: nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4, affine=False)), (2, 2, 3, 3)),
        (lambda: nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4, activation="relu")), (2, 2, 3, 3)),
    ],
    ids=["grouped", "1d", "3d", "transposed", "linear", "no affine", "activation"],
)
def test_layers(model, shape):
    check(model(), sw.randn(*shape), 1)


class PreActivation(nn.Module):
    """bn1's layer feeds the shortcut too; conv2 feeds bn2 although their names do not say so."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        y = self.conv1(self.bn1(x).relu())
        return x + self.conv2(self.bn2(y).relu())


def test_pairs_are_found_by_what_flows_not_by_names():
    fused = check(PreActivation(), sw.randn(2, 3, 6, 6), 1, kept=1)
    assert fused.fuse_report.fused == [("conv1", "bn2")]
    assert "stem is used elsewhere" in fused.fuse_report.skipped["bn1"]


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.bn(self.conv(self.bn(self.conv(x))))


def test_what_cannot_be_folded_stays():
    check(Shared(), sw.randn(1, 4, 3, 3), 0, kept=1)
    check(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)), sw.randn(1, 3, 4, 4), 0, kept=1)
    check(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)), sw.randn(1, 3, 4, 4), 0, kept=1)
    check(
        nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)), sw.randn(2, 3, 4, 4), 0, kept=1
    )


def test_the_input_is_inferred():
    assert sw.fuse(models.resnet8(in_channels=1)).fuse_report.input_shape == (2, 1, 32, 32)
    flat = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 26 * 26, 3))
    assert sw.fuse(flat).fuse_report.input_shape == (2, 1, 28, 28)
    odd = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 9 * 9, 3))
    with pytest.raises(ValueError, match="give input= or input_size="):
        sw.fuse(odd)
    assert len(sw.fuse(odd, input_size=(1, 1, 11, 11)).fuse_report.fused) == 1
    with pytest.raises(ValueError, match="no convolution or linear layer"):
        sw.fuse(nn.Sequential(nn.ReLU()))


class Moody(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.calls = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), 0

    def forward(self, x):
        self.calls += 1
        return self.bn(self.conv(x)) + self.calls


def test_a_mismatch_is_an_error():
    with pytest.raises(FuseError, match="outputs differ by"):
        sw.fuse(Moody())


def test_the_generator_does_not_move():
    sw.manual_seed(5)
    model = models.resnet8()
    state = sw.get_rng_state()
    sw.fuse(model)
    assert (sw.get_rng_state() == state).all()
