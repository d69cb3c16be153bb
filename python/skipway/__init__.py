"""skipway: deep residual networks from hand-written kernels, under PyTorch's names.

    import skipway as sw
    from skipway import nn
    import skipway.nn.functional as F

Tensors, autograd, layers, optimizers, data and models; `import skipway as torch` runs model files and training scripts
written for PyTorch. What takes time to import (`data`, `models`, `testing`, ...) is imported at first use.
"""

from __future__ import annotations

import importlib as _importlib
import math as _math
import typing as _typing

from . import _core as _core

__version__ = "0.1.0"

# Every public function of the core; what is written in Python comes after and may replace it.
globals().update({name: value for name, value in vars(_core).items() if not name.startswith("_")})

from . import (  # noqa: E402
    _amp_state,
    _compositions,
    _creation,
    _dtype_info,
    _functions,
    _reductions,
    _tensor,
    _typed_tensors,
)
from . import autograd as autograd  # noqa: E402
from . import nn as nn  # noqa: E402
from . import optim as optim  # noqa: E402
from . import random as random  # noqa: E402
from . import utils as utils  # noqa: E402
from ._config import config as config  # noqa: E402
from ._config import show_config as show_config  # noqa: E402
from ._core import Tensor as Tensor  # noqa: E402
from ._repr import set_printoptions as set_printoptions  # noqa: E402
from .autograd import enable_grad as enable_grad  # noqa: E402
from .autograd import inference_mode as inference_mode  # noqa: E402
from .autograd import no_grad as no_grad  # noqa: E402
from .autograd import set_grad_enabled as set_grad_enabled  # noqa: E402

for _module in (_creation, _dtype_info, _functions, _compositions, _tensor, _typed_tensors):
    globals().update(
        {
            name: value
            for name, value in vars(_module).items()
            if not name.startswith("_") and getattr(value, "__module__", __name__).startswith(__name__)
        }
    )
globals().update(_reductions.functions)
for _name in ("matmul", "mm", "bmm", "addmm", "baddbmm", "mv"):
    globals()[_name] = _amp_state.narrow_inputs(getattr(_core, _name))
# In-place methods are functions too: relu_(x), zero_(x).
globals().update({name: getattr(_core.Tensor, name) for name in dir(_core.Tensor) if name.strip("_") + "_" == name})
for _name in (
    "bilinear", "channel_shuffle", "cosine_embedding_loss", "cosine_similarity", "margin_ranking_loss",
    "pairwise_distance", "pixel_shuffle", "pixel_unshuffle", "triplet_margin_loss",
):  # fmt: skip
    globals()[_name] = getattr(nn.functional, _name)
detach = _core.Tensor.detach
float, double, long = _core.float32, _core.float64, _core.int64
int, bool = _core.int32, _core.bool
inf, nan, pi, e = _math.inf, _math.nan, _math.pi, _math.e
newaxis = None

_LAZY_MODULES = {
    "amp", "backends", "cli", "cuda", "data", "distributed", "distributions", "hub", "io", "jit", "lab", "linalg",
    "models", "multiprocessing", "testing", "train", "version",
}  # fmt: skip
_LAZY_NAMES = {
    "save": "io",
    "load": "io",
    "LoadError": "io",
    "fuse": "fuse",
    "show_plan": "plan",
    "autocast": "amp",
    "softmax": "nn.functional",
}


def __getattr__(name: str) -> _typing.Any:
    if name in _LAZY_MODULES:
        return _importlib.import_module(f"{__name__}.{name}")
    if name in _LAZY_NAMES:
        value = getattr(_importlib.import_module(f"{__name__}.{_LAZY_NAMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'skipway' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY_MODULES, *_LAZY_NAMES})
