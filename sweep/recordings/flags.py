"""Bits of an operation's flags, as Linux and the CPU give them; engine/operations.py says which kind has which."""

from typing import Final

FAULT_PRESENT: Final = 1 << 0
FAULT_WRITE: Final = 1 << 1
FAULT_USER: Final = 1 << 2
FAULT_FETCH: Final = 1 << 4
"""Bits of the x86 error code of a page fault, of a FAULT."""
CLONE_VM: Final = 0x100
CLONE_VFORK: Final = 0x4000
CLONE_THREAD: Final = 0x1_0000
"""Flags of clone(2), of a CLONE, Linux 6.1 include/uapi/linux/sched.h."""
