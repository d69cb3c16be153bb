"""Saving and loading: tensors and the structure around them, as safetensors files, never as pickles. Files of
torch.save are read too, without unpickling them."""

from .checkpoint import load, save
from .errors import LoadError

__all__ = ["LoadError", "load", "save"]
