"""Less common functions, composed of ops of the core. Most are methods of `Tensor` too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _core
from . import _creation as creation
from ._core import Tensor
from ._precision import rounded_once


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums products over the last dimensions."""
    if input.dim() == 0 or other.dim() == 0:
        return input * other
    rows, columns = input.reshape(-1, input.shape[-1]), other.reshape(-1, other.shape[-1])
    return _core.matmul(rows, columns.t()).reshape(tuple(input.shape[:-1]) + tuple(other.shape[:-1]))


@rounded_once
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * the sum of batch1[i] @ batch2[i]."""
    return input * beta + _core.bmm(batch1, batch2).sum(0) * alpha


@rounded_once
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * the outer product of vec1 and vec2."""
    return input * beta + _core.outer(vec1, vec2) * alpha


def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    if input.dim() != 2:
        raise _core.ShapeError(f"trace: expected a matrix, got shape {tuple(input.shape)}")
    return input.diagonal(0, 0, 1).sum()


@rounded_once
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """||input - other||_p."""
    return (input - other).norm(p)


@rounded_once
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """||x1_i - x2_j||_p for all pairs of rows: (..., P, M), (..., R, M) -> (..., P, R)."""
    return (x1.unsqueeze(-2) - x2.unsqueeze(-3)).norm(p, -1)


@rounded_once
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The vector product along a dimension of size 3 (the last such one unless given)."""
    if dim is None:
        found = [d for d, size in enumerate(input.shape) if size == 3]
        if not found:
            raise _core.ShapeError(f"cross: expected a dimension of size 3, got shape {tuple(input.shape)}")
        dim = found[0]
    (a1, a2, a3), (b1, b2, b3) = input.unbind(dim), other.unbind(dim)
    return _core.stack([a2 * b3 - a3 * b2, a3 * b1 - a1 * b3, a1 * b2 - a2 * b1], dim)


@rounded_once
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Differences of neighbours along `dim`, n times over."""
    parts = [t for t in (prepend, input, append) if t is not None]
    x = _core.cat(parts, dim) if len(parts) > 1 else input
    for _ in range(n):
        pairs = max(x.size(dim) - 1, 0)
        x = x.narrow(dim, x.size(dim) - pairs, pairs) - x.narrow(dim, 0, pairs)
    return x


logaddexp = rounded_once(_core.logaddexp)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Which elements are among the test elements."""
    device = next((t.device for t in (elements, test_elements) if isinstance(t, Tensor)), None)
    elements, tests = creation.as_tensor(elements, device=device), creation.as_tensor(test_elements, device=device)
    found = (elements.unsqueeze(-1) == tests.reshape(-1)).any(-1)
    return ~found if invert else found


def isposinf(input: Tensor) -> Tensor:
    """Which elements are +inf."""
    return input == math.inf


def isneginf(input: Tensor) -> Tensor:
    """Which elements are -inf."""
    return input == -math.inf


def isreal(input: Tensor) -> Tensor:
    """True everywhere: there are no complex dtypes."""
    return creation.ones_like(input, dtype=_core.bool)


def signbit(input: Tensor) -> Tensor:
    """Which elements are negative, -0.0 included."""
    return creation.as_tensor(np.signbit(input.detach().cpu().float().numpy()), device=input.device)


def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 where input < 0, values where it is 0, 1 where it is greater."""
    step = (input > 0).to(input.dtype)
    return _core.where(input == 0, values, step)


@rounded_once
def sinc(input: Tensor) -> Tensor:
    """sin(pi x) / (pi x), 1 at 0."""
    x = input * math.pi
    safe = _core.where(x == 0, creation.ones_like(x), x)
    return _core.where(x == 0, creation.ones_like(x), _core.sin(safe) / safe)


def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product."""
    n = max(input.dim(), other.dim())
    a = input.reshape([1] * (n - input.dim()) + list(input.shape))
    b = other.reshape([1] * (n - other.dim()) + list(other.shape))
    left = a.reshape([s for size in a.shape for s in (size, 1)])
    right = b.reshape([s for size in b.shape for s in (1, size)])
    return (left * right).reshape([x * y for x, y in zip(a.shape, b.shape, strict=True)])


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix with the elements on its diagonal."""
    return _core.diag(input.reshape(-1), offset)


