"""The rooms of the three packages and the order in which they may import each other, as data for the house rules.

Every exception has its reason here, and one that is needed no longer fails the test: the house can only get stricter.
"""

from types import MappingProxyType
from typing import Final

ORDER: Final = MappingProxyType(
    {
        "engine": (
            ("fields", "sources", "x86"),
            ("mechanisms",),
            ("vocabulary",),
            ("events", "guests", "knobs", "operations"),
            ("checks",),
            ("guest", "reference"),
            ("core",),
            ("digest", "workloads"),
            ("simulate",),
        ),
        "results": (
            ("spelling", "wording"),
            ("store",),
            ("statistics",),
            ("prices", "published", "render"),
            ("summary", "upkeep"),
            ("compare", "explain"),
            ("notices", "ranked_run"),
            ("run",),
            ("charts",),
            ("report",),
        ),
        "sweep": (
            ("exit_codes", "rendering", "terminal"),
            ("progress", "recordings", "runs"),
            ("spec",),
            ("plan",),
            ("tasks",),
            ("backends",),
            ("bench", "cluster", "start", "status", "validate"),
            ("prices",),
            ("commands",),
            ("cli",),
        ),
    }
)
"""Package -> its rooms from the bottom to the top; a room imports only rooms of earlier groups.

A room is a folder, or a file that lies flat in the package. A package's own `__init__` stands on top of its rooms.
"""

BACK: Final[MappingProxyType[str, str]] = MappingProxyType(
    {
        "engine/core/guest/layout_guest.py -> engine/workloads/templates.py": "the header names the steps of a process",
        "engine/core/scheduler/state.py -> engine/workloads/templates.py": "the scheduler reads the steps of a process",
    }
)
"""Arrow between two files that points to a later room -> why it is there."""

CIRCLES: Final[MappingProxyType[frozenset[str], str]] = MappingProxyType({})
"""Files that import each other in a circle -> why they do."""

CROWDED: Final[MappingProxyType[str, str]] = MappingProxyType(
    {
        "engine/core/lanes": "one translation unit, cut by ideas of KVM; most files need the state of most others",
        "sweep/commands": "one verb a file, and nothing imports them",
    }
)
"""Folder -> why it may hold more files than the limit."""

FAMILIES: Final[MappingProxyType[str, str]] = MappingProxyType({})
"""Folder and prefix -> why the files of that prefix are no folder."""

WITHOUT_TESTS: Final[MappingProxyType[str, str]] = MappingProxyType(
    {
        "engine/reference": "tests/engine compares it with the core",
        "results/notices": "tests/results/test_summary.py reads them where a user does",
    }
)
"""Folder of a package -> where the tests are that it has no folder for."""
