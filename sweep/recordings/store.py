"""Layer-1 traces on disk: Parquet with a version, units, the command names and where the trace came from.

docs/reference/trace-format.md describes the file. Writing is atomic: a file appears whole or not at all.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from engine.operations import OPERATION, OPERATION_FORMAT_VERSION, Operations
from engine.vocabulary import Operation
from results.store.files import appearing
from sweep.exit_codes import TraceError

FORMAT: Final = "shadowsweep-operations"
TABLE_KEYS: Final = ("shadowsweep.format", "shadowsweep.version", "shadowsweep.commands", "shadowsweep.source")
"""Keys of the file's metadata: format and version, then JSON: the command names by index, and the source."""

_KINDS: Final = ", ".join(f"{kind.value} {kind.name}" for kind in Operation)
_COLUMNS: Final = (
    ("time_ns", pa.uint64(), "ns", "native guest time since the first operation"),
    ("address", pa.uint64(), "byte address", "guest virtual address, as the kind says; else 0"),
    ("length", pa.uint64(), "bytes", "length of a range, as the kind says; else 0"),
    ("pid", pa.uint32(), "id", "the thread that does it"),
    ("peer", pa.uint32(), "id", "the new thread of a CLONE; else 0"),
    ("flags", pa.uint32(), "bits", "as the kind says; else 0"),
    ("kind", pa.uint8(), "code", _KINDS),
    ("vcpu", pa.uint8(), "index", "the CPU that it happens on"),
    ("comm", pa.dictionary(pa.int32(), pa.string()), "name", "command name of the thread at that time"),
)
SCHEMA: Final = pa.schema(
    [
        pa.field(name, kind, nullable=False, metadata={"unit": unit, "description": text})
        for name, kind, unit, text in _COLUMNS
    ],
)
"""One row per operation, in time order."""


GROUP_ROWS: Final = 1 << 18
"""Rows after which a row group is written: about 10 MB of memory."""
_ZSTD_LEVEL: Final = 1
_COMMS_MAX: Final = 1 << 16
"""What `comm` of an operation can tell apart."""
_DELTA_COLUMNS: Final = ("time_ns", "address", "length")
T = TypeVar("T")


@contextmanager
def trace_file(path: Path) -> Iterator[Path]:
    """Give the name under which a trace is to be written; the file appears as `path` at the end, whole.

    Raises:
        TraceError: nothing can be written there.
    """
    with appearing(path) as temporary:
        try:
            temporary.touch()
        except OSError as error:
            raise TraceError(f"{path}: can't be written: {error.strerror}; choose another place with -o") from error
        yield temporary


@contextmanager
def operation_writer(path: Path) -> Iterator["OperationWriter"]:
    """Give what writes a layer-1 trace; the file appears when the context ends without an error."""
    with (
        trace_file(path) as temporary,
        pq.ParquetWriter(
            temporary,
            SCHEMA,
            compression="zstd",
            compression_level=_ZSTD_LEVEL,
            use_dictionary=[name for name in SCHEMA.names if name not in _DELTA_COLUMNS],
            write_page_checksum=True,
            column_encoding=dict.fromkeys(_DELTA_COLUMNS, "DELTA_BINARY_PACKED"),
        ) as file,
    ):
        writer = OperationWriter(path, file)
        yield writer
        writer.finish()


class OperationWriter:
    """Writes a layer-1 trace chunk by chunk to an open Parquet file; `path` is its name in messages."""

    def __init__(self, path: Path, file: Any) -> None:
        self._path = path
        self._file = file
        self._pending: list[Operations] = []
        self._pending_rows = 0
        self._last_time = 0
        self._facts: dict[str, Any] = {}
        self._comms: tuple[str, ...] = ()

    def write(self, operations: Operations, comms: tuple[str, ...]) -> None:
        """Append operations; `comms` is the table so far, which later calls may only extend."""
        if not len(operations):
            return
        times = operations["time_ns"]
        if int(times[0]) < self._last_time or bool((times[1:] < times[:-1]).any()):
            raise TraceError(f"{self._path}: operations must be in the order of time_ns; sort them (stable) first")
        if int(operations["comm"].max()) >= len(comms):
            raise TraceError(f"{self._path}: an operation's comm is not in the table of {len(comms)} command names")
        self._last_time = int(times[-1])
        self._comms = comms
        self._pending.append(operations.copy())
        self._pending_rows += len(operations)
        if self._pending_rows >= GROUP_ROWS:
            self._flush()

    def describe(self, facts: dict[str, Any]) -> None:
        """Keep where the trace came from; JSON of it goes to the file's metadata."""
        self._facts = facts

    def finish(self) -> None:
        """Write the rest and the metadata."""
        self._flush()
        values = (FORMAT, str(OPERATION_FORMAT_VERSION), json.dumps(self._comms), json.dumps(self._facts))
        self._file.add_key_value_metadata(dict(zip(TABLE_KEYS, values, strict=True)))

    def _flush(self) -> None:
        """Write what is pending as one row group."""
        if self._pending:
            self._file.write_batch(_to_batch(np.concatenate(self._pending), self._comms), self._pending_rows)
        self._pending.clear()
        self._pending_rows = 0


