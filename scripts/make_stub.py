"""Writes python/skipway/_core.pyi from the signatures that the compiled module reports.

python scripts/make_stub.py            # rewrites the file
python scripts/make_stub.py --check    # exit status 1 when it is out of date (tests/test_stub.py does the same)
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

STUB = Path(__file__).resolve().parent.parent / "python" / "skipway" / "_core.pyi"
HEADER = '''"""The compiled core of skipway. Written by scripts/make_stub.py; do not edit."""

# mypy: disable-error-code="override, misc, overload-cannot-match"

import builtins
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

_TensorLike = Any  # a Tensor, a Python number where the op takes one, or None where the argument is optional
_dtype = Any  # skipway.dtype, or what NumPy takes as one
_device = Any  # skipway.device, a string, or an index

'''
TYPES = [
    (r"\bskipway\.Tensor\b|(?<![\w._])Tensor\b", "Tensor"),
    (r"skipway\._core\.", ""),
    (r"collections\.abc\.", ""),
    (r"typing\.SupportsFloat \| typing\.SupportsIndex", "float"),
    (r"typing\.SupportsInt \| typing\.SupportsIndex", "int"),
    (r"typing\.SupportsFloat", "float"),
    (r"typing\.(SupportsInt|SupportsIndex)", "int"),
    (r"typing\.", ""),
    (r"numpy\.ndarray(\[[^]]*\])?", "Any"),
    (r"\b(object|types\.\w+|capsule)\b", "Any"),
    (r"(?<![\w.])(dtype|device)\b", r"_\1"),  # Tensor has attributes of these names, and of those below
    (r"(?<![\w.])(bool|int|float|str|list|tuple|dict)\b", r"builtins.\1"),
]


def clean(annotation: str) -> str:
    for pattern, to in TYPES:
        annotation = re.sub(pattern, to, annotation)
    return annotation


def parameters(text: str, is_method: bool) -> str:
    """The parameter list of a reported signature as stub source; defaults become ``...``."""
    text = re.sub(r"= <[^>]*>", "= ...", text)  # objects print as <...>
    text = re.sub(r"= (device\([^)]*\)|skipway\.\w+)", "= ...", text)
    try:
        args = ast.parse(f"def f({text}): ...").body[0].args  # type: ignore[attr-defined]
    except SyntaxError:
        return ("self, " if is_method else "") + "*args: Any, **kwargs: Any"

    def one(arg: ast.arg, default: ast.expr | None, first: bool) -> str:
        if is_method and first:
            return "self"
        annotation = clean(ast.unparse(arg.annotation)) if arg.annotation else "Any"
        annotation = re.sub(r"\bTensor\b", "_TensorLike", annotation)
        if default is not None and ast.unparse(default) == "None" and "None" not in annotation:
            annotation += " | None"
        name = arg.arg + "_" if arg.arg in {"from", "lambda"} else arg.arg
        return f"{name}: {annotation}" + (" = ..." if default is not None else "")

    positional = args.posonlyargs + args.args
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
    out = [one(a, d, i == 0) for i, (a, d) in enumerate(zip(positional, defaults, strict=True))]
    if args.posonlyargs:
        out.insert(len(args.posonlyargs), "/")
    if args.vararg:
        out.append(f"*{args.vararg.arg}: Any")
    elif args.kwonlyargs:
        out.append("*")
    out += [one(a, d, False) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        out.append(f"**{args.kwarg.arg}: Any")
    return ", ".join(out)


def signatures(name: str, doc: str, is_method: bool) -> list[str]:
    """``(parameters) -> result`` of every overload in a docstring made by pybind11."""
    found = []
    for line in doc.splitlines():
        match = re.match(rf"(?:\d+\. )?{re.escape(name)}\((.*)\) -> (.*?)(?:\n|$)", line)
        if match:
            result = clean(match[2].strip())
            found.append(f"({parameters(match[1], is_method)}) -> {result or 'Any'}")
    return list(dict.fromkeys(found)) or [f"({'self, ' if is_method else ''}*args: Any, **kwargs: Any) -> Any"]


def function(name: str, value: object, indent: str = "", is_method: bool = False) -> list[str]:
    out = []
    text = getattr(value, "__doc__", None) or ""
    text = text.replace("skipway::", "skipway._core.")  # a class that was bound after the function
    all_signatures = signatures(name, text, is_method)
    for signature in all_signatures:
        if len(all_signatures) > 1:
            out.append(f"{indent}@overload")
        out.append(f"{indent}def {name}{signature}: ...")
    return out


def class_stub(name: str, cls: type) -> list[str]:
    base = (
        f"({cls.__base__.__name__})"
        if cls.__base__ not in (object, None) and "pybind11" not in cls.__base__.__name__
        else ""
    )
    out = [f"class {name}{base}:"]
    for attr, value in sorted(vars(cls).items()):
        if attr in {
            "__doc__",
            "__module__",
            "__dict__",
            "__weakref__",
            "__hash__",
            "__dictoffset__",
            "__weaklistoffset__",
        }:
            continue
        if attr.startswith("_pybind11"):
            continue
        if isinstance(value, property) or type(value).__name__ == "getset_descriptor":
            out += ["    @property", f"    def {attr}(self) -> Any: ..."]
            if type(value).__name__ == "getset_descriptor" or (isinstance(value, property) and value.fset):
                out += [f"    @{attr}.setter", f"    def {attr}(self, value: Any) -> None: ..."]
        elif attr == "__new__" or (attr == "__init__" and name in {"Tensor", "Node", "RemovableHandle"}):
            continue
        elif callable(value) or type(value).__name__ in {"instancemethod", "staticmethod"}:
            module = getattr(value, "__module__", None) or ""
            if module.startswith("skipway.") and module != "skipway._core":
                continue  # attached by the Python package
            out += function(attr, value, "    ", is_method=True)
        else:
            out.append(f"    {attr}: Any")
    if name == "Tensor":
        out.append("    def __init__(self, *args: Any, **kwargs: Any) -> None: ...")
        out.append("    def __getattr__(self, name: str) -> Any: ...  # methods that the Python package adds")
    return out if len(out) > 1 else [out[0] + " ..."]


def make() -> str:
    from skipway import _core

    lines: list[str] = []
    for name, value in sorted(vars(_core).items()):
        if name in {"__doc__", "__file__", "__loader__", "__name__", "__package__", "__spec__"} or name.startswith(
            "_pybind11"
        ):
            continue
        if isinstance(value, type):
            lines += class_stub(name, value)
        elif callable(value):
            lines += function(name, value)
        else:
            lines.append(
                f"{name}: {type(value).__name__ if type(value).__module__ in ('builtins', 'skipway._core') else 'Any'}"
            )
    return HEADER + "\n".join(lines) + "\n"


def main() -> int:
    text = make()
    if "--check" in sys.argv:
        return int(STUB.read_text() != text)
    STUB.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
