"""Reads cost models: by name, from a file, or the prices that a run keeps."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sweep.exit_codes import SweepError
from sweep.runs import results_errors
from sweep.spec.cost_nodes import MARK, split_name

if TYPE_CHECKING:
    from results.prices.cost_model import CostModel
    from results.store.run_store import RunStore


def load_cost_model(name: str) -> "CostModel":
    """Return a cost model by its name or its file.

    `NAME:low` and `NAME:high` are the ends of its ranges, `NAME,cpu_ghz=3.2` lays numbers over it.
    """
    model, bound = split_bound(name)
    return _read(model)[1].at(bound)


def read_prices(name: str) -> Mapping[str, Any]:
    """Return what the file of a cost model says, once it is known to be one."""
    return _read(name)[0]


def _read(name: str) -> "tuple[Mapping[str, Any], CostModel]":
    from results.prices.cost_model import CostModelError, cost_model_from_mapping
    from sweep.spec.configs import cost_problems, read_costs

    root = read_costs(name)
    try:
        return root.value, cost_model_from_mapping(root.value)
    except CostModelError as error:
        raise cost_problems(root, error.problems) from error


def cost_model_of(store: "RunStore", costs: str | None) -> "CostModel":
    """Return the cost model of that name, or the run's own prices as its last start read them."""
    from results.prices.own_costs import own_costs

    if costs is not None:
        return load_cost_model(costs)
    with results_errors():
        return own_costs(store) or load_cost_model(store.spec()["costs"])


def split_bound(name: str) -> tuple[str, str]:
    """Return the name of a cost model and the end of its ranges that `name` asks for: low, value or high.

    Raises:
        SweepError: there is no such end.
    """
    from results.prices.cost_model import BOUNDS

    first, changes = split_name(name)
    model, colon, bound = first.rpartition(":")
    if not colon:
        return name, "value"
    if bound not in BOUNDS:
        raise SweepError(
            f"--costs {name}: '{bound}' is no end of a range; allowed after the colon: {', '.join(BOUNDS)}"
        )
    return MARK.join([model, *changes]), bound
