"""Training a residual network on images, from the command line (``skipway train``) or from Python (:func:`train`).

A run is a function of its options: the order of the images and their augmentation are keyed by (seed, epoch, batch),
and the library's results do not depend on the number of threads. So a run that was killed and resumed ends with the
same bits as one that was not.

On a CUDA device the images lie there if they fit, and are augmented there, with the library's generator; each step is
a CUDA graph (`sw.cuda.graph`), and the host looks at losses now and then only.
"""

from __future__ import annotations

import math
import shlex
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import skipway as sw
from skipway import models, nn, optim
from skipway.data.files import NAMES, DataError, load_images
from skipway.nn import functional as F

from . import _runs
from ._feed import Batches, DeviceImages, Progress, augmentation, limits, moments, schedule_factor
from ._runs import RunError

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("cosine", "onecycle", "step", "linear", "constant")
AUGMENTS = ("auto", "none", "affine", "shift", "flip", "crop-flip", "crop-flip-cutout")
_LOOK_EVERY = 50  # steps of a CUDA device, between two looks at the loss
_EPOCHS = {"digits": 30, "mnist5k": 20, "fashion-mnist": 15, "mnist": 10}
_LR = {"sgd": 0.1, "adam": 2e-3, "adamw": 2e-3, "rmsprop": 1e-3}
_AUGMENT = {"digits": "affine", "mnist5k": "affine", "mnist": "shift", "fashion-mnist": "flip"}


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why."""


@dataclass
class Options:
    """What ``skipway train`` takes; None and "auto" are filled in from the data and the optimizer."""

    model: str = "resnet14"
    data: str = "digits"
    data_dir: str | None = None
    image_size: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    optimizer: str = "sgd"
    schedule: str = "cosine"
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    augment: str = "auto"
    device: str = "cpu"
    dtype: str = "float32"
    graph: bool = True
    threads: int | None = None
    seed: int = 0
    out: str | None = None

    def fill(self) -> Options:
        """Checks the values and fills in those that depend on others."""
        for name, allowed in (
            ("data", NAMES), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("augment", AUGMENTS),
            ("dtype", ("float32", "bfloat16", "float16")),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                raise RunError(f"--{name}: expected one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.dtype == "float16" and not self.device.startswith("cuda"):
            raise RunError(f"--dtype: float16 is for CUDA devices, got --device {self.device}")
        small = self.data in ("digits", "mnist5k", "folder")
        self.epochs = _EPOCHS.get(self.data, 30) if self.epochs is None else self.epochs
        self.batch_size = (64 if small else 128) if self.batch_size is None else self.batch_size
        self.lr = _LR[self.optimizer] if self.lr is None else self.lr
        self.augment = _AUGMENT.get(self.data, "crop-flip") if self.augment == "auto" else self.augment
        for name, value, low, high in (
            ("epochs", self.epochs, 1, 10**6), ("batch-size", self.batch_size, 1, 10**6),
            ("seed", self.seed, 0, 2**63 - 1), ("threads", self.threads or 1, 1, 256),
            ("image-size", self.image_size or 8, 4, 1024),
        ):  # fmt: skip
            if not low <= value <= high:
                raise RunError(f"--{name}: expected {low} to {high}, got {value}")
        if self.threads == 0 or self.image_size == 0:
            raise RunError("--threads and --image-size: expected at least 1, got 0")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise RunError(f"--lr: expected a number above 0, got {self.lr}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise RunError(f"--weight-decay: expected a number of at least 0, got {self.weight_decay}")
        if not 0 <= self.label_smoothing < 1:
            raise RunError(f"--label-smoothing: expected 0 to below 1, got {self.label_smoothing}")
        return self


def make_optimizer(options: Options, model: nn.Module) -> Any:
    """Weight decay is for weights alone, not for biases and normalisation."""
    assert options.lr is not None  # resolved from the optimizer's default
    groups = optim.param_groups(model, options.weight_decay)
    if options.optimizer == "sgd":
        return optim.SGD(groups, lr=options.lr, momentum=0.9, nesterov=True)
    return {"adam": optim.Adam, "adamw": optim.AdamW, "rmsprop": optim.RMSprop}[options.optimizer](
        groups, lr=options.lr
    )


# ------------------------------------------------------------------------------------------------------------- trainer


class Trainer:
    """One run: its data, model, optimizer and schedule, and where it stands."""

    def __init__(self, options: Options) -> None:
        self.options = options
        if options.threads is not None:
            sw.set_num_threads(options.threads)
        try:
            self.device = sw.device(options.device)
            sw.zeros(1).to(self.device)
        except (RuntimeError, ValueError) as e:
            raise RunError(f"--device: {options.device} cannot be used: {e}") from e
        train, test = load_images(options.data, options.data_dir, options.image_size)
        if len(train) < 2:
            raise DataError(f"--data {options.data}: expected at least 2 training images, got {len(train)}")
        self.classes = train.classes
        mean, std = moments(train.images)
        assert options.batch_size is not None and options.epochs is not None
        self.train: Batches | DeviceImages
        self.test: Batches | DeviceImages
        if self.device.type == "cuda" and DeviceImages.fit(self.device, train, test):
            self.train = DeviceImages(train, options.batch_size, mean, std, self.device)
            self.test = DeviceImages(test, 256, mean, std, self.device)
        else:
            self.train = Batches(train, options.batch_size, mean, std)
            self.test = Batches(test, 256, mean, std)
        self.limits = limits(options.augment, train.images.shape[-1])
        self.mean, self.std = mean, std
        self.augment = augmentation(options.augment, train.images.shape[-1])
        sw.manual_seed(options.seed)
        try:
            self.model = models.get(options.model, num_classes=len(train.classes), in_channels=train.images.shape[1])
        except (TypeError, ValueError) as e:  # TypeError: the network takes no images
            raise RunError(f"--model: {e}") from e
        self.model = self.model.to(self.device)
        self.check_size(train.images)
        self.optimizer = make_optimizer(options, self.model)
        factor = schedule_factor(options.schedule, options.epochs * len(self.train))
        self.scheduler = optim.lr_scheduler.LambdaLR(self.optimizer, factor)
        self.scaler = sw.amp.GradScaler(self.device.type, enabled=options.dtype == "float16")
        self.sums = sw.zeros(2, dtype=sw.float64, device=self.device)  # of losses and of right answers, in an epoch
        self.call: Any = self.step
        if self.device.type == "cuda" and options.graph:
            self.call = sw.cuda.graph(self.step)
        self.epoch, self.seconds = 0, 0.0
        self.metrics: list[dict[str, Any]] = []
        self.best = {"epoch": 0, "test_accuracy": -1.0}

    # ---- the state on disk

    def state(self) -> dict[str, Any]:
        return {
            "kind": "skipway.train",
            "options": asdict(self.options),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "metrics": self.metrics,
            "best": self.best,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": {"library": sw.get_rng_state(), "loader": {"seed": self.options.seed, "epoch": self.epoch}},
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.scaler.load_state_dict(state.get("scaler", {}))
        sw.set_rng_state(state["rng"]["library"])
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.metrics, self.best = state["metrics"], state["best"]

    def best_state(self) -> dict[str, Any]:
        return {
            "kind": "skipway.model",
            "model_name": self.options.model,
            "num_classes": len(self.classes),
            "in_channels": int(self.mean.size),
            "classes": list(self.classes),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            **self.best,
            "model": self.model.state_dict(),
        }

    # ---- work

    def forward(self, x: Any) -> tuple[Any, ...]:
        """The logits, and those of auxiliary classifiers."""
        if self.options.dtype == "float32":
            out = self.model(x)
        else:
            with sw.autocast(self.device.type, dtype=getattr(sw, self.options.dtype)):
                out = self.model(x)
        outputs = tuple(out) if isinstance(out, tuple) else (out,)
        return outputs if self.options.dtype == "float32" else tuple(o.float() for o in outputs)

    def check_size(self, images: Any) -> None:
        """RunError where the network does not take images of that size."""
        self.model.eval()
        try:
            with sw.no_grad():
                self.model(sw.zeros(1, *images.shape[1:]).to(self.device))
        except sw.ShapeError as e:
            size = "x".join(map(str, images.shape[1:]))
            raise RunError(f"--model {self.options.model}: does not take the data's images, {size}: {e}") from e

    def step(self, *batch: Any) -> None:
        """One step of training, on images and labels, or on indices of images on the device."""
        x, y = self.train.batch(batch[0], self.limits) if isinstance(self.train, DeviceImages) else batch
        out, *others = self.forward(x)
        loss = F.cross_entropy(out, y, label_smoothing=self.options.label_smoothing)
        objective = loss
        for aux in others:  # Szegedy et al. 2015, section 5
            objective = objective + 0.3 * F.cross_entropy(aux, y, label_smoothing=self.options.label_smoothing)
        self.optimizer.zero_grad()
        self.scaler.scale(objective).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        with sw.no_grad():
            self.sums += sw.stack([loss.double() * len(y), (out.argmax(1) == y).sum().double()])

    def batches(self, epoch: int) -> Any:
        """What `step` takes for each batch of an epoch, and how many images it has."""
        if isinstance(self.train, DeviceImages):
            for index in self.train.shuffled(self.options.seed, epoch):
                yield len(index), (index,)
            return
        for x, y in self.train.shuffled(self.options.seed, epoch, self.augment):
            yield len(y), (x.to(self.device), y.to(self.device))

    def train_epoch(self, progress: Progress) -> tuple[float, float]:
        """One pass over the training images; mean loss and accuracy."""
        self.model.train()
        self.sums.zero_()
        epoch, count, unseen = self.epoch + 1, 0, 0
        loss = accuracy = 0.0
        look_every, last = 1 if self.device.type == "cpu" else _LOOK_EVERY, len(self.train)
        for i, (n, batch) in enumerate(self.batches(epoch), 1):
            self.call(*batch)
            count, unseen = count + n, unseen + n
            if i % look_every == 0 or i == last:
                loss, accuracy = (v / count for v in self.sums.tolist())  # waits for the device
                if not math.isfinite(loss):
                    raise TrainingError(
                        f"the loss became {loss} in epoch {epoch}; try a lower --lr than {self.options.lr}"
                    )
                progress.batch(epoch, unseen, loss, accuracy)
                unseen = 0
        return loss, accuracy

    def evaluate(self) -> tuple[float, float]:
        """Mean loss and accuracy on the test images."""
        self.model.eval()
        count, correct, total = 0, 0, 0.0
        with sw.no_grad():
            for x, y in self.test.in_order():
                x, y = x.to(self.device), y.to(self.device)
                out, *_ = self.forward(x)
                count += len(y)
                total += float(F.cross_entropy(out, y).item()) * len(y)
                correct += int((out.argmax(1) == y).sum().item())
        return total / count, correct / count

    def run(self, folder: Path) -> None:
        """Trains to the last epoch; after each, ``folder`` holds all that is needed to go on."""
        progress = Progress(self.options.epochs or 0, self.epoch, len(self.train.data))
        try:
            while self.epoch < (self.options.epochs or 0):
                self._one(folder, progress)
        finally:
            progress.close()

    def _one(self, folder: Path, progress: Progress) -> None:
        start = time.perf_counter()
        lr = float(self.optimizer.param_groups[0]["lr"])
        loss, accuracy = self.train_epoch(progress)
        trained = time.perf_counter() - start
        test_loss, test_accuracy = self.evaluate()
        seconds = self.seconds + time.perf_counter() - start
        row = {
            "epoch": self.epoch + 1,
            "lr": lr,
            "train_loss": loss,
            "train_accuracy": accuracy,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "images_per_second": round(len(self.train.data) / trained, 1),
            "seconds": round(seconds, 3),
        }
        self.epoch, self.seconds = self.epoch + 1, seconds
        self.metrics.append(row)
        if test_accuracy > self.best["test_accuracy"]:
            self.best = {"epoch": self.epoch, "test_accuracy": test_accuracy}
            sw.save(self.best_state(), folder / _runs.BEST)
        sw.save(self.state(), folder / _runs.LAST)
        _runs.append_metrics(folder, row)
        progress.epoch(row)


def train(
    options: Options | None = None, *, resume: str | None = None, command: list[str] | None = None, **changes: Any
) -> dict:
    """Trains and returns the summary, which the run folder holds too.

    ``train(data="digits", epochs=5)`` sets options by name. With ``resume`` (a run folder or its ``last.safetensors``)
    the run goes on with its own options; only ``threads`` and ``data_dir`` may be changed.

    Raises:
        RunError: for options that make no sense, in one line.
        DataError, DataNotFoundError: for damaged and missing data.
        TrainingError: when the loss is no longer finite.
    """
    options = options or Options()
    for name, value in changes.items():
        if name not in {f.name for f in fields(Options)}:
            raise TypeError(f"train: unknown option {name!r}")
        setattr(options, name, value)
    state: dict[str, Any] | None = None
    if resume is not None:
        folder, state = _load_run(resume)
        allowed = {"threads": options.threads, "data_dir": options.data_dir}
        options = Options(**state["options"])
        for name, value in allowed.items():
            if value is not None:
                setattr(options, name, value)
    trainer = Trainer(options.fill())
    if state is None:
        folder = _runs.create(options.out, f"{options.data}-{options.model}")
        sw.save(trainer.state(), folder / _runs.LAST)
    else:
        try:
            trainer.restore(state)
        except (KeyError, RuntimeError, ValueError) as e:
            raise RunError(f"--resume: {folder}: its state does not fit this run: {e}") from e
    _runs.write_metrics(folder, trainer.metrics)
    try:
        trainer.run(folder)
    except KeyboardInterrupt:
        raise Interrupted(folder, trainer.epoch) from None
    return _finish(trainer, folder, command)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training; ``folder`` can be resumed."""

    def __init__(self, folder: Path, epoch: int) -> None:
        super().__init__(
            f"interrupted after epoch {epoch}; continue with: skipway train --resume {shlex.quote(str(folder))}"
        )
        self.folder, self.epoch = folder, epoch


