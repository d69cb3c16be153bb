"""The page that `Watch.report` writes."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from ._frame import matplotlib_figure

if TYPE_CHECKING:
    from ._watch import Watch

PICTURES = (
    ("std", "standard deviation of outputs", "log10"),
    ("gradient", "gradient in the outputs (root mean square)", "log10"),
    ("update", "update / weight per step", "log10"),
    ("dead", "share of dead units", "share"),
)
STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;font-size:13px}td,th{padding:2px 10px;border-bottom:1px solid #ddd;text-align:right"
    "}td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}"
    "li{margin:.3em 0}.warn{background:#fff3e0;border-left:4px solid #e65100;padding:.5em 1em}"
    ".fine{background:#e8f5e9;border-left:4px solid #2e7d32;padding:.5em 1em}img{max-width:100%}"
)


def _grid(watch: Watch, quantity: str) -> tuple[list[str], np.ndarray]:
    """Layers that know the quantity, and their values over the looks; a layer seen later begins with NaN."""
    looks = len(watch.steps)
    names, rows = [], []
    for name, layer in watch.layers.items():
        values = np.array(layer.seen[quantity], dtype=np.float64)[-looks:]
        if np.isfinite(values).any():
            names.append(name)
            rows.append(np.concatenate([np.full(looks - len(values), np.nan), values]))
    return names, np.array(rows)


def _picture(watch: Watch, quantity: str, title: str, scale: str) -> str:
    names, values = _grid(watch, quantity)
    if not names:
        return ""
    figure = matplotlib_figure((10, 1.2 + 0.16 * min(60, max(8, len(names)))))
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1), sharey=True)
    shown = values
    if scale == "log10":
        shown = np.log10(np.where(values > 0, np.maximum(values, 1e-30), np.nan))
    extent = (-0.5, values.shape[1] - 0.5, len(names) - 0.5, -0.5)
    image = left.imshow(shown, aspect="auto", interpolation="nearest", cmap="viridis", extent=extent)
    figure.colorbar(image, ax=left, label=scale)
    ticks = np.unique(np.linspace(0, values.shape[1] - 1, min(6, values.shape[1])).astype(int))
    left.set_xticks(ticks, [str(watch.steps[i]) for i in ticks])
    every = max(1, len(names) // 40)
    left.set_yticks(range(0, len(names), every), names[::every], fontsize=6)
    left.set(xlabel="step", title=f"{title}, over time")
    for share, color in ((0.0, "C7"), (1.0, "C3")):
        column = int(share * (shown.shape[1] - 1))
        right.plot(shown[:, column], range(len(names)), ".-", color=color, label=f"step {watch.steps[column]}")
    right.set(xlabel=scale, title="first and last look")
    right.grid(alpha=0.3)
    right.legend(fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=80)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<h2>{html.escape(title)}</h2><img alt="{html.escape(title)}" src="data:image/png;base64,{data}">'


def _table(watch: Watch) -> str:
    from ._watch import Layer

    heads = "".join(f"<th>{q}</th>" for q in ("layer", "kind", *Layer.QUANTITIES))
    rows = []
    for name, layer in watch.layers.items():
        cells: list[Any] = [html.escape(name or "(model)"), html.escape(layer.kind)]
        for q in Layer.QUANTITIES:
            value = layer.last(q)
            cells.append("" if value is None else f"{value:.3g}")
        rows.append("<tr>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def body(watch: Watch) -> str:
    """The warnings, the pictures and the table of latest values."""
    if watch.warnings:
        items = "".join(f"<li>{html.escape(w)}</li>" for w in watch.warnings)
        count = f"{len(watch.warnings)} warning{'s' if len(watch.warnings) > 1 else ''}"
        said = f'<div class="warn"><b>{count}</b><ul>{items}</ul></div>'
    else:
        said = '<div class="fine">nothing to warn of</div>'
    try:
        pictures = "".join(_picture(watch, *p) for p in PICTURES)
    except ImportError as error:
        pictures = f"<p>{html.escape(str(error))}</p>"
    return f"{said}{pictures}<h2>latest values</h2>{_table(watch)}"


def page(watch: Watch, title: str) -> str:
    """The whole page; it loads nothing."""
    name = html.escape(title)
    told = f"{watch.step} training steps, of which {len(watch.steps)} were looked at; {len(watch.layers)} layers"
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style></head>'
        f"<body><h1>{name}</h1><p>{told}</p>{body(watch)}</body></html>\n"
    )
