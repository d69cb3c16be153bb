"""A writer of training curves with the methods of TensorBoard's. It writes JSON lines, not TensorBoard's format."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import numpy as np

from .._core import Tensor


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().float().numpy() if isinstance(values, Tensor) else np.asarray(values)


class SummaryWriter:
    """Appends what it is given to `events.jsonl` in `log_dir` (default: runs/<date and time>), an object a line."""

    def __init__(self, log_dir: str | None = None, comment: str = "", *args: Any, **kwargs: Any) -> None:
        self.log_dir = str(log_dir or os.path.join("runs", time.strftime("%b%d_%H-%M-%S") + comment))
        os.makedirs(self.log_dir, exist_ok=True)
        self._file = open(os.path.join(self.log_dir, "events.jsonl"), "a", encoding="utf-8")  # noqa: SIM115

    def get_logdir(self) -> str:
        """The folder."""
        return self.log_dir

    def _write(self, tag: str, step: Any, **values: Any) -> None:
        record = {"tag": tag, "step": None if step is None else int(step), "time": time.time(), **values}
        self._file.write(json.dumps(record) + "\n")

    def add_scalar(self, tag: str, scalar_value: Any, global_step: Any = None, *args: Any, **kwargs: Any) -> None:
        """One number."""
        self._write(tag, global_step, value=float(scalar_value))

    def add_scalars(self, main_tag: str, tag_scalar_dict: dict[str, Any], global_step: Any = None, *args: Any) -> None:
        """Several numbers: `main_tag/name` for each."""
        for name, value in tag_scalar_dict.items():
            self.add_scalar(f"{main_tag}/{name}", value, global_step)

    def add_histogram(
        self, tag: str, values: Any, global_step: Any = None, bins: Any = 30, *args: Any, **kwargs: Any
    ) -> None:
        """Counts in equal intervals."""
        counts, edges = np.histogram(_array(values), bins if isinstance(bins, int) else 30)
        self._write(tag, global_step, counts=counts.tolist(), edges=edges.tolist())

    def add_text(self, tag: str, text_string: str, global_step: Any = None, *args: Any) -> None:
        """A text."""
        self._write(tag, global_step, text=text_string)

    def add_hparams(self, hparam_dict: dict[str, Any], metric_dict: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """Hyperparameters and what they led to."""
        plain = {k: v if isinstance(v, (bool, int, float, str)) else str(v) for k, v in hparam_dict.items()}
        self._write("hparams", None, hparams=plain, metrics={k: float(v) for k, v in metric_dict.items()})

    def add_image(self, tag: str, *args: Any, **kwargs: Any) -> None:
        """Does nothing: pictures are not kept."""

    add_images = add_figure = add_image

    def add_graph(self, model: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: graphs are not kept."""

    def flush(self) -> None:
        """Writes what is waiting."""
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
