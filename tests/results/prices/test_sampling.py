"""Samples of price lists: a number that many prices share is drawn once, and cycles are made of the drawn numbers."""

from typing import Any, Final

import numpy as np
import polars as pl
import pytest

from results.prices.cost_model import CostModel
from results.prices.pricing import price_cells
from results.prices.repricing import Repricer
from results.prices.sampling import cycles_of, draw, one_at_a_time, parameters, point
from results.store.run_store import RunStore
from tests.support.synthetic import cost, make_run, quantity, replicate_batches, small_model


def path(instructions: float, **changes: Any) -> dict[str, Any]:
    """Return the price of a path."""
    numbers = {"instructions": instructions, "locked_instructions": 0, "low": instructions, "high": instructions}
    return numbers | {"cpi": "cold", "status": "measured", "source": "this test"} | changes


def model() -> CostModel:
    """Return a model of which two prices share a CPI, one of them with an exit, and a third is given in cycles."""
    return small_model(
        cpi={"cold": quantity(3.0) | {"low": 2.0, "high": 5.0}, "loop": quantity(1.0)},
        hardware={"exit": quantity(1000) | {"low": 800, "high": 1500}},
        shadow={
            "exits": path(700, hardware="exit"),
            "pf_fixed": path(3600, low=3500, high=3800, first_pass_instructions=10),
            "mmu_pte_write": cost(300, 300),
        },
    )


def test_prices_that_share_a_cpi_move_together() -> None:
    """In each sample all paths have the same CPI: their cycles are those of one machine."""
    numbers = parameters(model())
    samples = draw(numbers, count=200, seed=1)
    column = {number.name: samples[:, place] for place, number in enumerate(numbers)}

    exits, fixed, stores = cycles_of(model(), samples)["shadow"]

    cold = column["cpi.cold"]
    assert cold.std() > 0.1
    assert exits == pytest.approx(700 * cold + column["hardware.exit"])
    assert fixed == pytest.approx(column["shadow.pf_fixed"] * cold + 10 * (cold - 1))
    assert stores == pytest.approx(column["shadow.mmu_pte_write"])


def test_the_point_is_the_model_itself() -> None:
    """Without sampling every price is the model's."""
    found = cycles_of(model(), point(parameters(model())))["shadow"][:, 0]

    assert found == pytest.approx([cost.cycles for cost in model().shadow])


def test_each_shared_number_is_moved_once() -> None:
    """The tornado has a row for the CPI and one for the exit, and none for a path that has no range of its own."""
    uncertain, ends = one_at_a_time(parameters(model()))

    assert [number.name for number in uncertain] == [
        "cpi.cold", "hardware.exit", "shadow.pf_fixed", "shadow.mmu_pte_write", "nested.guest_touches",
    ]  # fmt: skip
    assert ends.shape[0] == 2 * len(uncertain)


NEEDED: Final = ("exits", "pf_fixed", "mmu_pte_write")


def test_repricing_agrees_with_pricing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The times of all cells under the model's own numbers are those of the price list itself."""
    store: RunStore = make_run(tmp_path_factory.mktemp("run"), replicate_batches(2))
    windows = store.scan("windows")
    repricer = Repricer(windows, model())

    found = repricer.elapsed_ns(point(parameters(model())))[:, 0]

    priced = price_cells(windows, model()).sort("cell_id").collect()
    assert repricer.cells["cell_id"].to_list() == priced["cell_id"].to_list()
    assert found == pytest.approx(priced["elapsed_ns"].to_numpy(), rel=1e-6)
    assert np.ptp(found) >= 0
    assert priced.select(pl.col("overhead_ns").sum()).item() > 0
