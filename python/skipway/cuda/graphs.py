"""Whole steps as CUDA graphs: captured once, then launched in one call.

    step = sw.cuda.graph(train_step)
    for x, y in loader:
        loss = step(x, y)  # eager at first, then captured and replayed

What a replay computes is what the function would compute, to the bit: random numbers go on, and learning rates and
counts of steps are those of the moment.
"""

from __future__ import annotations

import gc
import linecache
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import _amp_state, _core, _graph_state
from .._core import Tensor
from ._devices import index_of

_PACKAGE = str(Path(__file__).resolve().parents[1])


class CUDAGraph:
    """A captured piece of work on a device, under PyTorch's names; `sw.cuda.graph(function)` is the simpler way.

        g = sw.cuda.CUDAGraph()
        with sw.cuda.graph(g):
            y = f(x)  # recorded, not run: y has no values yet
        x.copy_(new)
        g.replay()  # now it has

    The memory of tensors made in the capture is the graph's own, and each replay writes it again.
    """

    def __init__(self, keep_graph: bool = False) -> None:
        self._graph: Any = None
        self._actions: list[_graph_state.Action] = []

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        """Records this thread's work on the current device, on a stream of its own, until `capture_end`."""
        if self._graph is not None:
            raise RuntimeError("CUDAGraph: a graph is captured once; call reset() first, or make another")
        graph = _core._CudaGraph(index_of(None, "CUDAGraph"))
        _amp_state.forget_casts()
        graph.begin()
        self._graph, self._actions = graph, []
        _graph_state.begin(self._actions)

    def capture_end(self) -> None:
        """Ends the recording. Random generators and optimizers are as they were before it."""
        try:
            self._require().end()
        except BaseException:
            self._graph = None
            raise
        finally:
            _graph_state.end()
            _amp_state.forget_casts()

    def abandon(self) -> None:
        """Ends the recording without a graph, as after an error."""
        graph, self._graph = self._graph, None
        _graph_state.end()
        _amp_state.forget_casts()
        if graph is not None:
            graph.abandon()

    def replay(self) -> None:
        """Does the work again, on the current stream, with today's learning rates, counts of steps and random numbers.

        Raises:
            RuntimeError: if a parameter's memory or an optimizer's state is not the one that was captured.
        """
        graph = self._require()
        graph.refresh()
        try:
            for action in self._actions:
                action()
        except BaseException:
            graph.cancel()
            raise
        graph.launch()

    def reset(self) -> None:
        """Frees the graph and its memory."""
        self._graph, self._actions = None, []

    def pool(self) -> tuple[int, int]:
        """For PyTorch's signature: every graph has memory of its own."""
        return (0, 0)

    def _require(self) -> Any:
        if self._graph is None:
            raise RuntimeError("CUDAGraph: nothing has been captured")
        return self._graph

    def __repr__(self) -> str:
        nodes = "empty" if self._graph is None else f"{self._graph.nodes} nodes"
        return f"<skipway.cuda.CUDAGraph {nodes}>"


def graph_pool_handle() -> tuple[int, int]:
    """For PyTorch's signature: every graph has memory of its own."""
    return (0, 0)


def is_current_stream_capturing() -> bool:
    """Does this thread capture a graph?"""
    return _core._cuda_capturing()


class _Capture:
    """The context in which a graph is captured."""

    def __init__(self, graph: CUDAGraph) -> None:
        self.graph = graph

    def __enter__(self) -> None:
        gc.collect()
        self._collecting = gc.isenabled()
        gc.disable()  # what it would free, and when, does not belong to the graph
        try:
            self.graph.capture_begin()
        except BaseException:
            self._restore()
            raise

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._restore()
        if error is None:
            self.graph.capture_end()
            return
        self.graph.abandon()
        if isinstance(error, RuntimeError) and str(error).startswith("cuda graph: "):
            raise RuntimeError(str(error) + _place(trace)) from error

    def _restore(self) -> None:
        if self._collecting:
            gc.enable()


