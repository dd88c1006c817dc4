"""What a good specification becomes."""

from dataclasses import asdict
from pathlib import Path

import pytest

from engine.guests import Guest
from sweep.plan.plan import plan_sweep
from sweep.spec.nodes import Source
from sweep.spec.problems import SpecError
from sweep.spec.read import load_spec, read_spec
from sweep.spec.spec import SweepSpec, guest_label
from tests.support.fakes import WORKLOADS
from tests.support.policies import POLICIES


def spec_of(text: str, *overrides: str) -> SweepSpec:
    """Return the sweep of a text."""
    return read_spec(Source(name="test.yaml", text=text), overrides, workloads=WORKLOADS)


def test_defaults_are_filled_in() -> None:
    """The least that can be written resolves to a value in which nothing is left to a default."""
    spec = spec_of("workloads: [kernbench]\npolicies: [kvm-3.0, kvm-3.3]\n")

    resolved = spec.resolved()

    assert resolved["workloads"] == [
        {
            "label": "kernbench",
            "name": "kernbench",
            "parameters": {"units": 100, "load": "half", "vfork_as_fork": True, "share": 0.5, "marker": ""},
        },
    ]
    assert [policy["knobs"] for policy in resolved["policies"]] == [
        asdict(POLICIES["kvm-3.0"].knobs),
        asdict(POLICIES["kvm-3.3"].knobs),
    ]
    assert resolved["guests"] == [asdict(Guest())]
    expected = {"name": "test", "replicates": 1, "seed": 0, "window_ns": 10_000_000, "baseline": "kvm-3.0"}
    assert expected == {key: resolved[key] for key in expected}


def test_a_swept_knob_makes_one_policy_per_value() -> None:
    """A list of values makes policies named by base and value; other knobs keep the base's values."""
    spec = spec_of("workloads: [fork]\npolicies:\n- {base: kvm-3.3, flood_threshold: [1, 2, 3], unsync: false}\n")

    assert [policy.name for policy in spec.policies] == [
        f"kvm-3.3 flood_threshold={value} unsync=false" for value in (1, 2, 3)
    ]
    base = asdict(POLICIES["kvm-3.3"].knobs)
    assert [asdict(policy.knobs) for policy in spec.policies] == [
        base | {"flood_threshold": value, "unsync": False} for value in (1, 2, 3)
    ]


def test_a_named_policy_shows_only_what_is_swept() -> None:
    """With `name:` the label holds the name and the swept knobs, and no fixed ones."""
    spec = spec_of(
        "workloads: [fork]\npolicies:\n- {base: kvm-3.3, name: mine, flood_threshold: [1, 2], unsync: no}\n".replace(
            "no}", "false}"
        )
    )

    assert [policy.name for policy in spec.policies] == ["mine flood_threshold=1", "mine flood_threshold=2"]


def test_guests_form_a_grid() -> None:
    """Lists in one entry of guests give every combination, in the order of the text."""
    spec = spec_of("workloads: [fork]\npolicies: [tdp]\nguests: {vcpus: [1, 2], memory_mib: [512, 1024]}\n")

    assert [(guest.vcpus, guest.memory_mib) for guest in spec.guests] == [(1, 512), (1, 1024), (2, 512), (2, 1024)]


def test_zipped_axes_advance_together() -> None:
    """Axes under `zip` give one guest per position, and form a grid with the axes that are not zipped."""
    spec = spec_of(
        "workloads: [fork]\npolicies: [tdp]\nzip: [guests.vcpus, guests.memory_mib]\n"
        "guests: {vcpus: [1, 2], memory_mib: [512, 1024], clear_instruction: [stosq, mov]}\n",
    )

    found = {(guest.vcpus, guest.memory_mib, guest.clear_instruction) for guest in spec.guests}
    assert found == {(1, 512, "stosq"), (1, 512, "mov"), (2, 1024, "stosq"), (2, 1024, "mov")}


def test_guests_can_be_files() -> None:
    """A name in configs/guests stands for its fields, and an entry can change some of them."""
    spec = spec_of(
        "workloads: [fork]\npolicies: [tdp]\nguests: [linux-2011, {base: linux-6, vcpus: 4, clear_instruction: mov}]\n"
    )

    assert spec.guests == (
        Guest(),
        Guest(vcpus=4, clear_instruction="mov", write_protect_instruction="cmpxchg"),
    )


