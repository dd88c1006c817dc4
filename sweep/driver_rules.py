"""When a start of a sweep ends before its end."""

from dataclasses import dataclass

from sweep.interrupts import GRACE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a start of a sweep ends before its end."""

    fail_fast: int | None = None
    """Failures of one cause after which nothing new is started."""
    grace_seconds: float = GRACE_SECONDS
    """How long SIGTERM lets running tasks go on."""
