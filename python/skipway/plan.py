"""What each layer of a model costs, and how it is computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from skipway import _core, autograd, nn

_CONVOLUTIONS = nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
_TRANSPOSED = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d


@dataclass
class PlanRow:
    """One pass of one layer. ``flops`` and ``bytes`` are what the mathematics asks for, whatever the algorithm: two
    operations per multiply-add, and each tensor moved once."""

    layer: str
    kind: str
    output: tuple[int, ...]
    pass_: str
    algorithm: str
    flops: float
    bytes: float
    ms: float
    why: str = ""  # what it does beside the convolution; on a CUDA device, why this algorithm

    @property
    def gflops(self) -> float:
        """Billions of operations per second; Winograd's may exceed the peak, as it needs fewer."""
        return self.flops / self.ms * 1e-6


@dataclass
class Plan:
    """``rows`` for convolutions and linear layers; ``total_ms`` of the whole forward pass; ``peak`` in GFLOP/s, the
    measured rate of float32 multiply-adds on all threads (0 where it is not measured)."""

    rows: list[PlanRow] = field(default_factory=list)
    total_ms: float = 0.0
    peak: float = 0.0
    header: str = ""

    def __str__(self) -> str:
        width = max([5, *(len(r.layer) for r in self.rows)])
        wide = max([9, *(len(r.algorithm) for r in self.rows)])
        lines = [self.header, f"{'layer':{width}} {'':15} {'output':20} {'pass':15} {'algorithm':{wide}} {'GFLOP':>8}"
                 f" {'MB':>8} {'ms':>8} {'GFLOP/s':>8} {'of peak':>8}"]  # fmt: skip
        for r in self.rows:
            share = f"{r.gflops / self.peak:8.0%}" if self.peak else f"{'-':>8}"
            lines.append(
                f"{r.layer:{width}} {r.kind:15} {'x'.join(map(str, r.output)):20} {r.pass_:15} {r.algorithm:{wide}}"
                f" {r.flops * 1e-9:8.3f} {r.bytes * 1e-6:8.2f} {r.ms:8.3f} {r.gflops:8.1f} {share}"
                + (f"  {r.why}" if r.why else "")
            )
        forward = sum(r.ms for r in self.rows if r.pass_ == "forward")
        lines.append(f"forward pass {self.total_ms:.3f} ms, of which {forward:.3f} in these layers")
        return "\n".join(lines)


def show_plan(model: nn.Module, input: Any, *, backward: bool = False, repeats: int = 10) -> Plan:
    """Prints, for each convolution and linear layer, its algorithm, operations, bytes, time and share of the peak.

    Args:
        model: run as it is, in the mode that it is in; its buffers may change as in any forward pass.
        input: what it is called with: a tensor, or a tuple of arguments.
        backward: time the gradients of the convolutions too, each on its own.
        repeats: runs; each time is the least of them.

    Returns:
        The printed :class:`Plan`; on a CUDA device with the kernel, its tile, and the reason.
        `backends.cpu.set_conv_algorithm` changes what "auto" chose.

    Raises:
        ValueError: repeats < 1.
    """
    if repeats < 1:
        raise ValueError(f"show_plan: expected repeats >= 1, got {repeats}")
    arguments = input if isinstance(input, tuple) else (input,)
    names: dict[nn.Module, str] = {
        m: name or type(m).__name__ for name, m in model.named_modules() if isinstance(m, (*_CONVOLUTIONS, nn.Linear))
    }
    clock = _Clock(names)
    plan = Plan(total_ms=clock.run(model, arguments, repeats))
    for module in clock.order:
        seconds, x, y = clock.seen[module]
        plan.rows.append(_row(names[module], module, x, y, "forward", seconds, module in clock.normalizing))
        if backward and isinstance(module, _CONVOLUTIONS):
            plan.rows += [
                _row(names[module], module, x, y, name, s) for name, s in _gradient_seconds(module, x, repeats).items()
            ]
    first = next(iter(clock.seen.values()), None)
    on_cpu = first is not None and first[1].device.type == "cpu"
    plan.peak = _core._fma_peak() * 1e-9 if on_cpu else 0.0
    plan.header = f"convolutions: {_core._get_conv_algorithm()}"
    if on_cpu:
        plan.header += f"; {_core.get_isa()}, {_core.get_num_threads()} threads, {plan.peak:.0f} GFLOP/s in float32"
    print(plan)
    return plan


