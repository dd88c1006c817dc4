"""`sweep prices measure`: path lengths come out as they were recorded, and bad input gets a clear error."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from results.prices.cost_model import cost_model_from_mapping
from sweep.exit_codes import ExitCode, TraceError
from sweep.prices.events import fault_tallies
from sweep.prices.exits import exit_tallies
from sweep.prices.measuring import Measured, measure_folders
from sweep.prices.tallies import add_up, quantiles
from sweep.spec.configs import read_costs
from tests.support.calling import call
from tests.support.project import DATA

COSTS = DATA / "kvm-costs"
TRUTH = DATA / "kvm-truth"


def quiet(_: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def measured() -> Measured:
    """Return what the trimmed recordings of exits say."""
    return measure_folders([COSTS], say=quiet)


def length(found: Measured, path: str) -> tuple[int, float]:
    """Return number and median of a path in all recordings together."""
    (one,) = [one for one in found.lengths if one.path == path and one.recording == "all"]
    return one.n, one.median


def test_a_path_has_the_length_that_polars_finds(measured: Measured) -> None:
    """Number and median of a path are those of its rows, counted by another hand."""
    rows = pl.read_parquet(COSTS / "exits-default.parquet")
    injected = rows.filter(
        pl.col("path") == "inject_or_spurious", *(pl.col(name) == 0 for name in ("pref", "rflush", "gflush", "get"))
    )
    loads = rows.filter(
        pl.col("exit") == "CR3_WRITE",
        pl.col("root_hit") == 1,
        *(pl.col(name) == 0 for name in ("syncp", "rflush", "get")),
    )

    assert length(measured, "guest fault injected") == (injected.height, injected["insn"].median())
    assert length(measured, "guest fault injected: handler") == (injected.height, injected["handler"].median())
    assert length(measured, "CR3 load, cached root, nothing to sync")[0] == loads.height
    assert injected.height > 500


def test_paths_of_a_real_kvm_hardly_scatter(measured: Measured) -> None:
    """An exit, a fixed fault and an injected one take the instructions that they take in the whole recordings."""
    price = {one.counter: one.instructions for one in measured.prices}
    whole = {cost.counter: cost.cycles for cost in cost_model_from_mapping(read_costs("kvm-6.1-paths").value).shadow}

    close = {"exits", "pf_fixed", "pf_guest", "insn_emulation", "mmu_pte_write", "cr3_loads", "tlb_flush", "sync_sptes"}
    assert {name: price[name] for name in close} == pytest.approx({name: whole[name] for name in close}, rel=0.03)


def test_an_iteration_of_a_rep_is_what_each_store_adds(measured: Measured) -> None:
    """Instructions of 512 stores take one store, 511 iterations and a zap, each at its own price."""
    n, rep = length(measured, "512 stores of a rep emulated, one zap: handler")
    price = {one.counter: one.instructions for one in measured.prices}

    assert n == 3
    parts = price["insn_emulation"] + 512 * price["mmu_pte_write"] + price["mmu_shadow_zapped"]
    assert parts == pytest.approx(rep, rel=1e-3)


def test_the_handler_is_from_fault_to_done() -> None:
    """Of a made stream, each fault has the instructions between its start and its end, and what happened in between."""
    rows = [
        (0, "touch", "guest"), (10, "kvm_fault", None), (30, "kvm_get_page", None), (60, "kvm_fault_done", None),
        (70, "touch", "guest"), (80, "kvm_fault", None), (85, "kvm_fault_done", None), (99, "guest_fault", None),
    ]  # fmt: skip

    found = fold(rows)

    assert found.select("path", "handler", "way_in", "way_out", "get", "created").rows() == [
        ("fixed", 50, 10, 10, 1, 0),
        ("inject_or_spurious", 5, 10, 14, 0, 0),
    ]


def fold(rows: list[tuple[int, str, str | None]], folder: Path | None = None) -> pl.DataFrame:
    """Return the faults of events that a list of (t, kind, by) gives, all in one workload."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as made:
        path = (folder or Path(made)) / "nested-made.parquet"
        table = pl.DataFrame(rows, schema={"t": pl.UInt64, "kind": pl.String, "by": pl.String}, orient="row")
        table.with_columns(
            workload=pl.lit("w"), old=pl.lit(0), created=pl.lit(None, pl.Boolean), reason=pl.lit(None, pl.String)
        ).write_parquet(path)
        return add_up(fault_tallies(path)).sort("handler", descending=True)


