"""What every op computes, in NumPy and float64: the formulas, written to be read and compared with.

    y = reference.layer_norm(x, (8,), weight, bias)
    dx, dweight, dbias = reference.layer_norm_backward(dy, x, (8,), weight, bias)

Conventions:

- A function has the name and the arguments of the op in `skipway.nn.functional` (or `skipway`), takes anything that
  NumPy makes an array of, computes in float64 and returns arrays (indices: int64, comparisons: bool).
- `<op>_backward(dy, ...)` takes the gradient of the result, then the same arguments as the forward function, and
  returns a tuple: the gradient of each floating argument in the order of the arguments, None for one that was None. Its
  docstring names them. An op with several results (`split`) takes the sequence of their gradients; one that returns
  (values, indices) takes that of the values.
- Constants of an op have no gradient: running statistics, class weights, targets of classification losses.
- Randomness is an argument: `dropout` takes the mask.

Nothing here uses the library's own kernels, so that the two check each other.
"""

# ruff: noqa: F403 (each family's module defines ops and little else; __all__ below leaves out what is not one)
from types import FunctionType as _FunctionType

import numpy as _np

from .activation import *
from .conv import *
from .distance import *
from .elementwise import *
from .index import *
from .linear import *
from .loss import *
from .margin_loss import *
from .norm import *
from .pool import *
from .reduction import *
from .resample import *
from .residual import *
from .shape import *
from .softmax import *
from .views import *

_HELPERS = (
    "f64",
    "unbroadcast",
    "axes_of",
    "per_axis",
    "reduce_loss",
    "spread_loss",
    "erf_of",
    "sigmoid_of",
    "put_back",
)
__all__ = sorted(  # noqa: PLE0605
    name
    for name, value in globals().items()
    if isinstance(value, (_FunctionType, _np.ufunc))
    and name[0] != "_"
    and name not in (*_HELPERS, "activate", "activate_backward")
)


def __dir__() -> list[str]:
    return __all__
