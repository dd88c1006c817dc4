"""What the exit code of `sweep` tells a script."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every verb; docs/reference/cli.md shows `meaning`."""

    OK = 0
    CELLS_FAILED = 1
    USAGE = 2
    DIFFERS = 3
    DAMAGED = 4
    REGRESSED = 5
    CLUSTER_LOST = 69
    STORAGE = 74
    UNFIT = 78
    INTERRUPTED = 130
    CLOSED_PIPE = 141

    @property
    def meaning(self) -> str:
        """One line for the reference."""
        return {
            ExitCode.OK: "everything that was asked for is there",
            ExitCode.CELLS_FAILED: "the sweep ended, but some cells failed or a file can't be used; "
            "or an answer stands on a part of the planned cells and `--allow-partial` was not given",
            ExitCode.USAGE: "the command line or a configuration is wrong; nothing was started",
            ExitCode.DIFFERS: "`sweep diff` found a difference",
            ExitCode.DAMAGED: "a file of a run is missing or not what the manifest says; `sweep fsck` lists all",
            ExitCode.REGRESSED: "`sweep compare --fail-on` found a cell that meets a condition",
            ExitCode.CLUSTER_LOST: "the cluster went away or can't run the batches; what was finished is kept",
            ExitCode.STORAGE: "the rows can't be written: a full disk, a lost bucket; what was finished is kept",
            ExitCode.UNFIT: "`sweep doctor` found something that a sweep would fail on",
            ExitCode.INTERRUPTED: "stopped by Ctrl-C, SIGTERM or SIGHUP; what was finished is kept",
            ExitCode.CLOSED_PIPE: "the reader of the output went away, as `head` does; what was finished is kept",
        }[self]


class SweepError(Exception):
    """The user can act on this message; it is printed without a traceback. Wrong input unless a subclass says else."""

    exit_code = ExitCode.USAGE


class DamagedError(SweepError):
    """A file of a run is not what it was; the message names it."""

    exit_code = ExitCode.DAMAGED


class TraceError(SweepError):
    """A trace can't be read, written or recorded; the message says where, what was found and what to do."""

    exit_code = ExitCode.CELLS_FAILED
