"""Experiments of skipway.lab on a CUDA device."""

from __future__ import annotations

import numpy as np
import pytest
from skipway import lab


def test_bounds_on_the_device_are_those_on_the_cpu() -> None:
    there, here = (lab.bounds(quick=True, progress=False, device=device) for device in ("cuda", "cpu"))
    assert there.holds and there.settings["device"].startswith("cuda")
    for name, run in here.data["runs"].items():
        np.testing.assert_allclose(there.data["runs"][name]["measured"], run["measured"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["SGD", "momentum", "Nesterov", "RMSprop", "Adam"])
def test_the_valley_on_the_device_is_that_on_the_cpu(name: str) -> None:
    from skipway.lab.experiments.optimizers import descend, valley_optimizers

    make = valley_optimizers()[name]
    (path, values), (same_path, same_values) = (descend(make, 20, device) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(path, same_path, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(values, same_values, rtol=1e-9, atol=1e-9)
