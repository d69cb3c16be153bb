"""Learning rate schedules: closed forms, chaining, state dicts, and the numbers that PyTorch gives."""

import copy
import math

import pytest
import skipway as sw
from skipway import nn
from skipway.optim import SGD, Adam, lr_scheduler


def optimizer(lr=0.1, cls=SGD, **options):
    if cls is SGD:
        options.setdefault("momentum", 0.9)
    return cls(
        [{"params": [nn.Parameter(sw.zeros(2))]}, {"params": [nn.Parameter(sw.zeros(1))], "lr": lr / 2}],
        lr=lr,
        **options,
    )


def rates(make, steps, lr=0.1, cls=SGD):
    """The first group's rate before each of `steps` steps; the second group's is half of it wherever rates scale."""
    o = optimizer(lr, cls)
    s = make(o)
    out = []
    for _ in range(steps):
        out.append(o.param_groups[0]["lr"])
        assert s.get_last_lr() == [g["lr"] for g in o.param_groups]
        o.step()
        s.step()
    return out


CLOSED_FORMS = [
    (lambda o: lr_scheduler.StepLR(o, 3, gamma=0.5), lambda t: 0.1 * 0.5 ** (t // 3)),
    (lambda o: lr_scheduler.MultiStepLR(o, [2, 5, 5], gamma=0.1), lambda t: 0.1 * 0.1 ** ((t >= 2) + 2 * (t >= 5))),
    (lambda o: lr_scheduler.ExponentialLR(o, 0.9), lambda t: 0.1 * 0.9**t),
    (lambda o: lr_scheduler.ConstantLR(o, 0.25, total_iters=4), lambda t: 0.1 * (0.25 if t < 4 else 1)),
    (lambda o: lr_scheduler.LinearLR(o, 0.2, 0.9, total_iters=5), lambda t: 0.1 * (0.2 + 0.7 * min(t, 5) / 5)),
    (lambda o: lr_scheduler.PolynomialLR(o, 8, power=2.0), lambda t: 0.1 * max(0.0, 1 - t / 8) ** 2),
    (lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: 0.1 / (1 + t)),
    (lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.95), lambda t: 0.1 * 0.95**t),
    (
        lambda o: lr_scheduler.CosineAnnealingLR(o, 12, eta_min=0.01),
        lambda t: 0.01 + 0.09 * (1 + math.cos(math.pi * t / 12)) / 2,
    ),
    (
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5, eta_min=0.01),
        lambda t: 0.01 + 0.09 * (1 + math.cos(math.pi * (t % 5) / 5)) / 2,
    ),
]


@pytest.mark.parametrize("case", range(len(CLOSED_FORMS)))
def test_closed_form(case):
    make, formula = CLOSED_FORMS[case]
    for t, lr in enumerate(rates(make, 20)):
        assert lr == pytest.approx(formula(t), rel=1e-9, abs=1e-12), t


def test_warm_restarts_grow():
    restarts = [
        t for t, lr in enumerate(rates(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2, 2), 16)) if lr == 0.1
    ]
    assert restarts == [0, 2, 6, 14]
    s = lr_scheduler.CosineAnnealingWarmRestarts(optimizer(), 4)
    s.step(1.5)
    assert s.get_last_lr()[0] == pytest.approx(0.05 * (1 + math.cos(math.pi * 1.5 / 4)))


def test_one_cycle():
    got = rates(lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=10), 10)
    assert got[0] == pytest.approx(0.04)
    assert got[2] == 1.0 and got[9] == pytest.approx(4e-6)
    assert got[1] == pytest.approx(1.0 + (0.04 - 1.0) / 2 * (math.cos(math.pi / 2) + 1))
    assert got[5] == pytest.approx(4e-6 + (1.0 - 4e-6) / 2 * (math.cos(math.pi * 3 / 7) + 1))

    o = optimizer(cls=Adam)
    s = lr_scheduler.OneCycleLR(o, [0.5, 0.3], epochs=2, steps_per_epoch=5, anneal_strategy="linear", three_phase=True)
    assert o.param_groups[0]["betas"][0] == 0.95 and o.param_groups[1]["max_lr"] == 0.3
    for _ in range(2):
        o.step()
        s.step()
    assert o.param_groups[0]["betas"][0] == pytest.approx(0.85) and s.get_last_lr()[0] == pytest.approx(0.5)
    for _ in range(8):
        o.step()
        s.step()
    with pytest.raises(ValueError, match="total steps is 10"):
        s.step()
    with pytest.raises(ValueError, match="total_steps OR"):
        lr_scheduler.OneCycleLR(optimizer(), 1.0)


