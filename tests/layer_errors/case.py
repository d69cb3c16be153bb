"""What a row of the tables holds: how to make a good layer, and bad calls and bad options with their messages."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import skipway as sw
from skipway import nn


@dataclass(frozen=True)
class Given:
    """Arguments of a constructor or a call."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def make(self, name: str) -> nn.Module:
        return getattr(nn, name)(*self.args, **self.kwargs)


@dataclass(frozen=True)
class Bad:
    """What must raise exactly `error` with a message that holds `says`.

    Of a call, `made` replaces the good layer (for options that only a call can find wrong) and `shown` is the class in
    the message where it is not the row's (a lazy layer becomes a plain one), `at` the path where a child of it speaks.
    """

    error: type[Exception]
    says: str
    given: Given
    made: Given | None = None
    shown: str | None = None
    at: str = "body.0"

    def of(self, *args: Any, **kwargs: Any) -> "Bad":
        """The same call of a layer made with other arguments."""
        return Bad(self.error, self.says, self.given, Given(args, kwargs), self.shown, self.at)

    def by(self, shown: str, at: str = "body.0") -> "Bad":
        """The same call, raised by a layer that has become another class, or by a child at another path."""
        return Bad(self.error, self.says, self.given, self.made, shown, at)


@dataclass(frozen=True)
class Row:
    good: Given
    calls: list[Bad]
    options: list[Bad]


def given(*args: Any, **kwargs: Any) -> Given:
    return Given(args, kwargs)


def shape(says: str, *args: Any, **kwargs: Any) -> Bad:
    return Bad(sw.ShapeError, says, Given(args, kwargs))


def value(says: str, *args: Any, **kwargs: Any) -> Bad:
    return Bad(ValueError, says, Given(args, kwargs))


def kind(says: str, *args: Any, **kwargs: Any) -> Bad:
    return Bad(TypeError, says, Given(args, kwargs))


def index(says: str, *args: Any, **kwargs: Any) -> Bad:
    return Bad(IndexError, says, Given(args, kwargs))


def lacking(says: str, *args: Any, **kwargs: Any) -> Bad:
    return Bad(NotImplementedError, says, Given(args, kwargs))


def x(*sizes: int) -> sw.Tensor:
    return sw.zeros(sizes)


def ints(*sizes: int, fill: int = 0) -> sw.Tensor:
    return sw.tensor(np.full(sizes, fill, np.int64))
