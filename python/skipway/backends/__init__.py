"""Switches of other libraries, accepted so that scripts run: kernels here always give the same bits."""

from . import cpu as cpu
from . import cuda as cuda
from . import cudnn as cudnn
from . import mkldnn as mkldnn
from . import mps as mps
from ._deferral import Deferral as _Deferral

deferral = _Deferral()
