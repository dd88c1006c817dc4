"""What a cell's identity and a trace's seed depend on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.guests import Guest
from engine.operations import OPERATION, Operations
from engine.workloads import WORKLOADS
from engine.workloads.kernbench_run import draw_units
from engine.workloads.piped import PipedSource
from results.store.cell_ids import CellIds
from sweep.plan.cell import TraceFamily, knobs_key
from sweep.plan.plan import plan_sweep, remaining
from sweep.spec.spec import SweepSpec, WorkloadCase
from tests.support.policies import POLICIES

SPEC = SweepSpec(
    name="one",
    workloads=(WorkloadCase(label="kernbench", name="kernbench", parameters={"units": 10, "load": "half"}),),
    policies=tuple(POLICIES.values()),
    guests=(Guest(), Guest(vcpus=2)),
    replicates=2,
    seed=1,
    window_ns=10_000_000,
    baseline="kvm-3.0",
    costs="nehalem-2011",
)


def ids(spec: SweepSpec, fingerprint: str = "engine") -> list[str]:
    """Return the cell ids of a sweep in the order of its plan."""
    return [cell for batch in plan_sweep(spec, fingerprint).batches for cell in batch.cell_ids]


def test_names_are_no_part_of_the_identity() -> None:
    """Other names of sweep, policies and workloads, another baseline and other prices leave all cells what they are."""
    renamed = replace(
        SPEC,
        name="two",
        policies=tuple(replace(policy, name=f"my {policy.name}", summary="", source="") for policy in SPEC.policies),
        workloads=tuple(replace(case, label="other") for case in SPEC.workloads),
        baseline="my tdp",
        costs="other",
    )

    assert ids(SPEC) == ids(renamed)


def test_what_affects_the_answer_is_in_the_identity() -> None:
    """Another knob, parameter, guest, seed, window or engine gives other cells, all different from each other."""
    case = SPEC.workloads[0]
    variants = [
        SPEC,
        replace(SPEC, policies=tuple(p.override(p.name, {"rep_limit": 7}) for p in SPEC.policies)),
        replace(SPEC, workloads=(replace(case, parameters={"units": 11, "load": "half"}),)),
        replace(SPEC, workloads=(replace(case, name="fork"),)),
        replace(SPEC, guests=(Guest(memory_mib=512), Guest(clear_instruction="mov"))),
        replace(SPEC, seed=2),
        replace(SPEC, window_ns=20_000_000),
    ]

    found = [cell for variant in variants for cell in ids(variant)] + ids(SPEC, "other engine")

    assert len(found) == len(set(found)) == 8 * len(SPEC.policies) * 4


def test_order_of_parameters_is_no_part_of_the_identity() -> None:
    """The same parameters in another order are the same workload."""
    turned = replace(SPEC.workloads[0], parameters={"load": "half", "units": 10})

    assert ids(SPEC) == ids(replace(SPEC, workloads=(turned,)))


@given(seed=st.integers(0, 2**63 - 1), replicate=st.integers(0, 1000))
def test_the_seed_is_a_function_of_what_is_drawn(seed: int, replicate: int) -> None:
    """The seed fits 63 bits, repeats, and changes with the sweep's seed, the replicate and the workload."""
    case = SPEC.workloads[0]
    here, other = (TraceFamily(replace(case, name=name), Guest()) for name in ("kernbench", "fork"))

    found = here.seeds(seed, [replicate, replicate, replicate + 1]) + here.seeds(seed ^ 1, [replicate])

    assert all(0 <= value < 2**63 for value in found)
    assert found[0] == found[1]
    assert len({*found, *other.seeds(seed, [replicate])}) == 4


@given(changes=st.fixed_dictionaries({"units": st.integers(1, 100), "process_data_pages": st.integers(0, 64)}))
def test_what_meets_the_draw_does_not_touch_the_seed(changes: dict[str, int]) -> None:
    """Parameters, of the workload or of the guest model, and every field of the guest leave the seed what it is."""
    case = SPEC.workloads[0]
    guests = (Guest(memory_mib=512), Guest(vcpus=4), Guest(clear_instruction="stosb"), Guest(page_cache_share=0.25))
    changed = replace(case, parameters={**case.parameters, **changes})

    seeds = {TraceFamily(one, guest).seeds(1, [0])[0] for one in (case, changed) for guest in (Guest(), *guests)}

    assert len(seeds) == 1


@given(seed=st.integers(0, 2**63 - 1), fewer=st.integers(1, 50), more=st.integers(0, 50))
def test_a_longer_draw_begins_with_the_shorter_one(seed: int, fewer: int, more: int) -> None:
    """A larger build consists of what the smaller one of the same seed does, and of more."""
    small, large = (draw_units(recorded=46, wanted=wanted, seed=seed) for wanted in (fewer, fewer + more))

    assert large[:fewer].tolist() == small.tolist()


