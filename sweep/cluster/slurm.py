"""An sbatch script that starts a Ray cluster of its own, runs a sweep on it, and leaves before its time is up."""

from dataclasses import dataclass

from sweep.cluster.options import ClusterSize
from sweep.cluster.rendering import render
from sweep.cluster.request import DRAIN_SECONDS, GO_ON_VARIABLE, JobRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmOptions:
    """What a Slurm job needs to know beside the sweep."""

    size: ClusterSize
    partition: str | None


def sbatch_script(request: JobRequest, options: SlurmOptions, *, file: str) -> str:
    """Return the script, with the specification inside; `file` is its own name."""
    minutes, seconds = divmod(options.size.seconds, 60)
    return render(
        "sweep.sbatch.j2",
        request=request,
        size=options.size,
        partition=options.partition,
        file=file,
        time=f"{minutes // 60}:{minutes % 60:02}:{seconds:02}",
        end_mark=_end_mark(request.spec_text),
        drain_seconds=DRAIN_SECONDS,
        go_on_variable=GO_ON_VARIABLE,
    )


def _end_mark(text: str) -> str:
    """Return a line that does not occur in the text that it ends."""
    mark = "END_OF_SWEEP"
    while mark in text.splitlines():
        mark += "_"
    return mark
