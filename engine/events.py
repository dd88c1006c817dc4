"""Layer 2: what the guest does to its page tables, as one structured array.

An event is 24 bytes. `address` and `value` mean what the kind says; the others are 0 where a kind does not use them.

| kind | address | value | other fields |
|---|---|---|---|
| STORE | gpa of the first byte | the 8-byte entry after the store | insn, width, count, access flags LIVE, USER_VA |
| TOUCH | guest virtual address | 0 | access: READ, WRITE or FETCH, and USER |
| GUEST_FAULT | guest virtual address | 0 | access as in TOUCH; the guest's own tables do not allow it |
| CR3 | 0 | the new CR3 (gpa of the root table) | |
| INVLPG | guest virtual address | 0 | |
| FLUSH_ALL | 0 | 0 | a CR4 toggle: the guest drops all translations, global ones too |
| CONTENT | gpa of an 8-byte entry | the entry | sets memory without a guest store (initial state) |
| LINK | gpa of a page | level | the page becomes a table: memory of the page is cleared first |
| RUN | 0 | native run time of this vCPU since its last RUN, ns | |
| WINDOW | 0 | index of the window that starts here | counters up to here belong to the window before |

A STORE is itself the access to the page: through the guest's direct map, or, with the access flag USER_VA, through the
virtual address of the vCPU's last write TOUCH if that one maps the stored page. A TOUCH with USER_VA only announces
that address and is no access.

A STORE with `count` > 1 covers `count` consecutive operands of `width` bytes from `address` on, each storing `value`
(page clears): one instruction if `insn` is a `REP_*` class, `count` instructions otherwise.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

EVENT_FORMAT_VERSION: Final = 1
DIRECT_MAP_BASE: Final = 0xFFFF888000000000
"""Where Linux maps all memory without address randomisation (Documentation/x86/x86_64/mm.rst, 4-level)."""

EVENT: Final = np.dtype(
    [
        ("address", np.uint64),
        ("value", np.uint64),
        ("kind", np.uint8),
        ("vcpu", np.uint8),
        ("insn", np.uint8),
        ("width", np.uint8),
        ("access", np.uint8),
        ("activity", np.uint8),
        ("count", np.uint16),
    ],
)
"""One layer-2 event; 24 bytes, no padding."""

Events = npt.NDArray[np.void]
