"""What the exit code of `sweep` tells a script."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every verb; docs/reference/cli.md shows `meaning`."""

    OK = 0
    CELLS_FAILED = 1
    USAGE = 2
    DIFFERS = 3
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """One line for the reference."""
        return {
            ExitCode.OK: "everything that was asked for is there",
            ExitCode.CELLS_FAILED: "the sweep ended, but some cells failed or a file can't be used",
            ExitCode.USAGE: "the command line or a configuration is wrong; nothing was started",
            ExitCode.DIFFERS: "`sweep diff` found a difference",
            ExitCode.INTERRUPTED: "stopped by Ctrl-C; what was finished is kept",
        }[self]


class SweepError(Exception):
    """The user can act on this message; it is printed without a traceback. Wrong input unless a subclass says else."""

    exit_code = ExitCode.USAGE
