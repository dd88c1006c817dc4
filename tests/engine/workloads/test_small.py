"""The small exact workloads, the replay of recordings, and the registry."""

import hashlib
import importlib
from pathlib import Path

import numpy as np
import pytest

from engine.events import EVENT
from engine.guests import Guest
from engine.operations import OPERATION
from engine.vocabulary import Event, Operation
from engine.workloads import WORKLOADS
from engine.workloads.contract import EventSource
from engine.workloads.recorded import RecordedOperations
from tests.support.engine.workload_runs import all_of, counts, of_kind, operations_of, small_run

ROUNDS = {"fork": 5, "exec": 5, "mmap": 5, "pingpong": 5}
GUEST = Guest(vcpus=2, memory_mib=512)
WINDOW_NS = 10_000_000


def layer_one(name: str, **parameters: int) -> np.ndarray:
    """Return the operations of a small workload."""
    module = importlib.import_module(f"engine.workloads.{name}")
    return all_of(module.operations({"step_ns": 1000} | parameters))


def digest(source: EventSource) -> tuple[str, int]:
    """Return a digest of the events of a source, and their number."""
    total, count = hashlib.sha256(), 0
    for chunk in source.chunks():
        assert chunk.dtype == EVENT
        total.update(chunk.tobytes())
        count += len(chunk)
    return total.hexdigest(), count


def test_modules_and_names_agree() -> None:
    """Each workload is registered under the name of its module."""
    assert list(WORKLOADS) == ["kernbench", "recorded", "fork", "exec", "mmap", "pingpong"]
    for name, workload in WORKLOADS.items():
        assert workload.name == name
        assert workload is importlib.import_module(f"engine.workloads.{name}").WORKLOAD


@pytest.mark.parametrize("name", ROUNDS)
def test_rounds_are_exact(name: str) -> None:
    """Rounds add up: n rounds have n times the operations of one, and children have pids of their own."""
    one = counts(layer_one(name, rounds=1, pages=7, child_writes=3))
    two = counts(layer_one(name, rounds=2, pages=7, child_writes=3))
    many = layer_one(name, rounds=50, pages=7, child_writes=3)

    assert counts(many).tolist() == (one + 49 * (two - one)).tolist()
    assert (np.diff(many["time_ns"].astype(np.int64)) == 1000).all()
    children = of_kind(many, Operation.CLONE)["peer"].tolist()
    assert sorted(of_kind(many, Operation.EXIT)["pid"].tolist()) == sorted({1000, *children})


def test_a_round_of_fork() -> None:
    """One round of fork is: clone, child's stack and so many writes, exit, parent's stack; four switches."""
    one = counts(layer_one("fork", rounds=1, pages=7, child_writes=3))
    two = counts(layer_one("fork", rounds=2, pages=7, child_writes=3))

    found = {Operation(kind).name: int(n) for kind, n in enumerate(two - one) if n}
    assert found == {"SWITCH_IN": 2, "SWITCH_OUT": 2, "FAULT": 5, "CLONE": 1, "EXIT": 1}


def test_long_rounds_are_cut_into_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the chunks changes nothing."""
    whole = layer_one("fork", rounds=20, pages=4, child_writes=0)
    monkeypatch.setattr("engine.workloads.rounds.CHUNK_OPERATIONS", 16)

    assert layer_one("fork", rounds=20, pages=4, child_writes=0).tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", ROUNDS)
def test_small_workloads_give_events(name: str) -> None:
    """Each small workload runs through the guest model; equal seeds give equal events."""
    sources = [WORKLOADS[name].open({"rounds": 3}, GUEST, 1, WINDOW_NS) for _ in range(2)]
    first, second = (digest(source) for source in sources)

    assert first == second
    assert first[1] > 1000
    assert sources[0].native_seconds > 0


def test_kernbench_gives_events() -> None:
    """A build runs through the guest model: processes get roots, tables are written, and time passes."""
    source = WORKLOADS["kernbench"].open({"compile_units": 1}, GUEST, 1, WINDOW_NS)
    kinds = sum(np.bincount(chunk["kind"], minlength=len(Event)) for chunk in source.chunks())

    assert kinds[Event.CR3] > 500
    assert kinds[Event.STORE] > kinds[Event.GUEST_FAULT] > 50_000
    assert source.native_seconds > 1


def test_a_recording_is_replayed_as_it_is(tmp_path: Path) -> None:
    """The replay of an array of operations is that array."""
    operations = operations_of(small_run(vcpus=2, jobs=2, units=1))
    path = tmp_path / "build.npy"
    np.save(path, operations)

    assert all_of(RecordedOperations(path=path)).tobytes() == operations.tobytes()


def test_a_recording_needs_its_vcpus(tmp_path: Path) -> None:
    """A recording of more vCPUs than the guest has is refused, with what to set."""
    operations = np.zeros(3, OPERATION)
    operations["vcpu"] = 5
    path = tmp_path / "wide.npy"
    np.save(path, operations)

    source = WORKLOADS["recorded"].open({"path": str(path)}, Guest(vcpus=2, memory_mib=256), 0, 10**9)

    with pytest.raises(ValueError, match=r"wide.npy: operation 0 .* guests.vcpus is .; set it to at least 6"):
        list(source.chunks())


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros(3), "holds float64"),
        (np.zeros((3, 2), OPERATION), "holds 2 dimensions"),
        (np.zeros((), OPERATION), "holds 0 dimensions"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray, found: str) -> None:
    """A file that holds no row of operations is refused, with the command that makes one."""
    path = tmp_path / "other.npy"
    np.save(path, array)

    with pytest.raises(ValueError, match=rf"other.npy: {found}, .* sweep trace array"):
        all_of(RecordedOperations(path=path))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"units": 3}, "unknown name 'units'. Allowed: .*compile_units"),
        ({"load": "full"}, "load: expected one of half, optimal, max, found 'full'"),
        ({"compile_units": 0}, "compile_units: expected a whole number from 1 to 1000000, found 0"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, object], message: str) -> None:
    """A wrong parameter is refused with what is allowed."""
    with pytest.raises(ValueError, match=message):
        WORKLOADS["kernbench"].open(parameters, GUEST, 1, WINDOW_NS)
