"""One file per experiment: a function that measures, and one that draws what it measured."""
