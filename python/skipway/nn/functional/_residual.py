"""What residual, highway and multi-branch networks are made of, and noise on weights and branches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from ... import _core
from ... import _creation as creation
from ..._core import Tensor
from ..._precision import rounded_once
from ...autograd import Function

__all__ = ["axis_norm", "drop_connect", "gated_sum", "linear_survival", "shake_shake", "stochastic_depth"]

_GATES = ("exclusive", "shortcut")
_LEVELS = ("batch", "image")


def _expect_name(op: str, argument: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        wanted = " or ".join(map(repr, allowed)) if len(allowed) < 3 else "one of " + ", ".join(map(repr, allowed))
        raise ValueError(f"{op}: expected {argument} to be {wanted}, got {value!r}")


def _expect_probability(op: str, p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{op}: expected p between 0 and 1, got {p}")


def _expect_alike(op: str, **tensors: Tensor) -> None:
    (first, a), *others = tensors.items()
    for name, t in others:
        if t.shape != a.shape:
            raise _core.ShapeError(
                f"{op}: expected {first} and {name} of one shape, got {tuple(a.shape)} and {tuple(t.shape)}"
            )
        if t.dtype != a.dtype:
            got = f"{a.dtype.name} and {t.dtype.name}"
            raise TypeError(f"{op}: expected {first} and {name} to have the same dtype, got {got}")


def _expect_floating(op: str, name: str, t: Tensor) -> None:
    if not t.is_floating_point():
        raise TypeError(f"{op}: expected {name} to be of a floating dtype, got {t.dtype.name}")


def _per_sample(op: str, input: Tensor, each: bool) -> tuple[int, ...]:
    """The shape of one number per sample, or of one number, that broadcasts against `input`."""
    if not each:
        return (1,) * input.dim()
    if input.dim() == 0:
        raise _core.ShapeError(f"{op}: expected at least 1 dimension (N, ...), got ()")
    return (input.shape[0], *(1,) * (input.dim() - 1))


def stochastic_depth(input: Tensor, p: float, mode: str, training: bool = True) -> Tensor:
    """b / (1 - p) * input, with b = 0 with probability p and 1 otherwise (Huang et al. 2016, equations 2 and 5).

    Dividing while training, rather than multiplying by 1 - p in evaluation, leaves evaluation as the identity.

    Args:
        input: a branch, (N, ...).
        p: the probability of dropping; p=1 gives exactly 0.
        mode: "row" draws b for each sample, "batch" one b for all.
        training: False returns the input.
    """
    _expect_probability("stochastic_depth", p)
    _expect_name("stochastic_depth", "mode", mode, ("batch", "row"))
    _expect_floating("stochastic_depth", "input", input)
    shape = _per_sample("stochastic_depth", input, mode == "row")
    if not training or p == 0.0:
        return input
    keep = creation.empty(shape, dtype=_core.float32, device=input.device).bernoulli_(1.0 - p)
    # `where`, not a product: a dropped inf is 0.
    return _core.where(keep > 0, input if p == 1.0 else input * (1.0 / (1.0 - p)), 0.0)


def linear_survival(blocks: int, last: float = 0.5) -> list[float]:
    """p_l = 1 - l / L * (1 - p_L) for l = 1 to L = `blocks` (Huang et al. 2016, equation 4); `last` is p_L.

    These are probabilities of keeping a block; `stochastic_depth` takes that of dropping it, 1 - p_l.
    """
    if isinstance(blocks, bool) or not isinstance(blocks, int) or blocks < 0:
        raise ValueError(f"linear_survival: expected blocks to be an integer of at least 0, got {blocks!r}")
    if not 0.0 <= last <= 1.0:
        raise ValueError(f"linear_survival: expected last between 0 and 1, got {last}")
    return [1.0 - block / blocks * (1.0 - last) for block in range(1, blocks + 1)]


class _ShakeShake(Function):
    """y = a x1 + (1 - a) x2 with dx1 = b dy, dx2 = (1 - b) dy, where b need not be a."""

    @staticmethod
    def forward(ctx: Any, x1: Tensor, x2: Tensor, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(b)
        return x1 * a + x2 * (1.0 - a)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (b,) = ctx.saved_tensors
        dx1 = dy * b if ctx.needs_input_grad[0] else None
        return dx1, dy * (1.0 - b) if ctx.needs_input_grad[1] else None, None, None


def shake_shake(
    x1: Tensor, x2: Tensor, forward: str = "shake", backward: str = "shake", level: str = "image", training: bool = True
) -> Tensor:
    """a x1 + (1 - a) x2 with a from U(0, 1); the gradients of x1 and x2 are b dy and (1 - b) dy (Gastaldi 2017,
    equation 2).

    Args:
        x1, x2: two branches of one shape, (N, ...).
        forward: "shake" draws a, "even" is a = 1/2.
        backward: "shake" draws b anew, "even" is b = 1/2, "keep" is b = a.
        level: "image" draws for each sample, "batch" once for all.
        training: False is a = b = 1/2.
    """
    _expect_name("shake_shake", "forward", forward, ("shake", "even"))
    _expect_name("shake_shake", "backward", backward, ("shake", "even", "keep"))
    _expect_name("shake_shake", "level", level, _LEVELS)
    _expect_floating("shake_shake", "x1", x1)
    _expect_alike("shake_shake", x1=x1, x2=x2)
    shape = _per_sample("shake_shake", x1, level == "image")

    def coefficient(rule: str) -> Tensor:
        like = {"dtype": x1.dtype, "device": x1.device}
        return creation.rand(shape, **like) if rule == "shake" and training else creation.full(shape, 0.5, **like)

    a = coefficient(forward)
    b = a if backward == "keep" else coefficient(backward)
    return _ShakeShake.apply(x1, x2, a, b)


@rounded_once
def gated_sum(
    shortcut: Tensor, branch: Tensor, gate: Tensor, mode: str = "exclusive", activation: str | None = None
) -> Tensor:
    """A sum whose shares g = sigmoid(gate) decides (Srivastava et al. 2015, equation 3; He et al. 2016b, section 3.1).

    Args:
        shortcut, branch: of one shape.
        gate: before the sigmoid, of a shape that broadcasts to theirs.
        mode: "exclusive" is (1 - g) shortcut + g branch, "shortcut" is (1 - g) shortcut + branch.
        activation: of the sum, as of `residual_add`.
    """
    _expect_name("gated_sum", "mode", mode, _GATES)
    _expect_alike("gated_sum", shortcut=shortcut, branch=branch)
    g = _core.sigmoid(gate)
    if any(n not in (1, m) for n, m in zip_longest(reversed(g.shape), reversed(branch.shape), fillvalue=1)):
        got = f"{tuple(g.shape)} and {tuple(branch.shape)}"
        raise _core.ShapeError(f"gated_sum: expected gate to broadcast to branch, got {got}")
    share = branch * g if mode == "exclusive" else branch
    return _core.residual_add(shortcut * (1.0 - g), share, activation=activation)


def drop_connect(weight: Tensor, p: float = 0.5, training: bool = True, samples: int | None = None) -> Tensor:
    """M / (1 - p) * W, with each element of M 0 with probability p and 1 otherwise (Wan et al. 2013, equation 2).

    Args:
        weight: W.
        p: the probability of dropping a weight.
        training: False returns the weight, as it is the expectation.
        samples: None for one mask; a number N for a result (N, *weight.shape) with a mask for each sample.
    """
    _expect_probability("drop_connect", p)
    _expect_floating("drop_connect", "weight", weight)
    if samples is not None:
        weight = weight.unsqueeze(0).expand(samples, *weight.shape)
    return _core.dropout(weight, p, True) if training else weight


def _axes_of(input: Tensor, axes: Any) -> tuple[int, ...]:
    given = (axes,) if isinstance(axes, int) else tuple(axes)
    dims = input.dim()
    for axis in given:
        if not -dims <= axis < dims:
            wanted = f"expected {-dims} to {dims - 1}"
            raise IndexError(f"axis_norm: axis {axis} is out of range for {dims} dimensions ({wanted})")
    found = tuple(sorted({axis % dims for axis in given}))
    if not found or len(found) != len(given):
        raise ValueError(f"axis_norm: expected axes that differ, at least one, got {axes}")
    return found


@rounded_once
def axis_norm(
    input: Tensor,
    axes: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    groups: int = 1,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias with mean and biased variance over any `axes` of (N, C, ...) input.

    Axes (1, 2, 3) of an image are layer normalization (Ba et al. 2016), (2, 3) instance normalization (Ulyanov et al.
    2016), (1, 2, 3) with `groups` group normalization (Wu and He 2018, figure 2), (0, 2, 3) batch normalization without
    running statistics (Ioffe and Szegedy 2015), and 1 alone normalizes the channels of each pixel.

    Args:
        axes: one or more; negative ones count from the end.
        weight, bias: one value per channel (dim 1), or None.
        groups: how many groups of channels are normalized each by itself; needs axis 1.
    """
    _expect_floating("axis_norm", "input", input)
    if input.dim() < 2:
        got = tuple(input.shape)
        raise _core.ShapeError(f"axis_norm: expected input (N, C, ...) of at least 2 dimensions, got {got}")
    over = _axes_of(input, axes)
    channels = input.shape[1]
    if groups < 1 or channels % groups != 0 or (groups > 1 and 1 not in over):
        raise ValueError(
            f"axis_norm: expected groups to divide the {channels} channels, and axis 1 among the axes, got groups "
            f"{groups} and axes {over}"
        )
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and tuple(t.shape) != (channels,):
            raise _core.ShapeError(
                f"axis_norm: expected {name} of shape ({channels},) (one value per channel of input "
                f"{tuple(input.shape)}), got {tuple(t.shape)}"
            )
    shape = tuple(input.shape)
    x = input.reshape(shape[0], groups, channels // groups, *shape[2:])
    inner = [axis + (axis > 0) for axis in over]
    outer = [axis for axis in range(x.dim()) if axis not in inner]
    order = outer + inner
    moved = x.permute(*order)
    normal = _core.layer_norm(moved, tuple(moved.shape[len(outer) :]), None, None, eps)
    back = sorted(range(len(order)), key=order.__getitem__)
    y = normal.permute(*back).reshape(shape)
    row = (channels, *(1,) * (len(shape) - 2))
    y = y if weight is None else y * weight.reshape(row)
    return y if bias is None else y + bias.reshape(row)
