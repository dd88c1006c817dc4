"""Cost models: what a file may say, what is said about it if it is wrong, and what the shipped one covers."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from engine.vocabulary import COUNTER_NAMES
from results.prices.cost_model import MODEL_KEYS, CostModel, CostModelError, cost_model_from_mapping
from results.prices.sampling import parameters
from sweep.spec.configs import read_costs
from tests.support.project import ROOT
from tests.support.synthetic import cost, model_mapping, quantity, small_model

COSTS: Final = ROOT / "configs" / "costs"


def shipped(name: str) -> dict[str, Any]:
    """Return a shipped cost model as plain data, put on its base."""
    mapping: dict[str, Any] = read_costs(name).value
    return mapping


def test_a_mapping_becomes_a_model() -> None:
    """Every number of the mapping is in the model."""
    model = small_model()

    assert isinstance(model, CostModel)
    assert [(c.counter, c.cycles, c.locked_cycles) for c in model.costs("shadow")] == [
        ("exits", 1000, 0),
        ("mmu_pte_write", 300, 300),
    ]
    assert [c.counter for c in model.costs("nested")] == ["guest_touches"]


@pytest.mark.parametrize("bound", ["low", "value", "high"])
def test_a_bound_moves_every_cost(bound: str) -> None:
    """At a bound every cost is its low, middle or high one, and the locked part keeps its share."""
    factor = {"low": 0.5, "value": 1.0, "high": 2.0}[bound]

    found = small_model().at(bound)

    assert [cost.cycles for cost in found.shadow] == [1000 * factor, 300 * factor]
    assert [cost.locked_cycles for cost in found.shadow] == [0, 300 * factor]
    assert [cost.cycles for cost in found.nested] == [12 * factor]


def test_a_model_for_some_counters_has_their_prices_alone() -> None:
    """Counters that are left out have no price, the others that which they had; the rest of the model stays."""
    model = small_model()

    some = model.only({"mmu_pte_write"})

    assert some.shadow == model.shadow[1:]
    assert some.nested == ()
    assert replace(some, shadow=model.shadow, nested=model.nested) == model


def test_an_unknown_bound_is_an_error() -> None:
    """Bounds have three names."""
    with pytest.raises(ValueError, match="bound 'mean' is not one of low, value, high"):
        small_model().at("mean")


BROKEN: Final[list[tuple[dict[str, Any], str]]] = [
    ({"name": 3}, "name: expected text, found 3"),
    (
        {"colour": 1},
        f"colour: unknown key. Allowed: {', '.join(MODEL_KEYS)}",
    ),
    ({"sumary": "x"}, "sumary: unknown key. Did you mean 'summary'?"),
    ({"cpu_ghz": 2.67}, "cpu_ghz: expected value, low, high, status, source, found 2.67"),
    ({"cpu_ghz": quantity(0)}, "cpu_ghz.value: expected a number above 0, found 0"),
    ({"shadow": [1]}, "shadow: expected counters with their costs, found [1]"),
    ({"shadow": {"exit": cost(1)}}, "shadow.exit: unknown counter. Did you mean 'exits'?"),
    ({"shadow": {"exits": cost(1, 2)}}, "shadow.exits.locked_cycles: 2 is outside 0 to cycles (1)"),
    ({"shadow": {"exits": cost(1, low=3)}}, "shadow.exits: expected 0 <= low <= cycles <= high, found 3, 1, 2"),
    (
        {"shadow": {"exits": cost(1, status="sure")}},
        "shadow.exits.status: 'sure' is not one of measured, derived, assumption",
    ),
    ({"shadow": {"exits": cost(1, source=" ")}}, "shadow.exits.source: expected where the number is from, found ' '"),
    ({"shadow": {"exits": cost(1, high="x")}}, "shadow.exits.high: expected a number, found 'x'"),
    ({"nested": {"exits": {"cycles": 1}}}, "nested.exits: missing locked_cycles, low, high, status, source"),
    ({"unpriced": {"exits": "no"}}, "unpriced.exits: has a price under 'shadow'. Remove one of the two"),
    ({"unpriced": {"fatal": ""}}, "unpriced.fatal: expected the reason as text, found ''"),
    ({"unpriced": 3}, "unpriced: expected counters with reasons, found 3"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_a_broken_model_is_explained(change: dict[str, Any], message: str) -> None:
    """The message holds the place, what was found and what is allowed."""
    with pytest.raises(CostModelError) as caught:
        small_model(**change)

    assert str(caught.value) == message


def test_all_problems_come_at_once() -> None:
    """Three mistakes give three problems, each with its place."""
    mapping = model_mapping(name=3, shadow={"exit": cost(1), "exits": cost(1, status="sure")})

    with pytest.raises(CostModelError) as caught:
        cost_model_from_mapping(mapping)

    assert [place for place, _ in caught.value.problems] == [
        ("name",),
        ("shadow", "exit"),
        ("shadow", "exits", "status"),
    ]


def test_missing_sections_are_named() -> None:
    """A model without its sections says which are missing."""
    with pytest.raises(CostModelError, match="missing summary, cpu_ghz, native_time_scale, shadow, nested"):
        cost_model_from_mapping({"name": "x"})


@pytest.mark.parametrize("path", sorted(COSTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_models_decide_about_every_counter(path: Path) -> None:
    """Each counter has a price under shadow paging, or a reason why it has none; the file is named after the model."""
    model = cost_model_from_mapping(shipped(path.stem))

    assert model.name == path.stem
    assert sorted([*(cost.counter for cost in model.shadow), *model.unpriced]) == sorted(COUNTER_NAMES)


MACHINES: Final = ("nehalem-2011", "cascade-lake-2019", "epyc-2020s")


@pytest.mark.parametrize("name", MACHINES)
def test_most_prices_of_a_machine_follow_from_measurements(name: str) -> None:
    """At least three quarters of the prices of a machine are measured, or follow from what was measured."""
    model = cost_model_from_mapping(shipped(name))
    known = [cost for cost in (*model.shadow, *model.nested) if cost.status != "assumption"]

    assert len(known) >= 0.75 * len([*model.shadow, *model.nested])


@pytest.mark.parametrize("name", MACHINES)
def test_no_point_is_the_end_of_its_own_range(name: str) -> None:
    """Every number of a machine lies inside its range: none is the best or the worst case of itself."""
    model = cost_model_from_mapping(shipped(name))
    numbers = {number.name: number for number in parameters(model)}
    ends = [name for name, one in numbers.items() if not one.low < one.value < one.high]

    assert len(numbers) > 25
    assert ends == []


def test_every_path_is_measured() -> None:
    """The model that all machines build on has no price but measured ones, and turns no instruction into time."""
    model = cost_model_from_mapping(shipped("kvm-6.1-paths"))

    assert {cost.status for cost in (*model.shadow, *model.nested)} == {"measured"}
    assert all(cost.path is not None and cost.cycles == cost.path.instructions.value for cost in model.shadow)


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_repeats_no_path(name: str) -> None:
    """Lengths of paths are written once: the file of a machine has none."""
    text = (COSTS / f"{name}.yaml").read_text(encoding="utf-8")

    assert "base: kvm-6.1-paths" in text
    assert "instructions:" not in text


def test_nehalem_is_calibrated_with_the_measured_guest_fault() -> None:
    """Two exits, an injected fault and a fixed one take the 28,000 cycles that cold paths are calibrated with.

    Wang et al., VEE 2011, section 4.3, on a Nehalem; the ends of the CPI are what else can be read out of that figure.
    """
    mapping = shipped("nehalem-2011")
    model = cost_model_from_mapping(mapping)
    paths = cost_model_from_mapping(shipped("kvm-6.1-paths"))
    length = {cost.counter: cost.cycles for cost in paths.shadow}
    two = 2 * length["exits"] + length["pf_guest"] + length["pf_fixed"]
    three = two + length["exits"] + length["pf_fixed"]
    trip = model.factors["hardware.exit"].value
    cold = model.factors["cpi.cold"]

    assert cold.value == pytest.approx((28_000 - 2 * trip) / two, abs=0.02)
    assert cold.low == pytest.approx((28_000 - 3 * trip) / three, abs=0.1)
    assert cold.high >= 28_000 / two
    assert "28,000" in model.calibration


def test_cascade_lake_is_calibrated_with_two_exits() -> None:
    """Loops take the mean of what a no-op hypercall and an emulated exception leave beside the hardware.

    PVM (SOSP 2023), Table 1: 0.46 us and 1.66 us at 2.5 GHz; a world switch one way 0.105 us.
    """
    model = cost_model_from_mapping(shipped("cascade-lake-2019"))
    length = {cost.counter: cost.cycles for cost in cost_model_from_mapping(shipped("kvm-6.1-paths")).shadow}
    trip = 2 * 0.105 * 2500
    hypercall = (0.46 * 2500 - trip) / length["exits"]
    exception = (1.66 * 2500 - trip) / (length["exits"] + length["insn_emulation"])

    assert model.factors["hardware.exit"].value == pytest.approx(trip)
    assert model.factors["cpi.loop"].value == pytest.approx((hypercall + exception) / 2, abs=0.02)
    assert model.factors["cpi.loop"].low < min(hypercall, exception)
    assert model.factors["cpi.loop"].high > max(hypercall, exception)


PATH: Final[dict[str, Any]] = {
    "instructions": 100, "locked_instructions": 50, "low": 90, "high": 120, "cpi": "cold", "hardware": "exit",
    "status": "measured", "source": "this test",
}  # fmt: skip
FACTORS: Final[dict[str, Any]] = {
    "cpi": {"cold": quantity(3.0), "loop": quantity(1.0) | {"low": 0.5, "high": 2.0}},
    "hardware": {"exit": quantity(1000) | {"low": 800, "high": 1500}},
}


def test_a_path_is_instructions_times_cpi_and_hardware() -> None:
    """Cycles are instructions * CPI + hardware, at both ends as well; the locked part has no hardware in it."""
    model = small_model(shadow={"exits": PATH}, **FACTORS)
    (exits,) = model.shadow

    assert (exits.low, exits.cycles, exits.high) == (90 * 3 + 800, 100 * 3 + 1000, 120 * 3 + 1500)
    assert exits.locked_cycles == 50 * 3
    assert exits.status == "derived"
    assert model.at("high").shadow[0].cycles == exits.high
    assert model.at("low").factors["hardware.exit"].value == 800


def test_a_cpu_with_decode_assists_saves_the_decoding() -> None:
    """What only fetch and decode take is no part of the path where the CPU tells what exited."""
    path = PATH | {"undecoded_instructions": 60}

    assert small_model(shadow={"exits": path}, **FACTORS).shadow[0].cycles == 100 * 3 + 1000
    assisted = small_model(shadow={"exits": path}, decode_assists=True, **FACTORS).shadow[0]
    assert (assisted.low, assisted.cycles) == (30 * 3 + 800, 40 * 3 + 1000)


def test_the_first_pass_of_a_loop_is_cold() -> None:
    """Whoever begins a loop pays the difference between cold and hot for its first pass, at the worst CPI of both."""
    path = PATH | {"first_pass_instructions": 10}
    (exits,) = small_model(shadow={"exits": path}, **FACTORS).shadow

    assert exits.cycles == 100 * 3 + 10 * (3 - 1) + 1000
    assert exits.low == 90 * 3 + 10 * (3 - 2) + 800
    assert exits.high == 120 * 3 + 10 * (3 - 0.5) + 1500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cpi": "warm"}, "shadow.exits.cpi: 'warm' is no entry of the section 'cpi'. There: cold, loop"),
        ({"hardware": "ipi"}, "shadow.exits.hardware: 'ipi' is no entry of the section 'hardware'. There: exit"),
        ({"locked_instructions": 101}, "shadow.exits.locked_instructions: 101 is outside 0 to instructions (100)"),
        ({"cycles": 3}, "shadow.exits.cycles: unknown key. Allowed: instructions,"),
    ],
)
def test_a_broken_path_is_explained(change: dict[str, Any], message: str) -> None:
    """The message holds the place, what was found and what there is."""
    with pytest.raises(CostModelError) as caught:
        small_model(shadow={"exits": PATH | change}, **FACTORS)

    assert str(caught.value).startswith(message)
