"""Loss scaling for float16, whose small gradients would vanish (Micikevicius et al. 2018, "Mixed precision training").

On a CUDA device all of it stays there: the kernel that divides the gradients finds infinite ones, and the optimizer's
kernel leaves the step out. So no step waits for the host, and all of it can be part of a CUDA graph.
"""

from __future__ import annotations

import enum
from typing import Any

from . import _core, _graph_state
from ._core import Tensor
from ._creation import full


class _Stage(enum.Enum):
    READY = 0
    UNSCALED = 1
    STEPPED = 2


class _Seen:
    """What is known of an optimizer since the last update."""

    def __init__(self) -> None:
        self.stage = _Stage.READY
        self.found_inf: dict[Any, Tensor] = {}  # by device


class GradScaler:
    """Multiplies the loss by a scale and divides the gradients by it; leaves steps with infinite gradients out.

        scaler = sw.amp.GradScaler("cuda")
        with sw.autocast("cuda", dtype=sw.float16):
            loss = loss_of(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)  # only where the gradients are looked at, to clip them for example
        scaler.step(optimizer)
        scaler.update()

    The scale is multiplied by `backoff_factor` after a step that was left out, and by `growth_factor` after
    `growth_interval` steps in a row that were not. bfloat16 and float32 have the range to do without: pass
    enabled=False, and every method does what it would without scaling.

    Args:
        device: "cuda" or "cpu": where the losses are.
        init_scale: the scale at first.
        enabled: False for `scale` to return its argument and for `step` to be the optimizer's.
    """

    def __init__(
        self,
        device: Any = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device = str(device).split(":")[0]
        if self._device not in ("cpu", "cuda"):
            raise ValueError(f"GradScaler: expected device 'cpu' or 'cuda', got {device!r}")
        if enabled:
            if not growth_factor > 1.0:
                raise ValueError(f"GradScaler: expected growth_factor > 1, got {growth_factor}")
            if not 0.0 < backoff_factor < 1.0:
                raise ValueError(f"GradScaler: expected backoff_factor between 0 and 1, got {backoff_factor}")
            if not init_scale > 0.0:
                raise ValueError(f"GradScaler: expected init_scale > 0, got {init_scale}")
            if growth_interval < 1:
                raise ValueError(f"GradScaler: expected growth_interval >= 1, got {growth_interval}")
        self._enabled = enabled
        self._init_scale, self._growth_factor, self._backoff_factor = init_scale, growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._init_tracker = self._init_skipped = 0
        self._scale: Tensor | None = None  # float32, where the first scaled loss was
        self._tracker: Any = None  # int32: steps since the last change
        self._skipped: Any = None  # int64: steps left out so far
        self._seen: dict[int, _Seen] = {}

    # ---- the three calls of a step

    def scale(self, outputs: Any) -> Any:
        """The outputs (a tensor, or tuples and lists of tensors) times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, (tuple, list)):
            return type(outputs)(self.scale(o) for o in outputs)
        if not isinstance(outputs, Tensor):
            raise TypeError(f"GradScaler.scale: expected tensors, got {type(outputs).__name__}")
        return outputs * self._scale_on(outputs.device)

    def unscale_(self, optimizer: Any) -> None:
        """Divides the gradients of the optimizer's parameters by the scale, in place.

        Raises:
            RuntimeError: if it was called for this optimizer since the last update, or after its step.
            ValueError: for float16 gradients, which overflow: keep parameters in float32.
        """
        if not self._enabled:
            return
        seen = self._of(optimizer)
        if seen.stage is _Stage.UNSCALED:
            raise RuntimeError("GradScaler.unscale_: it was called for this optimizer since the last update()")
        if seen.stage is _Stage.STEPPED:
            raise RuntimeError("GradScaler.unscale_: it was called after step()")
        self._require("unscale_")
        grads: dict[Any, list[Tensor]] = {}
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if p.grad.dtype is _core.float16:
                    raise ValueError("GradScaler.unscale_: expected gradients of float32 parameters, got float16")
                grads.setdefault(p.grad.device, []).append(p.grad)
        for device, tensors in grads.items():
            found = full((), 0.0, dtype=_core.float32, device=device)
            _core.unscale_gradients(tensors, self._scale_on(device), found)
            seen.found_inf[device] = found
        seen.stage = _Stage.UNSCALED

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(...)`, after `unscale_` unless that was called, and unless a gradient is infinite or NaN.

        On a CUDA device skipway's optimizers leave the step out there, without a wait: their step() always returns.

        Raises:
            RuntimeError: if it was called for this optimizer since the last update, with a closure or no gradients.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs or (args and args[0] is not None):
            raise RuntimeError("GradScaler.step: an optimizer's closure is not supported with scaling")
        seen = self._of(optimizer)
        if seen.stage is _Stage.STEPPED:
            raise RuntimeError("GradScaler.step: it was called for this optimizer since the last update()")
        if seen.stage is _Stage.READY:
            self.unscale_(optimizer)
        if not seen.found_inf:
            raise RuntimeError("GradScaler.step: no parameter of the optimizer has a gradient")
        seen.stage = _Stage.STEPPED
        if self._left_out_there(optimizer, seen):
            optimizer._found_inf = next(iter(seen.found_inf.values()))
            try:
                return optimizer.step(*args, **kwargs)
            finally:
                optimizer._found_inf = None
        if any(found.item() for found in seen.found_inf.values()):
            return None
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adapts the scale to what the steps since the last update found; or sets it."""
        if not self._enabled:
            return
        scale = self._require("update")
        if new_scale is not None:
            if isinstance(new_scale, Tensor):
                if new_scale.numel() != 1 or new_scale.requires_grad:
                    raise ValueError("GradScaler.update: expected new_scale with one element and without a gradient")
                scale.copy_(new_scale.reshape(()))
            else:
                scale.fill_(float(new_scale))
        else:
            found = [t.to(scale.device) for seen in self._seen.values() for t in seen.found_inf.values()]
            if not found:
                raise RuntimeError("GradScaler.update: no step or unscale_ was called since the last update()")
            total = found[0]
            for other in found[1:]:
                total = total + other
            _core.update_loss_scale(
                scale, self._tracker, self._skipped, total,
                self._growth_factor, self._backoff_factor, self._growth_interval,
            )  # fmt: skip
        self._seen.clear()

    # ---- what it knows

    @property
    def skipped_steps(self) -> int:
        """How many updates found an infinite or NaN gradient, so that the step was left out. Waits for the device."""
        return self._init_skipped if self._skipped is None else int(self._skipped.item())

    def get_scale(self) -> float:
        """The scale, 1 without scaling. Waits for the device."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else float(self._scale.item())

    def is_enabled(self) -> bool:
        """Does it scale?"""
        return self._enabled

    def get_growth_factor(self) -> float:
        """What the scale grows by."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Sets what the scale grows by."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after an infinite gradient."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Sets what the scale is multiplied by after an infinite gradient."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many steps without an infinite gradient the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Sets after how many steps without an infinite gradient the scale grows."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """Scale, factors and counts, as Python numbers; empty without scaling. Waits for the device."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._init_tracker if self._tracker is None else int(self._tracker.item()),
            "_skipped_steps": self.skipped_steps,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes what `state_dict` returned, also PyTorch's.

        Raises:
            RuntimeError: for the empty state of a scaler that was not enabled.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError("GradScaler.load_state_dict: the state is empty: it is that of a scaler without scaling")
        self._init_scale = float(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._init_tracker = int(state_dict["_growth_tracker"])
        self._init_skipped = int(state_dict.get("_skipped_steps", 0))
        if self._scale is not None:
            self._scale.fill_(self._init_scale)
            self._tracker.fill_(self._init_tracker)
            self._skipped.fill_(self._init_skipped)

    # ---- inside

    def _scale_on(self, device: Any) -> Tensor:
        if self._scale is None:
            _graph_state.refuse("the first use of a GradScaler")
            self._scale = full((), self._init_scale, dtype=_core.float32, device=device)
            self._tracker = full((), self._init_tracker, dtype=_core.int32, device=device)
            self._skipped = full((), self._init_skipped, dtype=_core.int64, device=device)
        return self._scale.to(device)

    def _require(self, name: str) -> Tensor:
        if self._scale is None:
            raise RuntimeError(f"GradScaler.{name}: no loss has been scaled yet")
        return self._scale

    def _of(self, optimizer: Any) -> _Seen:
        return self._seen.setdefault(id(optimizer), _Seen())

    @staticmethod
    def _left_out_there(optimizer: Any, seen: _Seen) -> bool:
        """Can the optimizer's kernel leave the step out? One of ours, on one CUDA device."""
        from .optim import Optimizer

        ours = isinstance(optimizer, Optimizer) and type(optimizer).step is Optimizer.step
        known = type(optimizer).__module__.startswith("skipway.optim.")
        return ours and known and len(seen.found_inf) == 1 and next(iter(seen.found_inf)).type == "cuda"
