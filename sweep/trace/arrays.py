"""Store a layer-1 trace as one .npy array, which the workload `recorded` replays (the engine reads no Parquet)."""

from pathlib import Path

import numpy as np

from engine.operations import OPERATION
from sweep.trace.errors import TraceError
from sweep.trace.source import is_parquet
from sweep.trace.store import OperationFile


def write_array(trace: Path, output: Path) -> int:
    """Write the operations of a trace to an array file, chunk by chunk; return their number.

    Raises:
        TraceError: the trace can't be used, or the array can't be written.
    """
    if not is_parquet(trace):
        raise TraceError(f"{trace}: is no imported trace; first do: sweep trace import {trace}")
    source = OperationFile(trace)
    temporary = output.with_name(f".{output.name}.tmp")
    try:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=OPERATION, shape=(source.rows,))
        place = 0
        for chunk in source.chunks():
            array[place : place + len(chunk)] = chunk
            place += len(chunk)
        array.flush()
        temporary.replace(output)
    except OSError as error:
        raise TraceError(f"{output}: can't be written: {error.strerror}; choose another place with -o") from error
    finally:
        temporary.unlink(missing_ok=True)
    return place
