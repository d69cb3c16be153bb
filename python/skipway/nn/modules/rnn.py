"""Recurrent layers, composed of linear maps and activations step by step."""

from __future__ import annotations

import math
from typing import Any

from ... import _core
from ... import _creation as creation
from ..._core import Tensor
from .. import functional as F
from .. import init
from ..parameter import Parameter
from ._checks import expect_number, expect_option, expect_whole
from .module import Module

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
_MOST_LAYERS = 65536  # each has tensors of its own: more would take minutes to make
_NONLINEARITIES = ("tanh", "relu")


def _step(mode: str, gi: Tensor, h: Tensor, c: Tensor | None, w_hh: Tensor, b_hh: Any) -> tuple[Tensor, Any]:
    """One time step from the projected input `gi` and the state; returns the new h and c."""
    gh = F.linear(h, w_hh, b_hh)
    if mode == "LSTM":
        i, f, g, o = (gi + gh).chunk(4, -1)
        c = _core.sigmoid(f) * c + _core.sigmoid(i) * _core.tanh(g)
        return _core.sigmoid(o) * _core.tanh(c), c
    if mode == "GRU":
        ri, zi, ni = gi.chunk(3, -1)
        rh, zh, nh = gh.chunk(3, -1)
        z = _core.sigmoid(zi + zh)
        n = _core.tanh(ni + _core.sigmoid(ri + rh) * nh)
        return (1 - z) * n + z * h, None
    return (_core.tanh(gi + gh) if mode == "RNN_TANH" else _core.relu(gi + gh)), None


def _expect_states(mode: str, states: Any, shape: tuple[int, ...]) -> None:
    """The states that were given as `hx`: tensors of one shape, two for an LSTM."""
    name, wanted = mode.lower(), 2 if mode == "LSTM" else 1
    if not isinstance(states, (tuple, list)) or len(states) != wanted:
        raise TypeError(f"{name}: expected hx to be a tuple (h, c) of tensors, got {states!r:.80}")
    for state in states:
        if not isinstance(state, Tensor):
            raise TypeError(f"{name}: expected hx to be a tensor of shape {shape}, got {state!r:.80}")
        if tuple(state.shape) != shape:
            raise _core.ShapeError(f"{name}: expected hx of shape {shape}, got {tuple(state.shape)}")


