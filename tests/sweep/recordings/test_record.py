"""Recording: the commands for perf, what a machine lacks, and a run with a stand-in for perf."""

import os
from pathlib import Path

import numpy as np
import pytest
import zstandard
from typer.testing import CliRunner

from sweep.commands.trace import app
from sweep.exit_codes import TraceError
from sweep.recordings.importing import read_recording
from sweep.recordings.record import RECORDED_EVENTS, Machine, describe, probe, problems, record
from sweep.recordings.store import read_operations

GOOD = Machine(
    perf="/usr/bin/perf",
    is_root=False,
    capabilities=1 << 38 | 1 << 14,
    paranoid=2,
    mlock_kb=516,
    cpus=2,
    tracing=Path("/sys/kernel/tracing"),
    missing_events=(),
)


def machine_root(root: Path, *, cap_eff: int, paranoid: int, events: tuple[str, ...]) -> Path:
    """Make the parts of /proc and /sys that a probe looks at."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/status").write_text(f"Name:\tx\nCapEff:\t{cap_eff:016x}\n", encoding="ascii")
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/kernel/perf_event_paranoid").write_text(f"{paranoid}\n", encoding="ascii")
    (root / "proc/sys/kernel/perf_event_mlock_kb").write_text("516\n", encoding="ascii")
    for name in events:
        (root / "sys/kernel/tracing/events" / name.replace(":", "/")).mkdir(parents=True)
    return root


def test_commands() -> None:
    """All tracepoints are recorded with switches, and the fields are those that an import reads."""
    perf_record, perf_script, imported = describe(["make", "-j2", "a b"], Path("kb.data"))

    assert all(name in perf_record for name in RECORDED_EVENTS)
    assert perf_record.startswith("perf record -q -o kb.data -m 4096 -e ")
    assert perf_record.endswith(" --switch-events -- make -j2 'a b'")
    assert "-F comm,pid,tid,cpu,time,event,trace > kb.perf.txt" in perf_script
    assert imported == "sweep trace import kb.perf.txt -o kb.operations.parquet"


def test_probe_reads_the_machine(tmp_path: Path) -> None:
    """Capabilities, settings and tracepoints come from /proc and /sys; a missing tracepoint is found."""
    root = machine_root(tmp_path, cap_eff=1 << 38, paranoid=3, events=RECORDED_EVENTS[1:])

    machine = probe(root, perf_name="no-such-perf")

    assert (machine.perf, machine.capabilities, machine.paranoid, machine.mlock_kb) == (None, 1 << 38, 3, 516)
    assert machine.missing_events == RECORDED_EVENTS[:1]


def test_probe_of_a_machine_without_tracefs(tmp_path: Path) -> None:
    """Where nothing can be read, the defaults of the kernel hold and the tracepoints are out of sight."""
    machine = probe(tmp_path)

    assert (machine.capabilities, machine.paranoid, machine.tracing) == (0, 2, None)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"perf": None}, ["perf is not in PATH"]),
        ({"capabilities": 1 << 14}, ["kernel.perf_event_paranoid is 2"]),
        ({"capabilities": 1 << 14, "paranoid": -1}, []),
        ({"capabilities": 0, "is_root": True}, []),
        ({"capabilities": 1 << 38}, ["sysctl kernel.perf_event_mlock_kb=16388"]),
        ({"tracing": None}, ["mount -t tracefs tracefs"]),
        ({"missing_events": ("syscalls:sys_enter_brk",)}, ["lacks syscalls:sys_enter_brk. syscalls: needs CONFIG"]),
    ],
)
def test_problems_say_how_to_mend(change: dict[str, object], told: list[str]) -> None:
    """Each thing that is missing is told once, with its remedy, and nothing else is."""
    from dataclasses import replace

    found = problems(replace(GOOD, **change))  # type: ignore[arg-type]

    assert len(found) == len(told)
    assert all(text in line for text, line in zip(told, found, strict=True))


def test_record_imports_what_perf_gives(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is run under perf, and the text that perf prints becomes the trace."""
    text = tmp_path / "prepared.txt"
    text.write_bytes(zstandard.ZstdDecompressor().decompress(recording.read_bytes()))
    fake = tmp_path / "bin" / "perf"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/sh\nif [ "$1" = script ]; then cat prepared.txt; exit; fi\n'
        'while [ "$1" != -- ]; do shift; done; shift\nexec "$@"\n',
        encoding="ascii",
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    report = record(["touch", "ran"], Path("kb.data"))

    assert (tmp_path / "ran").exists()
    assert report.unreadable == 0
    assert np.array_equal(read_operations(tmp_path / "kb.operations.parquet")[0], read_recording(recording)[0])
    with pytest.raises(TraceError, match="ended with exit code 3; nothing was imported"):
        record(["sh", "-c", "exit 3"], Path("other.data"))


def test_verb_prints_and_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sweep trace record -- CMD` prints the commands, and ends with 1 where something is missing."""
    monkeypatch.setattr("sweep.recordings.record.probe", lambda: GOOD)
    good = CliRunner().invoke(app, ["record", "-o", "kb.data", "--", "make", "-j2"])
    monkeypatch.setattr("sweep.recordings.record.problems", lambda _: ["everything. Start again"])
    bad = CliRunner().invoke(app, ["record", "--run", "--", "make", "-j2"])

    assert good.exit_code == 0
    assert good.stdout.splitlines() == describe(["make", "-j2"], Path("kb.data"))
    assert bad.exit_code == 1
    assert bad.stderr == "missing: everything. Start again\n"
