"""The one error of the trace package."""

from sweep.exit_codes import ExitCode, SweepError


class TraceError(SweepError):
    """A trace can't be read, written or recorded; the message says where, what was found and what to do."""

    exit_code = ExitCode.CELLS_FAILED
