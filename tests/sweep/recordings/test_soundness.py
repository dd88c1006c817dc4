"""Unsound recordings are refused with their reasons, or written with them; sound ones pass."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from engine.workloads import WORKLOADS
from engine.workloads.recorded import RecordedOperations
from results.notices.notices import unsound_notes
from sweep.commands.trace import app
from sweep.exit_codes import ExitCode
from sweep.recordings.perf.text import ImportReport, PerfText
from sweep.recordings.soundness import ENDLESS_MIN, ENDLESS_SHARE_MAX, MAPS_WITHOUT_UNMAP_MAX, Lives
from sweep.recordings.source import TextSource
from sweep.recordings.store import OperationFile
from sweep.spec.read import load_spec
from sweep.spec.spec import spec_from_resolved
from tests.support.engine.workload_runs import all_of

Lines = list[str]
CHILDREN = 12


@pytest.fixture(scope="module")
def forks(project: Path) -> Lines:
    """Return the lines of a sound recording of a process that forks twelve children."""
    return (project / "tests" / "data" / "perf" / "forks.perf.txt").read_text(encoding="utf-8").splitlines()


def report_of(folder: Path, lines: Lines) -> ImportReport:
    """Read lines as a recording."""
    path = folder / "recording.perf.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with TextSource(path) as source:
        text = PerfText(source)
        for _ in text.chunks():
            pass
        return text.report()


def without(*words: str) -> Callable[[Lines], Lines]:
    """Return what leaves out the lines that have one of the words."""
    return lambda lines: [line for line in lines if not any(word in line for word in words)]


def by_deltatime(lines: Lines) -> Lines:
    """Print the time since the line before instead of the time."""
    times = [float(re.search(r"(\d+\.\d{6}):", line)[1]) for line in lines]  # type: ignore[index]
    gaps = np.diff([times[0], *times]).tolist()
    return [re.sub(r"\d+\.\d{6}:", f"{gap:.6f}:", line, count=1) for line, gap in zip(lines, gaps, strict=True)]


def in_another_namespace(lines: Lines) -> Lines:
    """Give the fields of the tracepoints other ids than the beginnings of the lines have."""
    return [re.sub(r"(newtask|exit|exec): (.*)\bpid=(\d+)", r"\1: \2pid=9\3", line) for line in lines]


def with_lost(lines: Lines) -> Lines:
    """Have perf say that it lost events."""
    return [*lines[:100], "perf 0/0 [000] 100.000001: PERF_RECORD_LOST lost 17", *lines[100:]]


def with_prose(lines: Lines) -> Lines:
    """Put some other text in between."""
    return [*lines, *["a line of something else"] * (len(lines) // 50)]


def losing_exits(lines: Lines) -> Lines:
    """Lose the exits of all children but two."""
    exits = [line for line in lines if "sched_process_exit" in line]
    return [line for line in lines if line not in exits[2:]]


def reusing_an_id(lines: Lines) -> Lines:
    """Lose one exit, and give the id to the next child."""
    lost = next(i for i, line in enumerate(lines) if "sched_process_exit: comm=forker pid=603" in line)
    return [line.replace("604", "603") for line in lines[:lost] + lines[lost + 1 :]]


def with_records_of_exits(lines: Lines) -> Lines:
    """Have perf's own record of each exit, but half of the tracepoints."""
    exits = [line for line in lines if "sched_process_exit" in line]
    records = {line: re.sub(r"sched:.*", "PERF_RECORD_EXIT(1:1):(1:1)", line) for line in exits}
    doubled = [piece for line in lines for piece in ([line, records[line]] if line in records else [line])]
    return [line for line in doubled if line not in exits[::2]]


def with_maps(lines: Lines) -> Lines:
    """Have many maps and no unmap."""
    entry, end = (i for i, line in enumerate(lines) if "_mmap" in line)
    call = [re.sub(r"\d+\.\d{6}:", "100.000100:", line) for line in (lines[entry], lines[end])]
    return [*lines[:entry], *call * (MAPS_WITHOUT_UNMAP_MAX + 1), *lines[end + 1 :]]


