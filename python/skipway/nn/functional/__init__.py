"""Every layer as a function, with PyTorch's names, arguments and defaults.

Most are C++ functions of `skipway._core`; what is written in Python here composes those.
"""

from ._activation import *  # noqa: F403
from ._layers import *  # noqa: F403
from ._loss import *  # noqa: F403
from ._loss import _legacy_reduction as _legacy_reduction
from ._residual import *  # noqa: F403
from ._vision import *  # noqa: F403
