"""Attention as a layer."""

from __future__ import annotations

import math
from typing import Any

from ... import _core
from ... import _creation as creation
from ..._core import Tensor
from .. import functional as F
from .. import init
from ..parameter import Parameter
from ._checks import expect_divisible, expect_number, expect_whole
from .linear import Linear
from .module import Module


class MultiheadAttention(Module):
    """softmax(Q K^T / sqrt(d)) V in `num_heads` heads (Vaswani et al. 2017, section 3.2).

    Inputs are (L, N, E), or (N, L, E) with `batch_first`, or (L, E).
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        expect_whole(self, 1, embed_dim=embed_dim, num_heads=num_heads)
        expect_whole(self, 1, optional=True, kdim=kdim, vdim=vdim)
        expect_number(self, least=0, most=1, dropout=dropout)
        expect_divisible(self, "num_heads", num_heads, embed_dim=embed_dim)
        if add_bias_kv or add_zero_attn:
            got = f"got {add_bias_kv} and {add_zero_attn}"
            raise ValueError(f"MultiheadAttention: expected add_bias_kv and add_zero_attn to be False, {got}")
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        like = {"device": device, "dtype": dtype}
        self.in_proj_weight: Any
        self.q_proj_weight: Any
        self.k_proj_weight: Any
        self.v_proj_weight: Any
        self.in_proj_bias: Any
        if self._qkv_same_embed_dim:
            self.in_proj_weight = Parameter(creation.empty((3 * embed_dim, embed_dim), **like))
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                self.register_parameter(name, None)
        else:
            self.q_proj_weight = Parameter(creation.empty((embed_dim, embed_dim), **like))
            self.k_proj_weight = Parameter(creation.empty((embed_dim, self.kdim), **like))
            self.v_proj_weight = Parameter(creation.empty((embed_dim, self.vdim), **like))
            self.register_parameter("in_proj_weight", None)
        if bias:
            self.in_proj_bias = Parameter(creation.empty(3 * embed_dim, **like))
        else:
            self.register_parameter("in_proj_bias", None)
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)

    def _project(self, i: int, x: Tensor) -> Tensor:
        rows = slice(i * self.embed_dim, (i + 1) * self.embed_dim)
        if self._qkv_same_embed_dim:
            weight = self.in_proj_weight[rows]
        else:
            weight = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[i]
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        y = F.linear(x, weight, bias)
        n, length, _ = y.shape
        return y.reshape(n, length, self.num_heads, self.head_dim).permute(0, 2, 1, 3)

    def _check_shapes(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None, attn_mask: Tensor | None
    ) -> None:
        """ShapeError that names the input or mask whose shape does not fit the others."""

        def expect(name: str, given: Tensor, *shapes: tuple[int, ...]) -> None:
            if tuple(given.shape) not in shapes:
                wanted = " or ".join(map(str, shapes))
                raise _core.ShapeError(
                    f"MultiheadAttention: expected {name} of shape {wanted}, got {tuple(given.shape)}"
                )

        if query.dim() not in (2, 3) or key.dim() != query.dim():
            raise _core.ShapeError(
                "MultiheadAttention: expected query, key and value of 2 or 3 dimensions alike, got query "
                f"{tuple(query.shape)} and key {tuple(key.shape)}"
            )
        at = 1 if query.dim() == 3 and self.batch_first else 0  # the dimension of the sequence
        length, source = query.shape[at], key.shape[at]
        batch, keys = (tuple(n for d, n in enumerate(t.shape[:-1]) if d != at) for t in (query, key))
        expect("query", query, (*query.shape[:-1], self.embed_dim))
        if keys != batch:
            raise _core.ShapeError(
                f"MultiheadAttention: expected key of the query's batch size {batch[0]}, got {tuple(key.shape)}"
            )
        expect("key", key, (*key.shape[:-1], self.kdim))
        expect("value", value, (*key.shape[:-1], self.vdim))
        if key_padding_mask is not None:
            expect("key_padding_mask", key_padding_mask, (*batch, source))
        if attn_mask is not None:
            heads = math.prod(batch) * self.num_heads
            expect("attn_mask", attn_mask, (length, source), (heads, length, source))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        self._check_shapes(query, key, value, key_padding_mask, attn_mask)
        batched = query.dim() == 3
        if not batched:
            query, key, value = (t.unsqueeze(0) for t in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        q, k, v = (self._project(i, t) for i, t in enumerate((query, key, value)))
        n, _, length, _ = q.shape
        scores = _core.matmul(q, k.transpose(-2, -1)) * (1.0 / math.sqrt(self.head_dim))
        minus_infinity = float("-inf")
        if attn_mask is not None:
            if attn_mask.dim() == 3:
                attn_mask = attn_mask.reshape(n, self.num_heads, *attn_mask.shape[1:])
            if attn_mask.dtype == _core.bool:
                scores = scores.masked_fill(attn_mask, minus_infinity)
            else:
                scores = scores + attn_mask
        if key_padding_mask is not None:
            scores = scores.masked_fill(key_padding_mask.to(_core.bool)[:, None, None, :], minus_infinity)
        weights = F.softmax(scores, dim=-1)
        mixed = _core.matmul(F.dropout(weights, self.dropout, self.training), v)
        result = self.out_proj(mixed.permute(0, 2, 1, 3).reshape(n, length, self.embed_dim))
        shown = (weights.mean(dim=1) if average_attn_weights else weights) if need_weights else None
        if not batched:
            return result.squeeze(0), None if shown is None else shown.squeeze(0)
        return (result if self.batch_first else result.transpose(0, 1)), shown
