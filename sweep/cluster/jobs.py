"""Batch jobs on a running Ray cluster, through its Jobs API: submit once, look, read, stop."""

import asyncio
import logging
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

from sweep.cluster.request import DRAIN_SECONDS, GO_ON_VARIABLE, JobRequest
from sweep.exit_codes import ExitCode, SweepError
from sweep.tasks.failures import without_secrets

_CODE: Final = ("configs", "engine", "results", "sweep")
_ROOT: Final = Path(__file__).resolve().parent.parent.parent
_ADDRESSES: Final = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_POLL_SECONDS: Final = 1.0
_LIVE: Final = frozenset({"PENDING", "RUNNING"})


class ClusterError(SweepError):
    """A cluster or a job can't be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """Everything that the Jobs API is told, beside the folder that is uploaded."""

    submission_id: str
    entrypoint: str
    entrypoint_num_cpus: float
    entrypoint_memory: int | None
    entrypoint_resources: dict[str, float]
    runtime_env: dict[str, Any]
    metadata: dict[str, str]
    uploads: tuple[str, ...]
    """What the working directory of the job holds."""

    def going_on(self, command: str) -> "JobPlan":
        """Return the plan of a job that, when it is stopped, tells `command` as the way to go on."""
        variables = {**self.runtime_env["env_vars"], GO_ON_VARIABLE: command}
        return replace(self, runtime_env={**self.runtime_env, "env_vars": variables})

    def content(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as the cluster knows it."""

    submission_id: str
    status: str
    message: str
    entrypoint: str
    started: str
    ended: str
    exit_code: int | None
    metadata: dict[str, str]

    @property
    def is_live(self) -> bool:
        """Whether it waits or runs."""
        return self.status in _LIVE

    @property
    def code(self) -> int:
        """The exit code for a script that waited for this job: that of the driver, where it has one."""
        if self.status == "STOPPED":
            return ExitCode.INTERRUPTED
        if self.status == "FAILED":
            return self.exit_code or ExitCode.CELLS_FAILED
        return ExitCode.OK


def next_attempt(submission_id: str, jobs: Iterable[Job], *, again: bool = False) -> tuple[str, Job | None]:
    """Return the name under which a sweep is to be submitted, and the job that makes another one needless, if any."""
    known = {job.submission_id: job for job in jobs}
    name = submission_id
    for attempt in count(2):
        job = known.get(name)
        if job is None or job.is_live or (job.status == "SUCCEEDED" and not again):
            break
        name = f"{submission_id}-{attempt}"
    return name, known.get(name)


