"""The same as `skipway.data.dataset`."""

from ...data.dataset import *  # noqa: F403
