"""Which parameters weight decay is for."""

from __future__ import annotations

from typing import Any


def param_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimizer: weights with `weight_decay`; biases and normalization parameters with none (Goyal et
    al. 2017, section 5.1; He et al. 2018, "Bag of tricks", section 3.1).

        optimizer = optim.SGD(optim.param_groups(model, 1e-4), lr=0.1, momentum=0.9)

    Left out of the decay: all parameters of normalization layers, those whose name ends with "bias", and those of fewer
    than two dimensions (PReLU's slopes, learned scales). Each parameter is in one group, shared ones too.

    Raises TypeError for what is no module, ValueError for a negative `weight_decay`.
    """
    from ..nn.modules import Module, RMSNorm
    from ..nn.modules._affine import AffineModule

    if not isinstance(model, Module):
        raise TypeError(f"param_groups: expected model to be a module, got {model!r:.80}")
    if not weight_decay >= 0:
        raise ValueError(f"param_groups: expected weight_decay to be at least 0, got {weight_decay}")
    decayed: list[Any] = []
    others: list[Any] = []
    seen: set[int] = set()
    for module in model.modules():
        norm = isinstance(module, (AffineModule, RMSNorm))
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            plain = norm or name.endswith("bias") or parameter.dim() < 2
            (others if plain else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
