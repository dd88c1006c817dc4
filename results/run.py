"""One run for those who read: tables as LazyFrames, and what is concluded from them, in polars frames.

Names and columns are promised: a test pins them, docs/how-to/analyse-in-python.md shows them at work.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from results.compare.compare import Comparison
from results.compare.pareto import GOALS, trade_offs
from results.compare.question import Question, compare_runs
from results.compare.uncertainty import Doubt, doubt, pair_rows
from results.explain.activities import explain_activities
from results.explain.explain import Explanation, Pair, explain_pair, pairs_of_policies
from results.notices.completeness import Completeness, completeness_of
from results.prices.cost_model import CostModel
from results.prices.own_costs import own_costs
from results.prices.repricing import Repricer
from results.prices.sampling import parameters
from results.statistics.sequential import rule_of
from results.statistics.verdicts import MINIMUM_EFFECT, deaths_of
from results.store.labels import LabelledRun
from results.store.run_store import RunStore
from results.store.soundness import check_sound
from results.store.storage import StoreError
from results.summary import price_run, summarize


class Run(LabelledRun):
    """A run under `runs/`: its tables as polars LazyFrames, and the statistics of the command line.

    Tables have the columns of docs/reference/columns.md, with cells under the names of the run's present specification.
    Wherever prices or a baseline are not given, they are the run's own.
    """

    @property
    def costs(self) -> CostModel:
        """The run's own prices.

        Raises:
            StoreError: the run carries none, for its program was too old.
        """
        found = own_costs(self._store)
        if found is None:
            raise StoreError(f"{self.name}: the run carries no prices. Give a cost model, or go on with `sweep run`")
        return found

    def cells(self) -> pl.LazyFrame:
        """Return one row per finished cell: counters in total."""
        return self.scan("cells")

    def windows(self) -> pl.LazyFrame:
        """Return one row per finished cell and window of native guest time: counters in that window."""
        return self.scan("windows")

    def activities(self) -> pl.LazyFrame:
        """Return one row per finished cell and guest activity: its part of the counters; none for older runs."""
        return self.scan("activities")

    def failures(self) -> pl.LazyFrame:
        """Return one row per cell that has failed and has not succeeded since."""
        return super().failures()

    def orphans(self) -> list[str]:
        """Return the files of the run that no commit knows."""
        return self._store.orphans()

    def priced(self, costs: CostModel | None = None) -> pl.DataFrame:
        """Return one row per cell with its times in whole ns (`PRICE_COLUMNS`) and main counters."""
        return price_run(self, costs or self.costs)

    def summary(self, costs: CostModel | None = None, baseline: str | None = None) -> pl.DataFrame:
        """Return one row per workload, guest and policy: mean s and counts, paired differences in % with verdicts."""
        rule = rule_of(self.spec)
        return summarize(self, costs or self.costs, baseline or self.baseline, policies=self.policies, rule=rule)

    def compare(
        self,
        other: "Run | None" = None,
        *,
        metric: str = "elapsed",
        rows: Sequence[str] = (),
        cols: Sequence[str] = (),
        baseline: str | None = None,
        where: Iterable[str] = (),
        minimum_effect: float = MINIMUM_EFFECT,
        costs: CostModel | None = None,
    ) -> Comparison:
        """Return one metric over rows and cols, with paired differences in % and verdicts, like `sweep compare`.

        With `other`, that run is compared with this one. `cells` and `geomean` of the answer are frames.

        Raises:
            ComparisonError: a name is none, no cell is left, or cells cannot be paired.
        """
        question = Question(
            metrics=(metric,),
            rows=tuple(rows),
            cols=tuple(cols),
            baseline=baseline,
            where=tuple(where),
            minimum_effect=minimum_effect,
        )
        runs = [self, *([] if other is None else [other])]
        (table,) = compare_runs(runs, question, costs or runs[-1].costs)
        return table

    def explain(
        self,
        policy: str,
        baseline: str | None = None,
        *,
        workload: str | None = None,
        guest: str | None = None,
        stretches: int = 0,
        costs: CostModel | None = None,
    ) -> list[Explanation]:
        """Return per workload and guest where the difference to `baseline` comes from, in lines that add up to it.

        Where the host dies under one of the two there is no difference; `pairs` says where.

        Raises:
            ComparisonError: a name is unknown, the two policies met different traces, or the host dies everywhere.
        """
        pairs = self.pairs(policy, baseline, workload=workload, guest=guest)
        living = [pair for pair in pairs if not pair.deaths]
        return [explain_pair(self, costs or self.costs, pair, stretches=stretches) for pair in living or pairs[:1]]

    def pairs(
        self, policy: str, baseline: str | None = None, *, workload: str | None = None, guest: str | None = None
    ) -> list[Pair]:
        """Return the cells of two policies per workload and guest, and the `deaths` of the host under them.

        Raises:
            ComparisonError: a name is unknown, or the two policies met different traces.
        """
        return pairs_of_policies(self, policy, baseline or self.baseline, workload=workload, guest=guest)

    def completeness(self) -> Completeness:
        """Return how many of the planned cells are there, and which guests, workloads and policies have none."""
        return completeness_of(self._store)

    def deaths(self) -> pl.DataFrame:
        """Return policy, workload, guest, `dies` and `replicates` of each place in which the host dies."""
        return deaths_of(self.scan("cells"))

    def explain_activities(self, explanation: Explanation, costs: CostModel | None = None) -> pl.DataFrame:
        """Return activity, line, count, count_baseline and cycles of a difference, one row per activity and counter.

        Raises:
            ComparisonError: the run has no table of activities.
        """
        return explain_activities(self, costs or self.costs, explanation.pair)

    def price(
        self,
        costs: CostModel | None = None,
        *,
        baseline: str | None = None,
        samples: int = 0,
        seed: int = 0,
        minimum_effect: float = MINIMUM_EFFECT,
    ) -> Doubt:
        """Return the conclusions under uncertain prices, and which price decides them: two frames.

        With `samples`, so many price lists are drawn from the ranges with `seed`.

        Raises:
            ComparisonError: no cell is finished, or none has the baseline.
        """
        model = costs or self.costs
        repricer = Repricer(self.scan("windows"), model)
        pairs = pair_rows(repricer.cells, baseline or self.baseline, self.policies)
        rule = rule_of(self.spec, minimum_effect=minimum_effect)
        return doubt(repricer, parameters(model), pairs, rule=rule, samples=samples, seed=seed)

    def pareto(self, metrics: Sequence[str] = GOALS, costs: CostModel | None = None) -> pl.DataFrame:
        """Return per workload, guest and policy means of metrics, and by whom it is beaten: null on the front."""
        return trade_offs(self, costs or self.costs, metrics=metrics)


def open_run(path: str | Path) -> Run:
    """Open the run at `path`, a folder or a URL such as s3://bucket/run.

    Raises:
        StoreError: there is no run, or a file of it is damaged.
    """
    store = RunStore(path)
    check_sound(store)
    return Run(store)