UNSOUND: list[tuple[Callable[[Lines], Lines], list[str]]] = [
    (with_lost, ["perf lost 17 events"]),
    (with_prose, ["1.8% of the lines can't be read, more than 1%"]),
    (by_deltatime, ["of the lines: perf script --deltatime, or two recordings in one file?"]),
    (without("sched_process_exit"), ["no sched_process_exit at all: address spaces are never freed"]),
    (
        without("task_newtask", "FORK"),
        ["no task_newtask at all, but 13 threads"],
    ),
    (
        without("sched:", "task:", "PERF_RECORD_COMM", "PERF_RECORD_FORK", "syscalls:"),
        ["no sched_process_exec at all", "no sched_process_exit at all", "no task_newtask at all", "no mmap, munmap"],
    ),
    (with_maps, [f"no sys_enter_munmap at all, but {MAPS_WITHOUT_UNMAP_MAX + 1} maps"]),
    (
        in_another_namespace,
        ["12 of 25 threads appear without a CLONE", "12 of 12 children that were cloned never do anything"],
    ),
    (losing_exits, ["10 of 12 children never end"]),
    (reusing_an_id, ["1 of 12 clones start a thread under the id of one that has not ended"]),
    (with_records_of_exits, ["7 of 13 PERF_RECORD_EXIT lines have no sched_process_exit"]),
]


@pytest.mark.parametrize(("change", "reasons"), UNSOUND, ids=lambda value: getattr(value, "__name__", ""))
def test_unsound_recordings_are_told_why(
    change: Callable[[Lines], Lines], reasons: list[str], forks: Lines, tmp_path: Path
) -> None:
    """Each kind of unsound recording gives its own reasons and no others."""
    found = report_of(tmp_path, change(forks)).unsound

    assert len(found) == len(reasons), found
    for reason, part in zip(found, reasons, strict=True):
        assert part in reason


def test_a_program_that_changes_its_name_had_an_exec(forks: Lines, tmp_path: Path) -> None:
    """Children that go on under another command name, in a recording without any exec, show that execs are missing."""
    renamed = [re.sub(r"^ +forker(?= +6\d\d/.*page_fault)", "tool", line) for line in forks]

    reasons = report_of(tmp_path, without("exec")(renamed)).unsound

    assert [reason[:34] for reason in reasons] == ["no sched_process_exec at all: each"]


@pytest.mark.parametrize("name", ["forks.perf.txt", "vfork-exec.perf.txt", "kernbench-mm-head.perf.txt.zst"])
def test_sound_recordings_pass(name: str, project: Path) -> None:
    """Recordings of commands, whole and cut, have no reason."""
    with TextSource(project / "tests" / "data" / "perf" / name) as source:
        text = PerfText(source)
        assert sum(len(chunk) for chunk in text.chunks())
        assert text.report().unsound == ()


def test_a_running_system_passes(forks: Lines, tmp_path: Path) -> None:
    """Threads that were there when the recording began have no CLONE and need no end."""
    others = [
        f"daemon {pid}/{pid} [001] 100.{pid:06d}: exceptions:page_fault_user: address=0x7f00 ip=0x1 error_code=0x6"
        for pid in range(10, 19)
    ]

    assert report_of(tmp_path, [*others, *forks[2:]]).unsound == ()


@pytest.mark.parametrize("alive", [ENDLESS_MIN - 1, ENDLESS_MIN])
def test_workers_may_be_alive_at_the_end(alive: int, forks: Lines, tmp_path: Path) -> None:
    """A few children that do not end are a cut recording; from the limit on their exits are taken for lost."""
    exits = [line for line in forks if "sched_process_exit" in line and "pid=500" not in line]
    kept = [line for line in forks if line not in exits[:alive]]

    assert alive > ENDLESS_SHARE_MAX * CHILDREN
    assert bool(report_of(tmp_path, kept).unsound) == (alive == ENDLESS_MIN)


