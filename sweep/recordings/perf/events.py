"""The vocabulary of `perf script` text: which events there are, and what can become of a line."""

from enum import IntEnum
from typing import Final

SAMPLED_EVENTS: Final = (
    "exceptions:page_fault_user",
    "exceptions:page_fault_kernel",
    "PERF_RECORD_SWITCH",
    "PERF_RECORD_SWITCH_CPU_WIDE",
    "syscalls:sys_enter_mmap",
    "syscalls:sys_enter_brk",
    "syscalls:sys_enter_mremap",
    "syscalls:sys_exit_mmap",
    "syscalls:sys_exit_brk",
    "syscalls:sys_exit_mremap",
    "syscalls:sys_enter_munmap",
    "syscalls:sys_enter_mprotect",
    "syscalls:sys_enter_madvise",
    "task:task_newtask",
    "sched:sched_process_exec",
    "sched:sched_process_exit",
)
"""Events that can become operations."""
ENTRIES: Final = ("syscalls:sys_enter_mmap", "syscalls:sys_enter_brk", "syscalls:sys_enter_mremap")
RETURNS: Final = ("syscalls:sys_exit_mmap", "syscalls:sys_exit_brk", "syscalls:sys_exit_mremap")
"""Calls that answer with an address become operations at their return."""
EXEC: Final = "sched:sched_process_exec"
EXIT: Final = "sched:sched_process_exit"
NEW_IMAGE: Final = "PERF_RECORD_COMM"
"""Its form `PERF_RECORD_COMM exec:` marks the moment at which an exec changes the address space."""
LOST_EVENTS: Final = ("PERF_RECORD_LOST", "PERF_RECORD_LOST_SAMPLES")
LEFT_OUT_EVENTS: Final = (
    *LOST_EVENTS,
    "PERF_RECORD_MMAP",
    "PERF_RECORD_MMAP2",
    "PERF_RECORD_COMM",
    "PERF_RECORD_FORK",
    "PERF_RECORD_EXIT",
    "PERF_RECORD_NAMESPACES",
    "PERF_RECORD_CGROUP",
    "PERF_RECORD_KSYMBOL",
    "PERF_RECORD_BPF_EVENT",
    "PERF_RECORD_TEXT_POKE",
    "PERF_RECORD_THROTTLE",
    "PERF_RECORD_UNTHROTTLE",
)
"""Events that are known and counted only."""
EVENT_NAMES: Final = (*SAMPLED_EVENTS, *LEFT_OUT_EVENTS)

PID_LIMIT: Final = 4 * 1024 * 1024
"""No thread id is higher; Linux 6.1 include/linux/threads.h, PID_MAX_LIMIT on 64 bits."""
VCPU_LIMIT: Final = 255
"""Highest CPU number that the `vcpu` field of an operation holds."""
COMM_BYTES: Final = 64
"""Longest command name; Linux keeps 15 bytes (TASK_COMM_LEN), names of kernel threads in /proc are up to 63."""
COMM_LIMIT: Final = 65_535
"""Most command names in one trace: the `comm` field of an operation is 16 bits wide."""


class Fate(IntEnum):
    """What becomes of a line."""

    OPERATION = 0
    QUIET = 1
    """No operation of its own and nothing to say about it: the entry of a call, an event that is only counted."""
    BLANK = 2
    COMMENT = 3
    NO_PROCESS = 4
    KERNEL_ADDRESS = 5
    FAILED_CALL = 6
    RETURN_ONLY = 7
    NO_HEADER = 8
    NO_EVENT = 9
    UNKNOWN_EVENT = 10
    BAD_FIELDS = 11
    TIME_BACKWARDS = 12
    HIGH_PID = 13
    HIGH_CPU = 14
    BAD_COMM = 15
    MANY_COMMS = 16


LEFT_OUT: Final = {
    Fate.BLANK: "blank line",
    Fate.COMMENT: "comment line",
    Fate.NO_PROCESS: "event of no process (pid -1)",
    Fate.KERNEL_ADDRESS: "fault on a kernel address",
    Fate.FAILED_CALL: "call that failed",
    Fate.RETURN_ONLY: "return of a call that the trace did not see start",
}
"""Why a line that can be read is no operation."""
NO_RETURN: Final = "call that did not return"
NO_TASK: Final = "no 'command pid/tid' at its start"
NO_CPU: Final = "no '[cpu]' after pid/tid"
NO_TIME: Final = "no time in seconds, as '12.345678:', after '[cpu]'"
DEFECTS: Final = {
    Fate.NO_HEADER: "{header}",
    Fate.NO_EVENT: "no event after the time",
    Fate.UNKNOWN_EVENT: "unknown event {event!r}",
    Fate.BAD_FIELDS: "{event} needs {fields}",
    Fate.TIME_BACKWARDS: "its time is before {previous} s, the time of an earlier operation",
    Fate.HIGH_PID: f"thread id above {PID_LIMIT}, the most that Linux allows",
    Fate.HIGH_CPU: f"CPU number above {VCPU_LIMIT}, the most that a trace can hold",
    Fate.BAD_COMM: f"command name of 0 or more than {COMM_BYTES} bytes",
    Fate.MANY_COMMS: f"more than {COMM_LIMIT} different command names",
}
"""Why a line can't be read."""
FIRST_DEFECT: Final = min(DEFECTS)
