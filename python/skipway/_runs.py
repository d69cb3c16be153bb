"""The folder a training run leaves behind."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from .io.atomic import write_file

LAST, BEST, METRICS, SUMMARY, CURVES = (
    "last.safetensors",
    "best.safetensors",
    "metrics.jsonl",
    "summary.json",
    "curves.png",
)


class RunError(Exception):
    """What the user asked for cannot be done; the message is one line."""


def create(out: str | None, name: str) -> Path:
    """A new, empty run folder: ``out``, which must not hold a run yet, or the next free ``runs/NAME-N``."""
    try:
        if out is not None:
            folder = Path(out).expanduser()
            folder.mkdir(parents=True, exist_ok=True)
            if any((folder / f).exists() for f in (LAST, METRICS, SUMMARY)):
                raise RunError(
                    f"--out: {folder} already holds a run; choose another folder, or continue it with --resume"
                )
            return folder
        runs = Path("runs")
        runs.mkdir(exist_ok=True)
        number = 1
        while True:
            folder = runs / f"{name}-{number}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
            number += 1
    except OSError as e:
        raise RunError(f"--out: cannot make the run folder: {e}") from e


def locate(resume: str) -> tuple[Path, Path]:
    """(run folder, checkpoint) from a run folder or a checkpoint file."""
    path = Path(resume).expanduser()
    checkpoint = path / LAST if path.is_dir() else path
    if not checkpoint.is_file():
        raise RunError(f"--resume: {checkpoint} not found; expected a run folder with {LAST}")
    return checkpoint.parent, checkpoint


def write_metrics(folder: Path, metrics: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(m) + "\n" for m in metrics)
    write_file(folder / METRICS, lambda f: f.write(text.encode()))


def append_metrics(folder: Path, row: dict[str, Any]) -> None:
    with open(folder / METRICS, "a", encoding="utf-8") as f:
        f.write(json.dumps(row) + "\n")


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    text = json.dumps(summary, indent=2) + "\n"
    write_file(folder / SUMMARY, lambda f: f.write(text.encode()))


def draw_curves(folder: Path, metrics: list[dict[str, Any]], title: str) -> bool:
    """Writes ``curves.png`` where matplotlib is installed; says whether it did."""
    if importlib.util.find_spec("matplotlib") is None or not metrics:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [m["epoch"] for m in metrics]
    for key, label in (("train_loss", "training (augmented, smoothed)"), ("test_loss", "test")):
        left.plot(epochs, [m[key] for m in metrics], label=label)
    for key, label in (("train_accuracy", "training (augmented)"), ("test_accuracy", "test")):
        right.plot(epochs, [100 * m[key] for m in metrics], label=label)
    left.set(title=title, xlabel="epoch", ylabel="loss", yscale="log")
    right.set(xlabel="epoch", ylabel="accuracy (%)")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(folder / CURVES, dpi=120)
    return True
