"""Top-level functions that compose others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from . import _core
from . import _creation as creation
from ._core import Tensor


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a tensor."""
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating one."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    """False: there are no complex dtypes."""
    return False


def is_nonzero(input: Tensor) -> bool:
    """Whether a tensor of one element is not 0."""
    return bool(input)


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


def is_inference_mode_enabled() -> bool:
    """Whether ops go unrecorded."""
    return not _core.is_grad_enabled()


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether |input - other| <= atol + rtol * |other| everywhere."""
    return bool(_core.isclose(input, other, rtol, atol, equal_nan).all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements are the same."""
    return tuple(input.shape) == tuple(other.shape) and bool((input == other).all())


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of elements of 1-D tensors, one per row."""
    if len(tensors) == 1:
        return tensors[0]
    return _core.stack([g.reshape(-1) for g in _core.meshgrid(*tensors)], 1)


def _einsum_terms(equation: str, operands: Sequence[Tensor]) -> tuple[list[list[str]], list[str]]:
    """The labels of each operand and of the result; dimensions of an ellipsis become labels of their own."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(operands):
        raise ValueError(f"einsum: the equation {equation!r} has {len(inputs)} operands, got {len(operands)}")
    terms = []
    widest = 0
    for term, t in zip(inputs, operands, strict=False):
        named = term.replace("...", "")
        if not named.isalpha() and named:
            raise ValueError(f"einsum: expected letters in {equation!r}, got {term!r}")
        extra = t.dim() - len(named)
        if extra < 0 or (extra and "..." not in term):
            raise _core.ShapeError(f"einsum: {term!r} does not fit an operand of shape {tuple(t.shape)}")
        widest = max(widest, extra)
        dots = [f".{i}" for i in range(extra - 1, -1, -1)]
        before, _, after = term.partition("...")
        terms.append([*before, *dots, *after] if "..." in term else list(term))
    all_dots = [f".{i}" for i in range(widest - 1, -1, -1)]
    if arrow:
        before, dots_there, after = right.partition("...")
        return terms, [*before, *(all_dots if dots_there else []), *after]
    counts: dict[str, int] = {}
    for label in itertools.chain(*terms):
        counts[label] = counts.get(label, 0) + 1
    return terms, all_dots + sorted(k for k, n in counts.items() if n == 1 and not k.startswith("."))


def _diagonals(t: Tensor, labels: list[str]) -> tuple[Tensor, list[str]]:
    """Takes the diagonal of labels that occur twice."""
    while len(set(labels)) < len(labels):
        label = next(x for x in labels if labels.count(x) > 1)
        i = labels.index(label)
        j = labels.index(label, i + 1)
        t = t.diagonal(0, i, j)
        labels = [x for k, x in enumerate(labels) if k not in (i, j)] + [label]
    return t, labels


def _contract(a: Tensor, la: list[str], b: Tensor, lb: list[str], keep: set[str]) -> tuple[Tensor, list[str]]:
    """One pair as a batched matrix product."""
    size: dict[str, int] = {}
    for t, labels in ((a, la), (b, lb)):
        for label, n in zip(labels, t.shape, strict=False):
            if size.setdefault(label, n) == 1:
                size[label] = n
            elif n not in (1, size[label]):
                raise _core.ShapeError(f"einsum: dimension {label!r} has sizes {size[label]} and {n}")
    only_a = [x for x in la if x not in lb and x not in keep]
    only_b = [x for x in lb if x not in la and x not in keep]
    a, la = (a.sum([la.index(x) for x in only_a]), [x for x in la if x not in only_a]) if only_a else (a, la)
    b, lb = (b.sum([lb.index(x) for x in only_b]), [x for x in lb if x not in only_b]) if only_b else (b, lb)
    both = [x for x in la if x in lb]
    batch = [x for x in both if x in keep]
    inner = [x for x in both if x not in keep]
    rows, columns = [x for x in la if x not in both], [x for x in lb if x not in both]

    def arrange(t: Tensor, labels: list[str], order: list[str], shape: list[int]) -> Tensor:
        t = t.permute([labels.index(x) for x in order])
        return t.expand([size[x] for x in order]).reshape(shape)

    def product(labels: list[str]) -> int:
        return math.prod(size[x] for x in labels)

    n, m, k, p = product(batch), product(rows), product(inner), product(columns)
    left = arrange(a, la, batch + rows + inner, [n, m, k])
    right = arrange(b, lb, batch + inner + columns, [n, k, p])
    labels = batch + rows + columns
    return _core.bmm(left, right).reshape([size[x] for x in labels]), labels


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products of elements, by labels of dimensions: `einsum("ij,jk->ik", a, b)` is the matrix product."""
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    terms, result = _einsum_terms(equation, tensors)
    t, labels = _diagonals(tensors[0], terms[0])
    for i in range(1, len(tensors)):
        other, other_labels = _diagonals(tensors[i], terms[i])
        keep = set(result).union(*terms[i + 1 :])
        t, labels = _contract(t, labels, other, other_labels, keep)
    gone = [i for i, x in enumerate(labels) if x not in result]
    if gone:
        t = t.sum(gone)
        labels = [x for x in labels if x in result]
    return t.permute([labels.index(x) for x in result]) if labels != result else t


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums products over the last `dims` dimensions of a and the first of b, or over the two lists of dimensions."""
    if isinstance(dims, int):
        da, db = list(range(a.dim() - dims, a.dim())), list(range(dims))
    else:
        da, db = [d % a.dim() for d in dims[0]], [d % b.dim() for d in dims[1]]
    rest_a = [d for d in range(a.dim()) if d not in da]
    rest_b = [d for d in range(b.dim()) if d not in db]
    inner = math.prod(a.shape[d] for d in da)
    left = a.permute(rest_a + da).reshape(-1, inner) if rest_a else a.permute(da).reshape(1, inner)
    right = b.permute(db + rest_b).reshape(inner, -1) if rest_b else b.permute(db).reshape(inner, 1)
    return _core.matmul(left, right).reshape([a.shape[d] for d in rest_a] + [b.shape[d] for d in rest_b])


def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A 0-dimensional tensor."""
    return creation.tensor(s, dtype=dtype, device=device, requires_grad=requires_grad)


def compile(model: Any = None, **options: Any) -> Any:
    """Returns the model: every op is a compiled kernel already. As a decorator too."""
    return (lambda f: f) if model is None else model


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted: all results are the same bits from run to run and for any number of threads."""


def are_deterministic_algorithms_enabled() -> bool:
    """True: there are no others."""
    return True


def set_float32_matmul_precision(precision: str) -> None:
    """ "highest" computes float32 products in float32; "high" and "medium" let CUDA devices round operands to tf32.

    The same switch as ``backends.cuda.matmul.allow_tf32``, which says what it governs.

    Raises:
        ValueError: another word.
    """
    if precision not in ("highest", "high", "medium"):
        raise ValueError(f"set_float32_matmul_precision: expected 'highest', 'high' or 'medium', got {precision!r}")
    _core._set_matmul_tf32(precision != "highest")


def get_float32_matmul_precision() -> str:
    """ "high" where products may use tf32, or else "highest"."""
    return "high" if _core._matmul_tf32() else "highest"


def set_num_interop_threads(n: int) -> None:
    """Accepted: there is one pool of threads."""


def get_num_interop_threads() -> int:
    """1: there is one pool of threads."""
    return 1
