"""What a cell's identity and a trace's seed depend on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import SeedSequence

from engine.guests import Guest
from engine.operations import OPERATION
from engine.policies import POLICIES
from results.cell_ids import CellIds
from sweep.cell import TraceFamily, engine_fingerprint, knobs_key
from sweep.plan import plan_sweep, remaining
from sweep.seeds import spawned_seeds
from sweep.spec import SweepSpec, WorkloadCase

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


@given(seed=st.integers(0, 2**63 - 1), replicate=st.integers(0, 1000), vcpus=st.integers(1, 64))
def test_the_seed_is_a_function_of_the_trace(seed: int, replicate: int, vcpus: int) -> None:
    """The seed fits 63 bits, repeats, and changes with the sweep's seed, the replicate and the guest."""
    here, other = (TraceFamily(SPEC.workloads[0], Guest(vcpus=count)) for count in (vcpus, vcpus + 1))

    found = here.seeds(seed, [replicate, replicate, replicate + 1]) + here.seeds(seed ^ 1, [replicate])

    assert all(0 <= value < 2**63 for value in found)
    assert found[0] == found[1]
    assert len({*found, *other.seeds(seed, [replicate])}) == 4


@given(entropy=st.integers(0, 2**128 - 1), keys=st.lists(st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4)))
def test_seeds_are_those_of_numpy(entropy: int, keys: list[list[int]]) -> None:
    """Many seeds at once are what a SeedSequence gives for each of them."""
    found = spawned_seeds(entropy, np.array(keys, np.uint32).reshape(len(keys), 4))

    expected = [SeedSequence(entropy, spawn_key=key).generate_state(1, "uint64")[0] for key in keys]
    assert found.tolist() == expected


def test_policies_do_not_touch_the_seed() -> None:
    """Every subset of policies meets the traces that all of them meet."""
    few = replace(SPEC, policies=SPEC.policies[:1])

    seeds = [[batch.seed for batch in plan_sweep(spec, "engine").batches] for spec in (SPEC, few)]

    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 4


def test_the_identity_is_pinned() -> None:
    """The id of a known cell does not change by accident: finished runs would be simulated again."""
    here = TraceFamily(SPEC.workloads[0], Guest())

    found = here.digests([b'{"knob":1}'], seed=7, window_ns=1000, fingerprint="engine")

    assert found.hex() == "eec07548b927c22bda80b193220d2518"
    assert here.seeds(1, [0]) == [4_826_337_615_628_225_678]


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


def test_batches_hold_64_policies() -> None:
    """More than 64 policies become several batches over the same trace, and no cell is lost."""
    policies = tuple(POLICIES["kvm-3.3"].override(f"p{value}", {"flood_threshold": value}) for value in range(130))

    plan = plan_sweep(replace(SPEC, policies=policies, guests=(Guest(),), replicates=1), "engine")

    assert [len(batch.policies) for batch in plan.batches] == [64, 64, 2]
    assert len({batch.seed for batch in plan.batches}) == 1
    assert [policy for batch in plan.batches for policy in batch.policies] == list(policies)


def test_the_fingerprint_covers_sources_and_data(tmp_path: Path) -> None:
    """An edited source or data file changes the fingerprint; the reference and compiled leftovers do not."""
    (tmp_path / "data").mkdir()
    (tmp_path / "reference").mkdir()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "kernel.py").write_text("a = 1\n", encoding="utf-8")
    (tmp_path / "data" / "templates.npz").write_bytes(b"\0\1")
    first = engine_fingerprint(tmp_path)

    (tmp_path / "reference" / "mmu.py").write_text("b = 2\n", encoding="utf-8")
    (tmp_path / "__pycache__" / "kernel.pyc").write_bytes(b"x")
    same = engine_fingerprint(tmp_path)
    (tmp_path / "data" / "templates.npz").write_bytes(b"\0\2")
    other_data = engine_fingerprint(tmp_path)
    (tmp_path / "kernel.py").write_text("a = 2\n", encoding="utf-8")
    other_source = engine_fingerprint(tmp_path)

    assert first == same
    assert len({first, other_data, other_source}) == 3


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
