"""Asks every node of a Ray cluster about itself, by one small task each."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from sweep.cluster.checks import Check, Seen, State, check_nodes, missing_nodes
from sweep.cluster.facts import NodeFacts, gather_facts
from sweep.cluster.jobs import ClusterError
from sweep.cluster.shared import Probe, check_place, probe_run
from sweep.progress import format_seconds

_ANSWER_SECONDS: Final = 120.0
"""How long a node may take to answer: a worker process has to start there first (assumption)."""
_WAIT_SECONDS: Final = 300.0
"""How long all nodes may take to join (assumption)."""
_POLL_SECONDS: Final = 1.0
T = TypeVar("T")


def check_cluster(address: str, *, run: str | None, nodes: int | None) -> list[Check]:
    """Return the findings of all nodes of the cluster at `address`; wait until there are `nodes` of them."""
    with _connected(address) as ray:
        counted = [] if nodes is None else [_wait(ray, nodes)]
        members = {node["NodeID"]: _label(node) for node in ray.nodes() if node["Alive"]}
        labels = dict(zip(members, _distinct(list(members.values())), strict=True))
        facts, silent = _ask(ray, labels, gather_facts, clocked=True)
        checks = [*counted, *silent, *check_nodes([_seen(*one) for one in facts], gather_facts())]
        if run is not None:
            checks += _check_run(ray, labels, run)
    return checks


def _check_run(ray: Any, labels: dict[str, str], run: str) -> list[Check]:
    silent: list[Check] = []

    def ask(place: str) -> list[Probe]:
        answers, unanswered = _ask(ray, labels, probe_run, place)
        silent.extend(unanswered)
        return [answer for _, answer, _, _ in answers]

    return [*check_place(run, ask), *silent]


def _seen(label: str, facts: NodeFacts, before: float, after: float) -> Seen:
    middle = (before + after) / 2.0
    return Seen(node=label, facts=facts, skew=facts.clock - middle, uncertainty=(after - before) / 2.0)


def _ask(
    ray: Any, labels: dict[str, str], question: Callable[..., T], *arguments: str, clocked: bool = False
) -> tuple[list[tuple[str, T, float, float]], list[Check]]:
    """Run `question` on every node; return the answers with the times around each, and what did not answer."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    answers: list[tuple[str, T, float, float]] = []
    silent: list[Check] = []

    def send(node: str) -> Any:
        strategy = NodeAffinitySchedulingStrategy(node, soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, retry_exceptions=False)(question)
        names = (labels[node],) if arguments else ()
        return task.options(scheduling_strategy=strategy).remote(*arguments, *names)

    # The first round starts a worker process on each node, so that the clocks of the second are read at once.
    for turn in (False, True) if clocked else (True,):
        before = time.time()
        waiting = {send(node): node for node in labels}
        deadline = time.monotonic() + _ANSWER_SECONDS
        while waiting and time.monotonic() < deadline:
            done, _ = ray.wait(list(waiting), num_returns=1, timeout=_POLL_SECONDS)
            for reference in done:
                label = labels[waiting.pop(reference)]
                try:
                    answer = ray.get(reference)
                except ray.exceptions.RayError as error:
                    if turn:
                        silent.append(_no_answer(label, str(error).strip().splitlines()[-1]))
                    continue
                if turn:
                    answers.append((label, answer, before, time.time()))
        if turn:
            silent += [_no_answer(labels[node], f"nothing in {_ANSWER_SECONDS:.0f} s") for node in waiting.values()]
    return sorted(answers, key=lambda one: one[0]), silent


def _no_answer(label: str, found: str) -> Check:
    advice = "install the same version of shadowsweep on that node, or look into its Ray logs"
    return Check(name="answers", where=label, state=State.FAILED, found=found, advice=advice)


def _wait(ray: Any, expected: int) -> Check:
    started = time.monotonic()
    while True:
        found = sum(1 for node in ray.nodes() if node["Alive"])
        waited = time.monotonic() - started
        if found >= expected or waited > _WAIT_SECONDS:
            return missing_nodes(found, expected, waited)
        time.sleep(_POLL_SECONDS)


def _label(node: dict[str, Any]) -> str:
    return str(node.get("NodeManagerHostname") or node["NodeManagerAddress"])


def _distinct(labels: list[str]) -> list[str]:
    """Number the nodes of one host, which may run several."""
    return [
        label if labels.count(label) == 1 else f"{label}.{labels[: index + 1].count(label)}"
        for index, label in enumerate(labels)
    ]


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    from sweep.backends.ray_nodes import check_address

    check_address(address, "--address")
    # Ray prints on stdout, which belongs to the findings.
    stdout, sys.stdout = sys.stdout, sys.stderr
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    started = time.monotonic()
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=True)
        yield ray
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ClusterError(
            f"--address {address}: {type(error).__name__} after {format_seconds(time.monotonic() - started)}: {first}\n"
            "  check that the cluster runs, and that RAY_AUTH_TOKEN_PATH names its token"
        ) from error
    finally:
        ray.shutdown()
        sys.stdout = stdout
