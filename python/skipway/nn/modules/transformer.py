"""The residual block of transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import _core
from ..._core import Tensor
from .. import functional as F
from ._checks import expect_a, expect_number, expect_option, expect_whole
from .attention import MultiheadAttention
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import LayerNorm


class TransformerEncoderLayer(Module):
    """Two residual branches, multi-head self-attention and a network of two linear layers (Vaswani et al. 2017, section
    3.1), called `layer(src)` with src (L, N, E), (N, L, E) with `batch_first`, or (L, E).

    Post-norm: x = LN(x + A(x)), x = LN(x + F(x)). Pre-norm: x = x + A(LN(x)), x = x + F(LN(x)) (Xiong et al. 2020,
    figure 1), which leaves the shortcut free from end to end.

    Args:
        d_model: E, a multiple of nhead.
        nhead: heads of the attention.
        dim_feedforward: units between the linear layers.
        dropout: probability, of attention weights, of those units and of both branches.
        activation: "relu", "gelu" or a function.
        layer_norm_eps: of the layer normalizations.
        norm_first: pre-norm.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        expect_whole(self, 1, d_model=d_model, nhead=nhead, dim_feedforward=dim_feedforward)
        expect_number(self, least=0, most=1, dropout=dropout)
        expect_number(self, layer_norm_eps=layer_norm_eps)
        if isinstance(activation, str):
            expect_option(self, ("relu", "gelu"), activation=activation)
        expect_a(self, (str, Callable), "'relu', 'gelu' or a function", activation=activation)
        if d_model % nhead != 0:
            raise ValueError(
                f"TransformerEncoderLayer: expected d_model to be divisible by nhead, got {d_model} and {nhead}"
            )
        like = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first, **like)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **like)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **like)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **like)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **like)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation: Any = getattr(F, activation) if isinstance(activation, str) else activation

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        if is_causal and src_mask is None:
            raise ValueError("TransformerEncoderLayer: expected a src_mask with is_causal=True, got None")
        features = self.self_attn.embed_dim
        if src.dim() not in (2, 3) or src.shape[-1] != features:
            raise _core.ShapeError(
                f"TransformerEncoderLayer: expected src of 2 or 3 dimensions with {features} features (dim -1), "
                f"got {tuple(src.shape)}"
            )
        if self.norm_first:
            x = src + self._attend(self.norm1(src), src_mask, src_key_padding_mask)
            return x + self._feed(self.norm2(x))
        x = self.norm1(src + self._attend(src, src_mask, src_key_padding_mask))
        return self.norm2(x + self._feed(x))

    def _attend(self, x: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor:
        mixed, _ = self.self_attn(x, x, x, key_padding_mask=padding, need_weights=False, attn_mask=mask)
        return self.dropout1(mixed)

    def _feed(self, x: Tensor) -> Tensor:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

    def extra_repr(self) -> str:
        return f"norm_first={self.norm_first}"
