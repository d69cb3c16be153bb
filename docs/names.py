"""The directive `names`: a table of a module's public names with their signatures and first lines.

    ```{names} skipway.optim
    ```

Docstrings here are plain text, so they are shown as they are.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive


def public(module: Any) -> list[str]:
    names = getattr(module, "__all__", None) or [n for n in dir(module) if not n.startswith("_")]
    return sorted(n for n in names if not inspect.ismodule(getattr(module, n, None)))


def signature(value: Any) -> str:
    """As Python tells it, or as the first line of a built-in's docstring does."""
    try:
        text = str(inspect.signature(value)).split(" -> ")[0]
    except (TypeError, ValueError):
        first = (inspect.getdoc(value) or "").split("\n")[0]
        text = first[first.find("(") :].split(" -> ")[0] if "(" in first else ""
    for noise in ("skipway._core.", "skipway.", "'"):
        text = text.replace(noise, "")
    return text


def documentation(value: Any) -> str:
    text = inspect.getdoc(value) or ""
    first, _, rest = text.partition("\n")
    is_builtin_signature = "(" in first and " -> " in first and not first.endswith(".")
    return (rest if is_builtin_signature else text).strip()


class Names(Directive):
    """See the module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.arguments[0])
        items: list[nodes.Node] = []
        for name in public(module):
            value = getattr(module, name)
            if not callable(value):
                continue
            target = f"{self.arguments[0]}.{name}"
            item = nodes.definition_list_item(ids=[nodes.make_id(target)])
            term = nodes.term()
            term += nodes.literal(text=name + (signature(value) if not inspect.isclass(value) else self.created(value)))
            item += term
            body = nodes.definition()
            body += nodes.literal_block(documentation(value), documentation(value), language="text")
            item += body
            items.append(item)
        return [nodes.definition_list("", *items)]

    @staticmethod
    def created(value: type) -> str:
        try:
            return str(inspect.signature(value)).split(" -> ")[0].replace("'", "")
        except (TypeError, ValueError):
            return ""


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("names", Names)
    return {"version": "1", "parallel_read_safe": True}
