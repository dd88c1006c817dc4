"""Prices in a sweep: models that build on others, and single numbers laid over them."""

from pathlib import Path
from typing import Any

import pytest

from engine.workloads import WORKLOADS
from results.prices.cost_model import Cost, CostModel
from sweep.spec.configs import read_costs
from sweep.spec.costs import load_cost_model
from sweep.spec.problems import Source, SpecError
from sweep.spec.read import read_spec
from sweep.spec.spec import SweepSpec

SWEEP = "workloads: [fork]\npolicies: [tdp]\n"


def price(model: CostModel, counter: str) -> Cost:
    """Return the price of a counter under shadow paging."""
    (found,) = (cost for cost in model.shadow if cost.counter == counter)
    return found


def spec_of(text: str, *overrides: str, folder: Path = Path()) -> SweepSpec:
    """Return the sweep of a text."""
    source = Source(name="t.yaml", text=SWEEP + text)
    return read_spec(source, overrides, workloads=WORKLOADS, folder=folder)


def error_of(text: str, *overrides: str) -> str:
    """Return what is said about a sweep that is wrong."""
    with pytest.raises(SpecError) as caught:
        spec_of(text, *overrides)
    return str(caught.value)


def test_a_sweep_lays_numbers_over_a_model() -> None:
    """The base is as it is, but for the numbers that are given; the name says which."""
    spec = spec_of("costs: {base: nehalem-2011, cpu_ghz: 3.2, cpi: {cold: 3.5}, sync_sptes: {cycles: 90}}\n")
    model, base = load_cost_model(spec.costs), load_cost_model("nehalem-2011")

    assert spec.costs == "nehalem-2011,cpu_ghz=3.2,cpi.cold=3.5,sync_sptes.cycles=90"
    assert model.name == spec.costs
    assert (model.cpu_ghz.low, model.cpu_ghz.value, model.cpu_ghz.high) == (3.2, 3.2, 3.2)
    assert price(model, "sync_sptes").cycles == 90
    assert price(model, "mmu_shadow_zapped") == price(base, "mmu_shadow_zapped")
    path = price(base, "exits").path
    assert path is not None
    assert price(model, "exits").cycles == path.instructions.value * 3.5 + base.factors["hardware.exit"].value
    assert (model.year, model.calibration) == (base.year, base.calibration)


@pytest.mark.parametrize("text", ["", "costs: nehalem-2011\n", "costs: {base: nehalem-2011}\n"])
def test_an_override_changes_one_number(text: str) -> None:
    """`-s costs.sync_sptes.cycles=90` works on a name, on a mapping and on the default alike."""
    assert spec_of(text, "costs.sync_sptes.cycles=90").costs == "nehalem-2011,sync_sptes.cycles=90"


def test_an_override_takes_another_model() -> None:
    """`-s costs=NAME` replaces a mapping, and a name with numbers behind it is one."""
    text = "costs: {base: nehalem-2011, cpu_ghz: 3.2}\n"

    assert spec_of(text, "costs=epyc-2020s").costs == "epyc-2020s"
    assert spec_of(text, 'costs="epyc-2020s,cpi.cold=3"').costs == "epyc-2020s,cpi.cold=3"


def test_a_given_price_keeps_the_share_of_the_lock() -> None:
    """A path that is given in cycles keeps its locked share; ends that are given with it are its range."""
    model = load_cost_model("nehalem-2011,pf_fixed.cycles=1000,pf_fixed.low=900,pf_fixed.high=1300")
    found, base = price(model, "pf_fixed"), price(load_cost_model("nehalem-2011"), "pf_fixed")

    assert (found.low, found.cycles, found.high) == (900, 1000, 1300)
    assert found.locked_share == pytest.approx(base.locked_share)
    assert (found.status, found.path) == ("assumption", None)


def test_a_counter_without_a_price_can_get_one() -> None:
    """A number for a counter that is not priced is its price, and the reason why it had none is gone."""
    model = load_cost_model("nehalem-2011,page_walks.cycles=600")

    assert price(model, "page_walks").cycles == 600
    assert "page_walks" not in model.unpriced


def test_ends_of_ranges_and_numbers_go_together() -> None:
    """`NAME:low` counts for what stands before the numbers."""
    model = load_cost_model("nehalem-2011:low,cpu_ghz=3.2")

    assert model.cpu_ghz.value == 3.2
    assert price(model, "exits").cycles == price(load_cost_model("nehalem-2011"), "exits").low


