"""The same as `skipway.data`."""

from ...data import *  # noqa: F403
from ...data import datasets as datasets
from ...data import transforms as transforms
