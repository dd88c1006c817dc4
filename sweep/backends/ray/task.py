"""What runs on a node of a Ray cluster: a task, unless it was taken back before it began."""

import contextlib
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from sweep.tasks.task import Outcome, Task

if TYPE_CHECKING:
    from sweep.backends.contract import Work

_NODE_LABEL: Final = "ray.io/node-id"
"""Ray gives it to every node: ray.util.placement_group.NODE_ID_LABEL_KEY."""


def carry_out(work: "Work", mark: str, task: Task) -> Outcome:
    """Do a task, unless the driver has left `mark` with the head: then it wants back what nobody has begun."""
    import ray
    from ray.experimental.internal_kv import _internal_kv_exists

    node = str(ray.get_runtime_context().get_node_id())
    # Ray's own cancel can't tell what has begun: it would interrupt that as well. If the head does not answer now, the
    # driver will find out.
    with contextlib.suppress(Exception):
        if _internal_kv_exists(mark):
            return Outcome(number=task.number, node=node, begun=False)
    return replace(work(task), node=node)


def elsewhere(avoided: Collection[str]) -> dict[str, Any]:
    """Return the options of a task that must not go to some nodes."""
    return {"label_selector": {_NODE_LABEL: f"!in({','.join(sorted(avoided))})"}} if avoided else {}
