"""The shipped policies, for tests of what reads no files: the engine and the planner."""

from typing import Final

from sweep.spec.policies import shipped_policies

POLICIES: Final = shipped_policies()
"""Name -> policy, in the order of the catalog."""
