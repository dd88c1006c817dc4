"""Records a layer-1 trace with perf: the exact commands, and what this machine lacks for them."""

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sweep.exit_codes import TraceError
from sweep.recordings.importing import TRACE_SUFFIX, import_perf
from sweep.recordings.perf.lines import SAMPLED_EVENTS
from sweep.recordings.perf.text import SCRIPT_FIELDS, ImportReport

RECORDED_EVENTS: Final = tuple(name for name in SAMPLED_EVENTS if not name.startswith("PERF_RECORD_"))
BUFFER_PAGES: Final = 4096
"""perf's ring buffer per CPU, 16 MiB: with it a kernel build with -j2 lost no event (measured)."""
_PAGE_KB: Final = 4
_CAP_IPC_LOCK: Final = 14
_CAP_SYS_ADMIN: Final = 21
_CAP_PERFMON: Final = 38
"""Capabilities, Linux 6.1 include/uapi/linux/capability.h."""
_PARANOID_ALLOWS_TRACEPOINTS: Final = -1
"""kernel.perf_event_paranoid at which users may read raw tracepoints (Documentation/admin-guide/perf-security.rst)."""
_TRACEFS: Final = ("sys/kernel/tracing", "sys/kernel/debug/tracing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What matters of this machine for recording."""

    perf: str | None
    is_root: bool
    capabilities: int
    paranoid: int
    mlock_kb: int
    cpus: int
    tracing: Path | None
    """Where the tracepoints are; None if they can't be seen."""
    missing_events: tuple[str, ...]


def probe(root: Path = Path("/"), *, perf_name: str = "perf") -> Machine:
    """Look at what this machine offers; `root` is where /proc and /sys are."""
    tracing = next((root / place for place in _TRACEFS if os.access(root / place / "events", os.R_OK | os.X_OK)), None)
    missing: tuple[str, ...] = ()
    if tracing is not None:
        missing = tuple(name for name in RECORDED_EVENTS if not (tracing / "events" / name.replace(":", "/")).is_dir())
    return Machine(
        perf=shutil.which(perf_name),
        is_root=os.geteuid() == 0,
        capabilities=_capabilities(root / "proc/self/status"),
        paranoid=_number(root / "proc/sys/kernel/perf_event_paranoid", default=2),
        mlock_kb=_number(root / "proc/sys/kernel/perf_event_mlock_kb", default=516),
        cpus=os.cpu_count() or 1,
        tracing=tracing,
        missing_events=missing,
    )


def problems(machine: Machine) -> list[str]:
    """Say what keeps this machine from recording, and how to mend it; empty if nothing does."""
    found = []
    if machine.perf is None:
        found.append("perf is not in PATH. Install the package linux-perf (Debian), linux-tools (Ubuntu) or perf")
    sees_tracepoints = machine.is_root or machine.paranoid <= _PARANOID_ALLOWS_TRACEPOINTS
    if not (sees_tracepoints or machine.capabilities & (1 << _CAP_PERFMON | 1 << _CAP_SYS_ADMIN)):
        found.append(
            f"this user may not read tracepoints (kernel.perf_event_paranoid is {machine.paranoid}). Run as root, give "
            "perf CAP_PERFMON, or: sysctl kernel.perf_event_paranoid=-1",
        )
    needed_kb = BUFFER_PAGES * _PAGE_KB + _PAGE_KB
    if not (machine.is_root or machine.capabilities & 1 << _CAP_IPC_LOCK or machine.mlock_kb >= needed_kb):
        found.append(
            f"this user may lock only {machine.mlock_kb} KiB per CPU for perf. "
            f"Run as root or: sysctl kernel.perf_event_mlock_kb={needed_kb}",
        )
    if machine.tracing is None:
        found.append(
            "the tracepoints can't be seen below /sys/kernel/tracing. As root: mount -t tracefs tracefs "
            "/sys/kernel/tracing (a kernel without CONFIG_FTRACE has none)",
        )
    if machine.missing_events:
        found.append(
            f"this kernel lacks {', '.join(machine.missing_events)}. "
            "syscalls: needs CONFIG_FTRACE_SYSCALLS, exceptions: is x86 only",
        )
    return found


def record_command(command: list[str], recording: Path) -> list[str]:
    """Return the command that records another command into perf's binary file."""
    groups: dict[str, list[str]] = {}
    for name in RECORDED_EVENTS:
        groups.setdefault(name.split(":", maxsplit=1)[0], []).append(name)
    events = [word for names in groups.values() for word in ("-e", ",".join(names))]
    options = ["-q", "-o", str(recording), "-m", str(BUFFER_PAGES), *events, "--switch-events"]
    return ["perf", "record", *options, "--", *command]


def script_command(recording: Path) -> list[str]:
    """Return the command that turns perf's binary file into the text that an import reads."""
    shown = ["--show-task-events", "--show-mmap-events", "--show-switch-events", "--show-lost-events"]
    return ["perf", "script", "-i", str(recording), *shown, "-F", SCRIPT_FIELDS]


def describe(command: list[str], recording: Path) -> list[str]:
    """Return the shell lines that record a command and import the recording."""
    text = recording.with_suffix(".perf.txt")
    output = recording.with_suffix(TRACE_SUFFIX)
    return [
        shlex.join(record_command(command, recording)),
        f"{shlex.join(script_command(recording))} > {shlex.quote(str(text))}",
        shlex.join(["sweep", "trace", "import", str(text), "-o", str(output)]),
    ]


def record(command: list[str], recording: Path) -> ImportReport:
    """Record a command, make text of the recording and import it; the text is kept beside the recording.

    Raises:
        TraceError: the recorded command or perf fails.
    """
    text = recording.with_suffix(".perf.txt")
    _check(record_command(command, recording), subprocess.run(record_command(command, recording), check=False))
    with text.open("wb") as stream:
        _check(script_command(recording), subprocess.run(script_command(recording), stdout=stream, check=False))
    return import_perf(text, recording.with_suffix(TRACE_SUFFIX))


def _check(command: list[str], done: "subprocess.CompletedProcess[bytes]") -> None:
    """Refuse to go on after a command that failed."""
    if done.returncode:
        raise TraceError(
            f"{shlex.join(command)}\nended with exit code {done.returncode}; nothing was imported. "
            "perf gives the exit code of the command that it records",
        )


def _capabilities(status: Path) -> int:
    """Read the effective capabilities of this process; 0 if they can't be read."""
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)


def _number(path: Path, *, default: int) -> int:
    """Read a kernel setting; the kernel's own default if it can't be read."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return default
