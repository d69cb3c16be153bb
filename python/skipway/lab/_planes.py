"""The loss over lines and planes through a network's weights."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import skipway as sw
import skipway.nn.functional as F
from skipway import nn


def weights(model: nn.Module) -> list[np.ndarray]:
    """Copies of all parameters."""
    return [p.detach().cpu().numpy().copy() for p in model.parameters()]


def filter_normalized(start: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """A random direction whose filters have the norms of the network's (Li et al. 2018, section 4); 0 for biases and
    normalization, as there."""
    direction = []
    for w in start:
        d = rng.normal(size=w.shape)
        if w.ndim < 2:
            d[:] = 0
        else:
            axes = tuple(range(1, w.ndim))
            d *= np.linalg.norm(w.reshape(len(w), -1), axis=1).reshape(-1, *(1 for _ in axes)) / np.maximum(
                np.linalg.norm(d.reshape(len(d), -1), axis=1).reshape(-1, *(1 for _ in axes)), 1e-12
            )
        direction.append(d.astype(np.float32))
    return direction


def principal(
    snapshots: list[list[np.ndarray]],
) -> tuple[list[list[np.ndarray]], np.ndarray, list[float]]:
    """The two directions in which a trajectory varies most around its end, where each snapshot lies in their plane, and
    the shares of the variance (Li et al. 2018, section 7.2)."""
    end = snapshots[-1]
    rows = np.stack([np.concatenate([(a - b).ravel() for a, b in zip(s, end, strict=True)]) for s in snapshots[:-1]])
    _, values, axes = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    directions = []
    for axis in axes[:2]:
        parts, at = [], 0
        for w in end:
            parts.append(axis[at : at + w.size].reshape(w.shape).astype(np.float32))
            at += w.size
        directions.append(parts)
    places = np.concatenate([rows @ axes[:2].T, np.zeros((1, 2))])
    return directions, places, [float(v) for v in (values[:2] ** 2 / (values**2).sum())]


class Plane:
    """The loss at start + a * first + b * second, on fixed images.

    BatchNorm takes its statistics anew at every point, from all the images at once: those of the trained weights say
    nothing of others. The model's own weights and statistics are put back.
    """

    def __init__(
        self, model: nn.Module, x: Any, y: Any, start: list[np.ndarray], *directions: list[np.ndarray]
    ) -> None:
        self.model, self.x, self.y, self.start, self.directions = model, x, y, start, directions

    def loss(self, point: tuple[float, ...]) -> float:
        modes = [(m, m.training) for m in self.model.modules()]
        kept = [(t, t.clone()) for t in (*self.model.parameters(), *self.model.buffers())]
        self.model.train()
        with sw.no_grad():
            for i, p in enumerate(self.model.parameters()):
                moved = self.start[i]
                for share, direction in zip(point, self.directions, strict=False):
                    moved = moved + np.float32(share) * direction[i]
                p.copy_(sw.from_numpy(np.ascontiguousarray(moved)))
            value = float(F.cross_entropy(self.model(self.x), self.y).item())
            for t, before in kept:
                t.copy_(before)
        for m, mode in modes:
            m.training = mode
        return value


Task = tuple[str, tuple[float, ...]]
_PLANES: dict[str, Plane] = {}  # for forked workers, which inherit it


def _work(task: Task) -> float:
    return _PLANES[task[0]].loss(task[1])


def _alone() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    sw.set_num_threads(1)


def losses(
    planes: dict[str, Plane],
    tasks: list[Task],
    bar: Callable[[Any, str, int], Iterator[Any]],
    store: Path | None = None,
    parallel: bool = True,
) -> list[float]:
    """The losses of all tasks, (plane, point): over several processes where the system can fork. With `store`, points
    are written there as they come, and those of an interrupted run with the same weights are not computed again."""
    key = _key(planes)
    known = _read(store, key) if store is not None else {}
    names = [f"{plane} {' '.join(f'{v:.9g}' for v in point)}" for plane, point in tasks]
    left = [i for i, name in enumerate(names) if name not in known]
    workers = min(sw.get_num_threads(), len(left) // 8)
    _PLANES.update(planes)
    try:
        with open(os.devnull if store is None else store, "a", encoding="utf-8") as file:
            if not known:
                file.write(json.dumps({"key": key}) + "\n")
            for i, value in zip(left, bar(_each([tasks[i] for i in left], workers, parallel), "points", len(left))):  # noqa: B905
                known[names[i]] = value
                file.write(json.dumps({"point": names[i], "loss": value}) + "\n")
                file.flush()
    finally:
        _PLANES.clear()
    return [known[name] for name in names]


def _each(tasks: list[Task], workers: int, parallel: bool) -> Iterator[float]:
    if not parallel or workers < 2 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(_work, tasks)
        return
    with multiprocessing.get_context("fork").Pool(workers, _alone) as pool:
        yield from pool.imap(_work, tasks, chunksize=4)


def _key(planes: dict[str, Plane]) -> str:
    """Of the weights and directions: other ones make other points."""
    digest = hashlib.sha256()
    for name, plane in planes.items():
        digest.update(name.encode())
        for part in (plane.start, *plane.directions):
            for w in part:
                digest.update(np.ascontiguousarray(w).tobytes())
    return digest.hexdigest()


def _read(store: Path, key: str) -> dict[str, float]:
    """The points of an interrupted run; a file of other weights, or a damaged line, is not used."""
    known: dict[str, float] = {}
    if not store.exists():
        return known
    lines = store.read_text(encoding="utf-8").splitlines()
    try:
        if json.loads(lines[0])["key"] != key:
            raise ValueError
        for line in lines[1:]:
            row = json.loads(line)
            known[row["point"]] = float(row["loss"])
    except (ValueError, KeyError, IndexError, TypeError):
        if not known:
            store.unlink()
    return known
