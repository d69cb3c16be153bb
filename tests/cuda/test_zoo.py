"""Networks of the zoo, their summary and their files on the device."""

from __future__ import annotations

from pathlib import Path

import pytest
import skipway as sw
from skipway import lab, models

DATA = Path(__file__).resolve().parent.parent / "data"


@pytest.mark.parametrize(
    ("name", "kwargs", "shape"),
    [
        ("stochastic_depth_resnet8", {"width": 4, "mode": "row"}, (2, 3, 8, 8)),
        ("stochastic_depth_resnet8", {"width": 4, "mode": "batch"}, (2, 3, 8, 8)),
        ("preact_resnet8", {"width": 4}, (2, 3, 8, 8)),
        ("highway5", {"width": 4, "image_size": 4}, (2, 1, 4, 4)),
    ],
)
def test_training_step(name, kwargs, shape):
    model = models.get(name, **kwargs).cuda()
    model(sw.randn(*shape, device="cuda")).square().sum().backward()
    assert all(p.grad is not None and bool(sw.isfinite(p.grad).all()) for p in model.parameters())


def test_summary_is_the_same_and_leaves_the_devices_random_numbers():
    model = models.get("resnet8", width=4)
    here = str(lab.summary(model, (3, 8, 8), show=False))
    model = model.cuda()
    state = sw.cuda.get_rng_state()
    there = lab.summary(model, (3, 8, 8), show=False)
    assert str(there) == here and there.error is None
    assert bool((sw.cuda.get_rng_state() == state).all())


def test_pth_files_go_to_the_device():
    value = sw.load(DATA / "zip.pth", map_location="cuda")
    base, turned, _ = value["shared"]
    assert base.is_cuda and turned.is_cuda and value["types"]["bfloat16"].tolist() == [0, 1, 3]
    base[1, 0] = 100
    assert turned[0, 1].item() == 100


def test_a_captured_step_drops_other_blocks_each_time():
    sw.manual_seed(0)
    block = models.StochasticDepthBlock(2, 2, 1, 0.5).cuda()
    x = sw.randn(2, 2, 4, 4, device="cuda")
    call = sw.cuda.graph(lambda t: block(t).detach())
    dropped = [bool((call(x) == x.relu()).all()) for _ in range(24)]
    assert 3 < sum(dropped) < 21
