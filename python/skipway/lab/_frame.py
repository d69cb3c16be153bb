"""What all experiments share: their arguments, the result they return, and how it is saved and shown."""

from __future__ import annotations

import base64
import inspect
import io
import json
import math
import os
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import skipway as sw
from skipway.data.datasets import DataNotFoundError, load_images

from ._summary_view import in_notebook


class LabError(ValueError):
    """What was asked of an experiment cannot be done; the message is one line."""


def matplotlib_figure(size: tuple[float, float]) -> Any:
    """An empty figure that needs no display; ImportError that says what to install."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("drawing needs matplotlib: pip install 'skipway[plot]'") from None
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(value: Any) -> Any:
    """Lists, numbers and strings of anything that an experiment measured: 5 digits, and None for what is not finite."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, sw.Tensor):
        return plain(value.detach().cpu().numpy())
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def floats(values: Any) -> np.ndarray:
    """An array of what `plain` made of numbers; what was not finite is NaN."""
    return np.array(values, dtype=np.float64)


@dataclass
class Result:
    """What an experiment measured.

    name: of the experiment.
    finding: what was seen, in one sentence.
    holds: whether that is what the theory, or the paper, says.
    data: the numbers, as in the JSON file.
    settings: what they were measured with.
    seconds: how long that took; processor_seconds: on all cores together.
    """

    name: str
    finding: str
    holds: bool
    data: dict[str, Any]
    settings: dict[str, Any]
    seconds: float
    processor_seconds: float
    paint: Callable[[dict[str, Any]], Any] = field(repr=False)

    def __str__(self) -> str:
        return self.finding

    def __repr__(self) -> str:
        return f"Result({self.name!r}: {self.finding})"

    def figure(self) -> Any:
        """The matplotlib figure; ImportError without matplotlib."""
        return self.paint(self.data)

    def png(self, dpi: int = 75) -> bytes:
        """The figure as a PNG file."""
        stream = io.BytesIO()
        self.figure().savefig(stream, format="png", dpi=dpi)
        return stream.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """What the JSON file holds."""
        return {
            "experiment": self.name,
            "finding": self.finding,
            "holds": self.holds,
            "settings": self.settings,
            "seconds": round(self.seconds, 2),
            "processor_seconds": round(self.processor_seconds, 2),
            "skipway": sw.__version__,
            "data": self.data,
        }

    def save(self, folder: str | os.PathLike) -> list[Path]:
        """Writes NAME.json and NAME.png into the folder, which is made if need be; returns the two paths."""
        place = Path(folder).expanduser()
        place.mkdir(parents=True, exist_ok=True)
        numbers, picture = place / f"{self.name}.json", place / f"{self.name}.png"
        numbers.write_text(json.dumps(self.to_dict(), separators=(",", ":")) + "\n", encoding="utf-8")
        picture.write_bytes(self.png())
        return [numbers, picture]

    def _repr_html_(self) -> str:
        """For notebooks: the figure, with the sentence as its alternative text."""
        words = self.finding.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
        try:
            picture = base64.b64encode(self.png()).decode()
        except ImportError as error:
            return f"<p>{words} ({error})</p>"
        return f'<img alt="{words}" src="data:image/png;base64,{picture}">'


