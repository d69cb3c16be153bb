"""Norms and products under `linalg`; decompositions through NumPy, without gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from . import _creation as creation
from ._core import Tensor


def vector_norm(x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """(sum |x|^ord)^(1/ord)."""
    x = x if dtype is None else x.to(dtype)
    return _core.norm(x, ord, dim, keepdim)


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The 2-norm of all elements (or along `dim`); `ord` as in `vector_norm`, or "fro"."""
    if ord is not None and ord != "fro" and not isinstance(ord, (int, float)):
        raise ValueError(f"linalg.norm: expected a number or 'fro' as ord, got {ord!r}")
    if isinstance(ord, (int, float)) and A.dim() == 2 and dim is None:
        _without_grad("norm", A)
        values: Any = A.detach().cpu().numpy()
        return _back(np.linalg.norm(values, ord, None, keepdim), A)
    return vector_norm(A, 2 if ord is None or ord == "fro" else ord, dim, keepdim, dtype=dtype)


def _without_grad(name: str, t: Tensor) -> None:
    if t.requires_grad and _core.is_grad_enabled():
        raise RuntimeError(f"linalg.{name}: has no gradient here; pass detach()ed tensors")


def _back(array: Any, like: Tensor) -> Tensor:
    return creation.as_tensor(np.ascontiguousarray(array), dtype=like.dtype, device=like.device)


def svd(A: Tensor, full_matrices: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """U, S, Vh with A = U diag(S) Vh. No gradient."""
    _without_grad("svd", A)
    u, s, vh = np.linalg.svd(A.detach().cpu().numpy(), full_matrices)
    return _back(u, A), _back(s, A), _back(vh, A)


def svdvals(A: Tensor) -> Tensor:
    """Singular values, largest first. No gradient."""
    _without_grad("svdvals", A)
    return _back(np.linalg.svd(A.detach().cpu().numpy(), compute_uv=False), A)


def qr(A: Tensor, mode: str = "reduced") -> tuple[Tensor, Tensor]:
    """Q, R with A = Q R. No gradient."""
    _without_grad("qr", A)
    q, r = np.linalg.qr(A.detach().cpu().numpy(), mode)  # type: ignore[call-overload]
    return _back(q, A), _back(r, A)


def eigh(A: Tensor, UPLO: str = "L") -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix. No gradient."""
    _without_grad("eigh", A)
    w, v = np.linalg.eigh(A.detach().cpu().numpy(), UPLO)  # type: ignore[call-overload]
    return _back(w, A), _back(v, A)


def inv(A: Tensor) -> Tensor:
    """The inverse. No gradient."""
    _without_grad("inv", A)
    return _back(np.linalg.inv(A.detach().cpu().numpy()), A)


def det(A: Tensor) -> Tensor:
    """The determinant. No gradient."""
    _without_grad("det", A)
    return _back(np.linalg.det(A.detach().cpu().numpy()), A)


def solve(A: Tensor, B: Tensor) -> Tensor:
    """X with A X = B. No gradient."""
    _without_grad("solve", A)
    _without_grad("solve", B)
    return _back(np.linalg.solve(A.detach().cpu().numpy(), B.detach().cpu().numpy()), A)


def lstsq(A: Tensor, B: Tensor, rcond: float | None = None) -> tuple[Tensor, ...]:
    """(solution, residuals, rank, singular values) of the least-squares problem min ||A X - B||. No gradient."""
    _without_grad("lstsq", A)
    x, residuals, rank, values = np.linalg.lstsq(A.detach().cpu().numpy(), B.detach().cpu().numpy(), rcond)
    return _back(x, A), _back(residuals, A), creation.tensor(rank), _back(values, A)
