"""Importing perf's text: the parser against a plain one, broken files, and bytes of any kind."""

import gzip
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from engine.operations import OPERATION, Operations
from sweep.commands.trace import app
from sweep.exit_codes import TraceError
from sweep.recordings import source as source_module
from sweep.recordings.importing import import_perf
from sweep.recordings.perf.text import ImportReport, PerfText
from sweep.recordings.source import TextSource
from sweep.recordings.store import read_operations
from tests.support.plain_reader import read_rows
from tests.support.project import DATA

BROKEN = DATA / "broken-perf"
BROKEN_FILES = sorted(path for path in BROKEN.iterdir() if path.suffix not in {".expected", ".md"})
LINES_OF_SLICE = 16_000


def read_text(path: Path) -> tuple[Operations, tuple[str, ...], ImportReport]:
    """Read a recording into memory."""
    with TextSource(path) as source:
        text = PerfText(source)
        operations = np.concatenate([chunk.copy() for chunk in text.chunks()])
        return operations, text.comms, text.report()


def read_lines(folder: Path, *lines: str) -> tuple[Operations, tuple[str, ...], ImportReport]:
    """Read a recording of a few lines."""
    path = folder / "lines.perf.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return read_text(path)


def test_parser_equals_plain_reader(recording: Path, recorded_text: str) -> None:
    """Every field of every operation of a real recording is what a plain reader finds."""
    operations, comms, report = read_text(recording)

    found = [(*row[:-1], comms[row[-1]]) for row in operations.tolist()]
    assert found == read_rows(recorded_text)
    assert report.unreadable == 0


def test_every_line_is_accounted_for(recording: Path, recorded_text: str) -> None:
    """The lines by kind are what a search for their names finds, and add up to all lines."""
    _, _, report = read_text(recording)

    assert report.lines == LINES_OF_SLICE
    assert sum(report.lines_by_kind.values()) == LINES_OF_SLICE
    for name, count in report.lines_by_kind.items():
        assert len(re.findall(rf"^.*?\]\s+[\d.]+:\s+{name}(?![A-Z0-9_])", recorded_text, re.MULTILINE)) == count, name


