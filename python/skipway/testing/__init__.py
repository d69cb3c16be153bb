"""Tools to check gradients and results: `gradcheck` and the NumPy references."""

from . import reference
from .gradcheck import GradcheckError, gradcheck

__all__ = ["GradcheckError", "gradcheck", "reference"]