def _load_run(resume: str) -> tuple[Path, dict[str, Any]]:
    folder, checkpoint = _runs.locate(resume)
    try:
        state = sw.load(checkpoint)
    except ValueError as e:
        raise RunError(f"--resume: {e}") from e
    if not isinstance(state, dict) or state.get("kind") != "skipway.train":
        raise RunError(f"--resume: {checkpoint} is not the state of a training run")
    return folder, state


def _finish(trainer: Trainer, folder: Path, command: list[str] | None) -> dict[str, Any]:
    last = trainer.metrics[-1]
    summary = {
        "test_accuracy": last["test_accuracy"],
        "test_loss": last["test_loss"],
        "best_test_accuracy": trainer.best["test_accuracy"],
        "best_epoch": trainer.best["epoch"],
        "epochs": trainer.epoch,
        "seconds": round(trainer.seconds, 3),
        "seed": trainer.options.seed,
        "command": shlex.join(command) if command else None,
        "options": asdict(trainer.options),
        "parameters": sum(int(p.numel()) for p in trainer.model.parameters()),
        "train_images": len(trainer.train.data),
        "test_images": len(trainer.test.data),
        "threads": sw.get_num_threads(),
        "versions": sw.config(),
        "folder": str(folder),
    }
    _runs.write_summary(folder, summary)
    _runs.draw_curves(folder, trainer.metrics, f"{trainer.options.model} on {trainer.options.data}")
    return summary
