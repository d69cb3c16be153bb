"""The loss around trained networks, with and without shortcuts."""

from __future__ import annotations

from typing import Any

import numpy as np

import skipway as sw
from skipway import models

from .._frame import Bench, experiment, floats
from .._learn import sgd, smooth, train
from .._planes import Plane, Task, filter_normalized, losses, principal, weights

KINDS = {"ResNet": "A", "plain": None}


def _trained(bench: Bench, images: Any, kind: str, depth: int, steps: int) -> tuple[Any, list[list[np.ndarray]], float]:
    """The network, its weights at some 20 moments of training, and its last training loss."""
    sw.manual_seed(bench.seed)
    model = models.cifar_resnet(
        depth, num_classes=len(images.classes), in_channels=images.channels, width=8, shortcut=KINDS[kind]
    ).to(bench.device)
    snapshots = [weights(model)]
    every = max(1, steps // 20)

    def note(step: int) -> None:
        if (step + 1) % every == 0 or step + 1 == steps:
            snapshots.append(weights(model))

    optimizer = sgd(model, 0.05, weight_decay=5e-4)
    course = train(model, images.x, images.y, optimizer, steps, 64, np.random.default_rng(bench.seed), note)
    return model, snapshots, float(smooth(course, 20)[-1])


def _span(places: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The axes of a grid around a trajectory."""
    low, high = places.min(0), places.max(0)
    room = 0.25 * np.maximum(high - low, 1e-3)
    first, second = (np.linspace(low[i] - room[i], high[i] + room[i], size) for i in range(2))
    return first, second


def measure(bench: Bench) -> tuple[str, bool, dict[str, Any]]:
    """The loss on training images over a line and a plane of random, filter-normalized directions around trained
    ResNets and plain networks of 20 and 56 layers, and over the plane of the two principal components of the training's
    way (Li et al. 2018).

    Without shortcuts the landscape of a deep network turns from nearly convex to chaotic (section 6). Points are
    shared out among processes; with `out`, an interrupted run goes on where it was.
    """
    depths, steps, size, line, small = bench.pick(([20, 56], 300, 21, 41, 13), ([20], 60, 9, 11, 5))
    images = bench.images(None, 10)
    seen = images.x[:256], images.y[:256]
    axis, fine = np.linspace(-1, 1, size), np.linspace(-1, 1, line)
    planes: dict[str, Plane] = {}
    tasks: list[Task] = []
    nets: dict[str, Any] = {}
    for kind, depth in bench.bar([(k, d) for d in depths for k in KINDS], "training"):
        model, snapshots, final = _trained(bench, images, kind, depth, steps)
        name, end = f"{kind}-{depth}", snapshots[-1]
        rng = np.random.default_rng((bench.seed, depth))
        planes[f"{name} random"] = Plane(model, *seen, end, *(filter_normalized(end, rng) for _ in range(2)))
        directions, places, shares = principal(snapshots)
        planes[f"{name} path"] = Plane(model, *seen, end, *directions)
        first, second = _span(places, small)
        tasks += [(f"{name} random", (a, b)) for b in axis for a in axis]
        tasks += [(f"{name} random", (a, 0.0)) for a in fine]
        tasks += [(f"{name} path", (a, b)) for b in second for a in first]
        nets[name] = {"train_loss": final, "places": places, "shares": shares, "first": first, "second": second}
    store = None if bench.out is None else bench.out / "landscape.points.jsonl"
    values = np.array(losses(planes, tasks, bench.bar, store, parallel=bench.device.type == "cpu"))
    chance = float(np.log(len(images.classes)))
    at = 0
    for net in nets.values():
        for key, shape in (("plane", (size, size)), ("line", (line,)), ("path", (small, small))):
            count = int(np.prod(shape))
            net[key] = values[at : at + count].reshape(shape)
            at += count
        net["basin"] = float((net["plane"] < chance / 2).mean())
        net["centre"] = float(net["line"][line // 2])
    if store is not None:
        store.unlink(missing_ok=True)
    told = ", ".join(f"{n} {100 * net['basin']:.0f} % (centre {net['centre']:.3f})" for n, net in nets.items())
    deep = depths[-1]
    holds = nets[f"ResNet-{deep}"]["basin"] > nets[f"plain-{deep}"]["basin"] + 0.02
    path = nets[f"ResNet-{deep}"]["shares"]
    sentence = (
        f"of the plane within one filter norm of the trained weights the share with a loss under half of a guess's,"
        f" {chance / 2:.2f}, is {told}; two directions hold {100 * sum(path):.0f} % of the way of ResNet-{deep}"
    )
    return sentence, holds, {"axis": axis, "fine": fine, "chance": chance, "steps": steps, "nets": nets}


def draw(figure: Any, data: dict[str, Any]) -> None:
    nets = data["nets"]
    grid = figure.add_gridspec(len(nets), 4)
    everything = np.concatenate([floats(net["plane"]).ravel() for net in nets.values()])
    levels = np.linspace(np.log10(everything.min()), np.log10(np.quantile(everything, 0.98)), 13)
    line = figure.add_subplot(grid[:2, 3])
    a, b = np.meshgrid(data["axis"], data["axis"])
    for row, (name, net) in enumerate(nets.items()):
        heights = np.clip(np.log10(floats(net["plane"])), levels[0], levels[-1])
        flat = figure.add_subplot(grid[row, 0])
        flat.contourf(a, b, heights, levels, cmap="viridis")
        flat.contour(a, b, floats(net["plane"]), [data["chance"] / 2], colors="w", linewidths=1)
        flat.set_title(f"{name}: log10 loss", fontsize=9)
        solid = figure.add_subplot(grid[row, 1], projection="3d")
        solid.plot_surface(a, b, heights, cmap="viridis", vmin=levels[0], vmax=levels[-1], rcount=21, ccount=21)
        solid.set(zlim=(levels[0], levels[-1]), xticklabels=[], yticklabels=[])
        path = figure.add_subplot(grid[row, 2])
        path.contourf(net["first"], net["second"], np.log10(floats(net["path"])), 12, cmap="viridis")
        places = floats(net["places"])
        path.plot(places[:, 0], places[:, 1], "r.-", ms=4, lw=0.8)
        first, second = (100 * share for share in net["shares"])
        path.set_title(f"way of training: {first:.0f} % + {second:.0f} %", fontsize=9)
        line.plot(data["fine"], floats(net["line"]), label=name)
    line.axhline(data["chance"], color="grey", lw=0.8, ls="--")
    line.set(yscale="log", title="along one direction", ylabel="loss", xlabel="filter norms")
    line.grid(alpha=0.3)
    line.legend(fontsize=8)


landscape = experiment("landscape", measure, draw, size=(13, 9), data=("digits", "mnist5k"))
