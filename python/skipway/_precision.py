"""Functions of several steps, for bfloat16."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from . import _core
from ._core import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def _floating(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        if tree.is_floating_point():
            yield tree
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            yield from _floating(item)


def _cast(tree: Any, old: Any, new: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree._to(new) if tree.dtype is old else tree
    return type(tree)(_cast(item, old, new) for item in tree) if isinstance(tree, (list, tuple)) else tree


def rounded_once(op: Callable[P, R]) -> Callable[P, R]:
    """The function, computed in float32 where tensors are bfloat16; results are bfloat16 where all of them are."""

    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        dtypes = [t.dtype for t in _floating([*args, *kwargs.values()])]
        if _core.bfloat16 not in dtypes:
            return op(*args, **kwargs)
        wide: Any = (_cast(a, _core.bfloat16, _core.float32) for a in args)
        named: Any = {k: _cast(v, _core.bfloat16, _core.float32) for k, v in kwargs.items()}
        result: Any = op(*wide, **named)
        only = all(d is _core.bfloat16 for d in dtypes)
        return _cast(result, _core.float32, _core.bfloat16) if only else result

    return functools.update_wrapper(wrapper, op)
