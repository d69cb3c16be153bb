"""Does backward agree with central differences?"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .reference._common import Array


class GradcheckError(RuntimeError):
    """A gradient that backward computed is not the derivative."""


@dataclass
class _Worst:
    """The element whose gradient is farthest off, and how far, in units of its tolerance."""

    excess: float = 0.0
    which: int = 0
    index: tuple[int, ...] = ()
    output: int = 0


def gradcheck(
    fn: Callable[..., Any],
    inputs: Any,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Compares the gradients of `fn(*inputs)` with (f(x + eps) - f(x - eps)) / (2 eps), element by element.

    fn: a function of tensors, or an `nn.Module`, whose parameters are then checked as well (a copy of it is used). It
        returns a tensor or a tuple of tensors; each floating one is weighted with fixed random numbers and summed, and
        the sum is differentiated.
    inputs: a tensor or a tuple of tensors, other values, and lists of tensors. Floating tensors are moved to float64;
        gradients are checked for those that require grad.
    eps: the step, in the units of the inputs.
    atol, rtol: |analytic - numeric| may be atol + rtol * |numeric|.
    raise_exception: False returns False for a wrong gradient instead of raising.

    Returns True if all agree. Raises GradcheckError naming the worst element (input or parameter, index, the element of
    the output that is most affected, analytic and numeric value), ValueError if nothing requires grad or fn gives two
    results for the same inputs (switch dropout off). At a kink, where the slopes on the two sides differ at any step,
    there is no derivative: the element is left out, and a warning counts them.
    """
    check = _Check(fn, inputs if isinstance(inputs, (tuple, list)) else (inputs,), eps, atol, rtol)
    worst, kinks = check.run()
    if kinks:
        shown = ", ".join(kinks[:3]) + (", ..." if len(kinks) > 3 else "")
        warnings.warn(f"gradcheck: left out {len(kinks)} element(s) at a kink: {shown}", stacklevel=2)
    if worst.excess > 1.0:
        if raise_exception:
            raise GradcheckError(check.explain(worst))
        return False
    return True