def plan_job(
    request: JobRequest, *, cpus: float, memory_bytes: int | None, resources: Mapping[str, float], upload_code: bool
) -> JobPlan:
    """Return what would be submitted for `request`."""
    # `exec`: the signal that stops the job must reach the driver, not a shell before it. With nothing reserved, Ray
    # starts the driver on the head.
    return JobPlan(
        submission_id=request.submission_id,
        entrypoint=f"exec {request.command(shlex.quote(request.spec_name))}",
        entrypoint_num_cpus=cpus,
        entrypoint_memory=memory_bytes,
        entrypoint_resources=dict(resources),
        runtime_env={"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(DRAIN_SECONDS), "PYTHONUNBUFFERED": "1"}},
        metadata={**request.metadata(), "code_fingerprint": request.fingerprint},
        uploads=(request.spec_name, *((f"{name}/" for name in _CODE) if upload_code else ())),
    )


@contextmanager
def staged(request: JobRequest, plan: JobPlan) -> Iterator[Path]:
    """Yield a folder that holds what the job needs and nothing else: no folder of the user is uploaded as it is."""
    with tempfile.TemporaryDirectory(prefix="sweep-submit-") as name:
        folder = Path(name)
        (folder / request.spec_name).write_text(request.spec_text, encoding="utf-8")
        for package in _CODE:
            if f"{package}/" in plan.uploads:
                ignored = shutil.ignore_patterns("__pycache__", ".*")
                shutil.copytree(_ROOT / package, folder / package, ignore=ignored)
        yield folder


def uploaded(request: JobRequest, plan: JobPlan) -> dict[str, int]:
    """Return every file that would be in the working directory of the job, with its bytes."""
    with staged(request, plan) as folder:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


class Jobs:
    """The jobs of one cluster."""

    def __init__(self, address: str) -> None:
        self._address = without_secrets(address)
        with _address_alone(), self._errors():
            from ray.job_submission import JobSubmissionClient

            # Ray's client tells of each upload and each closed socket, by loggers that set their own levels.
            logging.disable(logging.INFO)
            self._client = JobSubmissionClient(address)

    def submit(self, request: JobRequest, plan: JobPlan, *, again: bool = False) -> tuple[Job, bool]:
        """Start the job unless it is there already; return it and whether it is new.

        A job that waits or runs is never started twice. One that failed or was stopped is continued under the next free
        name; one that succeeded only if `again`.
        """
        name, known = next_attempt(plan.submission_id, self.all(), again=again)
        if known is not None:
            return known, False
        try:
            with staged(request, plan) as folder, self._errors():
                self._client.submit_job(
                    submission_id=name,
                    entrypoint=plan.entrypoint,
                    entrypoint_num_cpus=plan.entrypoint_num_cpus or None,
                    entrypoint_memory=plan.entrypoint_memory,
                    entrypoint_resources=plan.entrypoint_resources or None,
                    runtime_env={**plan.runtime_env, "working_dir": str(folder)},
                    metadata=plan.metadata,
                )
        except ClusterError:
            # Somebody else may have submitted the same sweep meanwhile: Ray refuses the second one of a name.
            there = self.find(name)
            if there is None:
                raise
            return there, False
        return self.get(name), True

    def find(self, submission_id: str) -> Job | None:
        """Return a job, or None if the cluster knows none of that name."""
        return next((job for job in self.all() if job.submission_id == submission_id), None)

    def get(self, submission_id: str) -> Job:
        """Return a job.

        Raises:
            ClusterError: the cluster knows no such job.
        """
        job = self.find(submission_id)
        if job is None:
            known = ", ".join(job.submission_id for job in self.all()) or "none"
            raise ClusterError(f"{self._address}: no job '{submission_id}'\n  jobs there: {known}")
        return job

    def all(self) -> list[Job]:
        """Return the jobs that were submitted, oldest first."""
        with self._errors():
            found = self._client.list_jobs()
        jobs = [_job(details) for details in found if details.submission_id]
        return sorted(jobs, key=lambda job: job.started)

    def logs(self, submission_id: str) -> str:
        """Return what a job has printed so far."""
        self.get(submission_id)
        with self._errors():
            return str(self._client.get_job_logs(submission_id))

    def follow(self, submission_id: str, write: Callable[[str], None]) -> Job:
        """Hand over what a job prints until it has ended, and return it as it ended."""
        self.get(submission_id)

        async def tail() -> None:
            async for text in self._client.tail_job_logs(submission_id):
                write(text)

        with self._errors():
            asyncio.run(tail())
        # A stream that breaks is not the end of the job.
        while (job := self.get(submission_id)).is_live:
            time.sleep(_POLL_SECONDS)
        return job

    def stop(self, submission_id: str) -> bool:
        """Ask a job to stop and return whether it was running."""
        self.get(submission_id)
        with self._errors():
            return bool(self._client.stop_job(submission_id))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not _is_told(error):
                raise
            first = next(iter(without_secrets(str(error)).strip().splitlines()), type(error).__name__)
            hint = "give the address of the dashboard, such as http://head:8265"
            if type(error).__name__ == "AuthenticationError":
                hint = "this cluster asks for its token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the file"
            raise ClusterError(f"{self._address}: {first}\n  {hint}") from error


@contextmanager
def _address_alone() -> Iterator[None]:
    """Hide addresses in the environment, which Ray would take instead of the one that it is given."""
    hidden = {name: os.environ.pop(name) for name in _ADDRESSES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _is_told(error: Exception) -> bool:
    """Say whether an error comes from the cluster or the way there, and not from a mistake in here."""
    from ray.exceptions import RayError

    return isinstance(error, (RayError, OSError, RuntimeError))


def _job(details: Any) -> Job:
    return Job(
        submission_id=details.submission_id,
        status=str(getattr(details.status, "value", details.status)),
        message=details.message or "",
        entrypoint=details.entrypoint or "",
        started=_time(details.start_time),
        ended=_time(details.end_time),
        exit_code=details.driver_exit_code,
        metadata=dict(details.metadata or {}),
    )


def _time(milliseconds: int | None) -> str:
    if not milliseconds:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
