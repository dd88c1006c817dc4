"""Records and numbers of the guest model and the scheduler that C and Python share."""

from enum import IntEnum
from typing import Any

import numpy as np

from engine.core.scheduler import state as b
from engine.guest import constants as c
from engine.guest import state as s
from engine.operations import TIME_NS_MAX
from engine.workloads.templates import LINE_REGISTER, REGISTERS, STEP, Step


class Status(IntEnum):
    """How a call of the guest model or of the scheduler ended."""

    DONE = 0
    BUFFER_FULL = 1
    NO_MEMORY = 2
    """The guest has no free frame, or no room for another table."""
    NO_ADDRESS_SPACE = 3
    NO_PROCESS_SLOT = 4
    BAD_OPERATION = 5
    NO_HOST_MEMORY = 6
    STALLED = 7
    """Scheduler: processes are left, and all of them wait."""


def structs() -> dict[str, np.dtype[Any]]:
    """Return C name -> numpy dtype of each record; a nested record stands before the one that holds it."""
    return {
        "guest_frame": s.FRAME,
        "mm": s.MM,
        "area": s.AREA,
        "cpu": s.CPU,
        "process": s.PROCESS,
        "world": s.GLOBALS,
        "guest_knobs": s.KNOBS,
        "program_step": STEP,
        "task": b.TASK,
        "runqueue": b.RUNQUEUE,
        "draw": b.DRAW,
        "build": b.BUILD,
        "build_counts": b.COUNTS,
        "tunables": b.TUNABLES,
    }


def constants() -> dict[str, int]:
    """Return C name -> value of each number that both sides use."""
    return {
        "ABSENT": c.NONE,
        "TIME_NS_MAX": TIME_NS_MAX,
        "AREAS_MAX": s.AREAS_MAX,
        "RECENT": s.RECENT,
        "LIST_ROOM": s.LIST_ROOM,
        **_tables(),
        **_addresses(),
        **_frames(),
        **_flags(),
        **{f"STATUS_{status.name}": int(status) for status in Status},
        **_builds(),
    }


def _builds() -> dict[str, int]:
    """Return the numbers of the scheduler."""
    return {
        "IDLE": b.IDLE,
        "NEVER": b.NEVER,
        "LINE_REGISTER": LINE_REGISTER,
        "REGISTERS": REGISTERS,
        **{f"STEP_{step.name}": int(step) for step in Step},
        **{f"TASK_{status.name}": int(status) for status in b.TaskStatus},
        **{f"WAITS_{what.name}": int(what) for what in b.Waits},
    }


def _tables() -> dict[str, int]:
    """Return what Linux writes into entries, and the size of what a large one maps."""
    return {
        "REGION_PAGES": c.REGION_PAGES,
        "TABLE_FLAGS": c.TABLE_FLAGS,
        "KERNEL_TABLE_FLAGS": c.KERNEL_TABLE_FLAGS,
        "KERNEL_PAGE_FLAGS": c.KERNEL_PAGE_FLAGS,
    }


def _addresses() -> dict[str, int]:
    """Return where things are in the guest's address space and memory."""
    return {
        "DIRECT_MAP": c.DIRECT_MAP,
        "STACK_MAP": c.STACK_MAP,
        "MEMMAP": c.MEMMAP,
        "CPU_ENTRY_AREA": c.CPU_ENTRY_AREA,
        "KERNEL_TEXT": c.KERNEL_TEXT,
        "KERNEL_TEXT_GFN": c.KERNEL_TEXT_GFN,
        "KERNEL_TEXT_REGIONS": c.KERNEL_TEXT_REGIONS,
        "KERNEL_STACK_PAGES": c.KERNEL_STACK_PAGES,
        "USER_END": c.USER_END,
        "STACK_TOP": c.STACK_TOP,
        "STACK_SPAN": c.STACK_SPAN,
        "STACK_LOWEST": c.STACK_LOWEST,
    }


def _frames() -> dict[str, int]:
    """Return what a frame may hold, and how free ones are kept."""
    return {
        "FRAME_NOT_HANDED_OUT": c.NOT_HANDED_OUT,
        "FRAME_ANONYMOUS": c.ANONYMOUS,
        "FRAME_TABLE": c.TABLE,
        "FRAME_KERNEL_DATA": c.KERNEL_DATA,
        "FRAME_FILE_FILL": c.FILE_FILL,
        "FRAME_RESERVED": c.RESERVED,
        "MIGRATE_UNMOVABLE": c.UNMOVABLE,
        "MIGRATE_MOVABLE": c.MOVABLE,
        "ORDERS": c.ORDERS,
        "BLOCK_ORDER": c.BLOCK_ORDER,
    }


def _flags() -> dict[str, int]:
    """Return the flags of areas and of operations."""
    return {
        "VM_READ": c.PROT_ANY & ~(c.PROT_WRITE | c.PROT_EXEC),
        "VM_WRITE": c.PROT_WRITE,
        "VM_EXEC": c.PROT_EXEC,
        "VM_ANY": c.PROT_ANY,
        "VM_SHARED": c.SHARED,
        "VM_FILE": c.FILE,
        "VM_PRIVATE_PAGES": c.PRIVATE_PAGES,
        "VM_INFERRED": c.INFERRED,
        "VM_HEAP": c.HEAP,
        "VM_STACK": c.STACK,
        "CLONE_FLAG_VM": c.CLONE_VM,
        "CLONE_FLAG_VFORK": c.CLONE_VFORK,
        "FAULT_ERROR_WRITE": c.ERROR_WRITE,
        "FAULT_ERROR_USER": c.ERROR_USER,
        "FAULT_ERROR_FETCH": c.ERROR_FETCH,
        "ADVICE_DONTNEED": c.MADV_DONTNEED,
        "ADVICE_DONTNEED_LOCKED": c.MADV_DONTNEED_LOCKED,
    }
