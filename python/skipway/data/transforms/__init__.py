"""Image transforms with torchvision's names and arguments.

They take Pillow images, NumPy arrays (H, W) or (H, W, C), and tensors (..., C, H, W), and give back the same kind,
except where the name says otherwise. Random choices come from the library's global generator (``skipway.manual_seed``).
``skipway.data.batch`` has versions that work on whole batches at once.
"""

from .basic import Compose, Lambda, Normalize, PILToTensor, RandomApply, RandomChoice, ToPILImage, ToTensor
from .content import ColorJitter, Cutout, GaussianNoise, Grayscale, RandomErasing, RandomGrayscale
from .geometry import (
    CenterCrop,
    FiveCrop,
    InterpolationMode,
    Pad,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
)

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "Cutout",
    "FiveCrop",
    "GaussianNoise",
    "Grayscale",
    "InterpolationMode",
    "Lambda",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandomApply",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "ToPILImage",
    "ToTensor",
]
