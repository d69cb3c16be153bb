"""Bugs in the project's own kernels, to prove that the emulator finds them."""

from . import blocks as blocks
from . import convolutions as convolutions
from . import lines as lines
from . import moving as moving
from . import norms as norms
from . import replays as replays
from .bug import BUGS as BUGS
from .bug import WRONG_NUMBERS as WRONG_NUMBERS
from .bug import Bug as Bug
from .bug import rounds as rounds
