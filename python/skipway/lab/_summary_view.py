"""How a summary looks: text for terminals, HTML for notebooks."""

from __future__ import annotations

import html as _html
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._summary import Row, Summary, Total

_HEAD = (
    "layer", "kind", "input", "output", "kernel", "stride", "pad", "memory KB", "parameters k", "multiply-adds {}",
    "FLOPs {}", "backward multiply-adds {}", "backward FLOPs {}",
)  # fmt: skip
_LEFT = 2  # columns of text, flush left


def in_notebook() -> bool:
    """Whether this runs in a notebook's kernel, which shows the last value of a cell."""
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell is not None else None
    return type(found).__name__ == "ZMQInteractiveShell"


def _size(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (tuple, list)):
        values = list(value)
        return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))
    return str(value)


def _shape(value: tuple[int, ...] | None) -> str:
    return "-" if value is None else "x".join(map(str, value)) or "1"


def _number(value: float) -> str:
    """Three digits or more."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.4g}"


def _unit(s: Summary) -> tuple[str, float]:
    """Of multiply-adds and FLOPs: millions, or thousands for small networks."""
    return ("M", 1e6) if s.total.flops >= 1e7 else ("k", 1e3)


def _numbers(memory: int, parameters: int, work: tuple[int | None, ...], unit: float) -> list[str]:
    costs = ["?" if w is None else _number(w / unit) for w in work]
    return [_number(memory / 1024), _number(parameters / 1e3), *costs]


def cells(r: Row, unit: float = 1e6) -> list[str]:
    """A layer's line."""
    work = (r.multiply_adds, r.flops, r.backward_multiply_adds, r.backward_flops)
    if r.output is None:
        sizes, work = ["-", "-"], (0, 0, 0, 0)
    else:
        sizes = [_shape(r.input), _shape(r.output)]
    window = [_size(v) for v in (r.kernel, r.stride, r.padding)]
    return [r.name, r.kind, *sizes, *window, *_numbers(r.memory, r.parameters, work, unit)]


def total_cells(name: str, t: Total, unit: float = 1e6) -> list[str]:
    """A line of sums."""
    work = (t.multiply_adds, t.flops, t.backward_multiply_adds, t.backward_flops)
    at_least = "" if t.complete else "at least "
    numbers = _numbers(t.memory, t.parameters, work, unit)
    return [name, "", "", "", "", "", "", *numbers[:2], *(at_least + n for n in numbers[2:])]


def _bytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MB" if count >= 2**20 else f"{count / 1024:,.1f} KB"


def notes(s: Summary) -> list[str]:
    """What stands below the table."""
    lines = []
    if s.error is not None:
        lines.append(f"the model stopped here: {s.error}")
    missed = [r for r in s.rows if r.output is None]
    if missed and s.error is None:
        lines.append(f"{len(missed)} layers with parameters were not reached: {', '.join(r.name for r in missed)}")
    if any(r.multiply_adds is None and r.output is not None for r in s.rows):
        lines.append("?: a layer of a kind whose cost is not known")
    t = s.total
    lines.append(
        f"one sample, 4 bytes per number: activations {_bytes(t.memory)}, parameters {_bytes(4 * t.parameters)}; "
        "1 KB is 1024 bytes"
    )
    return lines


def _lines(s: Summary) -> tuple[list[list[str]], list[list[str]]]:
    unit = _unit(s)[1]
    stages = [total_cells(f"stage {name}", t, unit) for name, t in s.stages.items()]
    return [cells(r, unit) for r in s.rows], [*stages, total_cells("total", s.total, unit)]


def _heads(s: Summary) -> list[str]:
    return [name.format(_unit(s)[0]) for name in _HEAD]


def text(s: Summary) -> str:
    """The table with columns of even width."""
    body, sums = _lines(s)
    head = [w.split(" ") for w in _heads(s)]
    deep = max(map(len, head))
    heads = [[w[i] if i < len(w) else "" for w in head] for i in range(deep)]
    wide = [max(len(line[i]) for line in (*heads, *body, *sums)) for i in range(len(_HEAD))]

    def join(line: list[str]) -> str:
        pairs = enumerate(zip(line, wide, strict=True))
        return "  ".join(c.ljust(w) if i < _LEFT else c.rjust(w) for i, (c, w) in pairs).rstrip()

    rule = "-" * (sum(wide) + 2 * (len(wide) - 1))
    title = f"{s.model}, input {' and '.join(map(_shape, s.input_size))}"
    return "\n".join([title, *map(join, heads), rule, *map(join, body), rule, *map(join, sums), rule, *notes(s)])


def html(s: Summary) -> str:
    """The same table for a notebook."""
    body, sums = _lines(s)

    def line(values: list[str], tag: str, style: str = "") -> str:
        parts = (
            f'<{tag} style="padding:.1em .5em;text-align:{"left" if i < _LEFT else "right"}">{_html.escape(v)}</{tag}>'
            for i, v in enumerate(values)
        )
        return f"<tr{style}>{''.join(parts)}</tr>"

    bold = ' style="font-weight:bold"'
    rows = [line(v, "td") for v in body] + [line(v, "td", bold) for v in sums]
    title = _html.escape(f"{s.model}, input {' and '.join(map(_shape, s.input_size))}")
    below = "".join(f"<p>{_html.escape(n)}</p>" for n in notes(s))
    head = line(_heads(s), "th")
    table = f"<caption>{title}</caption><thead>{head}</thead><tbody>{''.join(rows)}</tbody>"
    return f"<div><table>{table}</table>{below}</div>"
