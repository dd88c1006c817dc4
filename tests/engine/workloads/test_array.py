"""From an imported trace to the workload `recorded`."""

from pathlib import Path

import pytest

from engine.workloads.kernbench_run import TEMPLATE_FILE, load_templates
from engine.workloads.recorded import RecordedOperations
from sweep.exit_codes import TraceError
from sweep.recordings.array_file import write_array
from sweep.recordings.store import operation_writer
from tests.support.engine.workload_runs import all_of, operations_of, small_run


def test_an_array_is_its_trace(tmp_path: Path) -> None:
    """The workload `recorded` replays exactly the operations of the trace that the array was made from."""
    operations = operations_of(small_run(units=1))
    trace, array = tmp_path / "a.operations.parquet", tmp_path / "a.npy"
    with operation_writer(trace) as writer:
        writer.write(operations, load_templates(TEMPLATE_FILE).comms)

    count = write_array(trace, array)

    assert count == len(operations)
    assert all_of(RecordedOperations(path=array)).tobytes() == operations.tobytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "a.operations.parquet"]


def test_text_is_imported_first(tmp_path: Path) -> None:
    """Text of perf is refused with the command that imports it."""
    text = tmp_path / "recording.txt"
    text.write_text("make 1/1 [000] 1.0: x:\n")

    with pytest.raises(TraceError, match=r"is no imported trace; first do: sweep trace import .*recording.txt"):
        write_array(text, tmp_path / "a.npy")
