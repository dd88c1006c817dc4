"""Process templates: deriving, writing and reading them."""

import hashlib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from engine.operations import Operations
from engine.vocabulary import Operation
from engine.workloads.kernbench_run import TEMPLATE_FILE, KernbenchOperations, load_templates
from engine.workloads.templates import Step, Templates, read_templates, write_templates
from sweep.recordings.importing import read_recording
from sweep.recordings.templates import Recording, derive_templates
from tests.support.engine.workload_runs import all_of, counts, operations_of, small_run

UNITS = 3


@pytest.fixture(scope="module")
def build() -> Operations:
    """A build of a few units, which is a recording as good as any."""
    return operations_of(small_run(vcpus=2, jobs=2, units=UNITS))


@pytest.fixture(scope="module")
def derived(build: Operations) -> Templates:
    """Templates of that build."""
    comms = load_templates(TEMPLATE_FILE).comms
    return derive_templates(Recording(operations=build, comms=comms), provenance={"recording": "test"})


def test_the_shipped_file_says_where_it_is_from() -> None:
    """The shipped templates name the recording, its digest and the command that derives them, and are small."""
    provenance = load_templates(TEMPLATE_FILE).provenance

    assert provenance["recording"] == "kernbench-mm.perf.txt.zst"
    assert len(provenance["recording_sha256"]) == hashlib.sha256().digest_size * 2
    assert provenance["command"].startswith("sweep trace templates ")
    assert TEMPLATE_FILE.stat().st_size < 10_000_000


def test_derived_templates_play_the_same_build(
    build: Operations, derived: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Templates that were derived from a build make a build with the same operations but for switches."""
    monkeypatch.setattr("engine.workloads.kernbench_run.draw_units", lambda **_: np.arange(UNITS))

    again = all_of(KernbenchOperations(run=small_run(vcpus=2, jobs=2, units=UNITS), templates=derived))

    assert derived.units == UNITS
    assert derived.provenance["lines_per_unit"] == [9]
    assert counts(again)[Operation.FAULT :].tolist() == counts(build)[Operation.FAULT :].tolist()
    for field in ("address", "flags"):
        assert sorted_faults(again, field) == sorted_faults(build, field)


def sorted_faults(operations: Operations, field: str) -> list[int]:
    """Return one field of all faults, in order of size."""
    faults = operations[operations["kind"] == Operation.FAULT]
    return sorted(faults[field].tolist())


def test_every_wait_has_its_child(derived: Templates) -> None:
    """A process waits for a child only after it has cloned it into that register."""
    for start, end in zip(derived.template_start[:-1], derived.template_start[1:], strict=True):
        cloned: set[int] = set()
        for step in derived.steps[start:end]:
            if step["kind"] == Operation.CLONE:
                cloned.add(int(step["address"]))
            elif step["kind"] == Step.WAIT_CHILD:
                assert int(step["address"]) in cloned


def test_files_hold_what_was_written(derived: Templates, tmp_path: Path) -> None:
    """Written templates read back equal, and the same templates give the same bytes."""
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    write_templates(first, derived)
    write_templates(second, derived)
    back = read_templates(first)

    assert first.read_bytes() == second.read_bytes()
    for field in fields(Templates):
        assert np.array_equal(getattr(back, field.name), getattr(derived, field.name))


def test_kernel_writes_belong_to_the_new_image() -> None:
    """No template has a kernel-mode write fault right before an exec: it would hit the old address space."""
    steps = load_templates(TEMPLATE_FILE).steps
    before = steps[:-1][steps["kind"][1:] == Operation.EXEC]
    kernel_writes = (before["kind"] == Operation.FAULT) & (before["flags"] & 6 == 2)

    assert not kernel_writes.any()


def test_the_shipped_templates_are_the_recording(project: Path) -> None:
    """Each process that ends within the head of the recording has the operations of its template, in the same order."""
    recording, _ = read_recording(project / "tests" / "data" / "perf" / "kernbench-mm-head.perf.txt.zst")
    templates = load_templates(TEMPLATE_FILE)
    born = [int(recording["pid"][0]), *recording["peer"][recording["kind"] == Operation.CLONE].tolist()]
    ended = set(recording["pid"][recording["kind"] == Operation.EXIT].tolist())
    no_steps = [Operation.SWITCH_IN, Operation.SWITCH_OUT]

    for number, pid in enumerate(born):
        if pid not in ended:
            continue
        own = recording[(recording["pid"] == pid) & ~np.isin(recording["kind"], no_steps)]
        steps = templates.steps[templates.template_start[number] : templates.template_start[number + 1]]
        steps = steps[(steps["kind"] < len(Operation)) & ~np.isin(steps["kind"], no_steps)]
        assert steps["kind"].tolist() == own["kind"].tolist()
        of_memory = ~np.isin(own["kind"], [Operation.CLONE, Operation.EXEC])
        for field in ("address", "length", "flags"):
            assert np.array_equal(steps[field][of_memory], own[field][of_memory])
    assert len(ended) == 50


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """A file without templates is refused with the command that makes one."""
    path = tmp_path / "other.npz"
    np.savez(path, a=np.zeros(3))

    with pytest.raises(ValueError, match=r"no process templates .* sweep trace templates RECORDING -o"):
        read_templates(path)


def test_a_cut_recording_is_refused(build: Operations) -> None:
    """A recording that ends before its processes do is refused."""
    recording = Recording(operations=build[: len(build) // 2], comms=load_templates(TEMPLATE_FILE).comms)

    with pytest.raises(ValueError, match="never exit; record until the build has ended"):
        derive_templates(recording, provenance={})


def test_a_recording_without_a_build_is_refused(build: Operations) -> None:
    """A recording in which no make compiles anything is refused."""
    recording = Recording(operations=build, comms=tuple(f"program-{i}" for i in range(100)))

    with pytest.raises(ValueError, match="templates need the recording of a kernel build"):
        derive_templates(recording, provenance={})
