"""skipway.lab.watch: what it records while a model trains, and what it warns of."""

from __future__ import annotations

import re
import sys
import warnings

import numpy as np
import pytest
import skipway as sw
import skipway.nn.functional as F
from skipway import lab, models, nn, optim


def steps(model, count=3, lr=0.01, shape=(8, 1, 8, 8), classes=10):
    """Trains on noise; returns the losses."""
    sw.manual_seed(1)
    optimizer = optim.SGD(model.parameters(), lr=lr)
    losses = []
    for _ in range(count):
        loss = F.cross_entropy(model(sw.randn(*shape)), sw.randint(0, classes, (shape[0],)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def mlp(depth, std=None, width=32):
    sw.manual_seed(0)
    layers = [m for _ in range(depth) for m in (nn.Linear(width, width), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    nn.init.apply(model, "kaiming_normal" if std is None else (lambda w: nn.init.normal_(w, std=std)))
    return model


def warned(model, count=3, **options):
    """The warnings, with the numbers left out."""
    with lab.watch(model, every=1, quiet=True) as seen:
        steps(model, count, **options)
    return seen.warnings


def test_it_records_what_numpy_says():
    model = mlp(2)
    x = sw.randn(16, 32)
    with lab.watch(model, every=1, quiet=True) as seen:
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        model(x).sum().backward()
        before = model[0].weight.detach().numpy().copy()
        optimizer.step()
        after = model[0].weight.detach().numpy()
    hidden = x.numpy() @ before.T
    first, act = seen.layers["0"], seen.layers["1"]
    assert list(seen.layers) == ["0", "1", "2", "3", "4"] and first.kind == "Linear"
    assert first.seen["mean"] == [pytest.approx(hidden.mean(), rel=1e-4, abs=1e-6)]
    assert first.seen["std"] == [pytest.approx(hidden.std(), rel=1e-4)]
    assert act.seen["zeros"] == [pytest.approx((hidden <= 0).mean())]
    assert first.seen["update"] == [pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(before), rel=1e-3)]
    assert seen.layers["4"].seen["gradient"] == [pytest.approx(1.0)]
    assert act.seen["gradient"][0] > first.seen["gradient"][0] > 0


def test_every_says_how_often_it_looks():
    model = mlp(1)
    with lab.watch(model, every=4) as seen:
        steps(model, 10, shape=(4, 32))
        model.eval()(sw.randn(2, 32))  # evaluation is not looked at
        with sw.no_grad():
            model.train()(sw.randn(2, 32))
    assert seen.steps == [0, 4, 8] and seen.step == 10
    assert len(seen.layers["0"].seen["std"]) == 3 and None not in seen.layers["0"].seen["update"]


def test_the_model_computes_the_same_bits():
    sw.manual_seed(0)
    model = models.resnet8(in_channels=1)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    plain = steps(model, 4)
    after = {k: v.numpy().tobytes() for k, v in model.state_dict().items()}
    model.load_state_dict(state)
    with lab.watch(model, every=2):
        assert steps(model, 4) == plain
    assert {k: v.numpy().tobytes() for k, v in model.state_dict().items()} == after


def test_closing_takes_every_hook_away():
    model = mlp(2)
    with lab.watch(model, every=1) as seen:
        steps(model, 2, shape=(4, 32))
        with pytest.raises(sw.ShapeError):
            model(sw.randn(4, 31))
    hooks = [h for m in model.modules() for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)]
    assert not any(hooks)
    steps(model, 1, shape=(4, 32))
    assert seen.step == 3


def test_a_healthy_network_gets_no_warning():
    sw.manual_seed(0)
    assert warned(models.resnet14(in_channels=1), 4) == []
    assert warned(mlp(8), 4, shape=(64, 32)) == []


@pytest.mark.parametrize(
    ("make", "options", "pattern"),
    [
        (
            lambda: mlp(10, std=0.03),
            {"shape": (16, 32)},
            r"layer 0 \(Linear\): vanishing: the gradient here is \S+e-\d\d of that at 20;",
        ),
        (
            lambda: mlp(10, std=2.0),
            {"shape": (16, 32), "lr": 1e-30},
            r"layer 0 \(Linear\): exploding: the gradient here is .* times that at 20",
        ),
        (lambda: mlp(3), {"shape": (16, 32), "lr": 1e30}, r"exploding: (outputs|gradients) are no longer finite"),
        (
            lambda: mlp(3),
            {"shape": (16, 32), "lr": 5.0, "count": 2},
            r"one step changes the weight by \d+ % of its norm",
        ),
    ],
)
def test_signals_that_vanish_or_explode(make, options, pattern):
    found = warned(make(), **options)
    assert any(re.search(pattern, w) for w in found), found


def test_dead_units_are_named():
    model = mlp(2)
    model.insert(2, nn.Dropout(0.5))  # passes dead units on; one warning is enough
    with sw.no_grad():
        model[0].bias[:24] = -100.0
    found = warned(model, 4, shape=(64, 32))
    assert any(w.startswith("step 2, layer 1 (ReLU): dead ReLUs: 75 % of the units") for w in found), found
    assert sum("dead" in w for w in found) == 1


def test_batch_norm_in_training_with_a_batch_of_one():
    sw.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    assert any(
        "layer 1 (BatchNorm2d): BatchNorm in training mode sees a batch of 1" in w
        for w in warned(model, shape=(1, 1, 8, 8))
    )
    assert not any("batch of 1" in w for w in warned(model, shape=(2, 1, 8, 8)))


def test_dropout_before_batch_norm():
    sw.manual_seed(0)
    layers = [nn.Linear(32, 32), nn.Dropout(0.5), nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)]
    found = warned(nn.Sequential(*layers), shape=(32, 32))
    assert sum("layer 3 (BatchNorm1d): this BatchNorm comes after the dropout 1" in w for w in found) == 1
    after = [layers[0], layers[3], layers[4], layers[1], layers[5]]
    assert not any("dropout" in w for w in warned(nn.Sequential(*after), shape=(32, 32)))


def test_frozen_batch_norm_that_still_moves():
    sw.manual_seed(0)
    norm = nn.BatchNorm1d(32)
    for p in norm.parameters():
        p.requires_grad_(False)
    model = nn.Sequential(nn.Linear(32, 32), norm, nn.ReLU(), nn.Linear(32, 10))
    assert any(
        "layer 1 (BatchNorm1d): the weights of this BatchNorm are frozen but its running" in w
        for w in warned(model, shape=(16, 32))
    )
    norm.freeze()
    assert not any("frozen" in w for w in warned(model, shape=(16, 32)))


def test_drift_of_running_statistics():
    sw.manual_seed(0)
    norm = nn.BatchNorm1d(4, momentum=0.5)
    model = nn.Sequential(norm, nn.Linear(4, 10))
    x = sw.randn(8, 4) + 3.0
    with lab.watch(model, every=1, quiet=True) as seen:
        means = []
        for _ in range(2):
            model(x).sum().backward()
            means.append(norm.running_mean.numpy().copy())
    scale = np.sqrt(norm.running_var.numpy() + norm.eps)
    expected = np.sqrt((((means[1] - means[0]) / scale) ** 2).mean())
    assert seen.layers["0"].seen["drift"] == [None, pytest.approx(expected, rel=1e-4)]


def test_warnings_are_python_warnings_said_once():
    model = mlp(10, std=0.03)
    with pytest.warns(lab.WatchWarning, match="vanishing") as caught, lab.watch(model, every=1):
        steps(model, 4, shape=(16, 32))
    assert len([w for w in caught if "gradient" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warned(mlp(10, std=0.03), shape=(16, 32))


def test_the_report_is_one_page_that_loads_nothing(tmp_path):
    pytest.importorskip("matplotlib")
    model = nn.Sequential()
    model.add_module("a<b>&c", nn.Linear(32, 32, bias=False))
    model.add_module("act", nn.ReLU())
    model.add_module("last", nn.Linear(32, 10))
    with lab.watch(model, every=1, quiet=True) as seen:
        steps(model, 5, shape=(1, 32))
    page = seen.report(tmp_path / "new" / "watch.html", title="a <run>").read_text()
    assert page.startswith("<!DOCTYPE html>") and page.count("data:image/png;base64,") >= 3
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:)|@import|url\(|<script|<link", page)
    assert "a&lt;b&gt;&amp;c" in page and "a<b>" not in page and "a &lt;run&gt;" in page
    assert "5 training steps" in page and page.count("<tr>") == 4
    assert "<table>" in seen._repr_html_()


def test_one_warning_is_not_warnings():
    from skipway.lab._watch_report import body

    seen = sw.lab.watch(nn.Linear(2, 2))
    seen.warnings.append("step 0, layer a (Linear): something")
    assert "<b>1 warning</b>" in body(seen)
    seen.warnings.append("step 0, layer b (Linear): something")
    assert "<b>2 warnings</b>" in body(seen)


def test_without_matplotlib_the_report_has_its_table(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    model = mlp(1)
    with lab.watch(model, every=1, quiet=True) as seen:
        steps(model, 1, shape=(4, 32))
    page = seen.report(tmp_path / "watch.html").read_text()
    assert "<table>" in page and "pip install &#x27;skipway[plot]&#x27;" in page


def test_what_it_prints():
    model = mlp(1)
    with lab.watch(model, every=1) as seen:
        steps(model, 2, shape=(4, 32))
    lines = str(seen).splitlines()
    assert lines[0].split()[:4] == ["layer", "kind", "mean", "std"] and len(lines) == 4
    assert set(seen.to_dict()) == {"steps", "warnings", "layers"}


def test_bad_input():
    with pytest.raises(TypeError, match="watch: expected a module, got int"):
        lab.watch(3)
    for every in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="watch: every must be a whole number"):
            lab.watch(mlp(1), every=every)


def test_layers_used_twice_empty_batches_and_other_outputs():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.rnn = nn.Linear(4, 4), nn.LSTM(4, 4)

        def forward(self, x):
            return self.rnn(self.shared(self.shared(x)).unsqueeze(0))[0]

    model = Odd()
    with lab.watch(model, every=1, quiet=True) as seen:
        model(sw.randn(3, 4)).sum().backward()
        model(sw.randn(1, 4)).sum().backward()
    assert len(seen.layers["shared"].seen["std"]) == 2
    empty = mlp(1)
    with lab.watch(empty, every=1) as seen:
        empty(sw.randn(0, 32)).sum().backward()
    assert seen.layers == {} and seen.steps == [0]
