"""The same as `skipway.data.dataloader`."""

from ...data.dataloader import *  # noqa: F403
