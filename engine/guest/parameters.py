"""Every number of the guest model that may be varied, with its source, or marked as an assumption."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from engine.workloads.contract import Parameter

_RECORDED: Final = "recording of a Linux 6.1 guest (see docs/explanation/guest-model.md)"


def _count(default: int, text: str, *, minimum: int = 0, maximum: int = 1 << 20) -> Parameter:
    """Describe a parameter that is a whole number."""
    return Parameter(default=default, help=text, minimum=minimum, maximum=maximum)


PARAMETERS: Final[Mapping[str, Parameter]] = MappingProxyType(
    {
        "pcp_batch": _count(
            63,
            "frames moved between a per-CPU list and the buddy lists: 63, Linux 3.0 zone_batchsize()"
            " for zones of 1 GiB and more",
            minimum=1,
            maximum=512,
        ),
        "pcp_high": _count(
            378,
            "length of a per-CPU list that makes it give back a batch: 6 * batch, Linux 3.0 setup_pageset()",
            minimum=1,
            maximum=2048,
        ),
        "fault_around_pages": _count(
            16,
            "page-cache pages that one read fault on a file maps: 16 (64 KiB), Linux 6.1"
            " mm/memory.c fault_around_bytes; 1 before Linux 3.15",
            minimum=1,
            maximum=512,
        ),
        "tlb_single_page_flush_ceiling": _count(
            33,
            "largest range in pages that is flushed with INVLPG: 33, Linux 6.1"
            " arch/x86/mm/tlb.c; 0 in 2011 (always a CR3 load)",
            maximum=4096,
        ),
        "upgrade_invlpg": _count(
            0,
            "1: INVLPG after an entry of the same page got writable: 0 in Linux 6.1"
            " (ptep_set_access_flags), 1 in Linux 3.0",
            maximum=1,
        ),
        "protect_restores_write": _count(
            1,
            "1: mprotect makes dirty private pages writable at once: Linux 6.1 can_change_pte_writable(); 0 in 2011",
            maximum=1,
        ),
        "init_on_alloc": _count(
            1,
            "1: every frame is cleared at allocation: CONFIG_INIT_ON_ALLOC_DEFAULT_ON, as in"
            " Debian's 6.1; 0 before Linux 5.3",
            maximum=1,
        ),
        "exec_argument_pages": _count(
            1, f"stack pages that exec fills before the program runs: {_RECORDED}", maximum=32
        ),
        "kernel_share_percent": _count(
            3, "assumption: part of the memory that the kernel's own data takes", maximum=50
        ),
        "process_data_pages": _count(
            5,
            "assumption: frames of kernel data that live as long as a process (kernel stack of 16 KiB and slab growth)",
            maximum=64,
        ),
        "file_pages_per_exit": _count(
            4, "assumption: page-cache frames that a process fills by writing files", maximum=4096
        ),
        "file_pages_kept_percent": _count(
            5, "assumption: part of the memory that written file pages take before the oldest are freed", maximum=50
        ),
        "reuse_user_stores": _count(
            2,
            "assumption: stores through the user's own address shown after a table's frame"
            " became data; later ones change nothing",
            maximum=64,
        ),
        "retouch_pages_first": _count(5, f"user pages touched right after a CR3 load: {_RECORDED}"),
        "retouch_pages_per_ms": _count(100, f"user pages touched again per ms of run time, at first: {_RECORDED}"),
        "retouch_burst_us": _count(500, f"run time for which that rate holds, us: {_RECORDED}"),
        "retouch_pages_per_ms_later": _count(5, f"user pages touched again per ms, later: {_RECORDED}"),
        "retouch_write_percent": _count(
            25, f"share of these touches that write, if the page is writable: {_RECORDED}", maximum=100
        ),
        "retouch_breaks_cow": _count(
            0,
            "1: a writing retouch of a page that fork protected faults; for operations whose"
            " forks were vforks when they were recorded (CLONE_VFORK without CLONE_VM always"
            " does this)",
            maximum=1,
        ),
        "kernel_image_touches": _count(
            24, f"2 MiB regions of the kernel image touched after a CR3 load: {_RECORDED}", maximum=64
        ),
        "kernel_data_touches": _count(
            36, f"direct-map and stack pages touched after a CR3 load: {_RECORDED}", maximum=512
        ),
        "kernel_fault_touches": _count(1, "assumption: struct pages (memmap) that a page fault touches", maximum=64),
        "low_frames": _count(256, "assumption: free frames below which pages are reclaimed", minimum=16),
        "max_processes": _count(8192, "live address spaces that the model has room for", minimum=4, maximum=1 << 20),
        "chunk_events": _count(
            1 << 20,
            "events of one chunk; more where one operation alone may need more room",
            minimum=1,
            maximum=1 << 26,
        ),
    },
)
"""Defaults are those of the recorded guest (Linux 6.1); `LINUX_2011` holds what differed at the time of the seed."""

LINUX_2011: Final[Mapping[str, int]] = MappingProxyType(
    {
        "fault_around_pages": 1,
        "tlb_single_page_flush_ceiling": 0,
        "upgrade_invlpg": 1,
        "protect_restores_write": 0,
        "init_on_alloc": 0,
    },
)
"""What a Linux 3.0 guest does otherwise; pass as parameters."""


def resolve(parameters: Mapping[str, Any]) -> dict[str, int]:
    """Return all parameters, checked, with defaults filled in.

    Raises:
        ValueError: an unknown name, a value that is no whole number, or one out of range.
    """
    resolved = {name: int(parameter.default) for name, parameter in PARAMETERS.items()}
    for name, value in parameters.items():
        if name not in PARAMETERS:
            raise ValueError(f"guest model: unknown parameter {name!r}; known are: {', '.join(sorted(PARAMETERS))}")
        known = PARAMETERS[name]
        low, high = int(known.minimum or 0), int(known.maximum or 0)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"guest model: {name} = {value!r}; allowed is a whole number from {low} to {high}")
        resolved[name] = value
    return resolved
