"""A recorded layer-1 trace, replayed as it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final

import numpy as np

from engine.guests import Guest
from engine.operations import OPERATION, Operations
from engine.workloads.contract import EventSource, Parameter, Workload
from engine.workloads.piped import GUEST_PARAMETERS, open_piped, with_defaults

CHUNK_OPERATIONS: Final = 1 << 20
_HOW: Final = "Make one with: sweep trace array TRACE -o FILE.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedOperations:
    """The operations of a file, read as they are needed."""

    path: Path

    def chunks(self) -> Iterator[Operations]:
        """Yield the operations of the file.

        Raises:
            ValueError: the file holds no operations.
        """
        try:
            operations = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, TokenError) as error:  # The last two of files that were cut off.
            raise ValueError(f"{self.path}: no array of operations ({error}). {_HOW}") from error
        if not isinstance(operations, np.ndarray) or operations.dtype != OPERATION:
            found = getattr(operations, "dtype", type(operations).__name__)
            raise ValueError(f"{self.path}: holds {found}, expected the dtype of operations. {_HOW}")
        if operations.ndim != 1:
            raise ValueError(f"{self.path}: holds {operations.ndim} dimensions, expected one. {_HOW}")
        for start in range(0, len(operations), CHUNK_OPERATIONS):
            yield np.array(operations[start : start + CHUNK_OPERATIONS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded(Workload):
    """A recorded trace of processes."""

    def open(self, parameters: dict[str, Any], guest: Guest, seed: int, window_ns: int) -> EventSource:
        """Return the trace of one recording.

        Raises:
            ValueError: no path is given.
        """
        chosen = with_defaults(self.parameters, parameters)
        if not chosen["path"]:
            raise ValueError(f"workload recorded: parameter path is empty; it names an .npy file. {_HOW}")
        operations = RecordedOperations(path=Path(chosen["path"]))
        return open_piped(
            operations, parameters=chosen, guest=guest, seed=seed, window_ns=window_ns, place=chosen["path"]
        )


WORKLOAD: Final = Recorded(
    name="recorded",
    summary="a recording of what processes did, replayed as it is",
    source="the recording at `path`",
    parameters={
        "path": Parameter(default="", help="an .npy array of layer-1 operations (sweep trace array)"),
        **GUEST_PARAMETERS,
    },
)
