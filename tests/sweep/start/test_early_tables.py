"""Order of work, and the tables that a sweep shows before its end."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from sweep.exit_codes import ExitCode
from sweep.plan.plan import PlannedBatch, plan_sweep
from sweep.plan.timings import read_timings
from sweep.start import early_tables
from sweep.start.early_tables import EarlyTables
from tests.support.starting import read, start, write_spec


def batches(tmp_path: Path) -> tuple[PlannedBatch, ...]:
    """Return the batches of two guests with three replicates."""
    return plan_sweep(read(write_spec(tmp_path), "replicates=3"), "an engine").batches


class Shown:
    """Counts the titles of tables that take `cost_seconds` each, in a time that the test moves."""

    def __init__(self, todo: Iterable[PlannedBatch], *, cost_seconds: float = 0.0) -> None:
        """`todo` are the batches of the sweep."""
        self.now = 0.0
        self.titles: list[str] = []
        self._cost_seconds = cost_seconds
        self._tables = EarlyTables(todo, self._show, clock=lambda: self.now)

    def take(self, batches: Iterable[PlannedBatch], *, seconds: float = 100.0) -> None:
        """End batches one after the other, so many seconds apart."""
        for batch in batches:
            self.now += seconds
            self._tables.take(batch.coordinate.replicate, len(batch.policies))

    def _show(self, title: str) -> None:
        self.titles.append(title)
        self.now += self._cost_seconds


def by_replicate(batch: PlannedBatch) -> tuple[int, bytes]:
    """Order the batches of a replicate as their identities happen to be."""
    return batch.coordinate.replicate, batch.digests


@pytest.mark.parametrize(("seconds", "shown"), [(100.0, ["after 1 of 3", "after 2 of 3"]), (0.001, [])])
def test_a_table_comes_after_each_replicate_but_the_last(tmp_path: Path, seconds: float, shown: list[str]) -> None:
    """Whatever order batches end in, a table is shown once per complete replicate, none at the end or within 10 s."""
    todo = batches(tmp_path)
    tables = Shown(todo)

    tables.take(sorted(todo, key=by_replicate), seconds=seconds)

    assert tables.titles == [f"{title} replicates:" for title in shown]


def test_a_replicate_that_is_overtaken_holds_the_table_back(tmp_path: Path) -> None:
    """As long as one cell of the first replicate is out, later replicates give no table; then all count at once."""
    first, *rest = sorted(batches(tmp_path), key=by_replicate)
    tables = Shown([first, *rest])

    tables.take(batch for batch in rest if batch.coordinate.replicate < 2)
    assert tables.titles == []
    tables.take([first])

    assert tables.titles == ["after 2 of 3 replicates:"]


def test_costly_tables_come_rarely(tmp_path: Path) -> None:
    """A table that took 100 s is not followed by another within the next 2,000 s."""
    todo = batches(tmp_path)
    tables = Shown(todo, cost_seconds=100.0)

    tables.take(sorted(todo, key=by_replicate))

    assert tables.titles == ["after 1 of 3 replicates:"]


def test_a_run_goes_replicate_by_replicate_and_shows_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All guests have their first replicate before one has its second; each complete replicate shows the summary."""
    monkeypatch.setattr(early_tables, "PERIOD_SECONDS", 0.0)
    monkeypatch.setattr(early_tables, "COST_SHARE", float("inf"))
    spec = write_spec(tmp_path)

    code = start(spec, "replicates=3")

    out, err = capsys.readouterr()
    order = [timing.replicate for timing in read_timings(tmp_path / "run")]
    assert code is ExitCode.OK
    assert order == sorted(order)
    assert set(order) == {0, 1, 2}
    first = err[err.index("after 1 of 3 replicates:") : err.index("after 2 of 3 replicates:")]
    assert "INCOMPLETE: 8 of 24 cells" in first
    assert "kernbench on 1cpu-1g (1 vCPU, 1024 MiB)" in first
    assert "INCOMPLETE" not in out
