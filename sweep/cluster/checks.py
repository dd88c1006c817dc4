"""Judges what nodes say about themselves: one line per check, and for each that failed what to do."""

from collections.abc import Iterable, Iterator, Sequence
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


def judged(name: str, where: str, *, fits: bool, found: str, advice: str) -> Check:
    """Return a finding; `advice` is for what does not fit."""
    state = CheckState.OK if fits else CheckState.FAILED
    return Check(name=name, where=where, state=state, found=found, advice="" if fits else advice)


def check_nodes(nodes: Sequence[Seen], here: NodeFacts) -> list[Check]:
    """Judge all nodes; versions are compared with those of this program, whose driver has to understand theirs."""
    everyone = [_versions(nodes, here), _engine(nodes, here), _core(nodes, here)]
    return [*everyone, *(check for seen in nodes for check in _node_checks(seen))]


def missing_nodes(found: int, expected: int, waited: float) -> Check:
    """Judge how many nodes there are."""
    fits = found >= expected
    text = f"{found} of {expected}" + ("" if fits else f" after {waited:.0f} s")
    advice = "look into the logs of the nodes that did not come, or ask for fewer with --nodes"
    return judged("nodes", "cluster", fits=fits, found=text, advice=advice)


def _versions(nodes: Iterable[Seen], here: NodeFacts) -> Check:
    wrong = [
        f"{seen.node}: {name} {found} (here {here.versions[name]})"
        for seen in nodes
        for name, found in seen.facts.versions.items()
        if found != here.versions[name]
    ]
    text = "; ".join(wrong) or ", ".join(f"{name} {found}" for name, found in here.versions.items())
    advice = "install the same requirements.lock on every node: pip install --require-hashes -r requirements.lock"
    return judged("versions", "all nodes", fits=not wrong, found=text, advice=advice)


def _engine(nodes: Iterable[Seen], here: NodeFacts) -> Check:
    wrong = [f"{seen.node}: {seen.facts.engine}" for seen in nodes if seen.facts.engine != here.engine]
    found = f"{'; '.join(wrong)} (here {here.engine})" if wrong else here.engine
    advice = "install the same version of shadowsweep on every node, or submit with --upload-code"
    return judged("our code", "all nodes", fits=not wrong, found=found, advice=advice)


def _core(nodes: Iterable[Seen], here: NodeFacts) -> Check:
    wrong = [f"{seen.node}: {seen.facts.core}" for seen in nodes if seen.facts.core != here.core]
    found = f"{'; '.join(wrong)} (here {here.core})" if wrong else here.core
    advice = "build the core of the same sources on every node: make setup, or install the same wheel"
    return judged("core", "all nodes", fits=not wrong, found=found, advice=advice)


def _node_checks(seen: Seen) -> Iterator[Check]:
    node, facts = seen.node, seen.facts
    fits = not 0 <= facts.files_max < _FILES_MIN
    advice = f"raise it before Ray starts: ulimit -n {_FILES_MIN}"
    yield judged("open files", node, fits=fits, found=_count(facts.files_max), advice=advice)
    wanted = _PROCESSES_PER_CORE * facts.cores
    fits = not 0 <= facts.processes_max < wanted
    advice = f"raise it before Ray starts: ulimit -u {wanted}"
    yield judged("processes", node, fits=fits, found=_count(facts.processes_max), advice=advice)
    found = f"{format_bytes(facts.temp_free)} free in {facts.temp_folder}"
    advice = f"free {format_bytes(_TEMP_MIN)} there, or set TMPDIR and RAY_TMPDIR to another disk"
    yield judged("temporary space", node, fits=facts.temp_free >= _TEMP_MIN, found=found, advice=advice)
    free = facts.shm_free
    found = "no /dev/shm: Ray uses files" if free is None else f"{format_bytes(free)} free"
    advice = "enlarge it: mount -o remount,size=2G /dev/shm, or --shm-size=2g for a container"
    yield judged("shared memory", node, fits=free is None or free >= _SHM_MIN, found=found, advice=advice)
    fits = abs(seen.skew) <= _SKEW_SECONDS + seen.uncertainty
    found = f"{seen.skew:+.3f} s, within {seen.uncertainty:.3f} s"
    advice = "start a time service on that node: chronyc makestep, or timedatectl set-ntp true"
    yield judged("clock", node, fits=fits, found=found, advice=advice)


def _count(limit: int) -> str:
    return "no limit" if limit < 0 else f"{limit:,}"
