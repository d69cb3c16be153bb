"""Functions of several steps, for bfloat16 and float16."""

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


_HALF = (_core.bfloat16, _core.float16)


def _widened(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree._to(_core.float32) if tree.dtype in _HALF else tree
    return type(tree)(map(_widened, tree)) if isinstance(tree, (list, tuple)) else tree


def _narrowed(tree: Any, dtype: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree._to(dtype) if tree.dtype is _core.float32 else tree
    return type(tree)(_narrowed(item, dtype) for item in tree) if isinstance(tree, (list, tuple)) else tree


def rounded_once(op: Callable[P, R]) -> Callable[P, R]:
    """The function, computed in float32 for bfloat16 and float16; rounded where all tensors are of one of them."""

    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        dtypes = {t.dtype for t in _floating([*args, *kwargs.values()])}
        if not dtypes.intersection(_HALF):
            return op(*args, **kwargs)
        wide: Any = map(_widened, args)
        named: Any = {k: _widened(v) for k, v in kwargs.items()}
        result: Any = op(*wide, **named)
        return _narrowed(result, dtypes.pop()) if len(dtypes) == 1 else result

    return functools.update_wrapper(wrapper, op)
