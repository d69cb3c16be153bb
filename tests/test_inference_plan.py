"""Plans of fused models: they compute what the model computes, and give way where it has changed."""

import copy
import pickle

import numpy as np
import pytest
import skipway as sw
from skipway import models, nn


def fused_resnet(name: str = "resnet8", **kwargs):
    sw.manual_seed(3)
    model = getattr(models, name)(num_classes=10, **kwargs)
    model.train()
    with sw.no_grad():
        model(sw.randn(8, 3, 32, 32))  # running statistics of their own
    return sw.fuse(model, input_size=(2, 3, 32, 32))


def plans(fused) -> list:
    return [p for p in fused.forward.plans.values() if p]


def as_written(fused, x):
    return type(fused).forward(fused, x)


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "resnet50"])
@pytest.mark.parametrize("dtype", [sw.float32, sw.bfloat16])
def test_a_plan_computes_what_the_model_computes(name, dtype):
    fused = fused_resnet(name).to(dtype)
    with sw.no_grad():
        for batch in (1, 3):
            x = sw.randn(batch, 3, 32, 32).to(dtype)
            expected, got = as_written(fused, x).float().numpy(), fused(x).float().numpy()
            scale = np.abs(expected).max()
            assert np.abs(got - expected).max() <= (1e-5 if dtype == sw.float32 else 0.05) * scale
    blocks = {"resnet8": 3, "resnet18": 8, "resnet50": 16}[name]
    assert len(plans(fused)) == 1
    # stem, convolutions of blocks and shortcuts, pooling, flatten, linear: nothing is left of additions and relu
    convs = sum(isinstance(m, nn.Conv2d) for m in fused.modules())
    assert blocks < convs < len(plans(fused)[0]) <= convs + 4


def test_a_plan_sees_weights_change_in_place_and_be_replaced():
    fused = fused_resnet()
    x = sw.randn(2, 3, 32, 32)
    with sw.no_grad():
        before = fused(x).numpy().copy()
        fused.fc.weight.mul_(2)
        fused.fc.bias.mul_(2)
        np.testing.assert_allclose(fused(x).numpy(), 2 * before, rtol=1e-5, atol=1e-5)
        fused.conv1.weight = nn.Parameter(sw.zeros_like(fused.conv1.weight))
        np.testing.assert_allclose(fused(x).numpy(), as_written(fused, x).numpy(), rtol=1e-5, atol=1e-5)
        fused.layer1 = nn.Identity()
        np.testing.assert_allclose(fused(x).numpy(), as_written(fused, x).numpy(), rtol=1e-5, atol=1e-5)


def test_hooks_gradients_and_training_run_the_model_as_written():
    fused = fused_resnet()
    x = sw.randn(2, 3, 32, 32)
    with sw.no_grad():
        fused(x)
    assert len(plans(fused)) == 1
    seen = []
    handle = fused.layer1.register_forward_hook(lambda *a: seen.append(1))
    with sw.no_grad():
        fused(x)
    assert seen == [1]
    handle.remove()
    fused(x).sum().backward()
    assert fused.conv1.weight.grad is not None
    fused.train()
    assert fused(x).requires_grad


def test_copies_and_pickles_make_plans_of_their_own():
    fused = fused_resnet()
    x = sw.randn(1, 3, 32, 32)
    with sw.no_grad():
        expected = fused(x).numpy()
        for other in (copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
            assert other.forward.model is other and not plans(other)
            np.testing.assert_allclose(other(x).numpy(), expected, rtol=1e-5, atol=1e-5)
            other.fc.weight.zero_()
        np.testing.assert_allclose(fused(x).numpy(), expected, rtol=1e-5, atol=1e-5)


class Unplanned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.bn(self.conv(x * 2)).tanh()


def test_a_model_of_other_ops_has_no_plan_and_works():
    fused = sw.fuse(Unplanned(), input_size=(2, 3, 8, 8))
    x = sw.randn(2, 3, 8, 8)
    with sw.no_grad():
        np.testing.assert_array_equal(fused(x).numpy(), as_written(fused, x).numpy())
    assert not plans(fused)


class Changing(nn.Module):
    """Adds in place what no layer shows: the plan that its layers suggest is wrong, and must not be used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = self.bn(self.conv(x))
        y += 1
        return self.last(y)


def test_changes_that_layers_do_not_show_are_found():
    fused = sw.fuse(Changing(), input_size=(2, 3, 8, 8))
    x = sw.randn(2, 3, 8, 8)
    with sw.no_grad():
        np.testing.assert_array_equal(fused(x).numpy(), as_written(fused, x).numpy())
    assert not plans(fused)


def test_values_that_do_not_exist_are_errors():
    plan = sw._core.InferencePlan()
    with pytest.raises(ValueError, match="value 3 does not exist yet"):
        plan.relu(3)
    with pytest.raises(ValueError, match="at least one op"):
        plan.run(sw.zeros(1))
