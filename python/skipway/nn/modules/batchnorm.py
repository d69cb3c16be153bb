"""Batch normalization (Ioffe and Szegedy 2015) over (N, C, ...) inputs, each channel by itself."""

from __future__ import annotations

from typing import Any

from ... import _core
from ... import _creation as creation
from ..._core import Tensor
from .. import functional as F
from ..parameter import UninitializedBuffer, UninitializedParameter
from ._affine import AffineModule
from ._checks import expect_a, expect_number, expect_whole
from .lazy import LazyModuleMixin
from .module import Module


class _NormBase(AffineModule):
    """Affine parameters and running statistics of batch and instance normalization."""

    _version = 2
    num_features: int
    eps: float
    momentum: float | None
    affine: bool
    track_running_stats: bool

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if affine or track_running_stats:
            expect_whole(self, 0, num_features=num_features)
        expect_number(self, eps=eps)
        expect_number(self, optional=True, momentum=momentum)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self._register_affine(num_features, affine, affine and bias, device, dtype)
        self.running_mean: Any
        self.running_var: Any
        self.num_batches_tracked: Any
        if track_running_stats:
            self.register_buffer("running_mean", creation.zeros(num_features, device=device, dtype=dtype))
            self.register_buffer("running_var", creation.ones(num_features, device=device, dtype=dtype))
            self.register_buffer("num_batches_tracked", creation.zeros((), dtype=_core.int64, device=device))
        else:
            self.register_buffer("running_mean", None)
            self.register_buffer("running_var", None)
            self.register_buffer("num_batches_tracked", None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches seen."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, fresh running statistics."""
        self.reset_running_stats()
        super().reset_parameters()

    def _check_input_dim(self, input: Tensor) -> None:
        raise NotImplementedError

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        # The first version had no num_batches_tracked, and files of many sources have no version.
        key = prefix + "num_batches_tracked"
        if (local_metadata.get("version") or 1) < 2 and self.track_running_stats and key not in state_dict:
            state_dict[key] = self.num_batches_tracked.detach().clone()
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def _expect_dims(layer: Module, input: Tensor, *dims: int) -> None:
    if input.dim() not in dims:
        wanted = " or ".join(f"{d}D" for d in dims)
        raise _core.ShapeError(f"batch_norm: expected {wanted} input, got {input.dim()}D of shape {tuple(input.shape)}")


class _BatchNorm(_NormBase):
    """y = (x - mean) / sqrt(var + eps) * weight + bias per channel.

    Training uses the batch's mean and biased variance, and moves the running statistics by `momentum` (None: their
    plain average) towards the mean and the unbiased variance; evaluation uses the running statistics.

    Args:
        activation: beyond PyTorch: "relu" (or another of `functional.batch_norm`) applied in the same pass. The layer
            is then called as `bn(x)` or `bn(x, residual)`, which adds `residual` before the activation.

    `freeze()`, beyond PyTorch too, makes the layer use its running statistics and keep them, whatever mode it is in.
    """

    frozen: bool = False

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
        activation: str | None = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        expect_a(self, str, "None or a name", optional=True, activation=activation)
        self.activation = activation

    def freeze(self, affine: bool = True) -> _BatchNorm:
        """Uses the running statistics in training too, without moving them; `affine`: weight and bias stop learning.

        `model.train()` does not undo it, `unfreeze()` does. ValueError for a layer without running statistics.
        """
        if not self.track_running_stats:
            raise ValueError(f"{type(self).__name__}: freeze() needs running statistics; this layer tracks none")
        self.frozen = True
        return self._learn_affine(False) if affine else self

    def unfreeze(self, affine: bool = True) -> _BatchNorm:
        """Undoes `freeze()`; `affine`: weight and bias learn again."""
        self.frozen = False
        return self._learn_affine(True) if affine else self

    def _learn_affine(self, on: bool) -> _BatchNorm:
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                parameter.requires_grad_(on)
        return self

    def forward(self, input: Tensor, residual: Tensor | None = None) -> Tensor:
        self._check_input_dim(input)
        factor = 0.0 if self.momentum is None else self.momentum
        training = self.training and not self.frozen
        if training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1.0 / float(self.num_batches_tracked)
        use_batch = training or (self.running_mean is None and self.running_var is None)
        track = not training or self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if track else None,
            self.running_var if track else None,
            self.weight,
            self.bias,
            use_batch,
            factor,
            self.eps,
            residual=residual,
            activation=self.activation,
        )

    def extra_repr(self) -> str:
        extra = super().extra_repr() + (", frozen=True" if self.frozen else "")
        return extra if self.activation is None else f"{extra}, activation={self.activation!r}"


class BatchNorm1d(_BatchNorm):
    """Batch normalization of (N, C) or (N, C, L) input (Ioffe and Szegedy 2015, algorithm 1)."""

    def _check_input_dim(self, input: Tensor) -> None:
        _expect_dims(self, input, 2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalization of (N, C, H, W) input (Ioffe and Szegedy 2015, algorithm 1)."""

    def _check_input_dim(self, input: Tensor) -> None:
        _expect_dims(self, input, 4)


class BatchNorm3d(_BatchNorm):
    """Batch normalization of (N, C, D, H, W) input (Ioffe and Szegedy 2015, algorithm 1)."""

    def _check_input_dim(self, input: Tensor) -> None:
        _expect_dims(self, input, 5)


class SyncBatchNorm(_BatchNorm):
    """Batch normalization over all processes; there is one process, so it is plain batch normalization."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _check_input_dim(self, input: Tensor) -> None:
        _expect_dims(self, input, *range(2, 8))

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """Returns the module unchanged."""
        return module


class _LazyNormBase(LazyModuleMixin, _NormBase):
    """A normalization that takes `num_features` from its first input."""

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False, device, dtype)
        self.affine = affine
        self.track_running_stats = track_running_stats
        if affine:
            self.weight = UninitializedParameter(device=device, dtype=dtype)
        if affine and bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = creation.zeros((), dtype=_core.int64, device=device)

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params() and self.num_features != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor, *args: Any) -> None:
        """Makes parameters and statistics, now that the number of channels is known."""
        if not self.has_uninitialized_params():  # the parameters came from a state dict
            self.num_features = input.shape[1]
            return
        self._check_input_dim(input)
        self.num_features = input.shape[1]
        if self.affine:
            self.weight.materialize((self.num_features,))
        if self.bias is not None:
            self.bias.materialize((self.num_features,))
        if self.track_running_stats:
            like = {"device": self.running_mean.device, "dtype": self.running_mean.dtype}
            self.running_mean = creation.zeros(self.num_features, **like)
            self.running_var = creation.ones(self.num_features, **like)
        self.reset_parameters()


class LazyBatchNorm1d(_LazyNormBase, _BatchNorm):
    """A `BatchNorm1d` that takes `num_features` from its first input."""

    cls_to_become = BatchNorm1d
    _check_input_dim = BatchNorm1d._check_input_dim  # type: ignore[assignment]


class LazyBatchNorm2d(_LazyNormBase, _BatchNorm):
    """A `BatchNorm2d` that takes `num_features` from its first input."""

    cls_to_become = BatchNorm2d
    _check_input_dim = BatchNorm2d._check_input_dim  # type: ignore[assignment]


class LazyBatchNorm3d(_LazyNormBase, _BatchNorm):
    """A `BatchNorm3d` that takes `num_features` from its first input."""

    cls_to_become = BatchNorm3d
    _check_input_dim = BatchNorm3d._check_input_dim  # type: ignore[assignment]
