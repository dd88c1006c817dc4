"""Numbers that the guest model's kernels share: entry bits, address layout, frame kinds, event codes.

Kernels hold addresses and entries as int64 (bit 63 is the sign): numba turns uint64 mixed with int64 into floats.
"""

from typing import Final

from engine.vocabulary import Access, Activity, Event, Instruction, Operation

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 4096
ENTRIES: Final = 512
INDEX_BITS: Final = 9
TOP_LEVEL: Final = 4
GFN_MASK: Final = (1 << 40) - 1

PRESENT: Final = 1
WRITABLE: Final = 2
USER_BIT: Final = 4
ACCESSED: Final = 0x20
DIRTY: Final = 0x40
LARGE: Final = 0x80
GLOBAL: Final = 0x100
"""In an entry that is not present this bit is Linux' _PAGE_PROTNONE."""
NO_EXECUTE: Final = -(1 << 63)
TABLE_FLAGS: Final = 0x67
"""_PAGE_TABLE of Linux: present, writable, user, accessed, dirty."""
KERNEL_TABLE_FLAGS: Final = 0x63
KERNEL_PAGE_FLAGS: Final = 0x163

DIRECT_MAP: Final = 0xFFFF888000000000 - (1 << 64)
"""Linux Documentation/arch/x86/x86_64/mm.rst: direct map of all physical memory, 4-level paging, no KASLR."""
STACK_MAP: Final = 0xFFFFC90000000000 - (1 << 64)
MEMMAP: Final = 0xFFFFEA0000000000 - (1 << 64)
CPU_ENTRY_AREA: Final = 0xFFFFFE0000000000 - (1 << 64)
KERNEL_TEXT: Final = 0xFFFFFFFF81000000 - (1 << 64)
USER_END: Final = 1 << 47
STACK_TOP: Final = 0x7FFFFFFFF000
STACK_SPAN: Final = 8 << 20
"""RLIMIT_STACK of Linux, 8 MiB: how far below its top a stack may grow."""
STACK_LOWEST: Final = 0x7FFB00000000
"""Addresses from here on that no MAP names are taken for the stack (Linux moves its top down by up to 16 GiB)."""

KERNEL_TEXT_GFN: Final = 0x1000
KERNEL_TEXT_REGIONS: Final = 18
"""2 MiB entries of the kernel image; the guest of the recordings has its image at 16 MiB and 36 MiB of it mapped."""
KERNEL_STACK_PAGES: Final = 16
"""4 KiB entries of the vmalloc area that the model maps: the stacks that kernel touches fall on."""
REGION_SHIFT: Final = 21
REGION_PAGES: Final = 512

FREE: Final = 0
KERNEL: Final = 1
CACHE: Final = 2
ANONYMOUS: Final = 3
TABLE: Final = 4
KERNEL_DATA: Final = 5
FILE_FILL: Final = 6
RESERVED: Final = 7

UNMOVABLE: Final = 0
MOVABLE: Final = 1
ORDERS: Final = 11
"""MAX_ORDER of Linux until 6.3: blocks of 2**0 to 2**10 pages."""
BLOCK_ORDER: Final = 9
"""pageblock_order of x86-64: one migrate type for each 2 MiB."""

PROT_WRITE: Final = 2
PROT_EXEC: Final = 4
PROT_ANY: Final = 7
SHARED: Final = 8
FILE: Final = 32
PRIVATE_PAGES: Final = 64
"""Area: it has an anon_vma, that is, fork must copy it."""
INFERRED: Final = 128
HEAP: Final = 256
STACK: Final = 512

CLONE_VM: Final = 0x100
CLONE_VFORK: Final = 0x4000
ERROR_WRITE: Final = 2
ERROR_USER: Final = 4
ERROR_FETCH: Final = 16
MADV_DONTNEED: Final = 4
MADV_DONTNEED_LOCKED: Final = 24

NONE: Final = -1

STORE: Final = int(Event.STORE)
TOUCH: Final = int(Event.TOUCH)
GUEST_FAULT: Final = int(Event.GUEST_FAULT)
CR3: Final = int(Event.CR3)
INVLPG: Final = int(Event.INVLPG)
CONTENT: Final = int(Event.CONTENT)
LINK: Final = int(Event.LINK)
RUN: Final = int(Event.RUN)
WINDOW: Final = int(Event.WINDOW)

MOV: Final = int(Instruction.MOV)
XCHG: Final = int(Instruction.XCHG)
CMPXCHG: Final = int(Instruction.CMPXCHG)
LOCK_AND: Final = int(Instruction.LOCK_AND)
REP_STOS: Final = int(Instruction.REP_STOS)
REP_MOVS: Final = int(Instruction.REP_MOVS)
USER_INSN: Final = int(Instruction.USER)

READ: Final = int(Access.READ)
WRITE: Final = int(Access.WRITE)
FETCH: Final = int(Access.FETCH)
USER: Final = int(Access.USER)
LIVE: Final = int(Access.LIVE)
USER_VA: Final = int(Access.USER_VA)

IN_FORK: Final = int(Activity.FORK)
IN_EXEC: Final = int(Activity.EXEC)
IN_EXIT: Final = int(Activity.EXIT)
IN_DEMAND: Final = int(Activity.DEMAND_FAULT)
IN_COW: Final = int(Activity.COW_FAULT)
IN_MAP: Final = int(Activity.MAP)
IN_UNMAP: Final = int(Activity.UNMAP)
IN_PROTECT: Final = int(Activity.PROTECT)
IN_REUSE: Final = int(Activity.PAGE_REUSE)
IN_SWITCH: Final = int(Activity.SWITCH)
IN_RETOUCH: Final = int(Activity.RETOUCH)
IN_KERNEL: Final = int(Activity.KERNEL)
IN_NOTHING: Final = int(Activity.NONE)

SWITCH_IN: Final = int(Operation.SWITCH_IN)
SWITCH_OUT: Final = int(Operation.SWITCH_OUT)
FAULT: Final = int(Operation.FAULT)
MAP: Final = int(Operation.MAP)
UNMAP: Final = int(Operation.UNMAP)
PROTECT: Final = int(Operation.PROTECT)
BRK: Final = int(Operation.BRK)
REMAP: Final = int(Operation.REMAP)
ADVISE: Final = int(Operation.ADVISE)
CLONE: Final = int(Operation.CLONE)
EXEC: Final = int(Operation.EXEC)
EXIT: Final = int(Operation.EXIT)

DONE: Final = 0
BUFFER_FULL: Final = 1
NO_MEMORY: Final = 2
NO_ADDRESS_SPACE: Final = 3
NO_PROCESS_SLOT: Final = 4
NO_ROOM: Final = 5
"""An operation made more events than `room_needed` said: a mistake in the model, caught before it writes elsewhere."""
