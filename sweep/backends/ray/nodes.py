"""The machines of a Ray cluster: asked by one small task each, and whether they can take part in a sweep."""

import platform
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from results.wording import counted
from sweep.backends.contract import BackendError
from sweep.backends.ray.facts import NodeFacts, gather_facts, own_core
from sweep.progress import format_bytes

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
class NodeAnswer(Generic[T]):
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


def ask_nodes(ray: Any, question: Callable[..., T], arguments: Mapping[Node, tuple[str, ...]]) -> list[NodeAnswer[T]]:
    """Call `question` on all nodes at once, each with its arguments; return one answer for each, in the same order."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=1, retry_exceptions=False)(question)
    asked = time.time()
    waiting = {}
    for node, words in arguments.items():
        strategy = NodeAffinitySchedulingStrategy(node_id=node.identity, soft=False)
        waiting[task.options(scheduling_strategy=strategy).remote(*words)] = node
    answers: dict[Node, NodeAnswer[T]] = {}
    deadline = time.monotonic() + ANSWER_SECONDS
    while waiting and time.monotonic() < deadline:
        done, _ = ray.wait(list(waiting), num_returns=1, timeout=_POLL_SECONDS)
        for reference in done:
            node = waiting.pop(reference)
            answers[node] = _answer(ray, reference, node, asked)
    silent = f"no answer within {ANSWER_SECONDS:g} s"
    return [answers.get(node, NodeAnswer(node=node, problem=silent)) for node in arguments]


def _answer(ray: Any, reference: Any, node: Node, asked: float) -> NodeAnswer[T]:
    errors = ray.exceptions
    try:
        return NodeAnswer(node=node, value=ray.get(reference), asked=asked, answered=time.time())
    except errors.RayError as error:
        gone = isinstance(error, (errors.TaskUnschedulableError, errors.NodeDiedError))
        problem = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
        return NodeAnswer(node=node, problem=problem, is_gone=gone)


_NODES_SHOWN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAsSeen:
    """What a node is like, and what a file of the run holds there."""

    facts: NodeFacts
    token: str


def node_lines(nodes: list[Node]) -> Iterator[str]:
    """Yield what the cluster consists of: each machine, or each size if there are many."""
    if len(nodes) <= _NODES_SHOWN:
        yield from (
            f"  {node.address}: {counted(node.cpus, 'CPU')}, {format_bytes(node.memory_bytes)}" for node in nodes
        )
        return
    sizes = Counter((node.cpus, node.memory_bytes >> 30) for node in nodes)
    yield from (
        f"  {counted(count, 'node')} with {counted(cpus, 'CPU')}, {gib} GiB"
        for (cpus, gib), count in sorted(sizes.items())
    )


def check_fits(nodes: list[Node], memory_bytes: int) -> None:
    """Raise BackendError unless a task of this size can run somewhere; Ray itself would wait for ever."""
    if any(node.slots(memory_bytes) for node in nodes):
        return
    found = "\n".join(node_lines(nodes)) or "  no node at all"
    raise BackendError(
        f"backend ray: a task takes 1 CPU and {format_bytes(memory_bytes)}, and no node has that:\n{found}\n"
        "  add a larger node, start nodes with more --memory, or take smaller guests"
    )


def check_shared(ray: Any, nodes: list[Node], run: str, engine: str | None) -> None:
    """Raise BackendError unless each node runs our versions, the same `engine` if any, and sees the run."""
    problems = []
    with a_file_of_the_run(run) as (name, token):
        for answer in ask_nodes(ray, look, dict.fromkeys(nodes, (run, name))):
            if answer.value is not None:
                found = list(differences(answer.value, token=token, run=run, engine=engine))
            else:
                # The others can do the work of a node that has gone.
                found = [] if answer.is_gone else [answer.problem]
            problems += [f"  {answer.node.address}: {text}" for text in found]
    if problems:
        raise BackendError("\n".join(["backend ray: not every node can take part", *problems]))


def look(run: str, name: str) -> RunAsSeen:
    """Look at this machine, and at a file of the run; runs on the node."""
    from results.store.opening import open_storage
    from results.store.storage import StoreError

    try:
        token = open_storage(run).read(name).decode()
    except (OSError, StoreError) as error:
        token = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
    return RunAsSeen(facts=gather_facts(), token=token)


@contextmanager
def a_file_of_the_run(run: str) -> Iterator[tuple[str, str]]:
    """Give the name of a file in the run and the random text that it holds for as long as it takes."""
    from results.store.opening import open_storage
    from results.store.storage import STAGING

    storage = open_storage(run)
    name, token = f"{STAGING}/probe-{secrets.token_hex(8)}", secrets.token_hex(16)
    storage.put(name, token.encode())
    try:
        yield name, token
    finally:
        storage.delete(name)


def differences(seen: RunAsSeen, *, token: str, run: str, engine: str | None) -> Iterator[str]:
    """Yield what keeps a node that has `seen` this from taking part."""
    facts, here = seen.facts, platform.python_version()
    if facts.versions["python"] != here:
        yield f"Python {facts.versions['python']} there, {here} here; install the same one from the same lock"
    if engine is not None and facts.engine != engine:
        yield (
            f"the engine on {facts.host} is {facts.engine}, here it is {engine}; install the same sources on "
            "every node, or submit with --upload-code"
        )
    if engine is not None and facts.engine == engine and facts.core != own_core():
        yield (
            f"the core on {facts.host}: {facts.core}, here it is {own_core()}; build it there with `make setup`, "
            "install the wheel that is installed here, or submit with --upload-code"
        )
    if seen.token != token:
        yield (
            f"{facts.host} does not see {run} ({seen.token or 'another file is there'}); workers write there "
            "themselves: give --out with a folder that all nodes share, or an s3:// address that all can reach"
        )
