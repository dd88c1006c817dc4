"""Store a layer-1 trace as one .npy array, which the workload `recorded` replays (the engine reads no Parquet)."""

from pathlib import Path

import numpy as np

from engine.operations import OPERATION
from sweep.recordings.array_file import encode_notes
from sweep.recordings.errors import TraceError
from sweep.recordings.soundness import unsound_reasons_of_source
from sweep.recordings.source import is_parquet
from sweep.recordings.store import OperationFile


def write_array(trace: Path, output: Path) -> int:
    """Write the operations of a trace to an array file, chunk by chunk; return their number.

    The reasons why a trace is unsound stand behind the operations in the same file, so that no copy of it loses them.

    Raises:
        TraceError: the trace can't be used, or the array can't be written.
    """
    if not is_parquet(trace):
        raise TraceError(f"{trace}: is no imported trace; first do: sweep trace import {trace}")
    source = OperationFile(trace)
    if source.source.get("format") == "perf" and "unsound" not in source.source:
        raise TraceError(f"{trace}: was imported before recordings were checked; import the recording again")
    reasons = unsound_reasons_of_source(source.source)
    temporary = output.with_name(f".{output.name}.tmp")
    try:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=OPERATION, shape=(source.rows,))
        place = 0
        for chunk in source.chunks():
            array[place : place + len(chunk)] = chunk
            place += len(chunk)
        array.flush()
        with temporary.open("ab") as stream:
            stream.write(encode_notes(reasons))
        temporary.replace(output)
    except OSError as error:
        raise TraceError(f"{output}: can't be written: {error.strerror}; choose another place with -o") from error
    finally:
        temporary.unlink(missing_ok=True)
    return place
