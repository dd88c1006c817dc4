"""Tasks on a Ray cluster. Without an address it starts a cluster of its own on this machine, and ends it.

Never calls `ray stop`, which ends the clusters of others as well.
"""

import functools
import os
import platform
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from results.wording import counted
from sweep.backends.contract import BackendError, ClusterLostError
from sweep.backends.ray.connection import check_address, connect, head_answers
from sweep.backends.ray.nodes import Node, check_fits, check_shared, live_nodes, node_lines
from sweep.backends.ray.own_cluster import OwnCluster
from sweep.backends.ray.task import carry_out, elsewhere
from sweep.tasks.task import FailureKind, Outcome, Task
from sweep.tasks.worker import lost

if TYPE_CHECKING:
    from sweep.backends.contract import Work

_POLL_SECONDS: Final = 0.25
"""How long a wait in Ray may keep Ctrl-C from being seen."""
_RESULT_SECONDS: Final = 60
"""How long the outcome of a finished task may take to come here (assumption)."""
_WINDOW_PER_WORKER: Final = 2
_TASKS_TAKEN: Final = 64
"""Finished tasks that one wait takes: one by one, Ray looks at the whole window for each."""
_LOOK_SECONDS: Final = 2.0
"""How often the driver looks at the head and at the nodes."""
_SILENT_SECONDS: Final = 15.0
"""How long the head may be silent (assumption). Ray itself ends the driver's process without a word after 60 s."""
_ROOM_SECONDS: Final = 300.0
"""How long the cluster may have no node for a task (assumption: clouds take minutes to replace one)."""