def _place(trace: Any) -> str:
    """The user's innermost call, as text."""
    frames = traceback.extract_tb(trace)
    own = [f for f in frames if not f.filename.startswith(_PACKAGE)] or list(frames)
    frame = own[-1]
    line = linecache.getline(frame.filename, frame.lineno or 0).rstrip("\n")
    first, last = getattr(frame, "colno", None), getattr(frame, "end_colno", None)  # Python 3.11 and newer
    if not line and frame is not frames[-1]:
        line = f"{frames[-1].name}()"
    elif first is not None and last is not None and frame.lineno == getattr(frame, "end_lineno", None):
        line = line.encode()[first:last].decode(errors="replace")
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    return f"; it was `{line.strip()}` at {place}" if line.strip() else f"; it was at {place}"


def _flatten(value: Any, leaves: list[Any]) -> Any:
    """The leaves of nested tuples, lists and dicts, in order; and what is needed to put others in their place."""
    if isinstance(value, dict):
        return type(value), tuple((k, _flatten(v, leaves)) for k, v in value.items())
    if isinstance(value, (tuple, list)):
        return type(value), tuple(_flatten(v, leaves) for v in value)
    leaves.append(value)
    return None


def _unflatten(structure: Any, leaves: Any) -> Any:
    if structure is None:
        return next(leaves)
    kind, parts = structure
    if issubclass(kind, dict):
        return kind((k, _unflatten(part, leaves)) for k, part in parts)
    values = [_unflatten(part, leaves) for part in parts]
    return kind(*values) if hasattr(kind, "_fields") else kind(values)


class _Captured:
    """One graph of a step: of arguments of one kind."""

    def __init__(self) -> None:
        self.warm = 0
        self.graph: CUDAGraph | None = None
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.structure: Any = None


class GraphedStep:
    """What `sw.cuda.graph(step)` returns; call it as the function."""

    def __init__(self, step: Callable[..., Any], warmup: int, max_graphs: int, copy_outputs: bool) -> None:
        if warmup < 1 or max_graphs < 1:
            raise ValueError(
                f"cuda.graph: expected warmup and max_graphs of at least 1, got {warmup} and {max_graphs}: the first "
                "call makes the state of optimizers"
            )
        self.step, self.warmup, self.max_graphs, self.copy_outputs = step, warmup, max_graphs, copy_outputs
        self._graphs: dict[Any, _Captured] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        device = index_of(None, "graph")
        leaves: list[Any] = []
        structure = _flatten((args, kwargs), leaves)
        entry = self._entry(
            (device, repr(structure), _core.is_grad_enabled(), _amp_state.dtypes(), *map(_kind, leaves))
        )
        if entry.warm < self.warmup:
            entry.warm += 1
            moved = [_to_device(leaf, device) for leaf in leaves]
            args, kwargs = _unflatten(structure, iter(moved))
            found: list[Any] = []
            shape = _flatten(self.step(*args, **kwargs), found)
            return _unflatten(shape, iter([_detached(leaf) for leaf in found]))
        if entry.graph is None:
            self._capture(entry, structure, leaves, device)
        else:
            for static, leaf in zip(entry.inputs, leaves, strict=True):
                if static is not leaf and isinstance(leaf, Tensor):
                    static.copy_(leaf, non_blocking=True)
        assert entry.graph is not None
        entry.graph.replay()
        copy = self.copy_outputs
        results = [o.clone() if copy and isinstance(o, Tensor) else o for o in entry.outputs]
        return _unflatten(entry.structure, iter(results))

    def _entry(self, key: Any) -> _Captured:
        entry = self._graphs.get(key)
        if entry is None:
            if len(self._graphs) >= self.max_graphs:
                kinds = "; ".join(", ".join(_text(k) for k in known[4:]) for known in [*self._graphs, key])
                raise RuntimeError(
                    f"cuda.graph: arguments of another kind than in the {self.max_graphs} graphs that max_graphs "
                    f"allows: {kinds} (the last are new); drop or pad odd batches, or raise max_graphs"
                )
            entry = self._graphs[key] = _Captured()
        return entry

    def _capture(self, entry: _Captured, structure: Any, leaves: list[Any], device: int) -> None:
        entry.inputs = [_static(leaf, device) for leaf in leaves]
        args, kwargs = _unflatten(structure, iter(entry.inputs))
        graph = CUDAGraph()
        found: list[Any] = []
        with _Capture(graph):
            entry.structure = _flatten(self.step(*args, **kwargs), found)
            entry.outputs = [_detached(leaf) for leaf in found]
        entry.graph = graph

    def reset(self) -> None:
        """Frees all graphs and their memory; later calls warm up and capture again."""
        self._graphs.clear()

    @property
    def graphs(self) -> int:
        """How many graphs have been captured."""
        return sum(entry.graph is not None for entry in self._graphs.values())

    def __repr__(self) -> str:
        return f"<skipway.cuda.graph of {getattr(self.step, '__name__', self.step)!s}, {self.graphs} captured>"