class RNNBase(Module):
    """Layers of recurrent cells, one or two directions; input (L, N, H), (N, L, H) with `batch_first`, or (L, H)."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        expect_option(self, _GATES, mode=mode)
        expect_whole(self, 0, input_size=input_size)
        expect_whole(self, 1, hidden_size=hidden_size, num_layers=num_layers)
        if num_layers > _MOST_LAYERS:
            raise ValueError(
                f"{type(self).__name__}: expected num_layers to be at most {_MOST_LAYERS}, got {num_layers}"
            )
        expect_number(self, least=0, most=1, dropout=dropout)
        if proj_size != 0:
            raise ValueError(f"{type(self).__name__}: expected proj_size 0 (no other is supported), got {proj_size}")
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        rows = _GATES[mode] * hidden_size
        directions = 2 if bidirectional else 1
        for layer in range(num_layers):
            for direction in range(directions):
                columns = input_size if layer == 0 else hidden_size * directions
                suffix = self._suffix(layer, direction)
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, columns), "weight_hh": (rows, hidden_size)}
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                for name, shape in shapes.items():
                    setattr(self, name + suffix, Parameter(creation.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    @staticmethod
    def _suffix(layer: int, direction: int) -> str:
        return f"_l{layer}" + ("_reverse" if direction else "")

    def reset_parameters(self) -> None:
        """All uniform in +-1/sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Does nothing: weights need no packing."""

    def _run(self, x: Tensor, h: Tensor, c: Tensor | None, layer: int, direction: int) -> tuple[Tensor, Tensor, Any]:
        """One layer, one direction over x (L, N, H)."""
        suffix = self._suffix(layer, direction)
        b_ih, b_hh = (getattr(self, n + suffix) if self.bias else None for n in ("bias_ih", "bias_hh"))
        w_hh = getattr(self, "weight_hh" + suffix)
        projected = F.linear(x, getattr(self, "weight_ih" + suffix), b_ih)
        steps = range(x.shape[0])
        outputs = []
        for t in reversed(steps) if direction else steps:
            h, c = _step(self.mode, projected[t], h, c, w_hh, b_hh)
            outputs.append(h)
        if direction:
            outputs.reverse()
        return _core.stack(outputs, 0), h, c

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        if input.dim() not in (2, 3) or input.shape[-1] != self.input_size:
            raise _core.ShapeError(
                f"{self.mode.lower()}: expected 2D or 3D input with {self.input_size} features (dim -1), "
                f"got {tuple(input.shape)}"
            )
        batched = input.dim() == 3
        if input.shape[1 if batched and self.batch_first else 0] == 0:
            raise _core.ShapeError(f"{self.mode.lower()}: expected at least one time step, got {tuple(input.shape)}")
        x = input.unsqueeze(1) if not batched else input.transpose(0, 1) if self.batch_first else input
        lstm = self.mode == "LSTM"
        states = self._initial(x, hx, batched)
        directions = 2 if self.bidirectional else 1
        finals: list[list[Tensor]] = [[], []]
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                at = layer * directions + direction
                y, h, c = self._run(x, states[0][at], states[1][at] if lstm else None, layer, direction)
                outputs.append(y)
                finals[0].append(h)
                finals[1].append(c)
            x = outputs[0] if directions == 1 else _core.cat(outputs, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        state = [_core.stack(parts, 0) for parts in (finals if lstm else finals[:1])]
        if not batched:
            x, state = x.squeeze(1), [s.squeeze(1) for s in state]
        elif self.batch_first:
            x = x.transpose(0, 1)
        return x, (tuple(state) if lstm else state[0])

    def _initial(self, x: Tensor, hx: Any, batched: bool) -> list[Tensor]:
        shape = (self.num_layers * (2 if self.bidirectional else 1), x.shape[1], self.hidden_size)
        if hx is None:
            zeros = creation.zeros(shape, dtype=x.dtype, device=x.device)
            return [zeros, zeros]
        states = hx if self.mode == "LSTM" else (hx,)
        _expect_states(self.mode, states, shape if batched else (shape[0], shape[2]))
        return list(states) if batched else [s.unsqueeze(1) for s in states]

    def extra_repr(self) -> str:
        s = f"{self.input_size}, {self.hidden_size}"
        if self.num_layers != 1:
            s += f", num_layers={self.num_layers}"
        if self.bias is not True:
            s += f", bias={self.bias}"
        if self.batch_first is not False:
            s += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            s += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            s += f", bidirectional={self.bidirectional}"
        return s


class RNN(RNNBase):
    """h = tanh(W x + b + U h + c), or relu (Elman 1990)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        expect_option("RNN", _NONLINEARITIES, nonlinearity=nonlinearity)
        mode = "RNN_" + nonlinearity.upper()
        rest = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__(mode, input_size, hidden_size, *rest, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gates: Gers et al. 2000)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        rest = (num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        super().__init__("LSTM", input_size, hidden_size, *rest, device=device, dtype=dtype)


class GRU(RNNBase):
    """Gated recurrent unit (Cho et al. 2014)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        rest = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__("GRU", input_size, hidden_size, *rest, device=device, dtype=dtype)


class RNNCellBase(Module):
    """One step of a recurrent layer."""

    _mode = ""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        expect_whole(self, 0, input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        self.weight_ih: Any = Parameter(creation.empty((rows, input_size), device=device, dtype=dtype))
        self.weight_hh: Any = Parameter(creation.empty((rows, hidden_size), device=device, dtype=dtype))
        self.bias_ih: Any
        self.bias_hh: Any
        if bias:
            self.bias_ih = Parameter(creation.empty(rows, device=device, dtype=dtype))
            self.bias_hh = Parameter(creation.empty(rows, device=device, dtype=dtype))
        else:
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """All uniform in +-1/sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _forward(self, input: Tensor, hx: Any) -> tuple[Tensor, Any]:
        if input.dim() not in (1, 2) or input.shape[-1] != self.input_size:
            raise _core.ShapeError(
                f"{self._mode.lower()}: expected 1D or 2D input with {self.input_size} features (dim -1), "
                f"got {tuple(input.shape)}"
            )
        shape = (*input.shape[:-1], self.hidden_size)
        if hx is None:
            zeros = creation.zeros(shape, dtype=input.dtype, device=input.device)
            hx = (zeros, zeros)
        else:
            _expect_states(self._mode, hx if self._mode == "LSTM" else hx[:1], shape)
        gi = F.linear(input, self.weight_ih, self.bias_ih)
        return _step(self._mode, gi, hx[0], hx[1], self.weight_hh, self.bias_hh)

    def extra_repr(self) -> str:
        s = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            s += f", bias={self.bias}"
        nonlinearity = getattr(self, "nonlinearity", "tanh")
        return s if nonlinearity == "tanh" else f"{s}, nonlinearity={nonlinearity}"


class RNNCell(RNNCellBase):
    """One step of `RNN`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        expect_option("RNNCell", _NONLINEARITIES, nonlinearity=nonlinearity)
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity
        self._mode = "RNN_" + nonlinearity.upper()

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._forward(input, None if hx is None else (hx, None))[0]


class LSTMCell(RNNCellBase):
    """One step of `LSTM`."""

    _mode = "LSTM"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Tensor]:
        return self._forward(input, hx)


class GRUCell(RNNCellBase):
    """One step of `GRU`."""

    _mode = "GRU"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._forward(input, None if hx is None else (hx, None))[0]