def rot90(input: Tensor, k: int = 1, dims: tuple[int, int] = (0, 1)) -> Tensor:
    """Turns k times by 90 degrees, from the first dimension to the second."""
    k %= 4
    if k == 0:
        return input.clone()
    if k == 2:
        return input.flip(dims)
    return input.flip(dims[1] if k == 1 else dims[0]).transpose(*dims)


def column_stack(tensors: Any) -> Tensor:
    """Joins 1-D tensors as columns, others along dim 1."""
    return _core.cat([t.reshape(-1, 1) if t.dim() < 2 else t for t in tensors], 1)


def _at_least(n: int) -> Callable[..., Any]:
    def f(*tensors: Any) -> Any:
        given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
        result = []
        for t in given:
            if n == 3 and t.dim() in (1, 2):
                t = t.reshape(1, -1) if t.dim() == 1 else t
                t = t.unsqueeze(-1)
            while t.dim() < n:
                t = t.unsqueeze(0)
            result.append(t)
        return result[0] if len(tensors) == 1 and given is tensors else tuple(result)

    f.__name__ = f"atleast_{n}d"
    f.__doc__ = f"Views with at least {n} dimensions."
    return f


atleast_1d, atleast_2d, atleast_3d = _at_least(1), _at_least(2), _at_least(3)


def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the given matrices on its diagonal."""
    blocks = [t.reshape(1, -1) if t.dim() < 2 else t for t in tensors]
    width = sum(b.shape[1] for b in blocks)
    rows, at = [], 0
    for b in blocks:
        rows.append(_core.pad(b, (at, width - at - b.shape[1]), "constant", 0.0))
        at += b.shape[1]
    return _core.cat(rows, 0)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Rows and columns, (2, n), of the lower triangle of a row x col matrix."""
    return creation.tensor(np.stack(np.tril_indices(row, offset, col)), dtype=dtype or _core.int64, device=device)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Rows and columns, (2, n), of the upper triangle of a row x col matrix."""
    return creation.tensor(np.stack(np.triu_indices(row, offset, col)), dtype=dtype or _core.int64, device=device)


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements without those that equal the one before; with where each went, and how many, if asked for."""
    if dim is not None:
        raise ValueError("unique_consecutive: dim is not supported")
    flat = input.reshape(-1)
    if flat.numel() == 0:
        keep = creation.zeros(0, dtype=_core.bool, device=flat.device)
    else:
        keep = _core.cat([creation.ones(1, dtype=_core.bool, device=flat.device), flat[1:] != flat[:-1]])
    result = [flat[keep]]
    inverse = keep.long().cumsum(0) - 1
    if return_inverse:
        result.append(inverse.reshape(tuple(input.shape)))
    if return_counts:
        result.append(_core.bincount(inverse))
    return result[0] if len(result) == 1 else tuple(result)