class _Check:
    def __init__(self, fn: Callable[..., Any], inputs: Any, eps: float, atol: float, rtol: float) -> None:
        import skipway as sw

        self.sw: Any = sw
        self.eps, self.atol, self.rtol = eps, atol, rtol
        self.checked: list[tuple[str, Any]] = []  # (name, leaf that requires grad)
        self.fn: Any = copy.deepcopy(fn).double() if isinstance(fn, sw.nn.Module) else fn
        self.inputs = [self._leaf(value, f"input {i}") for i, value in enumerate(inputs)]
        model: Any = self.fn
        if isinstance(fn, sw.nn.Module):
            self.checked += [(f"parameter {n}", p) for n, p in model.named_parameters() if p.requires_grad]
        if not self.checked:
            raise ValueError("gradcheck: expected an input or a parameter that requires grad, got none")

    def _leaf(self, value: Any, name: str) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(self._leaf(v, f"{name}[{i}]") for i, v in enumerate(value))
        if not isinstance(value, self.sw.Tensor) or not value.is_floating_point():
            return value
        leaf = value.detach().to(self.sw.float64).clone()
        if value.requires_grad:
            leaf.requires_grad_()
            self.checked.append((name, leaf))
        return leaf

    def _outputs(self) -> list[Any]:
        result = self.fn(*self.inputs)
        results = result if isinstance(result, (list, tuple)) else [result]
        return [y for y in results if isinstance(y, self.sw.Tensor) and y.is_floating_point()]

    def _values(self) -> list[Array]:
        with self.sw.no_grad():
            return [_numpy(y) for y in self._outputs()]

    def run(self) -> tuple[_Worst, list[str]]:
        centre = self._values()
        if not centre:
            raise ValueError("gradcheck: expected fn to return a floating tensor, got none")
        for first, second in zip(centre, self._values(), strict=True):
            if not np.array_equal(first, second, equal_nan=True):
                raise ValueError(
                    "gradcheck: fn gave two results for the same inputs; switch off dropout or fix the seed"
                )
        rng = np.random.default_rng(0)
        weights = [np.asarray(rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1.0, 1.0], y.shape)) for y in centre]
        analytic = [self._analytic(number, weights[number]) for number in range(len(centre))]
        worst, kinks = _Worst(), []
        for which, (name, leaf) in enumerate(self.checked):
            for index, slopes in self._slopes(leaf, centre, weights, self.eps):
                for number, (ahead, behind) in enumerate(slopes):
                    value, numeric = float(analytic[number][which][index]), 0.5 * (ahead + behind)
                    allowed = self.atol + self.rtol * abs(numeric)
                    excess = abs(value - numeric) / allowed
                    if excess <= 1.0:
                        continue
                    if abs(ahead - behind) > allowed and self._is_kink(
                        leaf, index, number, centre, weights, ahead - behind
                    ):
                        kinks.append(f"{name}, index {index}")
                    elif not excess <= worst.excess:
                        worst = _Worst(np.inf if np.isnan(excess) else excess, which, index, number)
        return worst, kinks

    def explain(self, worst: _Worst) -> str:
        """Names the element of the output whose own derivative is farthest off (of the first thousand)."""
        name, leaf = self.checked[worst.which]
        centre = self._values()
        units = [np.zeros(y.shape) for y in centre]
        found = (-1.0, "")
        for at in itertools.islice(np.ndindex(centre[worst.output].shape), 1000):
            units[worst.output][at] = 1.0
            _, slopes = next(self._slopes(leaf, centre, units, self.eps, worst.index))
            numeric = 0.5 * sum(slopes[worst.output])
            analytic = float(self._analytic(worst.output, units[worst.output])[worst.which][worst.index])
            units[worst.output][at] = 0.0
            gap = abs(analytic - numeric)
            if not gap <= found[0]:
                found = (np.inf if np.isnan(gap) else gap, f"analytic {analytic:.9g}, numeric {numeric:.9g}")
                place = at
        return f"gradcheck: {name}, index {worst.index}, output {worst.output} at {place}: {found[1]}"

    def _analytic(self, number: int, weight: Array) -> list[Array]:
        """d(sum of weight * output `number`) / d(each checked leaf), by backward."""
        leaves = [leaf for _, leaf in self.checked]
        output = self._outputs()[number]
        zeros = [np.zeros(tuple(leaf.shape)) for leaf in leaves]
        if not output.requires_grad:
            return zeros
        dy = self.sw.from_numpy(np.asarray(weight).reshape(tuple(output.shape))).to(output.device)
        grads = self.sw.autograd.grad([output], leaves, [dy], allow_unused=True)
        return [z if g is None else _numpy(g) for g, z in zip(grads, zeros, strict=True)]

    def _slopes(
        self, leaf: Any, centre: list[Array], weights: list[Array], eps: float, only: tuple[int, ...] | None = None
    ) -> Iterator[tuple[tuple[int, ...], list[tuple[float, float]]]]:
        """For each index of leaf, and each output, the slopes ahead of the point and behind it."""
        start = _numpy(leaf)
        for index in [only] if only is not None else np.ndindex(start.shape):
            slopes = []
            for step in (eps, -eps):
                moved = start.copy()
                moved[index] += step
                self._set(leaf, moved)
                change = zip(weights, self._values(), centre, strict=True)
                slopes.append([float((w * (y - c)).sum()) / step for w, y, c in change])
            self._set(leaf, start)
            yield index, list(zip(*slopes, strict=True))

    def _is_kink(
        self, leaf: Any, index: tuple[int, ...], output: int, centre: list[Array], weights: list[Array], gap: float
    ) -> bool:
        """With a tenth of the step the gap between the slopes of a smooth function falls to a tenth; that of a kink
        stays, and that of a jump grows."""
        _, slopes = next(self._slopes(leaf, centre, weights, 0.1 * self.eps, index))
        ahead, behind = slopes[output]
        return abs(ahead - behind) > 0.5 * abs(gap)

    def _set(self, leaf: Any, values: Array) -> None:
        with self.sw.no_grad():
            leaf.copy_(self.sw.from_numpy(values))


def _numpy(tensor: Any) -> Array:
    return np.array(tensor.detach().to("cpu").numpy(), dtype=np.float64)  # a copy: it may be a view of an input
