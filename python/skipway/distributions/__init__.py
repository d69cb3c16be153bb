"""A few probability distributions: draws and log-probabilities."""

from .bernoulli import Bernoulli as Bernoulli
from .categorical import Categorical as Categorical
from .distribution import Distribution as Distribution
from .multinomial import Multinomial as Multinomial
from .normal import Normal as Normal
from .uniform import Uniform as Uniform
