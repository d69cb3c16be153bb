"""Reading pickles as data: their opcodes are followed on a stack of plain values, and nothing is imported or called but
what a table allows. What an opcode would construct otherwise is refused by name."""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from .errors import Refused

_ATOMS = (str, int, float, bool, type(None), bytes, complex)
_LITERALS = frozenset((
    "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
))  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set,
}  # fmt: skip


class Name:
    """A name in a pickle that the table allows: calling it makes a value."""

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Callable[..., Any]) -> None:
        self.name, self.call = name, call


class Reader:
    """One pickle. `names` are the values and functions that it may use, by "module name"; `persistent(id)` gives what
    stands outside of it."""

    def __init__(self, names: Mapping[str, Any], persistent: Callable[[Any], Any]) -> None:
        self.names, self.persistent = names, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def read(self, stream: BinaryIO | bytes) -> Any:
        """The pickle's value. Raises Refused, or for damaged ones ValueError, IndexError, KeyError, TypeError."""
        for op, arg, _ in pickletools.genops(stream):
            name = op.name
            if name in _LITERALS:
                self.stack.append(_CONSTANTS.get(name, arg))
            elif name in _EMPTY:
                self.stack.append(_EMPTY[name]())
            elif name == "STOP":
                return self.stack.pop()
            elif name not in ("PROTO", "FRAME"):
                step = getattr(self, "_" + name.lower(), None)
                if step is None:
                    raise Refused(f"the pickle instruction {name}, which makes objects")
                step(arg)
        raise ValueError("the pickle has no end")

    def _items(self) -> list[Any]:
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    # ---- the stack and the memo

    def _mark(self, arg: Any) -> None:
        self.marks.append(len(self.stack))

    def _pop(self, arg: Any) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def _pop_mark(self, arg: Any) -> None:
        self._items()

    def _dup(self, arg: Any) -> None:
        self.stack.append(self.stack[-1])

    def _put(self, arg: int) -> None:
        self.memo[arg] = self.stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, arg: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _get(self, arg: int) -> None:
        self.stack.append(self.memo[arg])

    _binget = _long_binget = _get

    # ---- containers

    def _tuple(self, arg: Any) -> None:
        self.stack.append(tuple(self._items()))

    def _last(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError("the pickle's stack is too short")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    def _tuple1(self, arg: Any) -> None:
        self._last(1)

    def _tuple2(self, arg: Any) -> None:
        self._last(2)

    def _tuple3(self, arg: Any) -> None:
        self._last(3)

    def _list(self, arg: Any) -> None:
        self.stack.append(self._items())

    def _append(self, arg: Any) -> None:
        value = self.stack.pop()
        self._expect(list).append(value)

    def _appends(self, arg: Any) -> None:
        items = self._items()
        self._expect(list).extend(items)

    def _dict(self, arg: Any) -> None:
        items = self._items()
        self.stack.append({})
        self._fill(items)

    def _setitem(self, arg: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key, value])

    def _setitems(self, arg: Any) -> None:
        self._fill(self._items())

    def _fill(self, items: list[Any]) -> None:
        target = self._expect(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[hashable(key)] = value

    def _additems(self, arg: Any) -> None:
        items = self._items()
        self._expect(set).update(map(hashable, items))

    def _frozenset(self, arg: Any) -> None:
        self.stack.append(frozenset(map(hashable, self._items())))

    def _expect(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"expected a {kind.__name__} on the pickle's stack, got a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    # ---- names

    def _global(self, arg: str) -> None:
        if arg not in self.names:
            raise Refused(f"an object of the kind {arg.replace(' ', '.')!r}")
        self.stack.append(self.names[arg])

    def _stack_global(self, arg: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._global(f"{module} {name}")

    def _reduce(self, arg: Any) -> None:
        args, made = self.stack.pop(), self.stack.pop()
        if not isinstance(made, Name) or not isinstance(args, tuple):
            raise TypeError(f"a {type(made).__name__} cannot be called")
        self.stack.append(made.call(*args))

    def _build(self, arg: Any) -> None:
        """Attributes. A state dict has one: the versions of its layers."""
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, OrderedDict) or not isinstance(state, dict) or set(state) - {"_metadata"}:
            raise Refused(f"a {type(target).__name__} with attributes of its own")
        if state:
            target._metadata = state["_metadata"]  # type: ignore[attr-defined]

    def _persid(self, arg: Any) -> None:
        self.stack.append(self.persistent(arg))

    def _binpersid(self, arg: Any) -> None:
        self.stack.append(self.persistent(self.stack.pop()))


def hashable(key: Any) -> Any:
    """Keys are atoms, or tuples of atoms: to hash deeper ones might exhaust the C stack."""
    if isinstance(key, _ATOMS) or (isinstance(key, tuple) and all(isinstance(k, _ATOMS) for k in key)):
        return key
    raise TypeError(f"a {type(key).__name__} cannot be a key")
