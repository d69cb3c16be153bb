"""Saving and loading: tensors and the structure around them, as safetensors files, never as pickles."""

from .checkpoint import LoadError, load, save

__all__ = ["LoadError", "load", "save"]
