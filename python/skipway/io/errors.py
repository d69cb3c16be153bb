"""What goes wrong with files."""


class LoadError(ValueError):
    """A file cannot be loaded; the message names it."""


class Refused(Exception):
    """A pickle asks for something that is neither a tensor nor a plain container."""
