"""Detectors: the rules by which a policy gives up a shadow page that the guest writes.

Each module holds one rule twice: plain, for the reference, and on lane masks and vectors, for the kernel.
`DETECTORS` names them for the documents; knobs switch them on.
"""

from types import MappingProxyType
from typing import Final

DETECTORS: Final = MappingProxyType(
    {
        "flooding": "stores to one page without a use: engine.detectors.flooding",
        "misaligned": "stores whose size or place no page table sees: engine.detectors.misaligned",
        "retry": "instructions that write no page tables: engine.detectors.retry",
    },
)
"""Detector -> what it looks at and where it is."""
