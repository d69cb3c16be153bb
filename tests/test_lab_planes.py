"""The loss over lines and planes: directions, BatchNorm, processes, and going on after an interruption."""

from __future__ import annotations

import json

import numpy as np
import pytest
import skipway as sw
from skipway import lab, models, nn
from skipway.lab._planes import Plane, filter_normalized, losses, principal, weights


def no_bar(items, what, total):
    return iter(items)


@pytest.fixture
def plane():
    sw.manual_seed(0)
    model = models.cifar_resnet(8, in_channels=1, width=4, shortcut="A")
    x, y = sw.randn(16, 1, 8, 8), sw.from_numpy(np.arange(16) % 10)
    rng = np.random.default_rng(0)
    start = weights(model)
    return Plane(model, x, y, start, filter_normalized(start, rng), filter_normalized(start, rng))


def test_filters_of_a_direction_have_the_norms_of_the_network(plane):
    for w, d in zip(plane.start, plane.directions[0], strict=True):
        if w.ndim < 2:
            assert not d.any()
        else:
            norms = [np.linalg.norm(v.reshape(len(v), -1), axis=1) for v in (w, d)]
            np.testing.assert_allclose(*norms, rtol=1e-4)


def test_a_point_leaves_no_trace_and_takes_its_own_statistics(plane):
    before = {k: v.numpy().tobytes() for k, v in plane.model.state_dict().items()}
    plane.model.eval()
    centre, away = plane.loss((0.0, 0.0)), plane.loss((0.5, -0.5))
    assert centre != away and plane.loss((0.0, 0.0)) == centre and not plane.model.training
    assert {k: v.numpy().tobytes() for k, v in plane.model.state_dict().items()} == before
    with sw.no_grad():
        for b in plane.model.buffers():
            if b.dtype.is_floating_point:
                b.fill_(7.0)  # stale statistics are of no account
    assert plane.loss((0.0, 0.0)) == centre


def test_principal_directions_of_a_known_way():
    end = [np.zeros((2, 3), np.float32), np.zeros(2, np.float32)]
    first, second = np.zeros((2, 8))
    first[1], second[6] = 1, 1
    rows = [3 * first, -2 * first + second, first - second]
    way = [[r[:6].reshape(2, 3).astype(np.float32), r[6:].astype(np.float32)] for r in rows] + [end]
    directions, places, shares = principal(way)
    assert abs(directions[0][0][0, 1]) > 0.9 and abs(directions[1][1][0]) > 0.9
    assert sum(shares) == pytest.approx(1) and shares[0] > shares[1]
    np.testing.assert_allclose((places**2).sum(1), [9, 5, 2, 0], atol=1e-5)


def test_processes_and_one_after_the_other_agree(plane):
    tasks = [("p", (a, b)) for a in (-0.5, 0.0, 0.5, 1.0) for b in np.linspace(-1, 1, 5)]
    alone = losses({"p": plane}, tasks, no_bar, parallel=False)
    threads = sw.get_num_threads()
    sw.set_num_threads(2)
    try:
        assert losses({"p": plane}, tasks, no_bar, parallel=True) == alone
    finally:
        sw.set_num_threads(threads)


def test_it_goes_on_where_it_was(plane, tmp_path, monkeypatch):
    tasks = [("p", (float(a), 0.0)) for a in range(6)]
    store = tmp_path / "points.jsonl"
    whole = losses({"p": plane}, tasks, no_bar)

    def interrupted(items, what, total):
        for i, value in enumerate(items):
            if i == 3:
                raise KeyboardInterrupt
            yield value

    with pytest.raises(KeyboardInterrupt):
        losses({"p": plane}, tasks, interrupted, store, parallel=False)
    with open(store, "a") as file:
        file.write('{"point": "p 5 0", "lo')  # cut off in the middle of a line
    computed = []
    loss = Plane.loss
    monkeypatch.setattr(Plane, "loss", lambda self, point: computed.append(point) or loss(self, point))
    assert losses({"p": plane}, tasks, no_bar, store, parallel=False) == whole
    assert [p[0] for p in computed] == [3, 4, 5]


def test_points_of_other_weights_are_not_used(plane, tmp_path):
    store = tmp_path / "points.jsonl"
    store.write_text(json.dumps({"key": "other"}) + "\n" + json.dumps({"point": "p 0 0", "loss": 99.0}) + "\n")
    assert losses({"p": plane}, [("p", (0.0, 0.0))], no_bar, store, parallel=False)[0] < 90
    store.write_text("nonsense")
    assert losses({"p": plane}, [("p", (0.0, 0.0))], no_bar, store, parallel=False)[0] < 90


def test_the_landscape_of_a_resnet_is_wider(tmp_path):
    pytest.importorskip("matplotlib")
    result = lab.landscape(quick=True, progress=False, out=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["landscape.json", "landscape.png"]
    nets = result.data["nets"]
    for net in nets.values():
        middle = len(net["line"]) // 2
        assert net["line"][middle] == min(net["line"])  # trained weights are at the bottom
        assert net["plane"][len(net["plane"]) // 2][len(net["plane"]) // 2] == pytest.approx(net["centre"], rel=1e-4)
        assert 0.5 < sum(net["shares"]) <= 1
    assert nets["ResNet-20"]["basin"] > nets["plain-20"]["basin"] + 0.05


def test_a_frozen_model_keeps_its_mode():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.BatchNorm1d(2))
    model[2].eval()
    x, y = sw.randn(4, 1, 2, 2), sw.tensor([0, 1, 0, 1])
    Plane(model, x, y, weights(model), weights(model)).loss((0.1,))
    assert model.training and not model[2].training
