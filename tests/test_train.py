"""skipway train: short runs, resuming, and what it says when something is wrong."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import skipway as sw
from skipway import cli, models, nn
from skipway._feed import Batches, Progress, moments, schedule_factor
from skipway.data.files import load_images
from skipway.train import (
    Interrupted,
    Options,
    RunError,
    Trainer,
    TrainingError,
    train,
)

FAST = ["--model", "resnet8", "--epochs", "3", "--batch-size", "128"]


def command(*args, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "skipway.cli", *args], capture_output=True, text=True, timeout=120, **kwargs
    )


def final_state(folder):
    state = sw.load(folder / "last.safetensors")
    for row in state["metrics"]:
        del row["seconds"], row["images_per_second"]
    del state["seconds"]
    state["options"].pop("threads"), state["options"].pop("out")
    return state


def same(a, b):
    if isinstance(a, sw.Tensor):
        return a.dtype == b.dtype and tuple(a.shape) == tuple(b.shape) and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One whole short run, through the command."""
    folder = tmp_path_factory.mktemp("train") / "run"
    done = command("train", *FAST, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    return folder, done


def test_the_run_folder(run):
    folder, done = run
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["epochs"] == 3 and summary["seed"] == 0 and summary["seconds"] > 0
    assert (
        summary["command"].startswith("skipway train --model resnet8")
        and summary["versions"]["skipway"] == sw.__version__
    )
    assert 0.8 < summary["test_accuracy"] <= summary["best_test_accuracy"] <= 1
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in rows] == [1, 2, 3] and rows[2]["test_accuracy"] == summary["test_accuracy"]
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and re.match(
        r"epoch 1/3  loss [\d.]+  accuracy +[\d.]+ %  test .* images/s  \d+ s left", lines[0]
    )
    assert lines[-1].startswith(f"test accuracy {100 * summary['test_accuracy']:.2f} % after 3 epochs in ")
    assert done.stderr == ""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert not (folder / "curves.png").exists()
    else:
        assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_the_best_model_can_be_used(run):
    folder, _ = run
    best = sw.load(folder / "best.safetensors")
    model = models.load(folder / "best.safetensors")
    assert not model.training and model.info["classes"] == [str(i) for i in range(10)]
    _, test = load_images("digits")
    mean, std = (np.asarray(best[k], np.float32).reshape(1, -1, 1, 1) for k in ("mean", "std"))
    with sw.no_grad():
        out = model(sw.from_numpy((test.images.astype(np.float32) - mean) / std))
    assert (out.argmax(1).numpy() == test.labels).mean() == pytest.approx(best["test_accuracy"], abs=0.004)
    assert len(sw.fuse(model).fuse_report.fused) == 9


