"""Architectures drawn at random, trained by the thousand in stacks of one shape, and what their adversarial errors have in common."""

from foolscope.search.architectures import Architecture, draw_architectures
from foolscope.search.exponents import Distribution, distribution
from foolscope.search.run import Search, random_architectures
from foolscope.search.stack import Stack

__all__ = [
    "Architecture",
    "Distribution",
    "Search",
    "Stack",
    "distribution",
    "draw_architectures",
    "random_architectures",
]
