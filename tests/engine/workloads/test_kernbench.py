"""The kernbench generator: what it takes from the recording, and what a schedule may and may not do."""

from itertools import pairwise

import numpy as np
import pytest

from engine.operations import Operations
from engine.vocabulary import Operation
from engine.workloads import kernbench_run
from engine.workloads.kernbench_run import (
    TEMPLATE_FILE,
    UNLIMITED_JOBS,
    KernbenchOperations,
    draw_units,
    jobs_for,
    load_templates,
    run_from,
)
from tests.support.engine.workload_runs import DEFAULTS, counts, of_kind, operations_of, small_run

MACHINES = [(1, 1), (1, 4), (2, 3), (4, 2), (8, UNLIMITED_JOBS)]
"""(vCPUs, jobs)"""


@pytest.fixture(params=MACHINES, ids=str)
def operations(request: pytest.FixtureRequest) -> Operations:
    """A small build on several machines."""
    vcpus, jobs = request.param
    return operations_of(small_run(vcpus=vcpus, jobs=jobs))


def test_equal_runs_are_equal_bytes() -> None:
    """The same run gives the same operations, however large the chunks are."""
    whole = operations_of(small_run(seed=5))
    pieces = operations_of(small_run(seed=5), chunk_operations=1000)

    assert whole.tobytes() == pieces.tobytes()


def test_seeds_only_choose_units() -> None:
    """Another seed draws other units of the recording; each draw is a recorded unit."""
    first = draw_units(recorded=46, wanted=1000, seed=1)
    second = draw_units(recorded=46, wanted=1000, seed=2)

    assert set(first.tolist()) == set(range(46))
    assert (first != second).any()
    assert (
        counts(operations_of(small_run(seed=1)))[Operation.FAULT]
        != counts(operations_of(small_run(seed=2)))[Operation.FAULT]
    )


def test_each_unit_once_is_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that draws each recorded unit once has exactly the processes, faults and execs of the recording."""
    templates = load_templates(TEMPLATE_FILE)
    monkeypatch.setattr(kernbench_run, "draw_units", lambda **given: np.arange(given["wanted"]))

    found = counts(operations_of(small_run(units=templates.units)))

    facts = templates.provenance
    assert found[Operation.EXIT] == facts["processes"] == 1360
    assert found[Operation.FAULT] == facts["faults"] == 938_873 + 18_613
    assert found[Operation.EXEC] == facts["execs"] == 1271
    assert found[Operation.CLONE] == 1359


def test_the_default_is_a_three_minute_kernbench_run() -> None:
    """The full size has about 11,000 processes and 7 to 8 million page faults, as a whole vmlinux has."""
    source = KernbenchOperations(run=run_from(DEFAULTS, vcpus=2, seed=1))
    total = sum(counts(chunk) for chunk in source.chunks())

    assert 10_500 < total[Operation.EXIT] < 11_500
    assert 7_000_000 < total[Operation.FAULT] < 8_000_000
    assert total[Operation.CLONE] == total[Operation.EXIT] - 8


def test_vfork_as_fork_changes_flags_only() -> None:
    """With vfork_as_fork each vforked child gets its own address space, and nothing else differs."""
    vforks = operations_of(small_run(vfork_as_fork=False))
    forks = operations_of(small_run(vfork_as_fork=True))

    recorded, changed = of_kind(vforks, Operation.CLONE)["flags"], of_kind(forks, Operation.CLONE)["flags"]
    assert set(recorded.tolist()) == {0x4100, 0x1200000}
    assert set(changed.tolist()) == {0x4000, 0x1200000}
    for name in vforks.dtype.names or ():
        if name != "flags":
            assert (vforks[name] == forks[name]).all()


def test_every_child_runs_and_exits(operations: Operations) -> None:
    """Each cloned process is new, runs, and exits once."""
    children = of_kind(operations, Operation.CLONE)["peer"].tolist()
    exits = of_kind(operations, Operation.EXIT)["pid"].tolist()

    assert len(set(children)) == len(children)
    assert len(set(exits)) == len(exits)
    assert set(children) <= set(exits)
    assert len(exits) - len(children) == 1
    assert set(exits) == set(of_kind(operations, Operation.SWITCH_IN)["pid"].tolist())


def test_time_goes_forward(operations: Operations) -> None:
    """Operations are in time order over all vCPUs."""
    assert (np.diff(operations["time_ns"].astype(np.int64)) >= 0).all()


def test_a_vcpu_runs_one_process_at_a_time(operations: Operations) -> None:
    """On each vCPU switches alternate, and between them only the process that was switched in does anything."""
    for vcpu in range(8):
        own = operations[operations["vcpu"] == vcpu]
        running = 0
        for kind, pid in zip(own["kind"].tolist(), own["pid"].tolist(), strict=True):
            if kind == Operation.SWITCH_IN:
                assert running == 0
                running = pid
            assert running == pid
            if kind == Operation.SWITCH_OUT:
                running = 0
        assert running == 0


def test_a_process_is_on_one_vcpu(operations: Operations) -> None:
    """No process is switched in while it runs on another vCPU."""
    running: set[int] = set()
    switches = operations[operations["kind"] <= Operation.SWITCH_OUT]
    for kind, pid in zip(switches["kind"].tolist(), switches["pid"].tolist(), strict=True):
        if kind == Operation.SWITCH_IN:
            assert pid not in running
            running.add(pid)
        else:
            running.remove(pid)
    assert not running


def test_a_vfork_parent_waits(operations: Operations) -> None:
    """Between a vfork and the child's exec or exit, the parent does nothing but leave the CPU."""
    suspended: dict[int, int] = {}
    columns = (operations[name].tolist() for name in ("kind", "pid", "peer", "flags"))
    for kind, pid, peer, flags in zip(*columns, strict=True):
        if kind in {Operation.EXEC, Operation.EXIT}:
            suspended = {parent: child for parent, child in suspended.items() if child != pid}
        assert pid not in suspended or kind == Operation.SWITCH_OUT
        if kind == Operation.CLONE and flags & 0x4000:
            suspended[pid] = peer


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_jobs_are_limited(jobs: int) -> None:
    """So many recipe lines that compile run at once as there are jobs, and no more."""
    operations = operations_of(small_run(vcpus=4, jobs=jobs, units=10))

    assert most_at_once(compile_lines(operations)) == jobs


