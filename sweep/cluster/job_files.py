"""Writes the files that start a cluster of their own from `sweep/cluster/templates`; filters quote all values there."""

import json
import shlex
from pathlib import Path
from typing import Any, Final

from sweep.cluster.options import NODE_BYTES_MIN, ClusterSize, check_line, check_words, parse_memory, parse_time
from sweep.cluster.request import DRAIN_SECONDS, GO_ON_VARIABLE, JobRequest
from sweep.rendering import Filters, render

STANDARD_OUTPUT: Final = Path("-")
WRITTEN_BY: Final = "Written by `sweep submit --"
"""What the first lines of such a file say."""
_HEAD_BYTES: Final = 1024
"""Where they end, with a sweep's name in them."""


def render_file(template: str, **values: Any) -> str:
    """Return the text of a template of this package."""
    filters: Filters = {"yaml": _yaml, "shell": shlex.quote, "block": _block}
    return render("sweep.cluster", template, filters=filters, **values)


def _yaml(value: object) -> str:
    """Return a value as a quoted YAML scalar: a JSON string is one, but YAML knows no surrogate pairs."""
    return json.dumps(str(value), ensure_ascii=False)


def _block(text: str, blanks: int) -> str:
    """Return a text as the lines of a YAML block."""
    return "\n".join(f"{' ' * blanks}{line}".rstrip() for line in text.rstrip("\n").split("\n"))


def sbatch_script(request: JobRequest, size: ClusterSize, *, partition: str | None, file: Path) -> str:
    """Return an sbatch script, with the specification inside.

    It starts a Ray cluster of its own, runs a sweep on it, and leaves before its time is up.
    """
    minutes, seconds = divmod(size.seconds, 60)
    return render_file(
        "sweep.sbatch.j2",
        request=request,
        size=size,
        partition=None if partition is None else check_words("--partition", partition),
        file=file_name(file, f"{request.name}.sbatch"),
        time=f"{minutes // 60}:{minutes % 60:02}:{seconds:02}",
        end_mark=_end_mark(request.spec_text),
        drain_seconds=DRAIN_SECONDS,
        go_on_variable=GO_ON_VARIABLE,
    )


def cluster_size(*, workers: int, cpus: int, memory: str, time: str) -> ClusterSize:
    """Return what each mode that writes a file asks for."""
    return ClusterSize(
        workers=workers,
        cpus=cpus,
        memory_mib=parse_memory("--memory", memory, at_least=NODE_BYTES_MIN) >> 20,
        seconds=parse_time("--time", time, more_than=DRAIN_SECONDS),
    )


def file_name(file: Path, default: str) -> str:
    """Return the name by which comments in a file call it."""
    return default if file == STANDARD_OUTPUT else check_line("FILE", file.name)


def may_be_written(file: Path) -> bool:
    """Say whether a name is free, or has a file that `sweep submit` has written."""
    if not file.is_file():
        return True
    with file.open("rb") as stream:
        return WRITTEN_BY.encode() in stream.read(_HEAD_BYTES)


def _end_mark(text: str) -> str:
    """Return a line that does not occur in the text that it ends."""
    mark = "END_OF_SWEEP"
    while mark in text.splitlines():
        mark += "_"
    return mark