def test_chunks_do_not_show_in_lives(forks: Lines, tmp_path: Path) -> None:
    """Where the operations are cut into chunks changes nothing of what is known of the threads."""
    path = tmp_path / "recording.perf.txt"
    path.write_text("".join(f"{line}\n" for line in reusing_an_id(forks)), encoding="utf-8")
    with TextSource(path) as source:
        operations = np.concatenate(list(PerfText(source).chunks()))
    whole, pieces = Lives(), Lives()

    whole.add(operations)
    for start in range(0, len(operations), 7):
        pieces.add(operations[start : start + 7])

    assert whole == pieces


def imported(folder: Path, lines: Lines, *options: str) -> tuple[int, str]:
    """Import lines by the command; return its exit code and what it printed."""
    path = folder / "recording.perf.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    result = CliRunner().invoke(app, ["import", str(path), "-o", str(folder / "t.parquet"), *options])
    return result.exit_code, f"{result.stdout}{result.stderr}"


def test_an_unsound_recording_is_not_written(forks: Lines, tmp_path: Path) -> None:
    """Without --allow-unsound an import fails, says why and what to do, and writes nothing."""
    code, text = imported(tmp_path, without("sched_process_exit")(forks))

    assert code == ExitCode.CELLS_FAILED
    assert "unsound: no sched_process_exit at all" in text
    assert "--allow-unsound writes it" in text
    assert [path.name for path in tmp_path.iterdir()] == ["recording.perf.txt"]


def test_reasons_go_where_the_trace_goes(forks: Lines, tmp_path: Path) -> None:
    """With --allow-unsound the reasons are in the trace, its array, what `info` prints, and the run's specification."""
    code, text = imported(tmp_path, without("sched_process_exit")(forks), "--allow-unsound")
    array = tmp_path / "a.npy"
    shown = [
        CliRunner().invoke(app, ["info", str(tmp_path / name)]).stderr for name in ("t.parquet", "recording.perf.txt")
    ]
    made = CliRunner().invoke(app, ["array", str(tmp_path / "t.parquet"), "-o", str(array)])
    spec = tmp_path / "s.yaml"
    spec.write_text(
        f"name: s\nworkloads: [{{name: recorded, path: {array}}}]\npolicies: [kvm-3.0]\nguests: {{vcpus: 1}}\n"
        "baseline: kvm-3.0\n",
        encoding="utf-8",
    )
    resolved = load_spec(spec, workloads=WORKLOADS).resolved()

    (reason,) = OperationFile(tmp_path / "t.parquet").source["unsound"]
    assert reason.startswith("no sched_process_exit at all")
    assert (code, made.exit_code) == (ExitCode.OK, ExitCode.OK)
    assert all(reason in printed for printed in (text, *shown, made.stderr))
    assert unsound_notes(resolved) == [f"workload recorded replays an unsound recording: {reason}"]
    assert spec_from_resolved(json.loads(json.dumps(resolved))).resolved() == resolved
    assert len(all_of(RecordedOperations(path=array))) == OperationFile(tmp_path / "t.parquet").rows


def test_a_sound_recording_leaves_no_trace_of_it(forks: Lines, tmp_path: Path) -> None:
    """The array of a sound trace is an ordinary array, and a specification says nothing."""
    imported(tmp_path, forks)
    CliRunner().invoke(app, ["array", str(tmp_path / "t.parquet"), "-o", str(tmp_path / "a.npy")])

    content = np.load(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", content)

    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert unsound_notes({"workloads": [{"label": "a", "name": "recorded", "parameters": {}}]}) == []


def test_templates_need_a_sound_recording(forks: Lines, tmp_path: Path) -> None:
    """No templates are made of an unsound recording."""
    imported(tmp_path, without("sched_process_exit")(forks), "--allow-unsound")

    result = CliRunner().invoke(app, ["templates", str(tmp_path / "t.parquet"), "-o", str(tmp_path / "t.npz")])

    assert result.exit_code == ExitCode.CELLS_FAILED
    assert "templates are made of sound recordings only" in result.stderr