class _Clock:
    """Times chosen modules while a model runs. A norm for which a module's input still waits counts as the module's
    where it applies it to what it loads (``normalizing``); elsewhere it is computed before the clock starts."""

    def __init__(self, modules: dict[nn.Module, str]) -> None:
        self.modules = modules
        self.order: dict[nn.Module, None] = {}
        self.seen: dict[nn.Module, tuple[float, Any, Any]] = {}
        self.normalizing: set[nn.Module] = set()
        self._reading: set[nn.Module] = set()
        self._began: dict[nn.Module, float] = {}

    def _before(self, module: nn.Module, args: Any) -> None:
        self.order[module] = None
        if module in self._reading:
            args[0].data_ptr()
        elif _core._waits(args[0]):
            self.normalizing.add(module)
        self._wait(args[0])
        self._began[module] = time.perf_counter()

    def _after(self, module: nn.Module, args: Any, result: Any) -> None:
        self._wait(result)
        seconds = time.perf_counter() - self._began[module]
        if module in self.normalizing and not _core._waits(args[0]):
            self.normalizing.discard(module)
            self._reading.add(module)
            return  # this time has the norm's in it
        least = min(seconds, self.seen[module][0]) if module in self.seen else seconds
        self.seen[module] = (least, args[0].detach(), result.detach())

    @staticmethod
    def _wait(tensor: Any) -> None:
        if tensor.device.type != "cpu":
            _core._cuda_synchronize(tensor.device.index or 0)

    def run(self, model: nn.Module, arguments: Sequence[Any], repeats: int) -> float:
        """Milliseconds of the fastest run."""
        handles = [m.register_forward_pre_hook(self._before) for m in self.modules]
        handles += [m.register_forward_hook(self._after) for m in self.modules]
        try:
            with autograd.no_grad():
                model(*arguments)  # shows who computes which norm
                return min(_seconds(lambda: model(*arguments), repeats)) * 1e3
        finally:
            for handle in handles:
                handle.remove()


def _seconds(run: Callable[[], Any], repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return times


def _gradient_seconds(module: Any, x: Any, repeats: int) -> dict[str, float]:
    with autograd.enable_grad():
        leaf = x.detach().requires_grad_(True)
        y = module(leaf)
        dy = y.detach()
        wanted = {"data gradient": leaf, "weight gradient": module.weight}
        return {
            name: min(_seconds(lambda t=t: autograd.grad(y, t, dy, retain_graph=True), repeats))  # type: ignore[misc]
            for name, t in wanted.items()
            if t.requires_grad
        }


def _row(name: str, module: Any, x: Any, y: Any, pass_: str, seconds: float, normalizes: bool = False) -> PlanRow:
    if isinstance(module, nn.Linear):
        flops = 2.0 * y.numel() * module.in_features
        moved = float((x.numel() + y.numel() + module.weight.numel()) * y.dtype.itemsize)
        return PlanRow(name, "Linear", tuple(y.shape), pass_, "product", flops, moved, seconds * 1e3)
    arguments = _conv_arguments(module, x, y)
    plan = _core._conv_plan(*arguments)
    algorithm, why = _algorithm(module, arguments, plan, pass_, normalizes)
    return PlanRow(
        name, _kind(module), tuple(y.shape), pass_, algorithm, plan["flops"], plan["bytes"], seconds * 1e3, why
    )  # fmt: skip


def _kind(module: Any) -> str:
    text = "x".join(map(str, module.kernel_size))
    if set(module.stride) != {1}:
        text += f" /{module.stride[0]}"
    return text + (f" g{module.groups}" if module.groups > 1 else "")


def _algorithm(
    module: Any, arguments: tuple[Any, ...], plan: dict[str, Any], pass_: str, normalizes: bool
) -> tuple[str, str]:
    """Its name, and what else is to say."""
    fused = "normalises what it loads" if normalizes else ""
    key = pass_.replace(" ", "_")
    if isinstance(module, _TRANSPOSED):  # computes what is a convolution's data gradient, and the other way round
        key = {"forward": "data_gradient", "data_gradient": "forward"}.get(key, key)
    device = module.weight.device
    if device.type == "cpu":
        return str(plan[key]), fused
    algorithm, why, _ = _core._conv_cuda_plan(*(*arguments, key, normalizes, device.index or 0))
    return algorithm, "; ".join(filter(None, (why, fused)))


def _conv_arguments(module: Any, x: Any, y: Any) -> tuple[Any, ...]:
    inner, outer = (y, x) if isinstance(module, _TRANSPOSED) else (x, y)
    nd = len(module.kernel_size)
    batch = inner.shape[0] if inner.dim() == nd + 2 else 1

    def three(values: Sequence[int], fill: int) -> list[int]:
        return [fill] * (3 - nd) + [int(v) for v in values]

    kernel, stride, dilation = (three(v, 1) for v in (module.kernel_size, module.stride, module.dilation))
    image, result = three(inner.shape[-nd:], 1), three(outer.shape[-nd:], 1)
    padding = _padding(module, kernel, dilation, nd)
    return (
        batch, inner.shape[-nd - 1], outer.shape[-nd - 1], module.groups, image, result, kernel, stride, padding,
        dilation, x.dtype,
    )  # fmt: skip


def _padding(module: Any, kernel: list[int], dilation: list[int], nd: int) -> list[int]:
    if module.padding == "same":
        return [d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)]
    numbers = (
        (0,) * nd if module.padding == "valid" or getattr(module, "padding_mode", "") != "zeros" else module.padding
    )
    return [0] * (3 - nd) + [int(v) for v in numbers]
