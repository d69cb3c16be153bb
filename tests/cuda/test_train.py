"""`skipway train --device cuda`: images on the device, whole steps as graphs, the same bits without them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skipway as sw
from skipway import cli, nn, train
from skipway.data.files import Images


def tiny(name: str, num_classes: int, in_channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, num_classes),
    )  # fmt: skip


def sets(*_: Any) -> tuple[Images, Images]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 30)
    pixels = rng.integers(0, 200, (30, 3, 6, 6)).astype(np.uint8)
    pixels[np.arange(30), labels] += 50
    classes = ("red", "green", "blue")
    return Images(pixels[:22], labels[:22], classes), Images(pixels[22:], labels[22:], classes)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "load_images", sets)
    monkeypatch.setattr(train.models, "get", tiny)
    monkeypatch.setattr(train._runs, "draw_curves", lambda *_: None)


def options(out: Path, **changes: Any) -> dict[str, Any]:
    chosen = {"device": "cuda", "epochs": 2, "batch_size": 6, "augment": "crop-flip-cutout", "seed": 3, "lr": 0.05}
    return {**chosen, "out": str(out), **changes}


def state(folder: Path) -> dict[str, Any]:
    s = sw.load(folder / "last.safetensors")
    metrics = [{k: v for k, v in row.items() if "second" not in k} for row in s["metrics"]]
    model = {k: v.cpu().tolist() for k, v in s["model"].items()}
    return {"metrics": metrics, "model": model, "rng": s["rng"]["library"].tolist(), "scaler": s["scaler"]}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_graphs_give_the_bits_of_eager_steps(tmp_path: Path, dtype: str) -> None:
    """Batches of 6, 6, 6 and 4 images: two graphs."""
    summaries = [train.train(**options(tmp_path / str(graph), dtype=dtype, graph=graph)) for graph in (False, True)]
    eager, graphed = (state(tmp_path / str(graph)) for graph in (False, True))
    assert eager == graphed and all(np.isfinite(row["train_loss"]) for row in eager["metrics"])
    assert summaries[0]["test_accuracy"] == summaries[1]["test_accuracy"]
    assert bool(eager["scaler"]) == (dtype == "float16")


def test_it_learns_on_the_device(tmp_path: Path) -> None:
    train.train(**options(tmp_path / "run", epochs=8, augment="flip"))
    losses = [row["train_loss"] for row in state(tmp_path / "run")["metrics"]]
    assert losses[-1] < 0.9 * losses[0]


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train.train(**options(tmp_path / "whole"))
    evaluate = train.Trainer.evaluate

    def interrupted(self: train.Trainer) -> tuple[float, float]:
        if self.epoch == 1:
            raise KeyboardInterrupt
        return evaluate(self)

    monkeypatch.setattr(train.Trainer, "evaluate", interrupted)
    with pytest.raises(train.Interrupted):
        train.train(**options(tmp_path / "part"))
    monkeypatch.setattr(train.Trainer, "evaluate", evaluate)
    train.train(resume=str(tmp_path / "part"))
    assert state(tmp_path / "whole") == state(tmp_path / "part")


def test_images_that_do_not_fit_come_from_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.DeviceImages, "fit", lambda *_: False)
    for graph in (False, True):
        train.train(**options(tmp_path / str(graph), graph=graph))
    assert state(tmp_path / "True") == state(tmp_path / "False")


def test_a_loss_that_is_not_finite_is_reported(tmp_path: Path) -> None:
    with pytest.raises(train.TrainingError, match="the loss became .* in epoch 1; try a lower --lr than 1e"):
        train.train(**options(tmp_path / "run", lr=1e30))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    arguments = ["train", "--device", "cuda", "--epochs", "1", "--batch-size", "11", "--dtype", "bfloat16"]
    assert cli.main([*arguments, "--augment", "affine", "--out", out]) == 0
    assert "test accuracy" in capsys.readouterr().out
    assert cli.main(["train", "--dtype", "float16", "--out", str(tmp_path / "no")]) == 2
    assert "--dtype: float16 is for CUDA devices, got --device cpu" in capsys.readouterr().err


def test_the_benchmark_runs(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "benchmarks/bench_train_cuda.py", "--tiny", "--peer", "none"]
    command += ["--json", str(tmp_path / "a.json"), "--markdown", str(tmp_path / "a.md")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads((tmp_path / "a.json").read_text())["rows"]
    assert row["errors"] == {} and row["losses"]["skipway eager"] == row["losses"]["skipway graph"]
    assert row["times"]["skipway graph"]["min"] > 0
    assert "| resnet8 | 2 | " in (tmp_path / "a.md").read_text()
