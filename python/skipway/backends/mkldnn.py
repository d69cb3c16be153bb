"""oneDNN is not used."""

enabled: bool = False


def is_available() -> bool:
    """False."""
    return False
