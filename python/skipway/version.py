"""Versions, and what this build has."""

from . import __version__ as __version__

cuda = None
hip = None
debug = False
