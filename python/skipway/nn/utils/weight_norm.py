"""Weights that are computed from other parameters before each forward pass."""

from __future__ import annotations

from typing import Any, TypeVar

from ... import _core
from ... import _creation as creation
from ..._core import Tensor
from ...autograd import no_grad
from ..functional import normalize
from ..modules.module import Module
from ..parameter import Parameter

M = TypeVar("M", bound=Module)


def _norm_except(v: Tensor, dim: int | None) -> Tensor:
    if dim is None:
        return (v * v).sum().sqrt()
    others = [d for d in range(v.dim()) if d != dim % v.dim()]
    return (v * v).sum(others, keepdim=True).sqrt()


class WeightNorm:
    """The pre-forward hook of `weight_norm`."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = dim

    def compute_weight(self, module: Module) -> Tensor:
        """g * v / ||v||."""
        g, v = getattr(module, self.name + "_g"), getattr(module, self.name + "_v")
        return v * (g / _norm_except(v, self.dim))

    def __call__(self, module: Module, args: Any) -> None:
        object.__setattr__(module, self.name, self.compute_weight(module))


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Splits a weight into length and direction, w = g v / ||v|| (Salimans and Kingma 2016).

    The norm is over all dimensions but `dim` (None: over all). Parameters become `name`_g and `name`_v.
    """
    weight = getattr(module, name)
    del module._parameters[name]
    module.register_parameter(name + "_g", Parameter(_norm_except(weight.detach(), dim)))
    module.register_parameter(name + "_v", Parameter(weight.detach().clone()))
    hook = WeightNorm(name, dim)
    hook(module, ())
    module.register_forward_pre_hook(hook)
    return module


def _remove(module: Module, kind: type, name: str) -> Any:
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, kind) and hook.name == name:  # type: ignore[attr-defined]
            del module._forward_pre_hooks[key]
            return hook
    raise ValueError(f"{kind.__name__} of '{name}' not found in {type(module).__name__}")


def remove_weight_norm(module: M, name: str = "weight") -> M:
    """Makes the weight a plain parameter again."""
    hook = _remove(module, WeightNorm, name)
    weight = hook.compute_weight(module).detach()
    del module._parameters[name + "_g"], module._parameters[name + "_v"]
    module.__dict__.pop(name, None)
    module.register_parameter(name, Parameter(weight))
    return module


class SpectralNorm:
    """The pre-forward hook of `spectral_norm`."""

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float) -> None:
        self.name = name
        self.n_power_iterations = n_power_iterations
        self.dim = dim
        self.eps = eps

    def matrix(self, weight: Tensor) -> Tensor:
        """The weight as a matrix whose rows are `dim`."""
        if self.dim != 0:
            weight = weight.transpose(0, self.dim)
        return weight.reshape(weight.shape[0], -1)

    def compute_weight(self, module: Module, power_iteration: bool) -> Tensor:
        """w / (u^T W v)."""
        weight = getattr(module, self.name + "_orig")
        u, v = getattr(module, self.name + "_u"), getattr(module, self.name + "_v")
        matrix = self.matrix(weight)
        if power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(normalize(_core.matmul(matrix.t(), u), dim=0, eps=self.eps))
                    u.copy_(normalize(_core.matmul(matrix, v), dim=0, eps=self.eps))
        sigma = (u.clone() * _core.matmul(matrix, v.clone())).sum()
        return weight / sigma

    def __call__(self, module: Module, args: Any) -> None:
        object.__setattr__(module, self.name, self.compute_weight(module, module.training))


def spectral_norm(
    module: M, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> M:
    """Divides a weight by its largest singular value, estimated by power iteration (Miyato et al. 2018)."""
    if dim is None:
        dim = 1 if "Transpose" in type(module).__name__ else 0
    if n_power_iterations <= 0:
        raise ValueError(f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}")
    weight = module._parameters.pop(name)
    if weight is None:
        raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
    hook = SpectralNorm(name, n_power_iterations, dim, eps)
    rows, columns = hook.matrix(weight.detach()).shape
    module.register_parameter(name + "_orig", weight)
    object.__setattr__(module, name, weight.detach())
    for suffix, size in (("_u", rows), ("_v", columns)):
        start = creation.randn(size, dtype=weight.dtype, device=weight.device)
        module.register_buffer(name + suffix, normalize(start, dim=0, eps=eps))
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module: M, name: str = "weight") -> M:
    """Makes the weight a plain parameter again."""
    hook = _remove(module, SpectralNorm, name)
    with no_grad():
        weight = hook.compute_weight(module, False).detach()
    del module._parameters[name + "_orig"], module._buffers[name + "_u"], module._buffers[name + "_v"]
    module.__dict__.pop(name, None)
    module.register_parameter(name, Parameter(weight))
    return module
