"""Where things are in this checkout."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
"""The checkout."""
DATA: Final = ROOT / "tests" / "data"
"""Inputs and fixtures of the tests."""
