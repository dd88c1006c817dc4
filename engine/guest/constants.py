"""Numbers of the guest model: address layout, kinds of frames, flags.

Addresses and entries are signed: bit 63 is the sign.
"""

from typing import Final

from engine import x86
from engine.vocabulary import Instruction

TABLE_FLAGS: Final = x86.PRESENT | x86.WRITABLE | x86.USER | x86.ACCESSED | x86.DIRTY
"""_PAGE_TABLE of Linux; in an entry that is not present, bit 8 (GLOBAL) is its _PAGE_PROTNONE."""
KERNEL_TABLE_FLAGS: Final = TABLE_FLAGS & ~x86.USER
KERNEL_PAGE_FLAGS: Final = KERNEL_TABLE_FLAGS | x86.GLOBAL

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
REGION_PAGES: Final = x86.FOUR_LEVEL.span_pages(2)
"""Pages of one large entry of the direct map."""

NOT_HANDED_OUT: Final = 0
"""What the allocator has, and what it never gets: kernel image, kernel tables at power-on, page cache.

It is 0, so that a frame which nothing ever used takes no memory of the host.
"""
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

MOV: Final = int(Instruction.MOV)
REP_STOS: Final = int(Instruction.REP_STOS)
