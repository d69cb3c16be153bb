"""sw.show_plan: what each layer costs, and how it is computed."""

import pytest
import skipway as sw
from skipway import nn

pytestmark = pytest.mark.usefixtures("restore")


def model():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding="same"),
        nn.Conv2d(32, 32, 3, groups=32),
        nn.ConvTranspose2d(32, 16, 2, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    ).eval()  # fmt: skip


def test_rows_say_what_is_computed(capsys):
    plan = sw.show_plan(model(), sw.zeros((8, 3, 32, 32)), repeats=2)
    assert [r.layer for r in plan.rows] == ["0", "2", "3", "4", "7"]
    assert [r.algorithm for r in plan.rows] == ["direct", "winograd", "lanes", "direct", "product"]
    assert [r.flops for r in plan.rows] == [
        2 * 8 * 32 * 32 * 32 * 27,
        2 * 8 * 32 * 32 * 32 * 288,
        2 * 8 * 32 * 30 * 30 * 9,
        2 * 8 * 60 * 60 * 16 * 32,
        2 * 8 * 10 * 16,
    ]
    assert plan.rows[1].bytes == 4 * (2 * 8 * 32 * 32 * 32 + 32 * 32 * 9)
    assert plan.rows[2].kind == "3x3 g32"
    assert plan.rows[3].output == (8, 16, 60, 60)
    assert all(0 < r.ms < plan.total_ms for r in plan.rows)
    assert plan.peak > 0.5
    printed = capsys.readouterr().out
    assert str(plan) in printed
    assert "2 " in printed and "winograd" in printed and "8x32x32x32" in printed


def test_gradients_and_the_override(capsys):
    sw.backends.cpu.set_conv_algorithm("direct")
    plan = sw.show_plan(model(), (sw.zeros((8, 3, 32, 32)),), backward=True, repeats=1)
    assert "convolutions: direct" in capsys.readouterr().out
    passes = [(r.layer, r.pass_, r.algorithm) for r in plan.rows]
    assert passes[:6] == [
        ("0", "forward", "direct"),
        ("0", "data gradient", "direct"),
        ("0", "weight gradient", "direct"),
        ("2", "forward", "direct"),
        ("2", "data gradient", "direct"),
        ("2", "weight gradient", "direct"),
    ]
    assert len(passes) == 3 * 4 + 1


def test_hooks_are_gone_afterwards_and_weights_have_no_gradient():
    net = model()
    sw.show_plan(net, sw.zeros((1, 3, 8, 8)), backward=True, repeats=1)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())
    assert all(p.grad is None for p in net.parameters())


def test_repeats_must_be_positive():
    with pytest.raises(ValueError, match="show_plan: expected repeats >= 1, got 0"):
        sw.show_plan(model(), sw.zeros((1, 3, 8, 8)), repeats=0)


def test_norms_that_convolutions_apply_are_named(capsys):
    sw.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1),
        nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.Conv2d(32, 32, 1),
    )  # fmt: skip
    before = sw.backends.cpu.get_conv_algorithm()
    sw.backends.cpu.set_conv_algorithm("winograd")
    try:
        plan = sw.show_plan(model, sw.randn(2, 3, 16, 16), repeats=1)
        sw.backends.deferral.enabled = False
        at_once = sw.show_plan(model, sw.randn(2, 3, 16, 16), repeats=1)
    finally:
        sw.backends.deferral.enabled = True
        sw.backends.cpu.set_conv_algorithm(before)
    assert [(r.layer, r.why) for r in plan.rows] == [
        ("0", ""), ("3", "normalises what it loads"), ("6", ""), ("7", ""),
    ]  # fmt: skip
    assert "3x3             2x32x16x16           forward" in capsys.readouterr().out
    assert not any(r.why for r in at_once.rows)
