"""The vocabulary of `perf script` text: which events there are, what an import does with each, and what can go wrong.

The codes are plain integers because the parser is compiled; their names are the positions in these tables.
"""

from typing import Final

EVENT_NAMES: Final = (
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
    "PERF_RECORD_LOST",
    "PERF_RECORD_LOST_SAMPLES",
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
"""All events that an import knows; the first ones, up to PERF_RECORD_LOST, can become operations."""

PAGE_FAULT_USER: Final = 0
PAGE_FAULT_KERNEL: Final = 1
SWITCH: Final = 2
SWITCH_CPU_WIDE: Final = 3
ENTER_MMAP: Final = 4
ENTER_BRK: Final = 5
ENTER_MREMAP: Final = 6
EXIT_MMAP: Final = 7
EXIT_BRK: Final = 8
EXIT_MREMAP: Final = 9
ENTER_MUNMAP: Final = 10
ENTER_MPROTECT: Final = 11
ENTER_MADVISE: Final = 12
NEWTASK: Final = 13
PROCESS_EXEC: Final = 14
PROCESS_EXIT: Final = 15
LOST: Final = 16
LOST_SAMPLES: Final = 17

ENTER_TO_EXIT: Final = EXIT_MMAP - ENTER_MMAP
"""Distance between the code of a joined call's entry and that of its return."""

COUNT_NAMES: Final = (
    *EVENT_NAMES,
    "blank line",
    "comment line",
    "event of no process (pid -1)",
    "fault on a kernel address",
    "call that failed",
    "return of a call that the trace did not see start",
    "call that did not return",
)
"""What the lines of a file were: events by name, then lines and events that are left out, by reason."""

BLANK: Final = len(EVENT_NAMES)
COMMENT: Final = BLANK + 1
NO_PROCESS: Final = BLANK + 2
KERNEL_ADDRESS: Final = BLANK + 3
FAILED_CALL: Final = BLANK + 4
RETURN_ONLY: Final = BLANK + 5
NO_RETURN: Final = BLANK + 6

PID_LIMIT: Final = 4 * 1024 * 1024
"""No thread id is higher; Linux 6.1 include/linux/threads.h, PID_MAX_LIMIT on 64 bits."""
VCPU_LIMIT: Final = 255
"""Highest CPU number that the `vcpu` field of an operation holds."""
COMM_BYTES: Final = 64
"""Longest command name; Linux keeps 15 bytes (TASK_COMM_LEN), names of kernel threads in /proc are up to 63."""
COMM_LIMIT: Final = 65_535
"""Most command names in one trace: the `comm` field of an operation is 16 bits wide."""

NO_TASK: Final = 1
NO_CPU: Final = 2
NO_TIME: Final = 3
NO_EVENT: Final = 4
UNKNOWN_EVENT: Final = 5
BAD_FIELDS: Final = 6
TIME_BACKWARDS: Final = 7
HIGH_PID: Final = 8
HIGH_CPU: Final = 9
BAD_COMM: Final = 10
MANY_COMMS: Final = 11

DEFECTS: Final = {
    NO_TASK: "no 'command pid/tid' at its start",
    NO_CPU: "no '[cpu]' after pid/tid",
    NO_TIME: "no time in seconds, as '12.345678:', after '[cpu]'",
    NO_EVENT: "no event after the time",
    UNKNOWN_EVENT: "unknown event {event!r}",
    BAD_FIELDS: "{event} needs {fields}",
    TIME_BACKWARDS: "its time is before {previous} s, the time of an earlier operation",
    HIGH_PID: f"thread id above {PID_LIMIT}, the most that Linux allows",
    HIGH_CPU: f"CPU number above {VCPU_LIMIT}, the most that a trace can hold",
    BAD_COMM: f"command name of 0 or more than {COMM_BYTES} bytes",
    MANY_COMMS: f"more than {COMM_LIMIT} different command names",
}
"""Why a line can't be read, by code."""

FIELDS: Final = {
    PAGE_FAULT_USER: "address=0x... and error_code=0x...",
    PAGE_FAULT_KERNEL: "address=0x... and error_code=0x...",
    SWITCH: "IN, OUT or OUT preempt",
    SWITCH_CPU_WIDE: "IN, OUT or OUT preempt",
    ENTER_MMAP: "len: 0x..., prot: 0x... and flags: 0x...",
    ENTER_MREMAP: "addr: 0x... and new_len: 0x...",
    EXIT_MMAP: "the value returned, 0x...",
    EXIT_BRK: "the value returned, 0x...",
    EXIT_MREMAP: "the value returned, 0x...",
    ENTER_MUNMAP: "addr: 0x... and len: 0x...",
    ENTER_MPROTECT: "start: 0x..., len: 0x... and prot: 0x...",
    ENTER_MADVISE: "start: 0x..., len_in: 0x... and behavior: 0x...",
    NEWTASK: "pid=... and clone_flags=...",
}
"""Which fields an event must have, for messages."""
