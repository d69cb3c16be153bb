"""Experiments on deep networks, and instruments to take one's own apart.

    import skipway as sw

    result = sw.lab.signal(quick=True)   # prints what was seen; a notebook shows its figure
    result.data, result.finding, result.holds
    result.save("folder")                # signal.png and signal.json

`skipway lab NAME` does the same from the command line; `skipway lab` lists the names. Figures need matplotlib
(pip install 'skipway[plot]'). Every experiment takes `device`, `seed`, `quick` (seconds rather than minutes), `out` (a
folder for the picture and the numbers) and `progress`; those that learn from images also `data` and `data_dir`.

    with sw.lab.watch(model) as seen:    # any model, any training loop
        ...
    seen.report("watch.html")
"""

from __future__ import annotations

from typing import Any

from ._frame import LabError, Result, load
from ._summary import Summary, summary
from ._watch import Watch, WatchWarning, watch

# Name on the command line -> what it shows. With _ for - it is the function here, and the file in experiments/.
EXPERIMENTS = {
    "signal": "what each layer does to a signal and to its gradient, by initialization, norm and shortcut",
    "disc": "a deep MLP on a 2-d disc: error against the scale of the weights, with and without BatchNorm",
    "bounds": "gradient norms between the products of the layers' singular values; spectra of convolutions",
    "shattering": "gradients of neighbouring inputs: plain, residual and Looks-Linear networks, and noise",
    "deep-vgg": "plain deep convolutional networks with Xavier's and with Kaiming's weights",
    "zero-init": "residual blocks that start as their shortcuts, and a network of zeros",
    "lr": "a learning-rate range test, and training at what it suggests",
    "optimizers": "SGD, momentum, Nesterov, RMSprop and Adam in one valley and on one network",
    "depth": "plain and residual networks of 20 and 56 layers: training error",
    "shortcuts": "six shortcuts and five orders of activations, beside the published errors",
    "dropout": "dropout, DropConnect, stochastic depth and shake-shake on 1,000 training images",
    "saliency": "input gradients, guided backpropagation, first filters, activation maximization",
    "landscape": "the loss around trained networks, with and without shortcuts, and the way of training",
    "norms": "BatchNorm, LayerNorm, GroupNorm and InstanceNorm over batch sizes",
}


def names() -> list[str]:
    """The experiments, as `skipway lab` takes them."""
    return list(EXPERIMENTS)


def get(name: str) -> Any:
    """The experiment called `name`, with - or _; ValueError that lists the names for any other."""
    import importlib

    key = name.replace("_", "-")
    if key not in EXPERIMENTS:
        raise LabError(f"unknown experiment {name!r}; expected one of {', '.join(EXPERIMENTS)}")
    module = key.replace("-", "_")
    return getattr(importlib.import_module(f"{__name__}.experiments.{module}"), module)


def __getattr__(name: str) -> Any:
    if name.replace("_", "-") in EXPERIMENTS:
        return get(name)
    raise AttributeError(
        f"module 'skipway.lab' has no attribute {name!r}; its experiments are {', '.join(EXPERIMENTS)}"
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *(name.replace("-", "_") for name in EXPERIMENTS)})


__all__ = [
    "EXPERIMENTS", "LabError", "Result", "Summary", "Watch", "WatchWarning", "get", "load", "names", "summary", "watch",
]  # fmt: skip
