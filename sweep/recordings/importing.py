"""Imports and summarises recordings of any format that this program reads: what `sweep trace import` and `info` do."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.operations import Operations
from results.wording import counted
from sweep.exit_codes import TraceError
from sweep.recordings.perf.text import ImportReport, PerfText
from sweep.recordings.soundness import unsound_reasons_of_source
from sweep.recordings.source import STANDARD_INPUT, TextSource, is_parquet
from sweep.recordings.store import OperationFile, is_operation_file, operation_writer, read_operations
from sweep.recordings.summary import Summary, TraceSummary

FORMATS: Final = ("auto", "perf", "kvm-truth")
TRACE_SUFFIX: Final = ".operations.parquet"
EVENTS_SUFFIX: Final = ".events.parquet"
_RECORDING_SUFFIXES: Final = (".zst", ".gz", ".txt", ".perf", ".parquet")


def default_output(recording: Path, form: str) -> Path:
    """Name the trace of a recording: in the current directory, with the suffix of its layer instead of its own."""
    name = "recording" if recording == STANDARD_INPUT else recording.name
    for suffix in _RECORDING_SUFFIXES:
        name = name.removesuffix(suffix)
    return Path(name + (EVENTS_SUFFIX if form == "kvm-truth" else TRACE_SUFFIX))


def import_perf(recording: Path, output: Path, *, strict: bool = False, allow_unsound: bool = False) -> ImportReport:
    """Turn `perf script` text into a stored trace.

    Raises:
        TraceError: the recording can't be used, is unsound without `allow_unsound`, or has an unreadable line with
            `strict`. Nothing is written then.
    """
    if output.exists() and recording.exists() and output.samefile(recording):
        raise TraceError(f"{output}: is the recording itself; name another file with -o")
    with TextSource(recording) as source, operation_writer(output) as writer:
        text = PerfText(source)
        for chunk in text.chunks():
            writer.write(chunk, text.comms)
        report = text.report()
        writer.describe(report.facts())
        if strict and report.unreadable:
            raise TraceError("\n".join([*describe_defects(report), f"{output}: not written, because of --strict"]))
        if report.unsound and not allow_unsound:
            ending = f"{output}: not written; --allow-unsound writes it, and these reasons go with every answer"
            raise TraceError("\n".join([*describe_defects(report), ending]))
    return report


def import_kvm_truth(recording: Path, output: Path) -> None:
    """Turn a recording of a real KVM into a stored layer-2 trace."""
    from polars.exceptions import PolarsError

    from sweep.recordings.kvm import reading as kvm_truth

    try:
        kvm_truth.import_kvm_truth(recording, output)
    except (OSError, PolarsError) as error:
        raise TraceError(
            f"{recording}: is no recording of a real KVM: {error}; docs/how-to/record-a-trace.md says what one is",
        ) from error


def detect_format(recording: Path) -> str:
    """Tell which format a recording has: Parquet that is no trace of ours is one of a real KVM, else it is text."""
    return "kvm-truth" if is_parquet(recording) and not is_operation_file(recording) else "perf"


def summarise(path: Path) -> tuple[TraceSummary, dict[str, Any]]:
    """Summarise a stored trace or `perf script` text; also return where it came from."""
    summary = Summary()
    if is_parquet(path):
        trace = OperationFile(path)
        for chunk in trace.chunks():
            summary.add(chunk)
        return summary.finish(trace.comms), trace.source
    with TextSource(path) as source:
        text = PerfText(source)
        for chunk in text.chunks():
            summary.add(chunk)
        return summary.finish(text.comms), text.report().facts()


def check_sound(path: Path) -> None:
    """Refuse a trace or recording that is unsound.

    Raises:
        TraceError: it is, or it can't be read.
    """
    if reasons := unsound_reasons_of_source(summarise(path)[1]):
        raise TraceError(
            "\n".join([*(f"unsound: {reason}" for reason in reasons), "templates are made of sound recordings only"])
        )


def read_recording(path: Path) -> tuple[Operations, tuple[str, ...]]:
    """Read a whole trace or recording into memory."""
    if is_parquet(path):
        return read_operations(path)
    with TextSource(path) as source:
        text = PerfText(source)
        return np.concatenate([chunk.copy() for chunk in text.chunks()]), text.comms


def describe_report(report: ImportReport) -> list[str]:
    """Say in lines what was read and what was left out."""
    span = report.span_ns / 1e9
    found = ", ".join(
        counted(count, noun)
        for count, noun in (
            (report.lines, "line"),
            (report.operations, "operation"),
            (report.commands, "command name"),
        )
    )
    lines = [f"{report.source}: {found}, {span:.3f} s"]
    if report.left_out:
        lines.append("left out: " + ", ".join(f"{count:,} {name}" for name, count in report.left_out.items()))
    return lines


def describe_defects(report: ImportReport) -> list[str]:
    """Say in lines what could not be read and what is unsound; empty if nothing is."""
    lines = list(report.defects)
    hidden = report.unreadable - len(report.defects)
    if hidden:
        lines.append(f"... and {hidden:,} more")
    if report.unreadable:
        lines.append(f"{report.source}: {report.unreadable:,} of {report.lines:,} lines can't be read")
        lines.append("An import reads the events and the fields that `sweep trace record -- CMD` names.")
    return [*lines, *(f"{report.source}: unsound: {reason}" for reason in report.unsound)]
