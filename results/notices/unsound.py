"""What must be said with every answer from a run that replays an unsound recording."""

from collections.abc import Mapping
from typing import Any


def unsound_notes(resolved_spec: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each reason why a recording of the run is unsound; nothing if all are sound.

    `resolved_spec` is the specification that the run keeps. The texts may be a stranger's: print them as such.
    """
    return [
        f"workload {case['label']} replays an unsound recording: {reason}"
        for case in resolved_spec["workloads"]
        for reason in case.get("unsound", [])
    ]
