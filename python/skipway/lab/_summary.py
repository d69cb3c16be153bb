"""`summary`: what each layer of a network makes of its input, and what that costs.

Conventions. Everything is for one sample. Memory is that of the layer's output at 4 bytes per number, in KB of 1024
bytes; parameters are in thousands, multiply-adds and FLOPs in millions (`_costs` says how they are counted). Backward
counts the gradient of the input, which costs what forward costs and which the layers that read the network's input do
not need, and that of the weights, which costs the same again unless they are frozen; other layers count as forward.
Sums, activations and concatenations that are written in a model's `forward`, and not as layers, are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import skipway as sw
from skipway import nn

from . import _summary_view as view
from ._costs import Shape, cost, parameter_counts, window
from ._trace import Call, rows_of, trace

BYTES = 4  # of a number, in the tables


@dataclass(frozen=True)
class Row:
    """One call of a layer, for one sample. Shapes are without the batch; None where the layer was not reached."""

    name: str
    kind: str
    input: Shape | None
    output: Shape | None
    kernel: Any
    stride: Any
    padding: Any
    memory: int  # bytes of the output
    weights: int
    biases: int
    multiply_adds: int | None
    flops: int | None
    backward_multiply_adds: int | None
    backward_flops: int | None

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases

    @property
    def stage(self) -> str:
        """The size of the output's maps, as 56x56; "vectors" for outputs without maps."""
        if self.output is None:
            return "not reached"
        return "x".join(map(str, self.output[1:])) if len(self.output) > 2 else "vectors"


class Total(NamedTuple):
    """Sums over rows: memory in bytes, the others as counted. `complete` is False where a layer's cost is unknown."""

    memory: int
    parameters: int
    multiply_adds: int
    flops: int
    backward_multiply_adds: int
    backward_flops: int
    complete: bool


class TextbookRow(NamedTuple):
    """A line of the textbook's table: memory in KB, parameters in thousands, multiply-adds in millions ("flop")."""

    name: str
    kind: str
    memory: float
    parameters: float
    multiply_adds: float


def total(rows: Iterable[Row]) -> Total:
    """The sums over `rows`, which may be any selection of a summary's."""
    chosen = list(rows)

    def add(value: Callable[[Row], int | None]) -> int:
        return sum(value(r) or 0 for r in chosen)

    return Total(
        add(lambda r: r.memory),
        add(lambda r: r.parameters),
        add(lambda r: r.multiply_adds),
        add(lambda r: r.flops),
        add(lambda r: r.backward_multiply_adds),
        add(lambda r: r.backward_flops),
        all(r.multiply_adds is not None for r in chosen if r.output is not None),
    )


class Summary:
    """The table of a network's layers: `str()` is text, and a notebook shows it as HTML.

    `summary["features.0"]` is a layer's `Row`, and `rows` are all of them in the order in which they ran; layers that
    were not reached come last. `error` is what stopped the model, if anything did.
    """

    def __init__(self, model: str, input_size: tuple[Shape, ...], rows: list[Row], error: str | None) -> None:
        self.model, self.input_size, self.rows, self.error = model, input_size, rows, error

    def __getitem__(self, name: str) -> Row:
        for r in self.rows:
            if r.name == name:
                return r
        raise KeyError(f"no layer is called {name!r}; expected one of {', '.join(r.name for r in self.rows)}")

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def total(self) -> Total:
        """The sums over all layers; incomplete too where the model stopped."""
        t = total(self.rows)
        return t._replace(complete=t.complete and self.error is None)

    @property
    def stages(self) -> dict[str, Total]:
        """The sums per stage: the layers whose outputs have maps of one size."""
        names = dict.fromkeys(r.stage for r in self.rows)
        return {name: total(r for r in self.rows if r.stage == name) for name in names}

    def until(self, size: int) -> list[Row]:
        """The rows of the stem: up to the first output whose maps are `size` or less high."""
        chosen = []
        for r in self.rows:
            chosen.append(r)
            if r.output is not None and len(r.output) > 2 and r.output[1] <= size:
                return chosen
        raise ValueError(f"until: no output has maps of {size} or less; the stages are {', '.join(self.stages)}")

    def textbook(self) -> list[TextbookRow]:
        """Convolutions, pooling and linear layers as textbooks tabulate them: biases count for convolutions and not for
        linear layers, multiply-adds are called "flop", and pooling counts its window once per output."""
        lines = []
        for r in self.rows:
            convolution, linear = r.kind.startswith("Conv"), r.kind == "Linear"
            if r.output is None or not (convolution or linear or "Pool" in r.kind):
                continue
            parameters = r.weights + (r.biases if convolution else 0)
            work = r.multiply_adds if convolution or linear else r.flops
            lines.append(TextbookRow(r.name, r.kind, r.memory / 1024, parameters / 1e3, (work or 0) / 1e6))
        return lines

    def __str__(self) -> str:
        return view.text(self)

    def __repr__(self) -> str:
        t = self.total
        return f"<summary of {self.model}: {t.parameters:,} parameters, {t.multiply_adds:,} multiply-adds>"

    def _repr_html_(self) -> str:
        return view.html(self)


