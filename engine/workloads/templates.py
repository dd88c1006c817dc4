"""Read and write process templates: recorded lives of processes, and how they make up a build.

A template is what one recorded process did from its creation to its end, as steps with the native run time before each.
Steps are layer-1 operations and a few steps of the scheduler that never reach a trace (`Step`). The file is an .npz
whose members are LZMA-compressed; `provenance` inside is JSON and names the recording and the command that derived it.
"""

import io
import json
import zipfile
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

TEMPLATE_FORMAT_VERSION: Final = 1
LINE_REGISTER: Final = 255
REGISTERS: Final = 256
PAGE_BITS: Final = 12
NS_PER_US: Final = 1000


class Step(IntEnum):
    """Steps beside the layer-1 operations; `address` and `length` mean what is said here."""

    WAIT_CHILD = 32
    """Blocks until the child that was cloned into register `address` has ended."""
    WAIT_SIBLING = 33
    """Blocks until the parent's child in register `address` has ended (a reader waits for the writer of its pipe)."""
    SLEEP = 34
    """Blocks for `length` ns (recorded time off the CPU without a known waker)."""
    END = 35
    """The process is gone; its parent may go on."""
    LINES = 36
    """A make starts recipe lines here until all units of its build are done."""


STEP: Final = np.dtype(
    [
        ("address", np.uint64),
        ("length", np.uint64),
        ("flags", np.uint32),
        ("run_ns", np.uint32),
        ("kind", np.uint8),
    ],
    align=True,
)
"""One step; `run_ns` is native time on the CPU since the step before. CLONE: register in `address`, template in
`length`. EXEC: the new command name's index in `flags`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """Recorded processes and the shape of the build that they come from."""

    steps: npt.NDArray[np.void]
    """steps[i] of dtype STEP, template after template, then segment after segment."""
    template_start: npt.NDArray[np.int64]
    """template_start[t]: first step of template t; template t ends where the next one starts."""
    segment_start: npt.NDArray[np.int64]
    """segment_start[s]: first step of segment s: what make does up to and with the CLONE of one recipe line."""
    unit_segment: npt.NDArray[np.int64]
    """unit_segment[u]: first segment of compile unit u; its lines follow until the next unit's."""
    root: int
    """Template of the process that starts a build."""
    build_make: int
    """Template of the make that runs the compile units."""
    comms: tuple[str, ...]
    provenance: dict[str, Any]

    @property
    def units(self) -> int:
        """Compile units that were recorded."""
        return len(self.unit_segment) - 1


def write_templates(path: Path, templates: Templates) -> None:
    """Write templates to a file; the same templates give the same bytes."""
    steps = templates.steps
    page = (steps["address"] >> np.uint64(PAGE_BITS)).astype(np.int64)
    members: dict[str, npt.NDArray[Any]] = {
        "page_step": np.diff(page, prepend=np.int64(0)).astype(np.int64).view(np.uint8).reshape(-1, 8).T.copy(),
        "page_offset": (steps["address"] & np.uint64((1 << PAGE_BITS) - 1)).astype(np.uint16),
        "length": steps["length"],
        "flags": steps["flags"],
        "run_us": (steps["run_ns"] // NS_PER_US).astype(np.uint32).view(np.uint8).reshape(-1, 4).T.copy(),
        "kind": steps["kind"],
        "template_start": templates.template_start,
        "segment_start": templates.segment_start,
        "unit_segment": templates.unit_segment,
        "roles": np.array([TEMPLATE_FORMAT_VERSION, templates.root, templates.build_make], np.int64),
        "comms": _text(json.dumps(templates.comms)),
        "provenance": _text(json.dumps(templates.provenance, sort_keys=True)),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in members.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            # A fixed date keeps the bytes independent of the day.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), compress_type=zipfile.ZIP_LZMA)


def read_templates(path: Path) -> Templates:
    """Read a template file.

    Raises:
        ValueError: the file is no template file of this format.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            members = {name: archive[name] for name in archive.files}
        version, root, build_make = (int(x) for x in members["roles"])
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        message = f"{path}: no process templates ({error}). Derive them with: sweep trace templates RECORDING -o {path}"
        raise ValueError(message) from error
    if version != TEMPLATE_FORMAT_VERSION:
        message = (
            f"{path}: template format {version}; this version reads {TEMPLATE_FORMAT_VERSION}. "
            f"Derive it again with: sweep trace templates RECORDING -o {path}"
        )
        raise ValueError(message)
    steps = np.zeros(len(members["kind"]), STEP)
    page = np.cumsum(np.ascontiguousarray(members["page_step"].T).view(np.int64).ravel())
    steps["address"] = (page.astype(np.uint64) << np.uint64(PAGE_BITS)) | members["page_offset"].astype(np.uint64)
    steps["run_ns"] = np.ascontiguousarray(members["run_us"].T).view(np.uint32).ravel() * np.uint32(NS_PER_US)
    for name in ("length", "flags", "kind"):
        steps[name] = members[name]
    return Templates(
        steps=steps,
        template_start=members["template_start"],
        segment_start=members["segment_start"],
        unit_segment=members["unit_segment"],
        root=root,
        build_make=build_make,
        comms=tuple(json.loads(members["comms"].tobytes())),
        provenance=json.loads(members["provenance"].tobytes()),
    )


def _text(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)
