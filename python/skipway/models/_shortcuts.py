"""The shortcuts and orders of activations that He et al. 2016b ("Identity mappings in deep residual networks",
https://arxiv.org/abs/1603.05027) compare on ResNet-110, as blocks of two 3x3 convolutions."""

from __future__ import annotations

from typing import Any

import skipway.nn.functional as F
from skipway import nn

from ._blocks import PadShortcut, conv1x1, conv3x3, make_norm, norm_act

# What may be said -> what it is.
SHORTCUTS: dict[Any, str] = {
    "identity": "identity", "pad": "identity", "A": "identity", "conv": "conv", "B": "conv", "scaling": "scaling",
    "exclusive-gating": "exclusive-gating", "shortcut-gating": "shortcut-gating", "conv1x1": "conv1x1",
    "dropout": "dropout", "none": "none", None: "none",
}  # fmt: skip
BLOCKS = ("original", "bn-after-add", "relu-before-add", "relu-only-preact", "full-preact")
_GATE_BIAS = {"exclusive-gating": -6.0, "shortcut-gating": 0.0}  # of the published errors, table 1


def make_shortcut(
    kind: str, inplanes: int, planes: int, stride: int, norm_layer: Any, preact: bool = False
) -> nn.Module | None:
    """The module on the way around a block; None where that is the identity, or where there is no way."""
    fits = stride == 1 and inplanes == planes
    if kind == "none" or (fits and kind not in ("conv1x1", "dropout")):
        return None
    if kind in ("conv", "conv1x1"):
        layers = [conv1x1(inplanes, planes, stride)]
        return nn.Sequential(*layers, *([] if preact else [make_norm(norm_layer, planes)]))
    around: nn.Module | None = None if fits else PadShortcut(planes - inplanes, stride)
    if kind != "dropout":
        return around
    return nn.Sequential(*([] if around is None else [around]), nn.Dropout(0.5))


class ShortcutBlock(nn.Module):
    """A block of two 3x3 convolutions with any shortcut and any order of activations (He et al. 2016b).

    With h the shortcut, F the two convolutions and g = sigmoid(W x + b) a 1x1 convolution (section 3.1):

    - ``identity``: h(x) + F(x), where the shape changes h is option A;  ``conv``: there it is a projection, option B
    - ``scaling``: 0.5 h(x) + 0.5 F(x)
    - ``exclusive-gating``: (1 - g) h(x) + g F(x);  ``shortcut-gating``: (1 - g) h(x) + F(x)
    - ``conv1x1``: h is a 1x1 convolution in every block;  ``dropout``: h(x) with half of its elements dropped
    - ``none``: F(x), a plain network

    and the orders of figure 4: ``original`` conv BN ReLU conv BN + ReLU; ``bn-after-add`` conv BN ReLU conv + BN ReLU;
    ``relu-before-add`` conv BN ReLU conv BN ReLU +; ``relu-only-preact`` ReLU conv BN ReLU conv BN +; ``full-preact``
    BN ReLU conv BN ReLU conv +.

    Args:
        inplanes, planes, stride: channels in and out, and the stride of the first convolution.
        shortcut, block: names as above.
        norm_layer: ``norm_layer(channels)``, BatchNorm2d by default.
        gate_bias: where b starts: None is -6 for exclusive gating and 0 for shortcut-only gating.
        share: the shortcut reads what the first convolution of a pre-activation block reads, rather than x; None: where
            the shape changes.
    """

    expansion: int = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        shortcut: str | None = "identity",
        block: str = "full-preact",
        norm_layer: Any = None,
        gate_bias: float | None = None,
        share: bool | None = None,
    ) -> None:
        super().__init__()
        self.shortcut, self.block = check_names("ShortcutBlock", shortcut, block)
        full = block == "full-preact"
        changes = stride != 1 or inplanes != planes
        self.share = changes if share is None else share
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = make_norm(norm_layer, inplanes if full else planes, "relu")
        self.conv2 = conv3x3(planes, planes)
        self.one_op = block == "original" and self.shortcut in ("identity", "conv", "conv1x1", "dropout", "none")
        after = self.one_op or block not in ("original", "relu-only-preact")
        self.bn2 = make_norm(norm_layer, planes, "relu" if after else None)
        self.downsample = make_shortcut(self.shortcut, inplanes, planes, stride, norm_layer, full)
        self.gate: nn.Module | None = None
        if self.shortcut in _GATE_BIAS:
            gate = nn.Conv2d(inplanes, planes, 1, stride=stride)
            nn.init.constant_(gate.bias, _GATE_BIAS[self.shortcut] if gate_bias is None else gate_bias)
            self.gate = gate

    @property
    def last_norm(self) -> nn.Module | None:
        """The normalization that ends the branch, if there is a way around it and no activation behind it: at weight 0
        the block is the shortcut, and still learns."""
        ends = self.block in ("original", "relu-only-preact") and self.shortcut != "none"
        return self.bn2 if ends else None

    def forward(self, x: Any) -> Any:
        if self.block == "full-preact":
            ready = norm_act(self.bn1, x)
            out = self.conv2(norm_act(self.bn2, self.conv1(ready)))
        else:
            ready = F.relu(x) if self.block == "relu-only-preact" else x
            out = self.conv2(norm_act(self.bn1, self.conv1(ready)))
        source = ready if self.share else x
        around = None
        if self.shortcut != "none":
            around = source if self.downsample is None else self.downsample(source)
        if self.one_op:
            return norm_act(self.bn2, out, around)
        if self.block == "bn-after-add":
            return norm_act(self.bn2, self._join(source, around, out))
        if self.block == "relu-before-add":
            out = norm_act(self.bn2, out)
        elif self.block != "full-preact":
            out = self.bn2(out)
        return self._join(source, around, out, "relu" if self.block == "original" else None)

    def _join(self, source: Any, around: Any, branch: Any, activation: str | None = None) -> Any:
        if around is None:
            return branch
        if self.gate is not None:
            mode = "exclusive" if self.shortcut == "exclusive-gating" else "shortcut"
            return F.gated_sum(around, branch, self.gate(source), mode, activation)
        if self.shortcut == "scaling":
            return F.residual_add(around * 0.5, branch, 0.5, activation)
        return F.residual_add(around, branch, activation=activation)

    def extra_repr(self) -> str:
        return f"shortcut={self.shortcut!r}, block={self.block!r}"


def check_names(who: str, shortcut: Any, block: str) -> tuple[str, str]:
    """The shortcut's canonical name and the block's; ValueError that lists the names for any other."""
    if not isinstance(shortcut, (str, type(None))) or shortcut not in SHORTCUTS:
        known = ", ".join(repr(name) for name in SHORTCUTS)
        raise ValueError(f"{who}: shortcut must be one of {known}, got {shortcut!r}")
    if block not in BLOCKS:
        raise ValueError(f"{who}: block must be one of {', '.join(map(repr, BLOCKS))}, got {block!r}")
    return SHORTCUTS[shortcut], block