def summary(model: nn.Module, input_size: Any, *, training: bool = False, show: bool | None = None) -> Summary:
    """A table of what each layer makes of its input and what it costs, forward and backward, for one sample.

    The model is left exactly as it was: modes, buffers, gradients, hooks (which are not called) and random numbers.
    Layers whose output's shape follows from their input's are not computed. A model that stops half way, or with layers
    that its `forward` does not reach, gets a table of what could be seen, with the reason.

    Args:
        model: any module.
        input_size: of one sample, as (3, 224, 224); a list of such for several inputs; or the inputs themselves, a
            tensor or a list of tensors with a batch, as networks that begin with an embedding need.
        training: trace the model in training mode, as for auxiliary classifiers.
        show: print the table; None: unless a notebook will show it.

    Raises:
        TypeError, ValueError: `model` is no module, or `input_size` no size.

    >>> sw.lab.summary(models.alexnet(), (3, 227, 227))["features.0"].multiply_adds
    72855552
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"summary: expected model to be a module, got a {type(model).__name__}")
    inputs = _inputs(model, input_size)
    calls, error = trace(model, inputs, training, compute=False)
    if error is not None:
        real, real_error = trace(model, inputs, training, compute=True)
        if real_error is None or len(real) >= len(calls):
            calls, error = real, real_error
    rows = _rows(model, calls)
    made = Summary(type(model).__name__, tuple(tuple(x.shape[1:]) for x in inputs), rows, error)
    if show or (show is None and not view.in_notebook()):
        print(made)
    return made


def _inputs(model: nn.Module, given: Any) -> tuple[Any, ...]:
    """The inputs, a batch of one sample."""
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    if not listed:
        raise ValueError("summary: input_size is empty; expected the size of one sample, such as (3, 224, 224)")
    if all(isinstance(x, sw.Tensor) for x in listed):
        if not all(x.dim() and len(x) for x in listed):
            raise ValueError(f"summary: expected tensors with a batch, got shapes {[tuple(x.shape) for x in listed]}")
        return tuple(x[:1] for x in listed)
    several = all(isinstance(x, (list, tuple)) for x in listed)
    shapes = [_shape(x) for x in listed] if several else [_shape(listed)]
    like = next((p for p in model.parameters() if not nn.modules.lazy.is_lazy(p)), None)
    kind = {} if like is None or not like.is_floating_point() else {"dtype": like.dtype, "device": like.device}
    first = next((m for m in model.modules() if isinstance(m, nn.modules.conv._Conv)), None)
    if first is not None and len(shapes) == 1 and len(shapes[0]) == first._dims + 2:
        shapes = [shapes[0][1:]]  # the batch was named too
    return tuple(sw.zeros((), **kind).expand(1, *s) for s in shapes)


def _shape(size: Any) -> Shape:
    if all(isinstance(n, int) and not isinstance(n, bool) for n in size) and all(n > 0 for n in size):
        return tuple(size)
    raise ValueError(f"summary: expected input_size to be positive integers, as (3, 224, 224), got {tuple(size)!r}")


def _rows(model: nn.Module, calls: list[Call]) -> list[Row]:
    rows, seen = [], set()
    for c in calls:
        row = _row(c)
        rows.append(replace(row, weights=0, biases=0) if id(c.layer) in seen else row)  # shared parameters count once
        seen.add(id(c.layer))
    for name, layer in rows_of(model):
        weights, biases = parameter_counts(layer, None)
        if id(layer) not in seen and weights + biases:
            kernel, stride, padding = window(layer)
            blank = (None, None, kernel, stride, padding, 0)
            rows.append(Row(name, type(layer).__name__, *blank, weights, biases, None, None, None, None))
    return rows


def _row(c: Call) -> Row:
    given, made = _sample(c.given), _sample(c.made)
    weights, biases = parameter_counts(c.layer, given)
    forward = cost(c.layer, given, made, weights + biases > 0)
    kernel, stride, padding = window(c.layer)
    back = [forward.multiply_adds, forward.flops]
    if forward.multiply_adds and forward.flops is not None:
        times = int(c.learned_input) + any(p.requires_grad for p in c.layer.parameters())
        extra = forward.flops - 2 * forward.multiply_adds  # the bias's gradient is a sum over the outputs
        back = [times * forward.multiply_adds, 2 * times * forward.multiply_adds + extra]
    return Row(
        c.name or "(model)", type(c.layer).__name__, given, made, kernel, stride, padding, BYTES * math.prod(made),
        weights, biases, forward.multiply_adds, forward.flops, back[0], back[1],
    )  # fmt: skip


def _sample(shape: Shape) -> Shape:
    """Without the batch of 1, unless a layer does not see it first."""
    return shape[1:] if shape and shape[0] == 1 else shape
