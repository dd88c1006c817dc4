"""A slow reader of `perf script` text with regular expressions, written from the manual, to check the real one."""

import re
from collections.abc import Iterable
from typing import Final

from engine.vocabulary import Operation

Row = tuple[int, int, int, int, int, int, int, int, str]
"""time_ns, address, length, pid, peer, flags, kind, vcpu, comm."""

_LINE: Final = re.compile(r"^\s*(.+?)\s+(\d+)/(\d+)\s+\[(\d+)\]\s+(\d+)\.(\d{6}):\s+(\S+?):?(?:\s+(.*))?$")
_SWITCH: Final = "PERF_RECORD_SWITCH"


def read_rows(text: str) -> list[Row]:
    """Return the operations of a recording that has no defect."""
    rows: list[Row] = []
    calls: dict[int, tuple[str, str]] = {}
    start_ns = -1
    for line in text.splitlines():
        match = _LINE.match(line)
        assert match, line
        comm, _, tid, cpu, seconds, micros, event, rest = match.groups()
        fields = _operation(event, (rest or "").strip(), calls, int(tid))
        if fields is not None:
            now_ns = int(seconds) * 10**9 + int(micros) * 1000
            start_ns = now_ns if start_ns < 0 else start_ns
            kind, address, length, peer, flags = fields
            rows.append((now_ns - start_ns, address, length, int(tid), peer, flags, int(kind), int(cpu), comm))
    return rows


def _operation(
    event: str, rest: str, calls: dict[int, tuple[str, str]], tid: int
) -> tuple[Operation, int, int, int, int] | None:
    """Return kind, address, length, peer and flags of one line; None if it is no operation."""
    name = event.rsplit(":", maxsplit=1)[-1]
    if name.startswith("page_fault"):
        return Operation.FAULT, _hex(r"address=0x(\w+)", rest), 0, 0, _hex(r"error_code=0x(\w+)", rest)
    if event == _SWITCH:
        kind = Operation.SWITCH_IN if rest == "IN" else Operation.SWITCH_OUT
        return kind, 0, 0, 0, int(rest == "OUT preempt")
    if name in {"sys_enter_mmap", "sys_enter_brk"}:
        calls[tid] = (name, rest)
    elif name == "sys_exit_brk":
        return Operation.BRK, int(rest, 16), 0, 0, 0
    elif name == "sys_exit_mmap":
        arguments = calls.pop(tid)[1]
        return Operation.MAP, int(rest, 16), _argument("len", arguments), 0, _map_flags(arguments)
    elif name == "sys_enter_munmap":
        return Operation.UNMAP, _argument("addr", rest), _argument("len", rest), 0, 0
    elif name == "sys_enter_mprotect":
        return Operation.PROTECT, _argument("start", rest), _argument("len", rest), 0, _argument("prot", rest)
    elif name == "task_newtask":
        child = int(re.findall(r"pid=(\d+)", rest)[0])
        return Operation.CLONE, 0, 0, child, _hex(r"clone_flags=(\w+)", rest)
    elif event == "PERF_RECORD_COMM" and rest.startswith("exec:"):
        calls[tid] = ("exec", rest)
        return Operation.EXEC, 0, 0, 0, 0
    elif name == "sched_process_exec":
        return None if calls.pop(tid, ("", ""))[0] == "exec" else (Operation.EXEC, 0, 0, 0, 0)
    elif name == "sched_process_exit":
        return Operation.EXIT, 0, 0, 0, 0
    return None


def _map_flags(arguments: str) -> int:
    """Return what engine/operations.py says about the flags of a MAP."""
    prot, flags = _argument("prot", arguments), _argument("flags", arguments)
    wanted: Iterable[tuple[int, bool]] = ((8, flags & 0x0F in {1, 3}), (16, bool(flags & 0x10)), (32, not flags & 0x20))
    return (prot & 7) + sum(bit for bit, is_set in wanted if is_set)


def _argument(name: str, text: str) -> int:
    """Return an argument of a system call."""
    return _hex(rf"\b{name}: 0x(\w+)", text)


def _hex(pattern: str, text: str) -> int:
    """Return a hexadecimal number in a text."""
    found = re.search(pattern, text)
    assert found, text
    return int(found[1], 16)
