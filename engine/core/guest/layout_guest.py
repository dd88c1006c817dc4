"""Records and numbers of the guest model and the scheduler that C and Python share."""

from typing import Any

import numpy as np


def structs() -> dict[str, np.dtype[Any]]:
    """Return C name -> numpy dtype of each record; a nested record stands before the one that holds it."""
    return {}


def constants() -> dict[str, int]:
    """Return C name -> value of each number that both sides use."""
    return {}
