"""Traces and recordings from a stranger: damaged in any way they are read, or refused with a message; nothing more."""

from pathlib import Path
from tokenize import TokenError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.guests import Guest
from engine.operations import OPERATION, PID_MAX
from engine.simulate import Batch
from engine.vocabulary import Operation
from sweep.commands import trace
from sweep.exit_codes import ExitCode
from sweep.recordings.store import SCHEMA, read_operations, write_operations
from sweep.tasks.worker import simulate_batch
from tests.support.mutations import answer, bytes_damaged
from tests.support.policies import POLICIES
from tests.support.project import DATA

DAMAGES = 40
LINES = 120


def small_trace(path: Path) -> Path:
    """Write a layer-1 trace of a few operations."""
    operations = np.zeros(50, OPERATION)
    operations["time_ns"] = np.arange(50) * 1000
    operations["kind"] = np.arange(50) % len(Operation)
    operations["address"] = np.arange(50) * 4096
    operations["pid"] = 7
    write_operations(path, operations, comms=("make",), facts={"source": "a test"})
    return path


def kvm_recording() -> bytes:
    """Return a recording of a real KVM."""
    return min((DATA / "kvm-truth").rglob("*.parquet"), key=lambda path: path.stat().st_size).read_bytes()


def use(path: Path, folder: Path) -> None:
    """Do with a file all that `sweep trace` does with one that it is given."""
    answer(trace.app, "info", str(path))
    answer(trace.app, "import", str(path), "-o", str(folder / "out.parquet"))
    answer(trace.app, "array", str(path), "-o", str(folder / "out.npy"))


def test_a_stored_trace_is_read_or_refused(tmp_path: Path) -> None:
    """A layer-1 trace with other bytes is refused, or read as something that has its columns."""
    content = small_trace(tmp_path / "trace.parquet").read_bytes()
    path = tmp_path / "damaged.parquet"

    for changed in bytes_damaged(content, np.random.default_rng(3), DAMAGES):
        path.write_bytes(changed)
        use(path, tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shadowsweep.format", "layer-9"),
        ("shadowsweep.version", "99"),
        ("shadowsweep.version", ""),
        ("shadowsweep.commands", "{"),
        ("shadowsweep.commands", "7"),
        ("shadowsweep.commands", '[["make"]]'),
        ("shadowsweep.commands", "[" * 100_000),
        ("shadowsweep.commands", "[]"),
        ("shadowsweep.source", "[1]"),
        ("shadowsweep.source", "\x00"),
    ],
)
def test_words_of_a_trace_are_checked(tmp_path: Path, key: str, value: str) -> None:
    """A trace of another format or version, or whose metadata is not what it should be, is refused by name."""
    path = tmp_path / "changed.parquet"
    table = pq.read_table(small_trace(tmp_path / "trace.parquet"))
    words = {**(pq.read_metadata(tmp_path / "trace.parquet").metadata), key.encode(): value.encode()}
    words.pop(b"ARROW:schema", None)
    pq.write_table(table.cast(SCHEMA).replace_schema_metadata(words), path)

    code, text = answer(trace.app, "info", str(path))

    assert code == ExitCode.CELLS_FAILED
    assert str(path) in text


def test_commands_of_a_trace_are_in_its_table(tmp_path: Path) -> None:
    """A trace whose columns are right, but whose rows name commands that its metadata does not know, is refused."""
    path = tmp_path / "trace.parquet"
    table = pq.read_table(small_trace(path)).cast(SCHEMA)
    metadata = {key: value for key, value in pq.read_metadata(path).metadata.items() if key != b"ARROW:schema"}
    strangers = table.set_column(8, SCHEMA.field("comm"), pa.array(["other"] * 50).dictionary_encode())
    pq.write_table(strangers.replace_schema_metadata(metadata), path)

    code, text = answer(trace.app, "info", str(path))

    assert code == ExitCode.CELLS_FAILED
    assert "not in its table of command names" in text


def test_text_of_perf_is_read_or_refused(tmp_path: Path, recorded_lines: str) -> None:
    """Text of perf with other bytes is read line by line; what can't be read is counted or refused."""
    path = tmp_path / "damaged.perf.txt"

    for changed in bytes_damaged(recorded_lines.encode(), np.random.default_rng(4), DAMAGES):
        path.write_bytes(changed)
        answer(trace.app, "info", str(path))