class RayBackend:
    """Ray tasks with no retries of Ray's own, so that one rule for retries holds for all backends."""

    name = "ray"

    def __init__(self, work: "Work", *, address: str | None = None, workers: int | None = None) -> None:
        self._undo = ExitStack()
        # Ray puts a handler of its own there.
        self._undo.callback(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        # Ray prints paragraphs about dead workers on stdout, in colours, and no option of its own keeps it from that;
        # outcomes say what is to be known of them.
        silence = self._undo.enter_context(Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  As it says.
        self._undo.enter_context(redirect_stdout(silence))
        self._running: dict[Any, Task] = {}
        self._own: OwnCluster | None = None
        self._avoided: set[str] = set()
        self._drained = ""
        self._memory = 1
        self._nodes_seen = self._head_seen = self._room_seen = time.monotonic()
        try:
            self._ray = self._connect(address, workers)
            self._gcs = str(self._ray.get_runtime_context().gcs_address)
            self._nodes = live_nodes(self._ray)
        except BaseException as error:
            self.close()
            if isinstance(error, Exception) and not isinstance(error, BackendError):
                raise BackendError(_not_connected(error, address)) from error
            raise
        self._remote = self._ray.remote(num_cpus=1, max_retries=0, retry_exceptions=False)(carry_out)
        self._work = work
        self._mark = f"sweep-drained-{secrets.token_hex(8)}"

    @property
    def workers(self) -> int:
        """Tasks that run at the same time on the nodes that are up."""
        return max(1, sum(node.slots(self._memory) for node in self._fit()))

    @property
    def window(self) -> int:
        """Enough tasks that a node which ends one finds the next one waiting."""
        return _WINDOW_PER_WORKER * self.workers

    def describe(self) -> str:
        """Say which cluster it is, with versions, nodes and CPUs."""
        cpus = sum(node.cpus for node in self._nodes)
        where = "started on this machine" if self._own else f"at {self._gcs}"
        versions = f"Ray {self._ray.__version__}, Python {platform.python_version()}"
        nodes = f"{counted(len(self._nodes), 'node')} with {counted(cpus, 'CPU')}"
        return "\n".join([f"{versions}, {where}: {nodes}", *node_lines(self._nodes)])

    def prepare(self, run: str, memory_bytes: int, engine: str | None) -> None:
        """Check that tasks of this size fit and that every node sees the run.

        Raises:
            BackendError: what is missing, and where.
        """
        self._memory = memory_bytes
        check_fits(self._nodes, memory_bytes)
        if self._own is None:
            check_shared(self._ray, self._nodes, run, engine)

    def submit(self, task: Task) -> None:
        """Send a task to the cluster."""
        remote = self._remote.options(memory=task.memory_bytes, **elsewhere(self._avoided))
        self._running[remote.remote(self._work, self._mark, task)] = task

    def withdraw(self) -> None:
        """Let each task that Ray has not begun come back when it does."""
        if not head_answers(self._gcs):
            return  # What runs on is lost with the head.
        self._drained = self._mark
        self._ray.experimental.internal_kv._internal_kv_put(self._mark, "")  # noqa: SLF001  Its own libraries use it.

    def avoid(self, node: str) -> bool:
        """Send what is submitted from now on to other nodes."""
        self._avoided.add(node)
        return any(one.slots(self._memory) for one in self._fit())

    def as_completed(self) -> Iterator[Outcome | None]:
        """Yield outcomes as they come, and None from time to time.

        Raises:
            ClusterLostError: the head is silent, or no node can take what is left.
        """
        while self._running:
            taken = min(len(self._running), _TASKS_TAKEN)
            done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_POLL_SECONDS)
            if done and len(self._running) > 1:
                # What else has finished meanwhile, without waiting for it.
                done, _ = self._ray.wait(list(self._running), num_returns=taken, timeout=0)
            self._look_around(busy=bool(done))
            if not done:
                yield None
            for reference in done:
                yield self._outcome(self._running.pop(reference), reference)

    def close(self) -> None:
        """Cancel what runs, leave the cluster, and remove it if it is ours."""
        try:
            if hasattr(self, "_ray"):
                for reference in self._running:
                    self._ray.cancel(reference, force=True)
                if self._drained and head_answers(self._gcs):
                    self._ray.experimental.internal_kv._internal_kv_del(self._drained)  # noqa: SLF001  As above.
                self._ray.shutdown()
        finally:
            self._running.clear()
            if self._own is not None:
                self._own.close()
            self._undo.close()

    def _connect(self, address: str | None, workers: int | None) -> Any:
        if address is None:
            return self._start_own(workers)
        check_address(address)
        import ray

        connect(ray, address)
        return ray

    def _start_own(self, workers: int | None, *, again: bool = True) -> Any:
        # Before ray is imported, which looks at the environment then.
        self._own = OwnCluster(workers, _token())
        import ray

        try:
            self._own.start(ray)
        except Exception:  # Ray has no class for it.
            if not again:
                raise
            # Ray gives its own processes 30 s to start, which is not enough on a machine that has much to do.
            ray.shutdown()
            self._own.close()
            return self._start_own(workers, again=False)
        return ray

    def _outcome(self, task: Task, reference: Any) -> Outcome:
        errors = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(reference, timeout=_RESULT_SECONDS)
        except errors.OutOfMemoryError as error:
            return lost(task, _first_line(error), kind=FailureKind.MEMORY)
        except (errors.NodeDiedError, errors.ObjectLostError, errors.OwnerDiedError, errors.GetTimeoutError) as error:
            return lost(task, _first_line(error), kind=FailureKind.NODE)
        except errors.RayTaskError as error:
            # Ours raises nothing: the node could not even load it.
            text = f"the node at {error.ip} can't run our code: {str(error).strip().splitlines()[-1]}"
            node = next((node.identity for node in self._nodes if node.address == error.ip), "")
            return replace(lost(task, text, kind=FailureKind.UNFIT, host=error.ip), node=node)
        except errors.RayError as error:
            return lost(task, f"{type(error).__name__}: {_first_line(error)}", kind=FailureKind.DIED)
        return outcome

    def _fit(self) -> list[Node]:
        return [node for node in self._nodes if node.identity not in self._avoided]

    def _look_around(self, *, busy: bool) -> None:
        """Notice nodes that come and go, and a head that does not answer any more."""
        now = time.monotonic()
        if now - self._nodes_seen < _LOOK_SECONDS:
            return
        self._nodes_seen = now
        if head_answers(self._gcs):
            self._head_seen = now
            self._nodes = live_nodes(self._ray)
        elif now - self._head_seen > _SILENT_SECONDS:
            raise ClusterLostError(f"backend ray: the head at {self._gcs} has been silent for {_SILENT_SECONDS:g} s")
        if busy or any(node.slots(self._memory) for node in self._fit()):
            self._room_seen = now
        elif now - self._room_seen > _ROOM_SECONDS:
            raise ClusterLostError(f"backend ray: for {_ROOM_SECONDS:g} s no node has had room for a task")


@functools.cache
def _token() -> str:
    """Return the secret of all clusters that this process starts: Ray reads it once per process."""
    return secrets.token_hex(32)


def _not_connected(error: Exception, address: str | None) -> str:
    text = f"backend ray: {type(error).__name__}: {_first_line(error)}"
    if address is not None:
        asked = "--address and RAY_ADDRESS, and that RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH give the cluster's token"
        return f"{text}\n  check {asked}; or use --backend local"
    when = "Try again when the machine has less to do, or use --backend local"
    return f"{text}\n  Ray did not start here, in two attempts. {when}"


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