class Bench:
    """Where an experiment runs: what was asked of it, its data and its progress bar."""

    def __init__(
        self,
        name: str,
        accepts: tuple[str, ...],
        device: Any,
        seed: int,
        quick: bool,
        out: str | os.PathLike | None,
        data: str | None,
        data_dir: str | os.PathLike | None,
        progress: bool | None,
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise LabError(f"{name}: seed must be a whole number from 0 to 2^63 - 1, got {seed!r}")
        if not accepts and (data is not None or data_dir is not None):
            raise LabError(f"{name}: uses no data set, got {data if data is not None else data_dir!r}")
        if data is not None and data not in accepts:
            raise LabError(f"{name}: data must be one of {', '.join(accepts)}, got {data!r}")
        self.device = sw.device(device)
        try:
            sw.zeros(1).to(self.device)
        except (RuntimeError, ValueError) as error:
            raise LabError(f"{name}: device {device} cannot be used: {' '.join(str(error).split())}") from error
        self.name, self.seed, self.quick = name, seed, bool(quick)
        self.out = None if out is None else Path(out).expanduser()
        self.data = data if data is not None else (accepts[0] if accepts else None)
        self.accepts, self.data_dir, self.progress = accepts, data_dir, progress
        self.rng = np.random.default_rng(seed)

    def pick(self, full: Any, quick: Any) -> Any:
        """One value for the whole experiment, another for the quick one."""
        return quick if self.quick else full

    def bar(self, items: Iterable[Any], what: str, total: int | None = None) -> Iterator[Any]:
        """The items, with a progress bar on a terminal (always with progress=True, never with False)."""
        from tqdm import tqdm  # type: ignore[import-untyped]

        hide = None if self.progress is None else not self.progress
        return iter(tqdm(items, desc=f"{self.name}: {what}", total=total, leave=False, disable=hide))

    def images(self, train: int | None = None, test: int | None = None, shrink: int = 1) -> Images:
        """The first `train` and `test` images in an order of the seed's; each `shrink` x `shrink` pixels become one."""
        assert self.data is not None
        try:
            parts = load_images(self.data, self.data_dir)
        except DataNotFoundError as error:
            others = [name for name in self.accepts if name != self.data]
            hint = f" {self.name} also takes --data {' or '.join(others)}." if others else ""
            raise DataNotFoundError(f"{error}{hint}") from None
        order = np.random.default_rng((self.seed, 1))
        chosen = []
        for part, count in zip(parts, (train, test), strict=True):
            rows = order.permutation(len(part))[:count]
            x = part.images[rows].astype(np.float32)
            n, c, h, w = x.shape
            h, w = h // shrink, w // shrink
            x = x[:, :, : h * shrink, : w * shrink].reshape(n, c, h, shrink, w, shrink).mean((3, 5))
            chosen.append((x, part.labels[rows]))
        mean, std = chosen[0][0].mean(), chosen[0][0].std()
        tensors = [
            (sw.from_numpy((x - mean) / std).to(self.device), sw.from_numpy(y.copy()).to(self.device))
            for x, y in chosen
        ]
        return Images(*tensors[0], *tensors[1], parts[0].classes)


@dataclass
class Images:
    """Normalised training and test images (N, C, H, W) with their labels, on the device."""

    x: Any
    y: Any
    test_x: Any
    test_y: Any
    classes: tuple[str, ...]

    @property
    def channels(self) -> int:
        return int(self.x.shape[1])


Measure = Callable[[Bench], tuple[str, bool, dict[str, Any]]]


def experiment(
    name: str,
    measure: Measure,
    draw: Callable[[Any, dict[str, Any]], None],
    size: tuple[float, float],
    data: tuple[str, ...] = (),
) -> Callable[..., Result]:
    """The public function of an experiment.

    measure: returns the sentence, whether the finding holds, and the numbers.
    draw: fills a figure of `size` inches with the numbers as they stand in the JSON file.
    data: the data sets it takes, the default first; () if it takes none.
    """
    accepts = data

    def paint(numbers: dict[str, Any]) -> Any:
        figure = matplotlib_figure(size)
        draw(figure, numbers)
        return figure

    def run(
        *,
        device: Any = "cpu",
        seed: int = 0,
        quick: bool = False,
        out: str | os.PathLike | None = None,
        data: str | None = None,
        data_dir: str | os.PathLike | None = None,
        progress: bool | None = None,
    ) -> Result:
        bench = Bench(name, accepts, device, seed, quick, out, data, data_dir, progress)
        if bench.out is not None:
            matplotlib_figure((1, 1))  # better now than after minutes
            bench.out.mkdir(parents=True, exist_ok=True)
        start, busy = time.perf_counter(), sum(os.times()[:4])
        with sw.random.fork_rng():
            sw.manual_seed(seed)
            finding, holds, numbers = measure(bench)
        settings = {"seed": seed, "quick": bench.quick, "device": str(bench.device), "data": bench.data}
        spent = (time.perf_counter() - start, sum(os.times()[:4]) - busy)
        result = Result(name, finding, bool(holds), plain(numbers), settings, *spent, paint=paint)
        if bench.out is not None:
            result.save(bench.out)
        if progress is not False:
            print(textwrap.fill(finding, 88) if in_notebook() else finding)  # a notebook does not wrap lines
        return result

    run.__name__ = run.__qualname__ = name.replace("-", "_")
    run.__module__ = measure.__module__
    run.__doc__ = f"{inspect.getdoc(measure)}\n\n{_ARGUMENTS}"
    run.paint, run.accepts = paint, accepts  # type: ignore[attr-defined]
    return run


_ARGUMENTS = """Args:
    device, seed: where it runs, and the seed that decides the numbers.
    quick: a smaller version, for a first look.
    out: a folder for NAME.png and NAME.json.
    data, data_dir: a data set that the experiment takes, and the folder it is in.
    progress: False for silence, True for a bar even where there is no terminal.

Returns a `Result`."""


def load(path: str | os.PathLike) -> Result:
    """The result in a NAME.json; its figure can be drawn again."""
    from . import get

    stored = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(stored, dict) or "experiment" not in stored:
        raise ValueError(f"{os.fspath(path)}: holds no result of an experiment")
    name = stored["experiment"]
    measured = {key: stored[key] for key in ("finding", "holds", "data", "settings", "seconds", "processor_seconds")}
    return Result(name=name, paint=get(name).paint, **measured)