@rounded_once
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The q-th quantiles (0 <= q <= 1): interpolated between the two nearest of the sorted elements."""
    qs = q if isinstance(q, Tensor) else creation.tensor(q, dtype=input.dtype)
    x = input.reshape(-1) if dim is None else input.movedim(dim, -1)
    ordered = x.sort(-1)[0]
    last = x.shape[-1] - 1
    parts = []
    for fraction in qs.reshape(-1).tolist():
        at = fraction * last
        low, high = math.floor(at), math.ceil(at)
        if interpolation == "linear":
            value = ordered[..., low] + (ordered[..., high] - ordered[..., low]) * (at - low)
        elif interpolation in ("lower", "higher", "nearest"):
            value = ordered[..., {"lower": low, "higher": high, "nearest": round(at)}[interpolation]]
        elif interpolation == "midpoint":
            value = (ordered[..., low] + ordered[..., high]) / 2
        else:
            raise ValueError(f"quantile: unknown interpolation {interpolation!r}")
        if keepdim:
            value = value.unsqueeze(dim) if dim is not None else value.reshape([1] * input.dim())
        parts.append(value)
    return _core.stack(parts, 0) if qs.dim() else parts[0]


@rounded_once
def cov(input: Tensor, *, correction: int = 1) -> Tensor:
    """The covariance matrix of variables in rows."""
    x = input if input.dim() == 2 else input.reshape(1, -1)
    centred = x - x.mean(1, keepdim=True)
    result = _core.matmul(centred, centred.t()) / (x.shape[1] - correction)
    return result if input.dim() == 2 else result.reshape(())


@rounded_once
def corrcoef(input: Tensor) -> Tensor:
    """The correlation matrix of variables in rows."""
    c = cov(input)
    if c.dim() == 0:
        return c / c
    deviation = c.diagonal(0, 0, 1).sqrt()
    return c / deviation.unsqueeze(1) / deviation.unsqueeze(0)


def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """Counts of elements in `bins` equal intervals from min to max (0, 0: of the data)."""
    values = input.detach().cpu().numpy()
    between = (float(values.min()), float(values.max())) if min == 0 and max == 0 else (min, max)
    return creation.tensor(np.histogram(values, bins, between)[0], dtype=input.dtype, device=input.device)


def bucketize(input: Tensor, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """Between which boundaries each element lies."""
    result = _core.searchsorted(boundaries, input, right=right)
    return result.int() if out_int32 else result


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """The input with the elements of `source`, in order, where mask is true."""
    mask = mask.expand(tuple(input.shape)) if tuple(mask.shape) != tuple(input.shape) else mask
    result = input.clone()
    result[mask] = source.reshape(-1)[: int(mask.sum())]
    return result


@rounded_once
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Scales each slice along `dim` so that its p-norm is at most maxnorm."""
    others = [d for d in range(input.dim()) if d != dim % input.dim()]
    norms = input.norm(p, others, keepdim=True)
    return input * _core.where(norms > maxnorm, maxnorm / (norms + 1e-7), creation.ones_like(norms))


def promote_types(type1: Any, type2: Any) -> Any:
    """The dtype of a result of tensors of these dtypes."""
    return _core.result_type(creation.empty(1, dtype=type1), creation.empty(1, dtype=type2))


def can_cast(from_: Any, to: Any) -> bool:
    """Whether results of one dtype may be stored as the other."""
    kind = [_core.bool, _core.uint8, _core.int32, _core.int64, _core.bfloat16, _core.float32, _core.float64]
    floats = from_.is_floating_point <= to.is_floating_point
    return floats and (to is not _core.bool or from_ is _core.bool) and from_ in kind


def typename(obj: Any) -> str:
    """The name of a tensor's type, or of another object's."""
    return obj.type() if isinstance(obj, Tensor) else type(obj).__qualname__


_METHODS = (
    "inner", "addbmm", "addr", "trace", "dist", "cross", "diff", "logaddexp", "isposinf", "isneginf", "isreal",
    "signbit", "heaviside", "sinc", "kron", "diagflat", "rot90", "unique_consecutive", "quantile", "cov", "corrcoef",
    "histc", "masked_scatter", "renorm",
)  # fmt: skip

# In-place forms: the result is computed from a copy, which may be saved for backward, and written over the tensor.
_IN_PLACE = (
    "addmm", "addmv", "addbmm", "addr", "baddbmm", "cumsum", "cumprod", "tril", "triu", "logical_and", "logical_or",
    "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "atan2", "hypot", "xlogy", "copysign", "deg2rad",
    "rad2deg", "sinc", "float_power", "heaviside", "masked_scatter", "renorm", "logit", "eq", "ne", "lt", "le",
    "gt", "ge", "prelu", "gelu", "elu", "celu", "softplus",
)  # fmt: skip


def _in_place(op: Callable[..., Tensor], name: str) -> Callable[..., Tensor]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.copy_(op(self.clone(), *args, **kwargs))

    method.__name__ = name
    method.__doc__ = f"`{name[:-1]}` in place."
    return method


for _name in _METHODS:
    setattr(Tensor, _name, globals()[_name])
for _name in _IN_PLACE:
    if not hasattr(Tensor, _name + "_") and hasattr(Tensor, _name):
        setattr(Tensor, _name + "_", _in_place(getattr(Tensor, _name), _name + "_"))
