"""The machines of a Ray cluster: how many tasks fit on them, and whether each can reach the run."""

import secrets
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sweep.backends.contract import BackendError
from sweep.progress import format_bytes

_PROBE_SECONDS: Final = 120
"""How long a node may take to answer a probe (assumption: starting a worker on a busy machine takes ten seconds)."""
_NODES_SHOWN: Final = 8
_CONNECT_SECONDS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine as Ray sees it."""

    identity: str
    address: str
    cpus: int
    memory_bytes: int

    def slots(self, memory_bytes: int) -> int:
        """Return how many tasks of a size run there at the same time."""
        return min(self.cpus, self.memory_bytes // max(1, memory_bytes))


def live_nodes(ray: Any) -> list[Node]:
    """Return the machines that are up."""
    return [
        Node(
            identity=node["NodeID"],
            address=node["NodeManagerAddress"],
            cpus=int(node["Resources"].get("CPU", 0)),
            memory_bytes=int(node["Resources"].get("memory", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def node_lines(nodes: list[Node]) -> Iterator[str]:
    """Yield what the cluster consists of: each machine, or each size if there are many."""
    if len(nodes) <= _NODES_SHOWN:
        yield from (f"  {node.address}: {node.cpus} CPUs, {format_bytes(node.memory_bytes)}" for node in nodes)
        return
    sizes = Counter((node.cpus, node.memory_bytes >> 30) for node in nodes)
    yield from (f"  {count} nodes with {cpus} CPUs, {gib} GiB" for (cpus, gib), count in sorted(sizes.items()))


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
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    with a_file_of_the_run(run) as (name, token):
        probe = ray.remote(num_cpus=0, max_retries=1)(look)
        asked = {
            probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node.identity, soft=False)).remote(
                run, name
            ): node
            for node in nodes
        }
        done, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_PROBE_SECONDS)
        problems = [f"{asked[reference].address}: no answer within {_PROBE_SECONDS} s" for reference in silent]
        for reference in done:
            node = asked[reference]
            try:
                found = differences(ray.get(reference), token=token, run=run, engine=engine)
                problems += [f"{node.address}: {text}" for text in found]
            except (ray.exceptions.TaskUnschedulableError, ray.exceptions.NodeDiedError):
                continue  # It went away meanwhile, as nodes do; the others can do its work.
            except ray.exceptions.RayError as error:
                problems.append(f"{node.address}: {type(error).__name__}: {str(error).strip().splitlines()[-1]}")
    if problems:
        raise BackendError(
            "\n".join(["backend ray: not every node can take part", *(f"  {text}" for text in problems)])
        )


def look(run: str, name: str) -> dict[str, str]:
    """Return what a node is like, and what a file of the run holds there; runs on the node."""
    from results.storage import StoreError, open_storage
    from sweep.cell import engine_fingerprint

    try:
        token = open_storage(run).read(name).decode()
    except (OSError, StoreError) as error:
        token = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
    return {
        "python": sys.version.split()[0],
        "host": socket.gethostname(),
        "engine": engine_fingerprint(),
        "token": token,
    }


@contextmanager
def a_file_of_the_run(run: str) -> Iterator[tuple[str, str]]:
    """Give the name of a file in the run and the random text that it holds for as long as it takes."""
    from results.storage import STAGING, open_storage

    storage = open_storage(run)
    name, token = f"{STAGING}/probe-{secrets.token_hex(8)}", secrets.token_hex(16)
    storage.put(name, token.encode())
    try:
        yield name, token
    finally:
        storage.delete(name)


def differences(found: dict[str, str], *, token: str, run: str, engine: str | None) -> Iterator[str]:
    """Yield what keeps a node that was `found` so from taking part."""
    here = sys.version.split()[0]
    if found["python"] != here:
        yield f"Python {found['python']} there, {here} here; install the same one from the same lock"
    if engine is not None and found["engine"] != engine:
        yield (
            f"the engine on {found['host']} is {found['engine']}, here it is {engine}; install the same sources on "
            "every node, or submit with --upload-code"
        )
    if found["token"] != token:
        yield (
            f"{found['host']} does not see {run} ({found['token'] or 'another file is there'}); workers write there "
            "themselves: give --out with a folder that all nodes share, or an s3:// address that all can reach"
        )


def head_answers(address: str) -> bool:
    """Say whether somebody listens at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def check_token(ray: Any, address: str) -> None:
    """Raise what the head answers to somebody whom it does not know; `ray.init` would ask it again for 20 s."""
    if address != "auto":
        ray._raylet.GcsClient(address=address)  # noqa: SLF001  The only call of Ray's that asks once.


def check_address(address: str, asker: str = "backend ray:") -> None:
    """Raise BackendError if a cluster can't be at `address`; Ray itself would try for minutes and end the process."""
    if address == "auto":
        return
    hint = "give HOST:PORT of the head (6379 unless changed), on a machine that can reach all nodes"
    if "://" in address:
        scheme = address.partition("://")[0]
        raise BackendError(f"{asker} {address}: a {scheme}:// address is no place to run a driver from\n  {hint}")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise BackendError(f"{asker} {address}: no HOST:PORT\n  {hint}")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        text = f"{asker} nobody answers at {address} ({error.strerror or error})"
        raise BackendError(f"{text}\n  start the cluster, unset RAY_ADDRESS, or run with --backend local") from error
