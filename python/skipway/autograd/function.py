"""Function: an op whose forward and backward are written in Python."""

from __future__ import annotations

from typing import Any

from .. import _core
from .._core import Tensor


class FunctionCtx:
    """What a `Function` keeps from its forward for its backward; any attribute may be set on it."""

    needs_input_grad: tuple[bool, ...] = ()

    def __init__(self) -> None:
        self._saved: tuple[Tensor | None, ...] = ()
        self._versions: tuple[int, ...] = ()
        self._not_differentiable: set[int] = set()
        self._materialize = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps inputs, outputs or intermediate tensors; changing one in place before backward is an error."""
        # Without history: an output that knew its own node would keep itself alive.
        self._saved = tuple(None if t is None else t.detach() for t in tensors)

    def save_for_forward(self, *tensors: Tensor) -> None:
        """Accepted; forward-mode differentiation does not exist here."""

    def _seal(self) -> None:
        self._versions = tuple(-1 if t is None else t._version for t in self._saved)

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What `save_for_backward` got."""
        for t, version in zip(self._saved, self._versions, strict=False):
            if t is not None and t._version != version:
                raise RuntimeError(
                    f"saved_tensors: a tensor of shape {tuple(t.shape)} saved for backward was changed in place "
                    f"afterwards (version {t._version}, saved at version {version})"
                )
        return self._saved

    saved_variables = saved_tensors

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Accepted: inputs that forward changes in place and returns."""

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """These outputs have no gradient."""
        self._not_differentiable.update(id(t) for t in tensors)

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward sees zeros (True, the default) or None for outputs that nothing used."""
        self._materialize = value


BackwardCFunction = FunctionCtx


def _zeros(shape: tuple[int, ...], dtype: Any) -> Tensor:
    return _core.empty(shape, dtype=dtype).zero_()


class Function:
    """An op of one's own: subclass with static methods `forward(ctx, *args)` and `backward(ctx, *grads)`.

    `backward` returns one gradient (or None) per argument of `forward`. Call it as `MyFunction.apply(*args)`.
    A separate `setup_context(ctx, inputs, output)` beside a `forward(*args)` works too.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the output; recording is off."""
        raise NotImplementedError("a Function must define the static method forward")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Saves what backward needs, where `forward` does not take `ctx`."""
        raise NotImplementedError("setup_context is not defined")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Computes the gradients of the arguments."""
        raise NotImplementedError("a Function must define the static method backward to be differentiated")

    vjp = backward

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Runs `forward` and records `backward`."""
        ctx = FunctionCtx()
        places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        record = _core.is_grad_enabled() and any(ctx.needs_input_grad)
        before = _core.is_grad_enabled()
        _core._set_grad_enabled(False)
        try:
            if cls.setup_context is not Function.setup_context:
                result = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args, **kwargs)
        finally:
            _core._set_grad_enabled(before)
        ctx._seal()

        single = not isinstance(result, (tuple, list))
        given = [result] if single else list(result)
        inputs = {id(args[i]) for i in places}
        # An input handed through becomes an output of its own.
        outputs = [o.detach() if isinstance(o, Tensor) and id(o) in inputs else o for o in given]
        if record:
            tracked = [
                i
                for i, (o, g) in enumerate(zip(outputs, given, strict=False))
                if isinstance(o, Tensor) and o.is_floating_point() and id(g) not in ctx._not_differentiable
            ]
            if tracked:
                cls._record(ctx, [args[i] for i in places], places, len(args), [outputs[i] for i in tracked], tracked)
                ctx._shapes = [  # type: ignore[attr-defined]
                    (tuple(o.shape), o.dtype) if isinstance(o, Tensor) else None for o in outputs
                ]
        if single:
            return outputs[0]
        return tuple(outputs)

    @classmethod
    def _record(
        cls,
        ctx: Any,
        inputs: list[Tensor],
        places: list[int],
        arguments: int,
        outputs: list[Tensor],
        tracked: list[int],
    ) -> None:
        def run(*grads: Tensor | None) -> tuple[Any, ...]:
            full: list[Any] = [None] * len(ctx._shapes)
            for i, grad in zip(tracked, grads, strict=False):
                full[i] = grad
            if ctx._materialize:
                for i, known in enumerate(ctx._shapes):
                    if full[i] is None and known is not None:
                        full[i] = _zeros(*known)
            found = cls.backward(ctx, *full)
            found = found if isinstance(found, (tuple, list)) else (found,)
            if len(found) > arguments and all(g is None for g in found[arguments:]):
                found = found[:arguments]
            if len(found) != arguments:
                raise RuntimeError(
                    f"{cls.__name__}: backward returned {len(found)} gradients for {arguments} arguments of forward"
                )
            return tuple(cls._checked(found[i], inputs_meta[k]) for k, i in enumerate(places))

        inputs_meta = [(tuple(t.shape), t.dtype, t.requires_grad) for t in inputs]
        _core._record_python(cls.__name__ + "Backward", outputs, inputs, run)

    @classmethod
    def _checked(cls, grad: Any, meta: tuple[tuple[int, ...], Any, bool]) -> Any:
        shape, dtype, needed = meta
        if grad is None or not needed:
            return None
        if tuple(grad.shape) != shape:
            raise _core.ShapeError(
                f"{cls.__name__}: backward returned a gradient of shape {tuple(grad.shape)} for an input of "
                f"shape {shape}"
            )
        return grad if grad.dtype == dtype else grad.to(dtype)


def once_differentiable(function: Any) -> Any:
    """Returns the function: no backward here is differentiable twice."""
    return function