def test_same_seed_same_bits_at_any_number_of_threads(run, tmp_path):
    folder, _ = run
    for threads in (1, 5):
        done = command("train", *FAST, "--out", str(tmp_path / str(threads)), "--threads", str(threads))
        assert done.returncode == 0, done.stderr
        assert same(final_state(tmp_path / str(threads)), final_state(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="kills with SIGKILL")
@pytest.mark.parametrize("moment", [1, 2])
def test_a_killed_run_resumes_to_the_same_bits(run, tmp_path, moment):
    folder, _ = run
    out = tmp_path / "killed"
    p = subprocess.Popen(
        [sys.executable, "-m", "skipway.cli", "train", *FAST, "--out", str(out)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(moment):
        assert p.stdout.readline().startswith("epoch")
    time.sleep(0.03)
    p.send_signal(signal.SIGKILL)
    p.wait()
    p.stdout.close()
    assert not (out / "summary.json").exists()
    done = command("train", "--resume", str(out), "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert same(final_state(out), final_state(folder))
    a, b = (sw.load(f / "best.safetensors") for f in (out, folder))
    assert same(a, b)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in rows] == [1, 2, 3]


def test_a_kill_before_the_first_epoch_ends(run, tmp_path, monkeypatch):
    folder, _ = run
    monkeypatch.setattr(Trainer, "run", lambda self, folder: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(Interrupted, match="after epoch 0; continue with: skipway train --resume"):
        train(Options(model="resnet8", epochs=3, batch_size=128, out=str(tmp_path / "a")))
    monkeypatch.undo()
    assert sw.load(tmp_path / "a" / "last.safetensors")["epoch"] == 0
    train(resume=str(tmp_path / "a" / "last.safetensors"))
    assert same(final_state(tmp_path / "a"), final_state(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c(tmp_path):
    out = tmp_path / "run"
    p = subprocess.Popen(
        [sys.executable, "-m", "skipway.cli", "train", "--model", "resnet8", "--epochs", "500", "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # the test run itself may ignore it
    )  # fmt: skip
    try:
        assert p.stdout.readline().startswith("epoch")
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=30)
    finally:
        p.kill()
    assert p.returncode == 130
    assert f"continue with: skipway train --resume {out}" in err and "Traceback" not in err
    assert sw.load(out / "last.safetensors")["epoch"] >= 1


def test_a_finished_run_is_not_trained_again(run):
    folder, _ = run
    before = (folder / "last.safetensors").read_bytes()
    done = command("train", "--resume", str(folder))
    assert done.returncode == 0 and done.stdout.startswith("test accuracy") and len(done.stdout.splitlines()) == 1
    assert (folder / "last.safetensors").read_bytes() == before


def test_run_folders_are_never_overwritten(run, tmp_path, monkeypatch):
    folder, _ = run
    done = command("train", *FAST, "--out", str(folder))
    assert done.returncode == 2 and "already holds a run" in done.stderr
    monkeypatch.chdir(tmp_path)
    options = {"model": "resnet8", "epochs": 1, "batch_size": 512, "augment": "none"}
    names = [train(Options(**options))["folder"] for _ in range(2)]
    assert names == [os.path.join("runs", "digits-resnet8-1"), os.path.join("runs", "digits-resnet8-2")]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adamw", "schedule": "onecycle"},
        {"optimizer": "adam", "schedule": "linear", "weight_decay": 0.0},
        {"optimizer": "rmsprop", "schedule": "step", "augment": "crop-flip-cutout"},
        {"schedule": "constant", "augment": "shift", "label_smoothing": 0.0},
        {"dtype": "bfloat16"},
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_options(tmp_path, options):
    summary = train(model="resnet8", epochs=2, batch_size=128, out=str(tmp_path / "r"), **options)
    rows = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert rows[1]["train_loss"] < rows[0]["train_loss"] and summary["options"]["optimizer"] == options.get(
        "optimizer", "sgd"
    )


def test_folder_of_images(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    rng = np.random.Generator(np.random.PCG64(0))
    for i, c in enumerate(("dark", "light")):
        (tmp_path / "images" / c).mkdir(parents=True)
        for k in range(20):
            Image.fromarray(rng.integers(100 * i, 100 * i + 60, (12, 12, 3), dtype=np.uint8)).save(
                tmp_path / "images" / c / f"{k}.png")  # fmt: skip
    summary = train(
        data="folder", data_dir=str(tmp_path / "images"), model="resnet8", epochs=4, lr=0.02, out=str(tmp_path / "r")
    )
    assert summary["test_images"] == 8 and summary["best_test_accuracy"] == 1


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--data", "imagenet"], "invalid choice: 'imagenet'"),
        (["--epochs", "many"], "invalid int value: 'many'"),
        (["--epochs", "0"], "--epochs: expected 1 to"),
        (["--batch-size", "-3"], "--batch-size: expected 1 to 1000000, got -3"),
        (["--lr", "nan"], "--lr: expected a number above 0, got nan"),
        (["--lr", "0"], "--lr: expected a number above 0"),
        (["--weight-decay", "-1"], "--weight-decay: expected"),
        (["--label-smoothing", "1"], "--label-smoothing: expected 0 to below 1"),
        (["--threads", "0"], "--threads"),
        (["--threads", "1000"], "--threads: expected 1 to 256"),
        (["--seed", "-1"], "--seed: expected"),
        (["--model", "resnet21"], "--model: unknown model 'resnet21'"),
        (["--device", "abacus"], "--device: abacus cannot be used"),
        (["--dtype", "float8"], "invalid choice: 'float8'"),
        (["--data", "cifar10", "--data-dir", "/nowhere"], "cifar10 not found; looked for /nowhere/data_batch_1.bin"),
        (["--data", "folder"], "--data-dir"),
        (["--resume", "/nowhere"], "--resume: /nowhere not found"),
        (["--resume", "/nowhere", "--lr", "1"], "--lr cannot be given with --resume"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["--out", "/proc/none/x"], "--out: cannot make the run folder"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_bad_options(args, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(["train", *args])
    except SystemExit as e:
        code = e.code
    err = capsys.readouterr().err
    assert code == 2 and message in err and err.count("\n") == 1 and err.startswith("skipway train: error: ")
    assert os.listdir(tmp_path) == []


def test_damaged_checkpoint(run, tmp_path, capsys):
    folder, _ = run
    path = tmp_path / "last.safetensors"
    good = (folder / "last.safetensors").read_bytes()
    path.write_bytes(good[:-100])
    assert cli.main(["train", "--resume", str(tmp_path)]) == 2
    assert "last.safetensors: damaged" in capsys.readouterr().err
    sw.save({"a": 1}, path)
    with pytest.raises(ValueError, match="last.safetensors: holds no trained model"):
        models.load(path)
    assert cli.main(["train", "--resume", str(tmp_path)]) == 2
    assert "not the state of a training run" in capsys.readouterr().err


def test_a_loss_that_explodes(tmp_path):
    with pytest.raises(TrainingError, match="try a lower --lr than 1e"):
        train(model="resnet8", epochs=3, lr=1e30, schedule="constant", out=str(tmp_path / "r"))
    with pytest.raises(TypeError, match="unknown option 'epoch'"):
        train(epoch=3)
    with pytest.raises(RunError, match="--schedule: expected one of cosine"):
        train(schedule="never")


# --------------------------------------------------------------------------------------------------------------- parts


def test_help_names_every_option_and_default():
    text = " ".join(command("train", "--help").stdout.split())
    for option in (
        "--model", "--data", "--data-dir", "--epochs", "--batch-size", "--lr", "--optimizer", "--schedule",
        "--weight-decay", "--label-smoothing", "--augment", "--device", "--dtype", "--threads", "--seed", "--out",
        "--resume", "--image-size",
    ):  # fmt: skip
        described = text.split(f" {option} ")[1]
        assert "(default: " in described.split(" --")[0], option
    parsed = vars(cli.build_parser().parse_args(["train"]))
    assert {k: parsed[k] for k in vars(Options())} == vars(Options())


def test_version_info_and_no_command(capsys):
    with pytest.raises(SystemExit) as e:
        cli.main(["--version"])
    assert e.value.code == 0 and capsys.readouterr().out == f"skipway {sw.__version__}\n"
    assert cli.main(["info"]) == 0 and sw.__version__ in capsys.readouterr().out
    assert cli.main([]) == 0 and "COMMAND" in capsys.readouterr().out


def test_import_is_light():
    names = ("matplotlib", "PIL", "tqdm", "argparse", "multiprocessing.connection", "safetensors")
    code = f"import sys, skipway; print([m for m in {names} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "120")
    row = {"epoch": 1, "test_accuracy": 0.975}
    progress = Progress(2, 0, 100, Terminal())
    progress.batch(1, 100, 0.5, 0.9)
    progress.epoch(row)
    progress.batch(2, 100, 0.25, 0.95)
    progress.close()
    last = progress.stream.getvalue().strip().split("\r")[-1]
    assert last.startswith("epoch 2/2") and last.endswith("left, loss 0.2500, accuracy 95.00 %, test 97.50 %")
    assert "100%" in last and "images/s" in last


@pytest.mark.parametrize("name", ["cosine", "onecycle", "step", "linear", "constant"])
def test_schedules(name):
    f = schedule_factor(name, 200)
    values = [f(i) for i in range(201)]
    assert all(0 <= v <= 1 for v in values) and max(values) > 0.9
    assert values[-1] == (1 if name == "constant" else pytest.approx(0.01 if name == "step" else 0, abs=1e-9))


def test_batches():
    data, _ = load_images("digits")
    mean, std = moments(data.images)
    assert mean[0] == pytest.approx(data.images.mean(), rel=1e-6) and std[0] == pytest.approx(
        data.images.std(), rel=1e-6
    )
    b = Batches(data.take(np.arange(65)), 32, mean, std)
    whole = np.concatenate([x.numpy() for x, _ in b.in_order()])
    assert whole.shape == (65, 1, 8, 8) and whole.dtype == np.float32
    np.testing.assert_allclose(whole, (data.images[:65] - mean[0]) / std[0], rtol=1e-5, atol=1e-6)
    sizes = [len(y) for _, y in b.shuffled(0, 1, None)]
    assert sizes == [32, 32] and len(b) == 2  # an image left alone is left out
    first, second = ([y.tolist() for _, y in b.shuffled(0, e, None)] for e in (1, 2))
    assert first != second and first == [y.tolist() for _, y in b.shuffled(0, 1, None)]


def test_digits_to_98_5_percent(tmp_path):
    """The promise of the README, with two thirds of its epochs."""
    summary = train(epochs=20, out=str(tmp_path / "r"))
    assert summary["test_accuracy"] >= 0.985


def test_networks_that_do_not_take_the_images(tmp_path):
    for model, message in (
        ("lenet5", r"--model lenet5: does not take the data's images, 1x8x8: ShapeError in features.3 \(Conv2d\)"),
        ("fcn5", r"--model: fcn5\(\) got an unexpected keyword argument 'in_channels'"),
    ):
        with pytest.raises(RunError, match=message):
            train(model=model, epochs=1, out=str(tmp_path / model))


def test_auxiliary_classifiers_learn(tmp_path, monkeypatch):
    class WithAux(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.aux = nn.Linear(64, 10), nn.Linear(64, 10)

        def forward(self, x):
            return (self.fc(x.flatten(1)), self.aux(x.flatten(1))) if self.training else self.fc(x.flatten(1))

    model = WithAux()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    monkeypatch.setattr(models, "get", lambda name, **kwargs: model)
    train(model="resnet8", epochs=1, batch_size=256, augment="none", weight_decay=0.0, out=str(tmp_path / "r"))
    moved = {k: float((v - before[k]).norm()) for k, v in model.state_dict().items()}
    assert 0.1 < moved["aux.weight"] / moved["fc.weight"] < 0.6  # its gradient counts 0.3
