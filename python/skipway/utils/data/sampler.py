"""The same as `skipway.data.sampler`."""

from ...data.sampler import *  # noqa: F403