def test_filters_decide_which_cells_stay() -> None:
    """A cell stays if an include matches or there is none, and no exclude matches; all conditions of one must hold."""
    spec = spec_of(
        "workloads: [fork, kernbench]\npolicies: [kvm-3.0, kvm-3.3, tdp]\nguests: {vcpus: [1, 2]}\nreplicates: 2\n"
        "include: [{workload: kernbench, guest.vcpus: 2}, {policy.shadow: false}]\n"
        "exclude: [{policy: [kvm-3.3, tdp], replicate: 1}]\n",
    )

    plan = plan_sweep(spec, "engine")

    found = {
        (batch.coordinate.workload.name, batch.coordinate.guest.vcpus, batch.coordinate.replicate, policy.name)
        for batch in plan.batches
        for policy in batch.policies
    }
    assert found == {
        ("kernbench", 2, 0, "kvm-3.0"),
        ("kernbench", 2, 0, "kvm-3.3"),
        ("kernbench", 2, 0, "tdp"),
        ("kernbench", 2, 1, "kvm-3.0"),
        ("kernbench", 1, 0, "tdp"),
        ("fork", 1, 0, "tdp"),
        ("fork", 2, 0, "tdp"),
    }


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("replicates=7", "replicates", 7),
        ("name=other", "name", "other"),
        ("window=1 s", "window_ns", 1_000_000_000),
        ("window=2.5 ms", "window_ns", 2_500_000),
    ],
)
def test_overrides_lie_over_the_file(override: str, key: str, expected: object) -> None:
    """`-s path=value` has the effect of writing the value into the file."""
    spec = spec_of("workloads: [fork]\npolicies: [tdp]\nreplicates: 2\n", override)

    assert expected == getattr(spec, key)


@pytest.mark.parametrize("override", ["until={half_width: 1 %, max: 6}", "until.max=6"])
def test_an_override_of_until_takes_the_place_of_replicates(override: str) -> None:
    """A file with a fixed number of replicates can be tried with `until`, whole or key by key."""
    spec = spec_of("workloads: [fork]\npolicies: [tdp]\nreplicates: 2\n", "until.half_width=1 %", override)

    assert spec.until is not None
    assert (spec.until.half_width, spec.until.maximum, spec.replicates) == (1.0, 6, 6)


def test_an_override_of_replicates_takes_the_place_of_until() -> None:
    """A file with `until` can be tried with a fixed number of replicates; both in the arguments are still refused."""
    text = "workloads: [fork]\npolicies: [tdp]\nuntil: {half_width: 1 %, max: 6}\n"

    spec = spec_of(text, "replicates=2")

    assert (spec.until, spec.replicates) == (None, 2)
    with pytest.raises(SpecError, match="`until` says how many there are"):
        spec_of(text, "replicates=2", "until.max=9")


def test_overrides_reach_into_entries() -> None:
    """An entry of a list is found by its name or position, even if it is nothing but a name; new sections appear."""
    spec = spec_of(
        "workloads: [kernbench]\npolicies: [kvm-3.0, kvm-3.3]\n",
        "workloads.kernbench.units=[1, 2]",
        "policies.kvm-3.3.flood_threshold=5",
        "policies.0.unsync=false",
        "guests.vcpus=[1,2,4]",
    )

    assert [case.label for case in spec.workloads] == ["kernbench units=1", "kernbench units=2"]
    assert [policy.name for policy in spec.policies] == ["kvm-3.0 unsync=false", "kvm-3.3 flood_threshold=5"]
    assert [guest.vcpus for guest in spec.guests] == [1, 2, 4]


def test_labels_of_guests_tell_them_apart() -> None:
    """Guests that differ in any field have different labels."""
    spec = spec_of(
        "workloads: [fork]\npolicies: [tdp]\nguests: {vcpus: [1, 2], memory_mib: [512, 1000, 1024, 4096],"
        " clear_instruction: [stosq, stosb, mov], write_protect_instruction: [lock_and, cmpxchg],"
        " page_cache_share: [0.25, 0.5]}\n",
    )

    labels = {guest_label(guest) for guest in spec.guests}

    assert len(labels) == len(spec.guests) == 2 * 4 * 3 * 2 * 2


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """A cost model given as a path is looked for beside the specification and resolved to an absolute path."""
    (tmp_path / "mine.yaml").write_text("name: mine\n", encoding="utf-8")
    path = tmp_path / "spec.yaml"
    path.write_text("workloads: [fork]\npolicies: [tdp]\ncosts: mine.yaml\n", encoding="utf-8")

    spec = load_spec(path, workloads=WORKLOADS)

    assert spec.costs == str(tmp_path / "mine.yaml")