class OperationFile:
    """An open layer-1 trace: its command names, where it came from, and its operations."""

    def __init__(self, path: Path) -> None:
        """Open a trace and check that it is one."""
        metadata = _read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        form, version, comms, facts = _describe(metadata)
        if form != FORMAT:
            raise TraceError(f"{path}: is no layer-1 trace: its format is {form!r}, expected {FORMAT!r}")
        if version != str(OPERATION_FORMAT_VERSION):
            raise TraceError(
                f"{path}: has version {version!r} of the trace format; this program reads {OPERATION_FORMAT_VERSION}. "
                "Import the recording again",
            )
        if not schema.equals(SCHEMA, check_metadata=False):
            raise TraceError(f"{path}: its columns are not those of version {version}; import the recording again")
        self._file = pq.ParquetFile(path, read_dictionary=["comm"], page_checksum_verification=True)
        self.path = path
        self.comms: tuple[str, ...] = tuple(_words(path, comms, list))
        if len(self.comms) > _COMMS_MAX or not all(isinstance(name, str) for name in self.comms):
            raise TraceError(f"{path}: its command names are no list of at most {_COMMS_MAX} texts; import it again")
        self.source: dict[str, Any] = _words(path, facts, dict)
        self.rows: int = metadata.num_rows
        self._comm_index = {name: comm for comm, name in enumerate(self.comms)}

    def chunks(self) -> Iterator[Operations]:
        """Yield the operations in order, one row group at a time."""
        for group in range(self._file.num_row_groups):
            try:
                table = self._file.read_row_group(group)
            except (OSError, pa.ArrowException) as error:
                raise TraceError(f"{self.path}: row group {group} is damaged: {error}; import it again") from error
            yield self._to_operations(table)

    def _to_operations(self, table: Any) -> Operations:
        """Put the columns of a table side by side."""
        operations = np.empty(table.num_rows, OPERATION)
        for name in OPERATION.names or ():
            if name != "comm":
                operations[name] = table.column(name).to_numpy()
        comm = table.column("comm").combine_chunks()
        comm = comm.chunk(0) if isinstance(comm, pa.ChunkedArray) else comm
        try:
            known = np.array([self._comm_index[name] for name in comm.dictionary.to_pylist()], np.uint16)
        except KeyError as error:
            raise TraceError(f"{self.path}: command {error} is not in its table of command names") from error
        operations["comm"] = known[comm.indices.to_numpy()]
        return operations


def write_operations(
    path: Path,
    operations: Operations,
    *,
    comms: tuple[str, ...],
    facts: dict[str, Any] | None = None,
) -> None:
    """Write a whole layer-1 trace."""
    with operation_writer(path) as writer:
        writer.write(operations, comms)
        writer.describe(facts or {})


def read_operations(path: Path) -> tuple[Operations, tuple[str, ...]]:
    """Read a whole layer-1 trace and its command names."""
    trace = OperationFile(path)
    operations = np.empty(trace.rows, OPERATION)
    at = 0
    for chunk in trace.chunks():
        operations[at : at + len(chunk)] = chunk
        at += len(chunk)
    return operations, trace.comms


def is_operation_file(path: Path) -> bool:
    """Tell whether a Parquet file says that it is a layer-1 trace, of whatever version."""
    return _describe(_read_metadata(path))[0] == FORMAT


def _read_metadata(path: Path) -> Any:
    """Read the footer of a Parquet file."""
    try:
        return pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise TraceError(f"{path}: is no readable Parquet file: {error}; import the recording again") from error


def _words(path: Path, text: str, kind: type[T]) -> T:
    """Return what a key of the metadata holds as JSON."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path}: its metadata can't be read: {error}; import the recording again") from error
    if not isinstance(content, kind):
        raise TraceError(
            f"{path}: its metadata holds {type(content).__name__}, expected {kind.__name__}; import it again"
        )
    return content


def _describe(metadata: Any) -> list[str]:
    """Return what the keys of a trace hold, in the order of `TABLE_KEYS`; empty where a key is missing."""
    texts = metadata.metadata or {}
    return [texts.get(key.encode(), b"").decode(errors="replace") for key in TABLE_KEYS]


def _to_batch(operations: Operations, comms: tuple[str, ...]) -> Any:
    """Make an Arrow batch of operations."""
    arrays = []
    for field in SCHEMA:
        column: npt.NDArray[Any] = np.ascontiguousarray(operations[field.name])
        if field.name == "comm":
            arrays.append(
                pa.DictionaryArray.from_arrays(pa.array(column.astype(np.int32)), pa.array(comms, pa.string()))
            )
        else:
            arrays.append(pa.array(column, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