def _is_input(leaf: Any) -> bool:
    """Is it a tensor that is copied in? Parameters, which require a gradient, are used where they are."""
    return isinstance(leaf, Tensor) and not leaf.requires_grad


def _kind(leaf: Any) -> Any:
    if _is_input(leaf):
        return tuple(leaf.shape), leaf.dtype.name, tuple(leaf.stride())
    try:
        hash(leaf)
    except TypeError:
        return id(leaf)
    return (type(leaf), leaf) if isinstance(leaf, (bool, int, float, str, bytes, type(None))) else id(leaf)


def _text(kind: Any) -> str:
    if isinstance(kind, tuple) and len(kind) == 3:
        return f"{kind[1]} {kind[0]}"
    return repr(kind[1]) if isinstance(kind, tuple) else "an object"


def _to_device(leaf: Any, device: int) -> Any:
    return leaf.cuda(device) if _is_input(leaf) and not leaf.is_cuda else leaf


def _static(leaf: Any, device: int) -> Any:
    if not _is_input(leaf):
        return leaf
    moved = leaf.detach().cuda(device)
    return moved.clone() if moved.data_ptr() == leaf.data_ptr() else moved


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def graph(
    target: Any,
    pool: Any = None,
    stream: Any = None,
    capture_error_mode: str = "global",
    *,
    warmup: int = 1,
    max_graphs: int = 4,
    copy_outputs: bool = True,
) -> Any:
    """Makes a function a CUDA graph; or, with a `CUDAGraph`, the context in which it is captured.

    `step = sw.cuda.graph(train_step)`, where train_step does forward, loss, backward, optimizer.step() and zero_grad(),
    and what of lr_scheduler.step() and GradScaler belongs to each step. Its first call runs as ever, the second
    captures, and from then on each call copies its tensors into the graph's, sends learning rates, counts of steps and
    random seeds ahead, and launches all of the step at once.

    Args:
        target: a function of tensors (also in tuples, lists and dicts; those on the CPU are moved to the current
            device) and of constants. Other Python values that it uses are those of the capture, as a replay runs no
            Python.
        warmup: calls that run as ever before the capture, for each kind of arguments: they make optimizer states.
        max_graphs: for so many kinds of arguments (shapes, dtypes, layouts, constants, autocast, grad mode) a graph is
            captured, each with memory of its own.
        copy_outputs: return copies of the tensors that the function returns, without their history. False returns the
            graph's own, which the next call overwrites.
        pool, stream, capture_error_mode: PyTorch's; accepted and ignored.

    Raises:
        RuntimeError: in the capture, for what needs the host (.item(), printing, copies to or from the CPU, shapes that
            depend on values): the message names the call. In a replay, if a parameter has been moved or an optimizer's
            state replaced: call reset().
        IndexError: later, at the next wait for the device, for indices out of range, as in eager steps.
    """
    if isinstance(target, CUDAGraph):
        return _Capture(target)
    if not callable(target):
        raise TypeError(f"cuda.graph: expected a function or a CUDAGraph, got {type(target).__name__}")
    return GraphedStep(target, warmup, max_graphs, copy_outputs)
