"""Types of the graph."""

from .._core import Node as Node
