"""Distributions: samples, log probabilities and bad arguments."""

import numpy as np
import pytest
import skipway as sw


def test_distributions():
    from skipway.distributions import Bernoulli, Categorical, Multinomial, Normal, Uniform

    sw.manual_seed(0)
    assert Bernoulli(sw.tensor([0.25])).sample((4000,)).mean().item() == pytest.approx(0.25, abs=0.03)
    assert Bernoulli(0.25).log_prob(sw.tensor(1.0)).item() == pytest.approx(np.log(0.25), rel=1e-5)
    loc = sw.tensor(1.0, requires_grad=True)
    normal = Normal(loc, 2.0)
    normal.rsample((3,)).sum().backward()
    assert loc.grad.item() == 3 and normal.log_prob(sw.tensor(1.0)).item() == pytest.approx(
        -np.log(2 * np.sqrt(2 * np.pi))
    )
    assert Uniform(0.0, 4.0).sample((1000,)).max().item() < 4 and Uniform(0.0, 4.0).entropy().item() == pytest.approx(
        np.log(4)
    )
    classes = Categorical(sw.tensor([0.0, 1.0, 3.0]))
    assert classes.sample((4000,)).float().mean().item() == pytest.approx(1.75, abs=0.05)
    assert classes.log_prob(sw.tensor(2)).item() == pytest.approx(np.log(0.75), rel=1e-5)
    counts = Multinomial(100, sw.tensor([0.5, 0.5])).sample((3,))
    assert counts.shape == (3, 2) and counts.sum(1).tolist() == [100.0] * 3 and counts.dtype is sw.float32
    exact = Multinomial(3, sw.tensor([0.5, 0.5])).log_prob(sw.tensor([1.0, 2.0])).item()
    assert exact == pytest.approx(np.log(3 / 8), rel=1e-5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Bernoulli(1.5)
