"""LeNet-5 (LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B)."""

from __future__ import annotations

from typing import Any

from skipway import nn

from ._blocks import refuse_weights

_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "sigmoid": nn.Sigmoid}


class LeNet5(nn.Module):
    """LeNet-5 in its usual simplified form (LeCun et al. 1998, figure 2): C1 6@5x5, S2, C3 16@5x5, S4, C5 120, F6 84.

    Against the paper: S2 and S4 are plain average pooling without a trainable scale, C3 sees all six maps, and the
    output is a linear layer instead of radial basis functions: 61,706 parameters with 10 classes and 1 channel.

    Args:
        num_classes: outputs.
        in_channels: of the images.
        activation: "tanh" (the paper's, up to its scale 1.7159), "relu" or "sigmoid".
        padding: of C1: 2 makes a 28x28 image the paper's 32x32 one; 0 for images that are 32x32 already.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, activation: str = "tanh", padding: int = 2) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            known = ", ".join(map(repr, _ACTIVATIONS))
            raise ValueError(f"LeNet5: activation must be one of {known}, got {activation!r}")
        act = _ACTIVATIONS[activation]
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=padding), act(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5), act(), nn.AvgPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(16 * 5 * 5, 120), act(), nn.Linear(120, 84), act(), nn.Linear(84, num_classes)
        )

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x))


def lenet5(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> LeNet5:
    """LeNet-5 (LeCun et al. 1998, figure 2): 61,706 parameters, for 28x28 images; arguments of `LeNet5`."""
    refuse_weights("lenet5", weights)
    return LeNet5(**kwargs)