def test_pieces_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording read in small pieces, which cut through its faults, gives the same tallies as in one."""
    path = COSTS / "events" / "nested-era2011.parquet"
    whole = add_up(fault_tallies(path))

    monkeypatch.setattr("sweep.prices.exits.BATCH_ROWS", 1000)
    pieces = add_up(fault_tallies(path))

    assert whole["n"].sum() > 40
    assert pieces.sort(pieces.columns).equals(whole.sort(whole.columns))


def test_quantiles_count_each_length_as_often_as_it_occurs() -> None:
    """The median of 1, 1, 1, 7, 9 is 1; the last tenth is 9."""
    found = quantiles(pl.Series([9, 1, 7]), pl.Series([1, 3, 1]), (0.1, 0.5, 0.9))

    assert list(found) == [1, 1, 9]


def test_events_alone_give_prices_too() -> None:
    """A folder without recordings of exits has prices of what its faults show; what they do not show has a reason."""
    found = measure_folders([COSTS.parent / "kvm-truth"], say=quiet)
    price = {one.counter: one.instructions for one in found.prices}

    assert price["pf_fixed"] == pytest.approx(3600, rel=0.05)
    assert price["pf_emulate"] > 1000
    assert "sync_sptes" not in price


def test_the_model_is_one_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command writes is a cost model: a machine can build on it, and every counter is decided about."""
    out = tmp_path / "mine.yaml"

    assert call(monkeypatch, "prices", "measure", str(COSTS), "-o", str(out)) == ExitCode.OK
    model = cost_model_from_mapping(read_costs(str(out)).value)
    assert model.name == "mine"
    assert "median 748" in next(cost.source for cost in model.shadow if cost.counter == "exits")
    assert "page_walks" in model.unpriced


def test_json_has_every_digit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs find paths, fits and prices."""
    assert call(monkeypatch, "prices", "measure", str(COSTS), "--json") == ExitCode.OK
    found: dict[str, Any] = json.loads(capsys.readouterr().out)

    assert {"files", "paths", "fits", "totals", "prices"} == set(found)
    assert {one["counter"] for one in found["prices"]} >= {"exits", "mmu_shadow_zapped"}


def test_a_folder_without_recordings_is_explained(tmp_path: Path) -> None:
    """The message names the folder and what is looked for."""
    with pytest.raises(TraceError, match=r"no events/nested-\*.parquet and no exits-\*.parquet"):
        measure_folders([tmp_path], say=quiet)
    with pytest.raises(TraceError, match="no such folder"):
        measure_folders([tmp_path / "none"], say=quiet)


def test_a_broken_file_is_explained(tmp_path: Path) -> None:
    """No Parquet, a missing column, exits of nested paging, exits without a length: each message names the file."""
    path = tmp_path / "exits-x.parquet"
    rows = pl.read_parquet(COSTS / "exits-default.parquet").head(50)

    path.write_text("no table")
    with pytest.raises(TraceError, match=r"exits-x.parquet: no Parquet file"):
        add_up(exit_tallies(path))
    rows.drop("zap").write_parquet(path)
    with pytest.raises(TraceError, match=r"exits-x.parquet: no column zap"):
        add_up(exit_tallies(path))
    rows.with_columns(exit=pl.lit("NPF")).write_parquet(path)
    with pytest.raises(TraceError, match="only nested paging has"):
        add_up(exit_tallies(path))
    rows.with_columns(insn=pl.lit(-1)).write_parquet(path)
    with pytest.raises(TraceError, match="fewer than none"):
        add_up(exit_tallies(path))


def test_times_that_fall_back_are_refused() -> None:
    """Instructions only grow: a stream in another order gives no lengths."""
    with pytest.raises(TraceError, match="column t falls back"):
        fold([(10, "kvm_fault", None), (5, "kvm_fault_done", None)])


def test_events_of_other_machines_are_refused(tmp_path: Path) -> None:
    """Instructions of several vCPUs are in one count, and nested paging has other paths: neither gives lengths."""
    path = tmp_path / "nested-x.parquet"
    rows = pl.read_parquet(COSTS / "events" / "nested-era2011.parquet")

    rows.with_columns(vcpu=pl.col("seq") % 2).write_parquet(path)
    with pytest.raises(TraceError, match="events of 2 vCPUs"):
        add_up(fault_tallies(path))
    rows.with_columns(kind=pl.lit("ncr3")).write_parquet(path)
    with pytest.raises(TraceError, match="events of nested paging"):
        add_up(fault_tallies(path))


def test_a_broken_recording_has_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that can't be used is exit code 1 and writes nothing; a wrong name of the model is 2."""
    out = tmp_path / "x.yaml"

    assert call(monkeypatch, "prices", "measure", str(tmp_path), "-o", str(out)) == ExitCode.CELLS_FAILED
    assert call(monkeypatch, "prices", "measure", str(COSTS), "-o", str(tmp_path / "x.txt")) == ExitCode.USAGE
    assert call(monkeypatch, "prices", "measure", str(COSTS), "-o", str(tmp_path / "no" / "x.yaml")) == ExitCode.USAGE
    assert not out.exists()