def compile_lines(operations: Operations) -> list[tuple[int, int]]:
    """Return the time of CLONE and EXIT of each process below which an object of the build is compiled."""
    comms = load_templates(TEMPLATE_FILE).comms
    clones = of_kind(operations, Operation.CLONE)
    parent = dict(zip(clones["peer"].tolist(), clones["pid"].tolist(), strict=True))
    born = dict(zip(clones["peer"].tolist(), clones["time_ns"].tolist(), strict=True))
    exits = of_kind(operations, Operation.EXIT)
    died = dict(zip(exits["pid"].tolist(), exits["time_ns"].tolist(), strict=True))
    execs = of_kind(operations, Operation.EXEC)
    # Kbuild runs fixdep as a child of the shell that compiled.
    lines = {parent[pid] for pid in execs["pid"][execs["comm"] == comms.index("fixdep")].tolist()}
    return [(born[pid], died[pid]) for pid in lines]


def most_at_once(intervals: list[tuple[int, int]]) -> int:
    """Return the greatest number of intervals that overlap."""
    edges = sorted([(start, 1) for start, _ in intervals] + [(end, -1) for _, end in intervals])
    return int(np.cumsum([step for _, step in edges]).max())


def test_run_time_does_not_depend_on_the_machine() -> None:
    """The time that processes spend on CPUs is that of the recording, on any number of vCPUs."""
    spent = [busy_ns(operations_of(small_run(vcpus=vcpus, jobs=4))) for vcpus in (1, 4)]

    assert spent[0] == spent[1]


def busy_ns(operations: Operations) -> int:
    """Return the time between switching in and out, over all vCPUs."""
    entered = of_kind(operations, Operation.SWITCH_IN)["time_ns"].astype(np.int64).sum()
    return int(of_kind(operations, Operation.SWITCH_OUT)["time_ns"].astype(np.int64).sum() - entered)


def test_more_vcpus_are_faster() -> None:
    """With work for all of them, twice the vCPUs take less than 70 % of the time."""
    ends = [int(operations_of(small_run(vcpus=v, jobs=16, units=16))["time_ns"][-1]) for v in (1, 2, 4)]

    assert all(later < 0.7 * earlier for earlier, later in pairwise(ends))


@pytest.mark.parametrize(
    ("load", "vcpus", "jobs"),
    [("half", 1, 1), ("half", 2, 1), ("half", 4, 3), ("half", 8, 4), ("optimal", 2, 8), ("max", 4, UNLIMITED_JOBS)],
)
def test_loads_are_those_of_the_script(load: str, vcpus: int, jobs: int) -> None:
    """Loads become job numbers as the kernbench script has it."""
    assert jobs_for(load, vcpus=vcpus) == jobs
