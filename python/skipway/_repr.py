"""How tensors print: values as NumPy prints them, then shape, dtype, device, and what autograd knows."""

from __future__ import annotations

from typing import Any

import numpy as np

_options: dict[str, Any] = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 100, "suppress": None}
_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 100},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 100},
    "full": {"precision": 4, "threshold": 2**62, "edgeitems": 3, "linewidth": 100},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets how tensors print.

    Args:
        precision: digits after the point (default 4).
        threshold: number of elements above which the middle is left out (default 1000).
        edgeitems: elements shown at each end then (default 3).
        linewidth: characters per line (default 100).
        profile: ``"default"``, ``"short"`` or ``"full"``; sets all of the above first.
        sci_mode: False never uses scientific notation; None lets NumPy decide.

    Raises:
        ValueError: if ``profile`` has another value.
    """
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"set_printoptions: expected profile to be one of {sorted(_PROFILES)}, got {profile!r}")
        _options.update(_PROFILES[profile])
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    _options.update({k: v for k, v in given.items() if v is not None})
    if sci_mode is not None:
        _options["suppress"] = not sci_mode


def tensor_repr(t: Any) -> str:
    """``tensor([1., 2.], shape=(2,), dtype=float32, device=cpu, requires_grad=True)``."""
    name = "Parameter" if type(t).__name__ == "Parameter" else "tensor"
    values = t.detach().cpu().numpy()
    if t.dtype.name == "bfloat16":
        values = values.astype(np.float32)
    threshold = int(min(_options["threshold"], 2**62))
    text = np.array2string(
        values,
        separator=", ",
        prefix=name + "(",
        precision=_options["precision"],
        threshold=threshold,
        edgeitems=_options["edgeitems"],
        max_line_width=_options["linewidth"],
        suppress_small=_options["suppress"],
    )
    if values.size == 0:
        text = "[]"
    notes = [f"shape={tuple(t.shape)}", f"dtype={t.dtype.name}", f"device={t.device}"]
    if t.grad_fn is not None:
        notes.append(f"grad_fn=<{t.grad_fn.name()}>")
    elif t.requires_grad:
        notes.append("requires_grad=True")
    tail = ", ".join(notes)
    last_line = len(text) - (text.rfind("\n") + 1)
    joint = ",\n" + " " * (len(name) + 1) if last_line + len(tail) + 2 > _options["linewidth"] else ", "
    return f"{name}({text}{joint}{tail})"
