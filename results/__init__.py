"""Results of sweeps: tables on disk, prices, statistics, summaries. `results.open(path)` is where to start.

Importing this package is cheap; polars and pyarrow are loaded with the first name that needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from results.compare.compare import Comparison
    from results.compare.measures import metric_expressions
    from results.compare.uncertainty import Doubt
    from results.explain.explain import Explanation
    from results.notices.completeness import Completeness
    from results.prices.cost_model import CostModel, cost_model_from_mapping
    from results.run import Run
    from results.run import open_run as open  # noqa: A004
    from results.statistics.pairing import ComparisonError
    from results.store.run_store import RunStore
    from results.summary import seed_comparison, summarize
    from results.upkeep.diff import diff_runs

__all__ = [
    "Comparison",
    "ComparisonError",
    "Completeness",
    "CostModel",
    "Doubt",
    "Explanation",
    "Run",
    "RunStore",
    "cost_model_from_mapping",
    "diff_runs",
    "metric_expressions",
    "open",
    "seed_comparison",
    "summarize",
]

_HOMES: Final = {
    "Comparison": ("results.compare.compare", "Comparison"),
    "ComparisonError": ("results.statistics.pairing", "ComparisonError"),
    "Completeness": ("results.notices.completeness", "Completeness"),
    "CostModel": ("results.prices.cost_model", "CostModel"),
    "Doubt": ("results.compare.uncertainty", "Doubt"),
    "Explanation": ("results.explain.explain", "Explanation"),
    "Run": ("results.run", "Run"),
    "RunStore": ("results.store.run_store", "RunStore"),
    "cost_model_from_mapping": ("results.prices.cost_model", "cost_model_from_mapping"),
    "diff_runs": ("results.upkeep.diff", "diff_runs"),
    "metric_expressions": ("results.compare.measures", "metric_expressions"),
    "open": ("results.run", "open_run"),
    "seed_comparison": ("results.summary", "seed_comparison"),
    "summarize": ("results.summary", "summarize"),
}
"""Public name -> the module and the name there."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'results' has no attribute '{name}'. Public names: {', '.join(__all__)}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
