"""The rooms of the three packages and the order in which they may import each other, as data for the house rules.

Every exception has its reason here, and one that is needed no longer fails the test: the house can only get stricter.
"""

from types import MappingProxyType
from typing import Final

ORDER: Final = MappingProxyType(
    {
        "engine": (
            ("fields", "vocabulary", "sources"),
            ("events", "guests", "jit", "knobs", "operations"),
            ("checks",),
            ("detectors",),
            ("guest", "lanes", "reference"),
            ("digest", "workloads"),
            ("simulate",),
            ("warm",),
        ),
        "results": (
            ("store",),
            ("statistics",),
            ("prices", "published", "render"),
            ("summary", "upkeep"),
            ("compare", "explain"),
            ("notices",),
            ("run",),
            ("charts",),
            ("report",),
        ),
        "sweep": (
            ("exit_codes", "terminal"),
            ("progress", "recordings", "runs"),
            ("spec",),
            ("plan",),
            ("tasks",),
            ("backends",),
            ("cluster", "start", "status", "validate"),
            ("commands",),
            ("cli",),
        ),
    },
)
"""Package -> its rooms from the bottom to the top; a room imports only rooms of earlier groups.

A room is a folder, or a file that lies flat in the package. A package's own `__init__` stands on top of its rooms.
"""

BACK: Final[MappingProxyType[str, str]] = MappingProxyType(
    {
        "engine/detectors/flooding.py -> engine/lanes/bits.py": "the fast half works on the lanes' words",
        "engine/detectors/flooding.py -> engine/lanes/state.py": "the fast half works on the lanes' state",
        "engine/detectors/flooding.py -> engine/reference/state.py": "the plain half names the type of a shadow page",
        "engine/detectors/misaligned.py -> engine/lanes/bits.py": "the fast half works on the lanes' words",
        "engine/detectors/misaligned.py -> engine/lanes/state.py": "the fast half works on the lanes' state",
        "results/statistics/deaths.py -> results/summary.py": "the verdict on death is a column of summaries",
        "results/store/labels.py -> results/prices/own_costs.py": "a labelled run carries the prices of its last start",
        "sweep/runs.py -> sweep/spec/kept.py": "a run that is read again brings its specification",
        "sweep/runs.py -> sweep/spec/spec.py": "a run that is read again brings its specification",
    },
)
"""Arrow between two files that points to a later room -> why it is there."""

CIRCLES: Final[MappingProxyType[frozenset[str], str]] = MappingProxyType(
    {
        frozenset(
            {
                "results/store/lease.py",
                "results/store/local.py",
                "results/store/objects.py",
                "results/store/storage.py",
            },
        ): "the storage picks one of two implementations, which derive from it; by imports inside functions",
    },
)
"""Files that import each other in a circle -> why they do."""

CROWDED: Final[MappingProxyType[str, str]] = MappingProxyType(
    {
        "sweep/commands": "one verb a file, and nothing imports them",
        "engine/lanes": "one idea of KVM's shadow MMU a file, in KVM's order",
    },
)
"""Folder -> why it may hold more files than the limit."""

FAMILIES: Final[MappingProxyType[str, str]] = MappingProxyType(
    {"engine/workloads/scheduler": "the scheduler's three parts are compiled with it"},
)
"""Folder and prefix -> why the files of that prefix are no folder."""

WITHOUT_TESTS: Final[MappingProxyType[str, str]] = MappingProxyType(
    {
        "engine/detectors": "tests/engine compares both halves of each",
        "engine/lanes": "tests/engine compares them with the reference",
        "engine/reference": "tests/engine compares it with the lanes",
        "results/notices": "tests/results/test_summary.py reads them where a user does",
    },
)
"""Folder of a package -> where the tests are that it has no folder for."""