@pytest.mark.parametrize("block_bytes", [400, 4096, 100_000])
def test_blocks_do_not_show(
    recorded_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    """Where the text is cut into blocks changes nothing."""
    lines = recorded_text.splitlines()[:block_bytes]
    expected, comms, report = read_lines(tmp_path, *lines)
    monkeypatch.setattr(source_module, "BLOCK_BYTES", block_bytes)

    operations, small_comms, small_report = read_lines(tmp_path, *lines)

    assert np.array_equal(operations, expected)
    assert (small_comms, small_report) == (comms, report)


def test_compression_does_not_show(recording: Path, recorded_text: str, tmp_path: Path) -> None:
    """Plain, gzip and zstd text give the same operations; only the digest of the file differs."""
    expected, _, report = read_text(recording)
    plain, packed = tmp_path / "a.txt", tmp_path / "a.txt.gz"
    plain.write_text(recorded_text, encoding="utf-8")
    packed.write_bytes(gzip.compress(recorded_text.encode()))

    results = [read_text(path) for path in (plain, packed)]

    assert all(np.array_equal(operations, expected) for operations, _, _ in results)
    assert len({report.digest, *(other.digest for _, _, other in results)}) == 3


@pytest.mark.parametrize("path", BROKEN_FILES, ids=lambda path: path.name)
def test_broken_file_is_explained(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each broken recording gives exactly the message beside it, and with --strict nothing is written."""
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(app, ["import", str(path), "-o", "out.parquet", "--strict"])

    expected = path.with_name(f"{path.name}.expected").read_text(encoding="utf-8")
    assert f"{result.stdout}{result.stderr}exit code {result.exit_code}\n" == expected
    assert list(tmp_path.iterdir()) == []


def test_there_are_ten_broken_files() -> None:
    """The collection of broken files did not vanish, and each message belongs to a file."""
    assert len(BROKEN_FILES) >= 10
    assert len(list(BROKEN.glob("*.expected"))) == len(BROKEN_FILES)


def test_without_strict_the_rest_is_written(tmp_path: Path) -> None:
    """A line that can't be read is reported, and all others are in the trace."""
    output = tmp_path / "out.parquet"

    report = import_perf(BROKEN / "13-many.perf.txt", output, allow_unsound=True)

    operations, _ = read_operations(output)
    assert (report.unreadable, len(report.defects), len(operations)) == (25, 20, 5)


def test_memory_does_not_grow_with_the_file(recorded_text: str, tmp_path: Path) -> None:
    """Reading four times as much text takes no more memory."""
    peaks = []
    for repeats in (3, 12):
        path = tmp_path / f"{repeats}.perf.txt"
        with path.open("w", encoding="utf-8") as stream:
            for i in range(repeats):
                stream.write(re.sub(r"\]  (29\d\d)\.", lambda m, i=i: f"]  {int(m[1]) + 100 * i}.", recorded_text))
        tracemalloc.start()
        with TextSource(path) as source:
            text = PerfText(source)
            assert sum(len(chunk) for chunk in text.chunks()) > 10_000 * repeats
            assert text.report().unreadable == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 1.01 * peaks[0]


def test_calls_are_joined_by_thread(tmp_path: Path) -> None:
    """Entry and return of two threads interleave; a failed call and a lone return are counted and give nothing."""
    mmap = "syscalls:sys_enter_mmap: addr: 0x0, len: {}, prot: 0x3, flags: {}, fd: 0xffffffff, off: 0x0"
    operations, comms, report = read_lines(
        tmp_path,
        f"a b 1/1 [000] 1.000000: {mmap.format('0x1000', '0x22')}",
        f"c/d 1/2 [003] 1.000001: {mmap.format('0x2000', '0x11')}",
        "a b 1/1 [000] 1.000002: syscalls:sys_exit_mmap: 0x7f0000000000",
        "c/d 1/2 [003] 1.000003: syscalls:sys_exit_mmap: 0x7f0000010000",
        f"c/d 1/2 [003] 1.000004: {mmap.format('0x3000', '0x22')}",
        "c/d 1/2 [003] 1.000005: syscalls:sys_exit_mmap: 0xfffffffffffffff4",
        "c/d 1/2 [003] 1.000006: syscalls:sys_exit_mmap: 0x7f0000020000",
        "c/d 1/2 [003] 1.000007: syscalls:sys_enter_brk: brk: 0x0",
    )

    assert operations.tolist() == [
        (0, 0x7F0000000000, 0x1000, 1, 0, 3, 3, 0, 0),
        (1000, 0x7F0000010000, 0x2000, 2, 0, 3 | 8 | 16 | 32, 3, 3, 1),
    ]
    assert comms == ("a b", "c/d")
    assert report.left_out == {
        "call that failed": 1,
        "return of a call that the trace did not see start": 1,
        "call that did not return": 1,
    }


def test_blanks_do_not_show(recorded_text: str, tmp_path: Path) -> None:
    """Tabs instead of spaces, and lines that end as on Windows, change nothing."""
    lines = recorded_text.splitlines()[:2000]
    expected, comms, report = read_lines(tmp_path, *lines)

    operations, other_comms, other_report = read_lines(tmp_path, *(line.replace(" ", "\t") + "\r" for line in lines))

    assert np.array_equal(operations, expected)
    assert (other_comms, other_report.lines_by_kind) == (comms, report.lines_by_kind)


def test_more_digits_than_nanoseconds_are_no_time(tmp_path: Path) -> None:
    """A fraction of a second that has ten digits is refused, for it would be taken for another time."""
    _, _, report = read_lines(
        tmp_path,
        "x 1/1 [000] 1.012345678: PERF_RECORD_SWITCH IN",
        "x 1/1 [000] 1.0123456789: PERF_RECORD_SWITCH IN",
    )

    assert (report.operations, report.unreadable, report.start_s) == (1, 1, 1.012345678)
    assert "no time in seconds" in report.defects[0]


def test_a_command_may_have_any_name(tmp_path: Path) -> None:
    """Brackets, slashes, numbers and spaces in a command's name are part of the name."""
    names = ("[kworker/0:1] x", "a 1/2 b", "(sd-pam)", "x [000")

    operations, comms, report = read_lines(
        tmp_path, *(f"{name} 7/7 [001] 5.5: PERF_RECORD_SWITCH IN" for name in names)
    )

    assert (len(operations), comms, report.unreadable) == (len(names), names, 0)


def test_other_operations(tmp_path: Path) -> None:
    """Mremap, madvise, a thread's clone, kernel addresses and lost events are read as the format says."""
    operations, _, report = read_lines(
        tmp_path,
        "# a comment",
        "",
        "x 7/7 [001] 5.5: syscalls:sys_enter_mremap: addr: 0x10000, old_len: 0x1000, new_len: 0x3000, flags: 0x1",
        "x 7/7 [001] 5.500000001: syscalls:sys_exit_mremap: 0x10000",
        "x 7/7 [001] 5.6: syscalls:sys_enter_madvise: start: 0x10000, len_in: 0x1000, behavior: 0x00000004",
        "x 7/7 [001] 5.7: task:task_newtask: pid=8 comm=clone_flags=7 clone_flags=3d0f00 oom_score_adj=0",
        "x 7/7 [001] 5.8: exceptions:page_fault_kernel: address=0xffffc90000000000 ip=x error_code=0x2",
        "x 7/7 [001] 5.8: exceptions:page_fault_kernel: address=init_task ip=x error_code=0x2",
        "x 7/8 [001] 5.9: PERF_RECORD_SWITCH_CPU_WIDE OUT          next pid/tid:     0/0    ",
        ":-1 -1/-1 [001] 5.9: PERF_RECORD_SWITCH IN",
        "perf 0/0 [001] 5.9: PERF_RECORD_LOST lost 17",
    )

    assert operations.tolist() == [
        (0, 0x10000, 0x3000, 7, 0, 0, 7, 1, 0),
        (99_999_999, 0x10000, 0x1000, 7, 0, 4, 8, 1, 0),
        (199_999_999, 0, 0, 7, 8, 0x3D0F00, 9, 1, 0),
        (399_999_999, 0, 0, 8, 0, 0, 1, 1, 0),
    ]
    assert report.lost == 17
    assert report.left_out["fault on a kernel address"] == 2
    assert report.left_out["event of no process (pid -1)"] == 1


VALID = st.sampled_from(
    [
        b"make 1/1 [000]  3.000001: exceptions:page_fault_user: address=0x7f00 ip=0x1 error_code=0x6\n",
        b"make 1/2 [001]  3.000002: PERF_RECORD_SWITCH OUT preempt\n",
        b"sh 1/1 [000]  3.000003: syscalls:sys_enter_mmap: addr: 0x0, len: 0x1000, prot: 0x3, flags: 0x22\n",
        b"sh 1/1 [000]  3.000004: syscalls:sys_exit_mmap: 0x7f0000000000\n",
        b"sh 1/1 [000]  3.000005: task:task_newtask: pid=9 comm=sh clone_flags=4100 oom_score_adj=0\n",
        b"sh 1/1 [000]  3.000006: sched:sched_process_exit: comm=sh pid=1 prio=120\n",
    ],
)
SPLICE = st.tuples(st.integers(0, 120), st.integers(0, 8), st.binary(max_size=6))


@st.composite
def damaged_lines(draw: st.DrawFn) -> bytes:
    """Draw valid lines in which a few bytes are replaced, put in or left out."""
    lines = []
    for line in draw(st.lists(VALID, max_size=8)):
        start, length, put = draw(SPLICE)
        lines.append(line[:start] + put + line[start + length :])
    return b"".join(lines)


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file that generated examples overwrite."""
    return tmp_path_factory.mktemp("bytes") / "any.perf.txt"


@given(content=st.one_of(st.binary(max_size=300), damaged_lines(), st.binary(max_size=60).map(gzip.compress)))
def test_any_bytes_are_read_or_refused(scratch: Path, content: bytes) -> None:
    """Whatever the bytes, the importer reads them or raises its own error, and accounts for every line."""
    scratch.write_bytes(content)

    try:
        operations, comms, report = read_text(scratch)
    except TraceError as error:
        refusal = str(error)
    else:
        refusal = ""

    if refusal:
        assert refusal.startswith(scratch.name)
        return
    assert operations.dtype == OPERATION
    assert sum(report.lines_by_kind.values()) + report.unreadable == report.lines
    assert bool((np.diff(operations["time_ns"].astype(np.int64)) >= 0).all())
    assert int(operations["comm"].max()) < len(comms)