def drawn(parameters: dict[str, Any], *, replicate: int, guest: Guest) -> Operations:
    """Return the process operations of a small build, as a sweep would have them generated."""
    case = WorkloadCase(label="kernbench", name="kernbench", parameters={"compile_units": 1, **parameters})
    [seed] = TraceFamily(case, guest).seeds(7, [replicate])
    source = WORKLOADS["kernbench"].open(case.parameters, guest, seed, 10_000_000)
    assert isinstance(source, PipedSource)
    return np.concatenate([chunk.copy() for chunk in source.operations.chunks()])


@pytest.mark.slow
def test_a_sweep_over_a_parameter_of_the_guest_is_paired() -> None:
    """Sweeps that differ in how the guest works, in its memory or kind draw the same processes; replicates others."""
    few, many = {"process_data_pages": 1}, {"process_data_pages": 9}
    other = Guest(memory_mib=512, clear_instruction="stosb", page_cache_share=0.1)

    first = drawn(few, replicate=0, guest=Guest())

    assert np.array_equal(first, drawn(many, replicate=0, guest=Guest()))
    assert np.array_equal(first, drawn(few, replicate=0, guest=other))
    assert not np.array_equal(first, drawn(few, replicate=1, guest=Guest()))


def test_policies_do_not_touch_the_seed() -> None:
    """Every subset of policies meets the traces that all of them meet."""
    few = replace(SPEC, policies=SPEC.policies[:1])

    seeds = [[batch.seed for batch in plan_sweep(spec, "engine").batches] for spec in (SPEC, few)]

    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == SPEC.replicates


def test_the_identity_is_pinned() -> None:
    """The id of a known cell does not change by accident: finished runs would be simulated again."""
    here = TraceFamily(SPEC.workloads[0], Guest())

    found = here.digests([b'{"knob":1}'], seed=7, window_ns=1000, fingerprint="engine")

    assert found.hex() == "eec07548b927c22bda80b193220d2518"
    assert here.seeds(1, [0]) == [2_432_488_194_463_598_708]


def test_grown_grids_keep_what_is_finished() -> None:
    """With all cells of a smaller sweep finished, only the new cells of a larger one remain, in their batches."""
    finished = CellIds(ids(SPEC))
    grown = replace(SPEC, policies=(*SPEC.policies, POLICIES["kvm-3.3"].override("more", {"flood_threshold": 9})))

    left = remaining(plan_sweep(grown, "engine"), finished)

    assert [[policy.name for policy in batch.policies] for batch in left] == [["more"]] * 4
    assert remaining(plan_sweep(SPEC, "engine"), finished) == []


def test_equal_knobs_are_simulated_once() -> None:
    """Two names for the same knobs are two cells of one id, and one of them is left to do."""
    twin = replace(POLICIES["kvm-3.3"], name="twin")
    spec = replace(SPEC, policies=(POLICIES["kvm-3.3"], twin))
    plan = plan_sweep(spec, "engine")

    left = remaining(plan, CellIds())

    assert plan.cell_count == 8
    assert [[policy.name for policy in batch.policies] for batch in left] == [["kvm-3.3"]] * 4


def test_batches_hold_as_many_policies_as_a_word() -> None:
    """More than 512 policies become several batches over the same trace, and no cell is lost."""
    policies = tuple(POLICIES["kvm-3.3"].override(f"p{value}", {"pool_pages": 100 + value}) for value in range(1030))

    plan = plan_sweep(replace(SPEC, policies=policies, guests=(Guest(),), replicates=1), "engine")

    assert [len(batch.policies) for batch in plan.batches] == [512, 512, 6]
    assert len({batch.seed for batch in plan.batches}) == 1
    assert [policy for batch in plan.batches for policy in batch.policies] == list(policies)


def test_keys_of_knobs_differ_where_policies_do() -> None:
    """No two policies of the registry have the same key."""
    assert len({knobs_key(policy.knobs) for policy in POLICIES.values()}) == len(POLICIES)


def test_a_recording_counts_by_its_bytes(tmp_path: Path) -> None:
    """Cells of a recorded trace depend on what is in the file, not on where it is."""
    cells = []
    for name, length in (("a", 1), ("b", 1), ("c", 2)):
        path = tmp_path / f"{name}.npy"
        np.save(path, np.zeros(length, OPERATION))
        case = WorkloadCase(label="recorded", name="recorded", parameters={"path": str(path)})
        cells.append(ids(replace(SPEC, workloads=(case,))))

    assert cells[0] == cells[1]
    assert not set(cells[0]) & set(cells[2])
