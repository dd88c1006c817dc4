"""Judges what nodes say about themselves: one line per check, and for each that failed what to do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sweep.backends.ray.facts import NodeFacts
from sweep.progress import format_bytes

_FILES_MIN: Final = 4096
"""Ray's own guide on large clusters asks for at least 4,096 open files on worker nodes."""
_PROCESSES_PER_CORE: Final = 64
"""Ray starts one process per core with some 30 threads, and threads count here (assumption)."""
_TEMP_MIN: Final = 2 << 30
"""Logs of a session and what a part needs before it is moved (assumption)."""
_SHM_MIN: Final = 256 << 20
"""Counts of a few batches per core; below that, Ray puts its object store on a disk (assumption)."""
_SKEW_SECONDS: Final = 2.0
"""Leases and 'last commit' are read in seconds; NTP keeps clocks within milliseconds."""


class CheckState(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding. `advice` is empty if all is well."""

    name: str
    where: str
    state: CheckState
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The facts of a node and how far its clock is from ours, within `uncertainty` seconds."""

    node: str
    facts: NodeFacts
    skew: float
    uncertainty: float


def check_nodes(nodes: Sequence[Seen], here: NodeFacts) -> list[Check]:
    """Judge all nodes; versions are compared with those of this program, whose driver has to understand theirs."""
    checks = [_versions(nodes, here), _engine(nodes, here), _core(nodes, here)]
    for seen in nodes:
        checks += [_files(seen), _processes(seen), _temp(seen), _shm(seen), _clock(seen)]
    return checks


def missing_nodes(found: int, expected: int, waited: float) -> Check:
    """Judge how many nodes there are."""
    if found >= expected:
        return Check(name="nodes", where="cluster", state=CheckState.OK, found=f"{found} of {expected}")
    return Check(
        name="nodes",
        where="cluster",
        state=CheckState.FAILED,
        found=f"{found} of {expected} after {waited:.0f} s",
        advice="look into the logs of the nodes that did not come, or ask for fewer with --nodes",
    )


def _versions(nodes: Iterable[Seen], here: NodeFacts) -> Check:
    wrong = [
        f"{seen.node}: {name} {found} (here {here.versions[name]})"
        for seen in nodes
        for name, found in seen.facts.versions.items()
        if found != here.versions[name]
    ]
    text = "; ".join(wrong) or ", ".join(f"{name} {found}" for name, found in here.versions.items())
    if not wrong:
        return Check(name="versions", where="all nodes", state=CheckState.OK, found=text)
    advice = "install the same requirements.lock on every node: pip install --require-hashes -r requirements.lock"
    return Check(name="versions", where="all nodes", state=CheckState.FAILED, found=text, advice=advice)


def _engine(nodes: Iterable[Seen], here: NodeFacts) -> Check:
    wrong = [f"{seen.node}: {seen.facts.engine}" for seen in nodes if seen.facts.engine != here.engine]
    if not wrong:
        return Check(name="our code", where="all nodes", state=CheckState.OK, found=here.engine)
    advice = "install the same version of shadowsweep on every node, or submit with --upload-code"
    found = f"{'; '.join(wrong)} (here {here.engine})"
    return Check(name="our code", where="all nodes", state=CheckState.FAILED, found=found, advice=advice)


def _core(nodes: Iterable[Seen], here: NodeFacts) -> Check:
    wrong = [f"{seen.node}: {seen.facts.core}" for seen in nodes if seen.facts.core != here.core]
    if not wrong:
        return Check(name="core", where="all nodes", state=CheckState.OK, found=here.core)
    advice = "build the core of the same sources on every node: make setup, or install the same wheel"
    found = f"{'; '.join(wrong)} (here {here.core})"
    return Check(name="core", where="all nodes", state=CheckState.FAILED, found=found, advice=advice)


def _files(seen: Seen) -> Check:
    found, fits = seen.facts.files_max, seen.facts.files_max < 0 or seen.facts.files_max >= _FILES_MIN
    advice = "" if fits else f"raise it before Ray starts: ulimit -n {_FILES_MIN}"
    return _judged("open files", seen, fits=fits, found=_count(found), advice=advice)


def _processes(seen: Seen) -> Check:
    wanted = _PROCESSES_PER_CORE * seen.facts.cores
    fits = seen.facts.processes_max < 0 or seen.facts.processes_max >= wanted
    advice = "" if fits else f"raise it before Ray starts: ulimit -u {wanted}"
    return _judged("processes", seen, fits=fits, found=_count(seen.facts.processes_max), advice=advice)


def _temp(seen: Seen) -> Check:
    fits = seen.facts.temp_free >= _TEMP_MIN
    advice = "" if fits else f"free {format_bytes(_TEMP_MIN)} there, or set TMPDIR and RAY_TMPDIR to another disk"
    found = f"{format_bytes(seen.facts.temp_free)} free in {seen.facts.temp_folder}"
    return _judged("temporary space", seen, fits=fits, found=found, advice=advice)


def _shm(seen: Seen) -> Check:
    free = seen.facts.shm_free
    if free is None:
        return _judged("shared memory", seen, fits=True, found="no /dev/shm: Ray uses files", advice="")
    advice = "enlarge it: mount -o remount,size=2G /dev/shm, or --shm-size=2g for a container"
    fits = free >= _SHM_MIN
    return _judged("shared memory", seen, fits=fits, found=f"{format_bytes(free)} free", advice="" if fits else advice)


def _clock(seen: Seen) -> Check:
    fits = abs(seen.skew) <= _SKEW_SECONDS + seen.uncertainty
    advice = "" if fits else "start a time service on that node: chronyc makestep, or timedatectl set-ntp true"
    found = f"{seen.skew:+.3f} s, within {seen.uncertainty:.3f} s"
    return _judged("clock", seen, fits=fits, found=found, advice=advice)


def _judged(name: str, seen: Seen, *, fits: bool, found: str, advice: str) -> Check:
    return Check(
        name=name, where=seen.node, state=CheckState.OK if fits else CheckState.FAILED, found=found, advice=advice
    )


def _count(limit: int) -> str:
    return "no limit" if limit < 0 else f"{limit:,}"
