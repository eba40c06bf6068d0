"""Seeded bugs."""


def apply(name: str) -> None:
    """Put one bug into this process."""
    if name:
        raise ValueError(name)
