"""All state of one guest as a few arrays, so that the core can carry on where its last call stopped."""

import mmap
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine import x86
from engine.events import EVENT
from engine.fields import checked
from engine.guest import constants as c
from engine.guest.parameters import PARAMETERS
from engine.guests import GUEST_FIELDS, Guest

Array = npt.NDArray[Any]

AREAS_MAX: Final = 1024
"""Areas (VMAs) of one address space; more are joined with their neighbour. cc1 of the recording has about 70."""
RECENT: Final = 2048
"""Pages of an address space that retouches draw from, the most recently faulted ones; a power of two."""
GATHER_ROOM: Final = 4096
MAP_NORESERVE: Final = 0x4000
"""Linux include/uapi/asm-generic/mman-common.h; Python's own name for it came with 3.13 only."""
KERNEL_FRAMES_LEAST: Final = 256
"""Frames for the kernel's own tables and hot data besides struct page (64 bytes of memmap for each frame)."""
LIST_ROOM: Final = 4096
"""Room of a per-CPU list; a power of two above pcp_high + pcp_batch."""

FRAME: Final = np.dtype(
    [("next", "i4"), ("previous", "i4"), ("contents", "i4"), ("owner", "i4"), ("va", "i8"), ("references", "i4"),
     ("kind", "u1"), ("free_order", "i1"), ("was_table", "u1"), ("level", "u1")],
)  # fmt: skip
MM: Final = np.dtype(
    [("root", "i8"), ("users", "i4"), ("comm", "i4"), ("areas", "i4"), ("last_area", "i4"), ("live", "u1"),
     ("breaks_cow", "u1"), ("recent", "i8"), ("program_break", "i8"), ("resident", "i8"), ("tables", "i8")],
    align=True,
)  # fmt: skip
AREA: Final = np.dtype([("start", "i8"), ("end", "i8"), ("base", "i8"), ("file", "i4"), ("flags", "i4")])
CPU: Final = np.dtype(
    [("pid", "i8"), ("mm", "i4"), ("active_mm", "i4"), ("exited", "i8"), ("running", "u1"), ("fresh", "u1"),
     ("dead_root", "i8"), ("generation", "i8"), ("last_ns", "i8"), ("pending_ns", "i8"), ("since_ns", "i8"),
     ("retouched", "i8")],
    align=True,
)  # fmt: skip
PROCESS: Final = np.dtype([("pid", "i8"), ("mm", "i4"), ("data", "i4"), ("comm", "i4")], align=True)
GLOBALS: Final = np.dtype(
    [("count", "i8"), ("random", "u8"), ("window", "i8"), ("now", "i8"),
     ("mm_top", "i8"), ("slot_top", "i8"), ("gathered", "i8"), ("fill_head", "i8"), ("fills", "i8"),
     ("free_frames", "i8"), ("hand", "i8"), ("processes", "i8"), ("failure", "i8"), ("activity", "i8"),
     ("cache_frames", "i8"), ("cache_base", "i8"), ("kernel_base", "i8"), ("kernel_frames", "i8"),
     ("kernel_root", "i8"), ("zero_gfn", "i8"), ("pages", "i8"), ("vcpus", "i8"), ("window_ns", "i8"),
     ("clear_insn", "i8"), ("clear_width", "i8"), ("clear_count", "i8"), ("cmpxchg", "i8"), ("swapped", "i8"),
     ("busy_ns", "i8"), ("fill_limit", "i8"),
     ("memmap_regions", "i8"), ("cleared_from", "i8")],
)  # fmt: skip
KNOBS: Final = np.dtype([(name, "i8") for name in PARAMETERS])


class State(NamedTuple):
    """The arrays; indices are frame numbers (gfn), table slots, address spaces (mm) and vCPUs."""

    frames: Array
    """frames[gfn]: what the frame holds, and its place in a free list. All 0: nothing ever used it.

    `contents` is 1 + the table slot of a table, `free_order` 1 + the order of the free block that begins here.
    """
    entries: npt.NDArray[np.int64]
    """entries[slot, index]: contents of the frames that are tables."""
    slots: npt.NDArray[np.int32]
    """Stack of table slots that are free."""
    mms: Array
    mm_stack: npt.NDArray[np.int32]
    """Stack of address spaces that are free."""
    areas: Array
    """areas[mm, i]: the VMAs of an address space by rising address."""
    recent: npt.NDArray[np.int64]
    """recent[mm, i]: ring of the user pages faulted last."""
    cpus: Array
    stamps: npt.NDArray[np.int64]
    """stamps[gfn, vcpu]: generation * 4 + (1 seen, 2 seen writing)."""
    lists: npt.NDArray[np.int32]
    """lists[vcpu, migrate type, i]: ring of free frames."""
    list_state: npt.NDArray[np.int64]
    """list_state[vcpu, migrate type]: bottom of the ring, number in it."""
    free_heads: npt.NDArray[np.int32]
    """free_heads[migrate type, order]: first free block, or NONE."""
    blocks: npt.NDArray[np.uint8]
    """blocks[gfn >> 9]: migrate type of the pageblock."""
    processes: Array
    """Open-addressing table by pid; mm -1 is a kernel thread, pid -1 a free place."""
    gather: npt.NDArray[np.int64]
    """Frames that wait for a flush before they are freed."""
    fills: npt.NDArray[np.int64]
    """Ring of the frames that file writes filled."""
    globals: Array
    knobs: Array
    out: Array
    """Events that wait to be handed on."""


