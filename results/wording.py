"""How numbers stand in sentences."""


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun, whose plural is that with an s unless `many` is given: 1 cell, 2,000 cells."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
