"""What the doctor finds on a Ray cluster: every node looks at itself, and tries the place of the run."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, Final

from sweep.backends.ray.connection import check_address, connect
from sweep.backends.ray.facts import NodeFacts, gather_facts
from sweep.backends.ray.nodes import Node, NodeAnswer, ask_nodes, live_nodes
from sweep.cluster.checks import Check, Seen, check_nodes, judged, missing_nodes
from sweep.cluster.jobs import ClusterError
from sweep.cluster.shared import Probe, check_place, probe_run
from sweep.progress import format_seconds

_WAIT_SECONDS: Final = 300.0
"""How long all nodes may take to join (assumption)."""
_POLL_SECONDS: Final = 1.0


def check_cluster(address: str, *, run: str | None, nodes: int | None) -> list[Check]:
    """Return the findings of all nodes of the cluster at `address`; wait until there are `nodes` of them."""
    with _connected(address) as ray:
        checks = [] if nodes is None else [_wait(ray, nodes)]
        labels = _labels(live_nodes(ray))
        # The first round starts a worker process on each node, so that the second one reads all clocks at once.
        ask_nodes(ray, gather_facts, dict.fromkeys(labels, ()))
        answers = ask_nodes(ray, gather_facts, dict.fromkeys(labels, ()))
        checks += _silent(labels, answers)
        checks += check_nodes([_seen(labels[one.node], one) for one in answers if one.value], gather_facts())
        if run is not None:
            checks += _check_run(ray, labels, run)
    return checks


def _seen(label: str, answer: NodeAnswer[NodeFacts]) -> Seen:
    assert answer.value is not None
    middle = (answer.asked + answer.answered) / 2.0
    uncertainty = (answer.answered - answer.asked) / 2.0
    return Seen(node=label, facts=answer.value, skew=answer.value.clock - middle, uncertainty=uncertainty)


def _check_run(ray: Any, labels: dict[Node, str], run: str) -> list[Check]:
    silent: list[Check] = []

    def ask(place: str) -> list[Probe]:
        answers = ask_nodes(ray, probe_run, {node: (place, label) for node, label in labels.items()})
        silent.extend(_silent(labels, answers))
        return [one.value for one in answers if one.value]

    return [*check_place(run, ask), *silent]


def _silent(labels: dict[Node, str], answers: Sequence[NodeAnswer[Any]]) -> list[Check]:
    advice = "install the same version of shadowsweep on that node, or look into its Ray logs"
    return [
        judged("answers", labels[one.node], fits=False, found=one.problem, advice=advice)
        for one in answers
        if one.problem
    ]


def _wait(ray: Any, expected: int) -> Check:
    started = time.monotonic()
    while True:
        found = len(live_nodes(ray))
        waited = time.monotonic() - started
        if found >= expected or waited > _WAIT_SECONDS:
            return missing_nodes(found, expected, waited)
        time.sleep(_POLL_SECONDS)


def _labels(nodes: list[Node]) -> dict[Node, str]:
    """Return a name for each node: its host's, with a number where a host runs several; in the order of names."""
    hosts = [node.host for node in nodes]
    names = [
        host if hosts.count(host) == 1 else f"{host}.{hosts[: index + 1].count(host)}"
        for index, host in enumerate(hosts)
    ]
    return dict(sorted(zip(nodes, names, strict=True), key=lambda one: one[1]))


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    check_address(address, "--address")
    import ray

    started = time.monotonic()
    # Ray prints on stdout, which belongs to the findings.
    with redirect_stdout(sys.stderr):
        try:
            connect(ray, address)
            yield ray
        except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ClusterError(
                f"--address {address}: {type(error).__name__} after {format_seconds(time.monotonic() - started)}: "
                f"{first}\n  check that the cluster runs, and that RAY_AUTH_TOKEN_PATH names its token"
            ) from error
        finally:
            ray.shutdown()
