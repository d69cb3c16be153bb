"""cuDNN is not used; the switches can be set and change nothing."""

enabled: bool = False
benchmark: bool = False
deterministic: bool = True
allow_tf32: bool = False


def is_available() -> bool:
    """False."""
    return False


def version() -> None:
    """None."""
