"""Folding BatchNorm into the layer before it."""

from __future__ import annotations

import copy
from typing import Any

from ... import _creation as creation
from ..._core import Tensor
from ...autograd import no_grad
from ..modules.module import Module
from ..parameter import Parameter


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Any,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Any,
    bn_b: Any,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of one convolution that does the work of a convolution and the BatchNorm after it."""
    with no_grad():
        conv_b = creation.zeros_like(bn_rm) if conv_b is None else conv_b
        bn_w = creation.ones_like(bn_rm) if bn_w is None else bn_w
        bn_b = creation.zeros_like(bn_rm) if bn_b is None else bn_b
        scale = bn_w * (bn_rv + bn_eps).rsqrt()
        shape = [1] * conv_w.dim()
        shape[1 if transpose else 0] = -1
        return Parameter(conv_w * scale.reshape(shape)), Parameter((conv_b - bn_rm) * scale + bn_b)


def fuse_conv_bn_eval(conv: Module, bn: Module, transpose: bool = False) -> Module:
    """A copy of `conv` that does the work of both, in evaluation."""
    if conv.training or bn.training:
        raise ValueError("fuse_conv_bn_eval: expected both modules in evaluation; call eval() first")
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return fused
