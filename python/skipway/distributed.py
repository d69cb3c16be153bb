"""Several processes: there is one."""


def is_available() -> bool:
    """False."""
    return False


def is_initialized() -> bool:
    """False."""
    return False


def get_rank(group: object = None) -> int:
    """0."""
    return 0


def get_world_size(group: object = None) -> int:
    """1."""
    return 1


def barrier(*args: object, **kwargs: object) -> None:
    """Does nothing."""
