"""The summary of a trace: counts that were found by other means, from text and from a stored trace."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from engine.operations import OPERATION, Operations
from engine.vocabulary import Operation
from sweep.commands.trace import app
from sweep.recordings.importing import import_perf, summarise
from sweep.recordings.summary import Summary


def operations_of(*rows: tuple[int, int, Operation, int, int, int, int]) -> Operations:
    """Make operations from time_ns, pid, kind, flags, peer, vcpu and comm."""
    operations = np.zeros(len(rows), OPERATION)
    for name, values in zip(
        ("time_ns", "pid", "kind", "flags", "peer", "vcpu", "comm"), zip(*rows, strict=True), strict=True
    ):
        operations[name] = values
    return operations


def test_slice_of_the_recording(recording: Path, recorded_text: str) -> None:
    """Totals of the real slice are what a search of its text finds."""
    summary, source = summarise(recording)

    def count(pattern: str) -> int:
        return len(re.findall(pattern, recorded_text))

    assert summary.totals["user_faults"] == count("page_fault_user:")
    assert summary.totals["kernel_faults"] == count("page_fault_kernel:")
    assert summary.totals["write_faults"] == count(r"error_code=0x1?[2367]\n")
    assert summary.totals["protection_faults"] == count(r"error_code=0x1?[1357]\n")
    assert summary.totals["vforks"] == count("clone_flags=4100 ")
    assert summary.totals["forks"] == count("clone_flags=1200000 ")
    assert summary.totals["execs"] == count("sched_process_exec:")
    assert summary.totals["exits"] == count("sched_process_exit:")
    assert summary.totals["switches_in"] + summary.totals["switches_out"] == count("PERF_RECORD_SWITCH ")
    assert summary.processes == 1 + count("task_newtask:")
    assert source["lines"] == recorded_text.count("\n")


def test_text_and_trace_agree(recording: Path, tmp_path: Path) -> None:
    """The summary does not depend on whether the recording was imported before."""
    import_perf(recording, tmp_path / "t.parquet", strict=True)

    assert summarise(tmp_path / "t.parquet") == summarise(recording)


def test_threads_are_no_processes() -> None:
    """Forks, vforks, threads and other clones are told apart; the time on a CPU ends at a switch or an exit."""
    operations = operations_of(
        (0, 1, Operation.SWITCH_IN, 0, 0, 0, 0),
        (1, 1, Operation.CLONE, 0x4100, 2, 0, 0),
        (2, 1, Operation.CLONE, 0x1200000, 3, 0, 0),
        (3, 1, Operation.CLONE, 0x3D0F00, 4, 0, 0),
        (4, 1, Operation.CLONE, 0x100, 5, 0, 0),
        (5, 2, Operation.SWITCH_IN, 0, 0, 1, 0),
        (10, 1, Operation.SWITCH_OUT, 1, 0, 0, 0),
        (11, 3, Operation.SWITCH_IN, 0, 0, 0, 0),
        (25, 2, Operation.EXIT, 0, 0, 1, 1),
        (30, 4, Operation.SWITCH_OUT, 0, 0, 0, 0),
    )
    for chunks in (1, 3, 10):
        summary = Summary()

        for chunk in np.array_split(operations, chunks):
            summary.add(chunk)

        result = summary.finish(("make", "sh"))
        assert result.processes == 4
        assert {name: result.totals[name] for name in ("forks", "vforks", "threads", "shared_memory_clones")} == {
            "forks": 1,
            "vforks": 1,
            "threads": 1,
            "shared_memory_clones": 1,
        }
        assert {row.command: (row.tasks, round(row.on_cpu_s * 1e9)) for row in result.commands} == {
            "make": (4, 10),
            "sh": (1, 20),
        }


def test_json_and_table(recording: Path) -> None:
    """Both forms of output give the same figures."""
    printed = CliRunner().invoke(app, ["info", str(recording)])
    parsed = json.loads(CliRunner().invoke(app, ["info", str(recording), "--json"]).stdout)

    assert printed.exit_code == 0
    assert f"{parsed['totals']['user_faults']:,}" in printed.stdout
    for row in parsed["commands"]:
        assert re.search(rf"^{re.escape(row['command'])} +{row['tasks']} ", printed.stdout, re.MULTILINE)
    assert sum(row["user_faults"] for row in parsed["commands"]) == parsed["totals"]["user_faults"]


@pytest.mark.parametrize("verb", ["info", "import"])
def test_missing_file(verb: str, tmp_path: Path) -> None:
    """A path that does not exist is named; exit code 1."""
    result = CliRunner().invoke(app, [verb, str(tmp_path / "none.txt")])

    expected = f"{tmp_path}/none.txt: can't be opened: No such file or directory; check the path and its permissions\n"
    assert result.stderr == expected
    assert result.exit_code == 1


def test_unknown_format(tmp_path: Path) -> None:
    """A format that does not exist is a usage error with the list of formats."""
    result = CliRunner().invoke(app, ["import", str(tmp_path), "--format", "strace"])

    assert result.stderr == "--format strace: unknown; choose one of: auto, perf, kvm-truth\n"
    assert result.exit_code == 2


def test_parquet_that_is_no_recording(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace of ours, foreign columns and a cut-off Parquet file are each refused for what they are."""
    monkeypatch.chdir(tmp_path)
    import_perf(recording, Path("ours.parquet"), strict=True)
    pq.write_table(pa.table({"a": [1]}), "foreign.parquet")
    Path("cut.parquet").write_bytes(Path("ours.parquet").read_bytes()[:5000])

    refusals = {name: CliRunner().invoke(app, ["import", f"{name}.parquet"]) for name in ("ours", "foreign", "cut")}

    assert {result.exit_code for result in refusals.values()} == {1}
    assert refusals["ours"].stderr.startswith("ours.parquet:1: this is Parquet, not text of `perf script`")
    assert refusals["foreign"].stderr.startswith("foreign.parquet: no column seq, ")
    assert refusals["cut"].stderr.startswith("cut.parquet: is no readable Parquet file: ")
    assert len(list(tmp_path.iterdir())) == 3


def test_default_output(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without -o the trace is in the current directory, named after the recording."""
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(app, ["import", str(recording)])

    assert [path.name for path in tmp_path.iterdir()] == ["kernbench-mm-head.operations.parquet"]
    assert "16,000 lines" in result.stdout