def record(dtype: np.dtype[Any], fields: dict[str, int]) -> Array:
    """Make an array of one record with these fields set."""
    array = np.zeros(1, dtype)
    for name, value in fields.items():
        array[name] = value
    return array


def sparse(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Make an array of zeros of which only the pages that are written to take memory, however large it is.

    Raises:
        MemoryError: the address space has no room.
    """
    count = int(np.prod(shape))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    try:
        room = mmap.mmap(-1, max(1, count * dtype.itemsize), flags=flags)
    except OSError as error:
        raise MemoryError(
            f"no address space for {count * dtype.itemsize:,} bytes of a guest's state: {error}"
        ) from error
    return np.frombuffer(room, dtype, count).reshape(shape)


def memory_layout(guest: Guest, knobs: dict[str, int]) -> dict[str, int]:
    """Divide the guest's frames: kernel image, kernel data, frames to allocate, page cache at the top.

    Raises:
        ValueError: the guest is too small.
    """
    kernel_base = c.KERNEL_TEXT_GFN + c.KERNEL_TEXT_REGIONS * c.REGION_PAGES
    memmap_regions = -(-guest.pages * 64 // (c.REGION_PAGES * x86.PAGE_BYTES))
    kernel_frames = max(
        memmap_regions * c.REGION_PAGES + KERNEL_FRAMES_LEAST, guest.pages * knobs["kernel_share_percent"] // 100
    )
    spare = guest.pages - kernel_base - kernel_frames
    cache_frames = min(int(guest.pages * guest.page_cache_share), max(spare * 3 // 4, 0))
    if spare - cache_frames < 4 * knobs["low_frames"]:
        raise ValueError(
            f"guest model: memory_mib = {guest.memory_mib} leaves {max(spare - cache_frames, 0)} frames to allocate;"
            f" at least {4 * knobs['low_frames']} are needed: give the guest more memory or less page_cache_share",
        )
    return {
        "kernel_base": kernel_base,
        "kernel_frames": kernel_frames,
        "memmap_regions": memmap_regions,
        "cache_base": guest.pages - cache_frames,
        "cache_frames": cache_frames,
        "pages": guest.pages,
        "vcpus": guest.vcpus,
    }


def check_guest(guest: Guest) -> None:
    """Refuse a guest that the model cannot be.

    Raises:
        FieldError: which field, what it may be.
    """
    checked(asdict(guest), GUEST_FIELDS, what="guest")


def allocate_state(guest: Guest, *, seed: int, window_ns: int, knobs: dict[str, int]) -> State:
    """Allocate a guest at power-on: all arrays empty, frames not yet given to the allocator."""
    layout = memory_layout(guest, knobs)
    width, insn = {"stosq": (8, c.REP_STOS), "stosb": (1, c.REP_STOS), "mov": (8, c.MOV)}[guest.clear_instruction]
    spaces, pages = knobs["max_processes"], guest.pages
    slots = max(1024, pages // 4)
    places = 1 << (spaces * 4 - 1).bit_length()
    processes = np.zeros(places, PROCESS)
    processes["pid"] = c.NONE
    cpus = np.zeros(guest.vcpus, CPU)
    for field in ("pid", "mm", "active_mm", "dead_root", "exited"):
        cpus[field] = c.NONE
    cpus["generation"] = 1
    fill_limit = max(16, (layout["cache_base"] - layout["kernel_base"]) * knobs["file_pages_kept_percent"] // 100)
    values = layout | {
        "random": (seed * 2862933555777941757 + 3037000493) % (1 << 64),
        "window_ns": window_ns,
        "mm_top": spaces,
        "slot_top": slots,
        "clear_insn": insn,
        "clear_width": width,
        "clear_count": x86.PAGE_BYTES // width,
        "cmpxchg": int(guest.write_protect_instruction == "cmpxchg"),
        "fill_limit": fill_limit,
    }
    return State(
        frames=sparse(pages, FRAME),
        entries=sparse((slots, x86.FOUR_LEVEL.entries), np.dtype(np.int64)),
        slots=np.arange(slots, dtype=np.int32)[::-1].copy(),
        mms=np.zeros(spaces, MM),
        mm_stack=np.arange(spaces, dtype=np.int32)[::-1].copy(),
        areas=np.zeros((spaces, AREAS_MAX), AREA),
        recent=np.zeros((spaces, RECENT), np.int64),
        cpus=cpus,
        stamps=sparse((pages, guest.vcpus), np.dtype(np.int64)),
        lists=np.zeros((guest.vcpus, 2, LIST_ROOM), np.int32),
        list_state=np.zeros((guest.vcpus, 2, 2), np.int64),
        free_heads=np.full((2, c.ORDERS), c.NONE, np.int32),
        blocks=np.full((pages >> c.BLOCK_ORDER) + 1, c.MOVABLE, np.uint8),
        processes=processes,
        gather=sparse(pages + GATHER_ROOM, np.dtype(np.int64)),
        fills=sparse(fill_limit + knobs["file_pages_per_exit"] + 1, np.dtype(np.int64)),
        globals=record(GLOBALS, values),
        knobs=record(KNOBS, knobs),
        out=np.zeros(knobs["chunk_events"], EVENT),
    )
