"""Writes the table of docs/zoo.md: each network of skipway.models with its size, its cost and its source.

python scripts/make_zoo_table.py            # after a change of the zoo; a test checks that it was run
"""

from __future__ import annotations

import sys
from pathlib import Path

from skipway import lab, models
from skipway.models import SOURCES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "zoo.md"
BEGIN, END = "<!-- table: scripts/make_zoo_table.py -->", "<!-- end of table -->"


def number(value: int) -> str:
    """Three digits and a unit."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f} {unit}"
    return str(value)


def table() -> str:
    """The lines between the marks."""
    lines = ["| name | input | parameters | multiply-adds | source |", "|---|---|---:|---:|---|"]
    for name in models.list_models():
        card = models.card(name)
        with models.without_init():
            s = lab.summary(card.make(), card.input_size, show=False)
        # Parameters that a forward pass in evaluation does not reach count too: GoogLeNet's auxiliary classifiers.
        assert s.error is None and s.total.complete, f"{name}: {s.error}"
        size = "x".join(map(str, card.input_size))
        line = (f"`{name}`", size, f"{s.total.parameters:,}", number(s.total.multiply_adds), f"[{card.source}]")
        complete = "| " + " | ".join(line) + " |"
        lines.append(complete)
    used = {models.card(n).source for n in models.list_models()}
    links = [f"[{source}]: {url} ({title!r})" for source, (title, url) in SOURCES.items() if source in used]
    return "\n".join([*lines, "", *links])


def page() -> str:
    """The page with its table replaced."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{PAGE}: expected the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}", file=sys.stderr)