@pytest.mark.parametrize(
    "content",
    [
        b"x" * (3 << 20),
        b"\n" * 100_000,
        b"\x00" * 5000 + b"\n",
        b"make 1/1 [000] 99999999999999999999.9: sched:sched_switch: prev_pid=1\n" * 5,
        b"make 1/1 [999999999] 1.0: exceptions:page_fault_user: address=0xffffffffffffffffffff ip=0x0 error_code=0x4\n",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        b"\x28\xb5\x2f\xfd\x00",
        b"PAR1PAR1",
        b"PAR1" + b"\xff" * 100 + b"PAR1",
    ],
    ids=["long line", "no lines", "zeros", "times", "numbers", "gzip", "zstd", "parquet", "footer"],
)
def test_no_recording_at_all_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that only begins like a recording is refused with its name."""
    path = tmp_path / "file.perf.txt"
    path.write_bytes(content)

    code, text = answer(trace.app, "import", str(path), "-o", str(tmp_path / "out"), "--strict")

    assert code == ExitCode.CELLS_FAILED
    assert path.name in text
    assert not (tmp_path / "out").exists()


def test_a_recording_of_kvm_is_read_or_refused(tmp_path: Path) -> None:
    """Events of a real KVM with other bytes are refused, or converted as they are."""
    path = tmp_path / "damaged.parquet"

    for changed in bytes_damaged(kvm_recording(), np.random.default_rng(5), DAMAGES // 4):
        path.write_bytes(changed)
        answer(trace.app, "import", str(path), "-o", str(tmp_path / "out"), "--format", "kvm-truth")


@pytest.mark.parametrize("seed", range(3))
def test_an_array_of_anything_is_simulated_or_refused(tmp_path: Path, seed: int) -> None:
    """The replay of an array takes any numbers in any field: it refuses them with a message or counts them."""
    random, path = np.random.default_rng(seed), tmp_path / "operations.npy"
    operations = np.frombuffer(random.bytes(500 * OPERATION.itemsize), OPERATION).copy()
    operations["time_ns"] %= 10**9
    operations["time_ns"].sort()
    operations["vcpu"] %= 2
    operations["pid"] &= PID_MAX
    operations["peer"] &= PID_MAX
    operations["kind"] %= len(Operation) + (seed == 0)
    np.save(path, operations)

    refused = simulated(path)

    assert refused.startswith(f"{path}: operation") if seed == 0 else refused == ""


def test_an_array_that_would_run_code_is_refused(tmp_path: Path) -> None:
    """An array of Python objects, whose reading would run what a stranger wrote, is refused; so are cut arrays."""
    path, marker = tmp_path / "operations.npy", tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(marker),)

    np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True)
    messages = [simulated(path)]
    for header in (b"", b"\x93NUMPY\x01\x00\x08\x00{(((   \n"):
        path.write_bytes(header)
        messages.append(simulated(path))
    np.save(path, np.zeros(50, OPERATION))
    for changed in bytes_damaged(path.read_bytes(), np.random.default_rng(6), DAMAGES // 4):
        path.write_bytes(changed)
        messages.append(simulated(path))

    assert all("no array of operations" in message for message in messages[:3])
    assert not marker.exists()


def simulated(path: Path) -> str:
    """Replay an array and return why it was refused."""
    batch = Batch(
        workload="recorded", parameters={"path": str(path)}, guest=Guest(vcpus=2, memory_mib=256),
        policies=(POLICIES["kvm-3.0"],), seed=0, window_ns=10**9,
    )  # fmt: skip
    try:
        simulate_batch(batch)
    # numpy tells of a damaged header in four ways; in a sweep each of them is a row in the table of failures.
    except (ValueError, RuntimeError, EOFError, TokenError) as error:
        return str(error) or type(error).__name__
    return ""


def test_the_whole_trace_is_fine(tmp_path: Path) -> None:
    """The trace that the other tests damage is one that verbs use."""
    path = small_trace(tmp_path / "trace.parquet")

    code, text = answer(trace.app, "array", str(path), "-o", str(tmp_path / "out.npy"))

    assert code == ExitCode.OK, text
    assert len(read_operations(path)[0]) == 50


@pytest.fixture(scope="module")
def recorded_lines() -> str:
    """Return the first lines of a recording."""
    import zstandard

    packed = (DATA / "perf" / "kernbench-mm-head.perf.txt.zst").read_bytes()
    return "".join(zstandard.ZstdDecompressor().decompress(packed).decode().splitlines(keepends=True)[:LINES])
