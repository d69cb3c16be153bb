#!/usr/bin/env python3
"""Writes docs/lab/README.md from the results in docs/lab: what each experiment measures, what was seen, its picture."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

from skipway import lab

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "lab"
HEAD = """# The experiments of `skipway lab`

One command each: `skipway lab NAME` prints what was seen in one sentence and writes a picture and its numbers
(`runs/lab/NAME.png`, `NAME.json`); `sw.lab.NAME()` returns them in Python and shows the picture in a notebook.
`--quick` takes seconds; `--seed`, `--device`, `--data` and `--data-dir` do what they say. Below are full runs on two
cores of a shared machine: processor time is that of all cores together. `scripts/lab_page.py` writes this page from the
JSON files beside it.
"""
WATCH = """## watch

```python
with sw.lab.watch(model) as seen:  # any model, any training loop
    ...
print(seen)  # a table of the latest values, and the warnings
seen.report("watch.html")  # one page with pictures that loads nothing
```

Looks at one training step in 20 and records, per layer, outputs, gradients, dead units, the size of updates and the
drift of running statistics; warns in words of what keeps networks from learning. A ResNet-20 on 8 x 8 images with a
batch of 64, 6.8 ms per step, trained 5.7 % slower with it (`python benchmarks/bench_watch.py`, two cores of an AMD
Zen 4).
"""


def section(name: str, line: str) -> str:
    path = FOLDER / f"{name}.json"
    if not path.exists():
        return f"## {name}\n\n{line[0].upper()}{line[1:]}. Not run in full yet: `skipway lab {name}`.\n"
    result = json.loads(path.read_text())
    run = lab.get(name)
    about = inspect.getdoc(run).split("\n\nArgs:")[0]
    settings = result["settings"]
    data = f" --data {settings['data']}" if settings["data"] not in (None, *run.accepts[:1]) else ""
    command = f"skipway lab {name}{data}"
    seed = "" if settings["seed"] == 0 else f" --seed {settings['seed']}"
    seen = result["finding"][0].upper() + result["finding"][1:]
    verdict = "" if result["holds"] else " **Not what theory says, at this budget.**"
    cost = f"{max(1, result['processor_seconds']):.0f} s of processor time"
    return f"## {name}\n\n{about}\n\n> {seen}.{verdict}\n\n![{name}]({name}.png)\n\n`{command}{seed}`: {cost}.\n"


def main() -> int:
    parts = [HEAD, *(section(name, line) for name, line in lab.EXPERIMENTS.items()), WATCH]
    (FOLDER / "README.md").write_text("\n".join(parts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