def test_a_folder_may_have_the_mark_in_its_name(tmp_path: Path) -> None:
    """A comma in a path is part of the path: only what looks like a number is one."""
    folder = tmp_path / "of me, and you"
    folder.mkdir()
    path = write_model(folder, "mine")

    assert load_cost_model(f"{path},cpu_ghz=3").cpu_ghz.value == 3
    assert load_cost_model(spec_of("costs: mine.yaml\n", folder=folder).costs).name == "mine"


@pytest.mark.parametrize("text", ["nehalem-2011,cpu_ghz=fast", "nehalem-2011,cpu_ghz=nan", "nehalem-2011,cpu_ghz=3,x"])
def test_a_text_that_is_no_number_is_shown(text: str) -> None:
    """What stands behind a name and is no number is shown with how to write one."""
    with pytest.raises(SpecError, match=r"is no price(.|\n)*write PATH=NUMBER"):
        load_cost_model(text)


WRONG: list[tuple[str, str]] = [
    ("costs: {base: nehalem}\n", "costs: no file for 'nehalem'"),
    ("costs: {base: nehalem-2011, cpu_gh: 3}\n", "cpu_gh: no number of a cost model"),
    ("costs: {base: nehalem-2011, cpu_ghz: fast}\n", "cpu_ghz: expected a number, found 'fast'"),
    ("costs: {base: nehalem-2011, cpu_ghz: -1}\n", "cpu_ghz: expected 0 <= low <= value <= high, found -1, -1, -1"),
    ("costs: {base: nehalem-2011, sync_sptes: {cycle: 9}}\n", "sync_sptes.cycle: unknown key 'cycle'"),
    ("costs: {base: nehalem-2011, nested: {exit: {cycles: 9}}}\n", "nested.exit.cycles: no number of a cost model"),
    ("costs: {base: nehalem-2011, sync_sptes: 9}\n", "sync_sptes: no number of a cost model"),
    ("costs: [nehalem-2011]\n", "costs: no file for"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_number_is_shown_where_it_stands(text: str, message: str) -> None:
    """The message names the line of the sweep and what is allowed."""
    found = error_of(text)

    assert message in found
    assert found.startswith("t.yaml:3:")


def test_a_wrong_override_is_shown_in_the_argument() -> None:
    """An override that is wrong is shown as it was typed."""
    assert error_of("", "costs.sync_spte.cycles=9").startswith("-s costs.sync_spte.cycles=9: ")


def write_model(folder: Path, name: str, **changes: Any) -> Path:
    """Write a model that builds on the measured paths."""
    lines = {
        "base": "kvm-6.1-paths",
        "name": name,
        "summary": "for tests",
        "hardware": "{exit: {value: 1200, low: 1100, high: 1400, status: measured, source: here}}",
    } | changes
    path = folder / f"{name}.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()), encoding="utf-8")
    return path


def test_a_model_holds_what_differs_from_its_base(tmp_path: Path) -> None:
    """Sections are merged by name, other keys replaced; a path is where the base has it."""
    model = load_cost_model(str(write_model(tmp_path, "mine")))
    paths = load_cost_model("kvm-6.1-paths")

    assert model.name == "mine"
    assert price(model, "exits").cycles == price(paths, "exits").cycles + 1200
    assert price(model, "pf_fixed").cycles == price(paths, "pf_fixed").cycles
    assert model.factors["hardware.tlb_refill"].value == 0


def test_a_model_decides_anew_about_a_counter(tmp_path: Path) -> None:
    """A counter that a model prices is not unpriced by its base, and the reverse."""
    walk = "{page_walks: {cycles: 5, locked_cycles: 0, low: 4, high: 9, status: assumption, source: here}}"
    path = write_model(tmp_path, "mine", shadow=walk, unpriced="{invlpg: free}")
    model = load_cost_model(str(path))

    assert price(model, "page_walks").cycles == 5
    assert model.unpriced["invlpg"] == "free"
    assert "invlpg" not in model.counters()


def test_a_circle_of_bases_is_explained(tmp_path: Path) -> None:
    """A model that builds on itself is an error that names the line."""
    write_model(tmp_path, "one", base="two.yaml")
    write_model(tmp_path, "two", base="one.yaml")

    with pytest.raises(SpecError, match=r"two.yaml:1:7: base: one.yaml builds on this model itself"):
        read_costs(str(tmp_path / "one.yaml"))


def test_what_is_wrong_in_a_base_is_shown_there(tmp_path: Path) -> None:
    """A mistake in a base is shown in the file that has it."""
    bad = write_model(tmp_path, "bad", cpu_ghz="{value: 3, low: 4, high: 5, status: measured, source: here}")
    top = write_model(tmp_path, "top", base="bad.yaml")

    with pytest.raises(SpecError, match=f"^{bad}:5:1: cpu_ghz: expected 0 <= low <= value <= high"):
        load_cost_model(str(top))
