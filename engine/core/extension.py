"""The extension `engine._core`, if it was built from the sources that are here: import `core` from this module only.

A core that is older than its sources would give the answers of other rules without a word.
"""

from typing import Final

from engine.core import CoreError
from engine.sources import core_digest

_REMEDY: Final = "run `make setup`, or in a checkout without make: python setup.py build_ext --inplace"


try:
    from engine import _core as core
except ImportError as error:
    raise CoreError(f"the core of the engine was not built ({error}): {_REMEDY}") from error

if core_digest() != core.BUILT_FROM:
    raise CoreError(f"the core of the engine was built from other sources: {_REMEDY}")

__all__ = ["core"]
