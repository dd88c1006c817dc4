"""Asks every node of a Ray cluster a question, by one small task each: the backend before a sweep, and the doctor."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

ANSWER_SECONDS: Final = 120.0
"""How long a node may take to answer (assumption: starting a worker on a busy machine takes ten seconds)."""
_POLL_SECONDS: Final = 1.0
"""How long a wait in Ray may keep Ctrl-C from being seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine as Ray sees it."""

    identity: str
    address: str
    host: str
    cpus: int
    memory_bytes: int

    def slots(self, memory_bytes: int) -> int:
        """Return how many tasks of a size run there at the same time."""
        return min(self.cpus, self.memory_bytes // max(1, memory_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[T]):
    """What one node has answered, or why it has not."""

    node: Node
    value: T | None = None
    problem: str = ""
    """Why there is no value."""
    is_gone: bool = False
    """Whether there is none because the node went away meanwhile, as nodes do."""
    asked: float = 0.0
    """Seconds since 1970 by the clock of this machine; the same for `answered`."""
    answered: float = 0.0


def live_nodes(ray: Any) -> list[Node]:
    """Return the machines that are up."""
    return [
        Node(
            identity=node["NodeID"],
            address=node["NodeManagerAddress"],
            host=str(node.get("NodeManagerHostname") or node["NodeManagerAddress"]),
            cpus=int(node["Resources"].get("CPU", 0)),
            memory_bytes=int(node["Resources"].get("memory", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def ask_nodes(ray: Any, question: Callable[..., T], arguments: Mapping[Node, tuple[str, ...]]) -> list[Answer[T]]:
    """Call `question` on all nodes at once, each with its arguments; return one answer for each, in the same order."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=1, retry_exceptions=False)(question)
    asked = time.time()
    waiting = {}
    for node, words in arguments.items():
        strategy = NodeAffinitySchedulingStrategy(node_id=node.identity, soft=False)
        waiting[task.options(scheduling_strategy=strategy).remote(*words)] = node
    answers: dict[Node, Answer[T]] = {}
    deadline = time.monotonic() + ANSWER_SECONDS
    while waiting and time.monotonic() < deadline:
        done, _ = ray.wait(list(waiting), num_returns=1, timeout=_POLL_SECONDS)
        for reference in done:
            node = waiting.pop(reference)
            answers[node] = _answer(ray, reference, node, asked)
    silent = f"no answer within {ANSWER_SECONDS:g} s"
    return [answers.get(node, Answer(node=node, problem=silent)) for node in arguments]


def _answer(ray: Any, reference: Any, node: Node, asked: float) -> Answer[T]:
    errors = ray.exceptions
    try:
        return Answer(node=node, value=ray.get(reference), asked=asked, answered=time.time())
    except errors.RayError as error:
        gone = isinstance(error, (errors.TaskUnschedulableError, errors.NodeDiedError))
        problem = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
        return Answer(node=node, problem=problem, is_gone=gone)