def test_cyclic():
    got = rates(lambda o: lr_scheduler.CyclicLR(o, 0.0, 1.0, step_size_up=2, step_size_down=4), 13)
    assert got == pytest.approx([0, 0.5, 1, 0.75, 0.5, 0.25] * 2 + [0])
    halves = rates(lambda o: lr_scheduler.CyclicLR(o, 0.0, 1.0, step_size_up=1, mode="triangular2"), 5)
    assert halves == pytest.approx([0, 1, 0, 0.5, 0])
    o = optimizer()
    lr_scheduler.CyclicLR(o, 0.0, 1.0, step_size_up=2)
    assert o.param_groups[0]["momentum"] == 0.9
    with pytest.raises(ValueError, match="mode 'x' is invalid"):
        lr_scheduler.CyclicLR(o, 0, 1, mode="x")


def test_sequential_and_chained():
    def warm(o):
        parts = [lr_scheduler.LinearLR(o, 0.1, total_iters=4), lr_scheduler.CosineAnnealingLR(o, 6)]
        return lr_scheduler.SequentialLR(o, parts, [4])

    got = rates(warm, 10)
    assert got[:4] == pytest.approx([0.01, 0.0325, 0.055, 0.0775])
    assert got[4:] == pytest.approx([0.05 * (1 + math.cos(math.pi * t / 6)) for t in range(6)])

    def both(o):
        return lr_scheduler.ChainedScheduler([lr_scheduler.ConstantLR(o, 0.5, 2), lr_scheduler.ExponentialLR(o, 0.9)])

    assert rates(both, 4) == pytest.approx([0.05, 0.045, 0.081, 0.0729])
    o = optimizer()
    with pytest.raises(ValueError, match="2 schedulers and 0 milestones"):
        lr_scheduler.SequentialLR(o, [lr_scheduler.StepLR(o, 1), lr_scheduler.StepLR(o, 1)], [])
    with pytest.raises(ValueError, match="same optimizer"):
        lr_scheduler.ChainedScheduler([lr_scheduler.StepLR(o, 1), lr_scheduler.StepLR(optimizer(), 1)])


def test_plateau():
    o = optimizer()
    s = lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=1, cooldown=1, min_lr=[0.02, 0.0])
    seen = []
    for metric in [1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]:
        s.step(metric)
        seen.append(o.param_groups[0]["lr"])
    assert seen == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.02, 0.02])
    up = lr_scheduler.ReduceLROnPlateau(optimizer(), mode="max", patience=0, threshold=0.1, threshold_mode="abs")
    for metric in (0.5, 0.55, sw.tensor(0.9)):
        up.step(metric)
    assert up.get_last_lr()[0] == pytest.approx(0.01) and up.best == pytest.approx(0.9)
    with pytest.raises(ValueError, match="Factor should be < 1.0"):
        lr_scheduler.ReduceLROnPlateau(optimizer(), factor=1.0)


MAKERS = [make for make, _ in CLOSED_FORMS] + [
    lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=40),
    lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.2, 5, 8),
    lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=5), lr_scheduler.CosineAnnealingLR(o, 20)], [5]
    ),
]


@pytest.mark.parametrize("case", range(len(MAKERS)))
def test_resuming_goes_on_with_the_same_rates(case):
    make = MAKERS[case]

    def walk(stop):
        o = optimizer()
        s = make(o)
        out = []
        for t in range(24):
            if t == stop:
                states = copy.deepcopy((o.state_dict(), s.state_dict()))
                o = optimizer()
                s = make(o)
                o.load_state_dict(states[0])
                s.load_state_dict(states[1])
            o.step()
            s.step()
            out.append([(g["lr"], g["momentum"]) for g in o.param_groups])
        return out

    assert walk(stop=9) == walk(stop=None)


def test_resuming_by_last_epoch():
    o = optimizer()
    with pytest.raises(KeyError, match="initial_lr"):
        lr_scheduler.StepLR(o, 3, last_epoch=4)
    for group in o.param_groups:
        group["initial_lr"] = group["lr"]
    assert lr_scheduler.ExponentialLR(o, 0.5, last_epoch=4).last_epoch == 5


def test_order_of_steps_is_watched():
    s = lr_scheduler.StepLR(optimizer(), 3)
    with pytest.warns(UserWarning, match="before optimizer.step"):
        s.step()


def test_not_an_optimizer():
    with pytest.raises(TypeError, match="int is not an Optimizer"):
        lr_scheduler.StepLR(3, 1)
