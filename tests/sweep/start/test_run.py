"""Running, going on, and what is left when something breaks."""

import json
from pathlib import Path

import polars as pl
import pytest

import results
from results.store.engines import engines_of
from results.store.labels import LabelledRun
from results.store.run_store import RunStore
from results.upkeep import compaction
from results.upkeep.diff import diff_runs
from sweep.backends.choose import BackendChoice, BackendName, choose_backend
from sweep.exit_codes import ExitCode, SweepError
from sweep.plan.plan import plan_sweep
from sweep.plan.timings import read_timings
from sweep.start import execute as execute_module
from sweep.start.driver import Rules
from sweep.start.retry import retry_execution
from sweep.tasks.task import Failure, FailureKind, Simulate, Task, WantedBatch
from sweep.tasks.worker import run_task, simulate_batch
from tests.support import fakes
from tests.support.project import ROOT
from tests.support.starting import read, start, write_spec

CELLS = 16


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Write the small specification."""
    return write_spec(tmp_path)


def refuse(*_: object, **__: object) -> None:
    """Stand for a backend that must not be opened."""
    raise AssertionError("a backend was opened")


def files(run: Path) -> dict[str, bytes]:
    """Return the tables of a run, byte by byte."""
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.glob("*/*.parquet"))}


def everything(run: Path) -> dict[Path, bytes]:
    """Return all files of a run; the lock says who was here last."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}


def test_a_run_ends_with_its_summary(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run finishes all cells, prints the table, the published comparison and the lines that read the Parquet."""
    code = start(spec, workers=2)

    out, err = capsys.readouterr()
    store = RunStore(spec.parent / "run")
    assert code is ExitCode.OK
    assert len(store.finished_cells()) == CELLS
    assert "kernbench on 1cpu-1g (1 vCPU, 1024 MiB)" in out
    assert "kvm-3.0 -> xiao-v1, kernbench: predicted beside published" in out
    assert f'pl.read_parquet("{store.path}/cells/*.parquet")' in out
    assert f"FROM '{store.path}/cells/*.parquet'" in out
    assert "backend local (a test): 2 processes on " in err
    assert "16 cells in 4 batches to do, 0 are there" in err


def test_what_was_not_compacted_is_compacted_by_the_next_start(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose driver died after its last commit gets the files that an undisturbed run has."""

    def die(_: RunStore) -> None:
        raise BrokenPipeError

    with monkeypatch.context() as patched:
        patched.setattr(compaction, "compact", die)
        with pytest.raises(BrokenPipeError):
            start(spec)
    store = RunStore(tmp_path / "run")
    before = len(store.manifest.live())
    staged = store.path / ".tmp" / "cells.nobody.parquet"
    staged.write_bytes(b"what a killed compaction has staged")

    code = start(spec)
    start(spec, out="undisturbed")

    assert (code, before, len(store.manifest.live())) == (ExitCode.OK, 4, 1)
    assert files(tmp_path / "run") == files(tmp_path / "undisturbed")


def test_the_lines_shown_do_read_the_tables(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The polars line and the DuckDB line that a run prints work as they are, and agree."""
    import duckdb

    start(spec)
    out = capsys.readouterr().out
    polars_line = next(line for line in out.splitlines() if line.startswith("  polars")).removeprefix("  polars   ")
    duckdb_line = next(line for line in out.splitlines() if line.startswith("  duckdb")).removeprefix("  duckdb   ")

    from_polars = dict(eval(polars_line, {"pl": pl}).iter_rows())
    from_duckdb = dict(duckdb.sql(duckdb_line).fetchall())

    assert from_polars == from_duckdb
    assert set(from_polars) == {"kvm-3.0", "kvm-3.3", "xiao-v1", "tdp"}


def test_a_second_run_simulates_nothing(
    spec: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same command again opens no backend, changes no file, says so, and prints the same summary."""
    start(spec)
    first = capsys.readouterr().out
    before = everything(spec.parent / "run")
    monkeypatch.setattr(execute_module, "open_backend", refuse)

    code = start(spec)

    out, err = capsys.readouterr()
    assert code is ExitCode.OK
    assert err == "nothing to do: 16 cells are already there\n"
    assert out == first
    assert before == everything(spec.parent / "run")


def test_a_grown_grid_computes_only_what_is_new(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With one more replicate only its cells are simulated, and the tables are those of a run from nothing."""
    start(spec)
    capsys.readouterr()

    start(spec, "replicates=3")
    start(spec, "replicates=3", out="fresh")

    err = capsys.readouterr().err
    assert "8 cells in 2 batches to do, 16 are there" in err
    assert diff_runs(spec.parent / "run", spec.parent / "fresh").identical


@pytest.mark.parametrize("simulate", [fakes.simulate, fakes.fail_on_two_vcpus])
def test_a_run_has_one_engine(spec: Path, simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another engine neither a whole run nor part of one is gone on with: both are named, and nothing changes."""
    start(spec, simulate=simulate)
    before = everything(spec.parent / "run")
    monkeypatch.setattr(execute_module, "open_backend", refuse)

    with pytest.raises(SweepError, match=r"run: its cells are of the engine a fake engine, and this is") as refused:
        start(spec, fingerprint="another engine")

    assert refused.value.exit_code is ExitCode.USAGE
    assert "this is the engine another engine" in str(refused.value)
    assert "--out" in str(refused.value)
    assert everything(spec.parent / "run") == before
    assert results.open(spec.parent / "run").summary().height > 0


def test_retry_knows_the_same_rule(spec: Path) -> None:
    """What failed under one engine is not tried again under another one in the same run."""
    start(spec, simulate=fakes.fail_on_two_vcpus)

    with pytest.raises(SweepError, match="its cells are of the engine a fake engine, and this is the engine another"):
        retry_execution(
            str(spec.parent / "run"),
            None,
            place=BackendChoice(name=BackendName.LOCAL, reason="a test"),
            rules=Rules(),
            simulate=fakes.simulate,
            fingerprint="another engine",
            command="sweep retry",
        )


def test_a_run_that_nothing_came_of_takes_any_engine(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that ended before its first cell, or was killed before it, ties the run to no engine."""

    def fail(*_: object, **__: object) -> None:
        raise SweepError("no worker started")

    with monkeypatch.context() as patched:
        patched.setattr(execute_module, "_drive", fail)
        with pytest.raises(SweepError, match="no worker started"):
            start(spec, fingerprint="another engine")
    store = RunStore(spec.parent / "run")
    killed = {"code_fingerprint": "a third engine", "command": "sweep run"}
    store.write_provenance([*store.provenance(), killed])

    codes = start(spec, "replicates=1"), start(spec)

    assert codes == (ExitCode.OK, ExitCode.OK)
    assert len(store.finished_cells()) == CELLS
    assert engines_of(store) == ("a fake engine",)


def test_a_renamed_policy_keeps_its_cells(
    spec: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new name needs no simulation, and the summary shows the new name only."""
    start(spec)
    capsys.readouterr()
    monkeypatch.setattr(execute_module, "open_backend", refuse)

    code = start(spec, "policies.xiao-v1.name=patched")

    out = capsys.readouterr().out
    table = out[: out.index("tables:")]
    assert code is ExitCode.OK
    assert "patched" in table
    assert "\nxiao-v1" not in table


def test_two_names_for_one_answer_are_two_rows(spec: Path) -> None:
    """A swept knob that hits the base's own value is simulated once, and has its rows under both names."""
    start(spec, "policies=[kvm-3.0, kvm-3.3, {base: kvm-3.3, flood_threshold: [2, 3]}]")

    store = RunStore(spec.parent / "run")
    seen = LabelledRun(store).scan("cells").collect()
    windows = LabelledRun(store).scan("windows").collect()
    assert len(store.finished_cells()) == 3 * 4
    assert seen.height == seen["cell_id"].n_unique() == 4 * 4
    assert windows.height == 4 * 4 * fakes.WINDOWS
    own = seen.filter(policy="kvm-3.3").drop("policy", "cell_id").sort("seed")
    twin = seen.filter(policy="kvm-3.3 flood_threshold=3").drop("policy", "cell_id").sort("seed")
    assert own.equals(twin)


def test_a_batch_that_raises_does_not_stop_the_sweep(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other batches finish, the failed cells are rows with the error, the code is 1, and the next start cures it."""
    code = start(spec, simulate=fakes.fail_on_two_vcpus, workers=2)

    store = RunStore(spec.parent / "run")
    failures = store.failures().collect()
    err = capsys.readouterr().err
    assert code is ExitCode.CELLS_FAILED
    assert len(store.finished_cells()) == failures.height == CELLS // 2
    assert set(failures["error"]) == {"ValueError"}
    assert set(failures["message"]) == {"two vCPUs are too many"}
    assert "fail_on_two_vcpus" in failures["traceback"][0]
    assert "failed: kernbench, 2cpu-1g, replicate 0: ValueError: two vCPUs are too many" in err
    assert start(spec) is ExitCode.OK
    assert store.failures().collect().is_empty()
    assert len(store.finished_cells()) == CELLS


def test_a_dead_worker_costs_one_more_attempt(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker process that is killed once gives the same results as one that is not."""
    code = start(spec, simulate=fakes.die_once, workers=2)
    start(spec, out="calm")

    assert code is ExitCode.OK
    assert "signal SIGKILL" in capsys.readouterr().err
    assert files(spec.parent / "run") == files(spec.parent / "calm")


def test_a_worker_that_always_dies_is_a_failure(spec: Path) -> None:
    """A batch whose process dies twice is a failure; the others finish."""
    code = start(spec, simulate=fakes.die_on_two_vcpus, workers=2)

    store = RunStore(spec.parent / "run")
    failures = store.failures().collect()
    assert code is ExitCode.CELLS_FAILED
    assert len(store.finished_cells()) == failures.height == CELLS // 2
    assert set(failures["error"]) == {"WorkerDied"}


def test_timings_and_provenance_are_beside_the_tables(spec: Path) -> None:
    """Each batch has its seconds in the timings, and the provenance says who ran what and how long it took."""
    start(spec)

    run = spec.parent / "run"
    timings = list(read_timings(run))
    record = json.loads((run / "provenance.json").read_text(encoding="utf-8"))[-1]
    assert sorted((t.guest["vcpus"], t.replicate, t.lanes) for t in timings) == [
        (1, 0, 4),
        (1, 1, 4),
        (2, 0, 4),
        (2, 1, 4),
    ]
    assert all(t.engine_seconds == 0.07 and t.part_bytes > 0 and t.seconds > 0 for t in timings)
    assert record["tally"]["cells_done"] == CELLS
    assert record["tally"]["engine_seconds"] == pytest.approx(4 * 0.07)
    assert record["backend"] == "local"


def test_one_driver_at_a_time(spec: Path) -> None:
    """While one process writes to a run, another one is refused and told why."""
    with (
        RunStore(spec.parent / "run").storage.lock({}),
        pytest.raises(SweepError, match="another `sweep run` is writing here"),
    ):
        start(spec)


def test_wrong_prices_are_found_before_the_run(spec: Path) -> None:
    """A cost model with an unknown counter is an error with its line, and nothing is started."""
    text = (ROOT / "tests" / "support" / "costs.yaml").read_text(encoding="utf-8")
    (spec.parent / "wrong.yaml").write_text(text.replace("  exits:", "  exit:"), encoding="utf-8")

    with pytest.raises(SweepError, match=r"wrong\.yaml:7:3: shadow\.exit: unknown counter"):
        start(spec, "costs=wrong.yaml")

    assert not (spec.parent / "run").exists()


def test_auto_says_what_it_takes_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is ray exactly if RAY_ADDRESS is set, and gives the reason; a named backend is taken as it is."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    without = choose_backend(BackendName.AUTO)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with_address = choose_backend(BackendName.AUTO)

    assert without == BackendChoice(name=BackendName.LOCAL, reason="auto: neither --address nor RAY_ADDRESS is set")
    assert with_address == BackendChoice(name=BackendName.RAY, reason="auto: RAY_ADDRESS is set", address="127.0.0.1:1")
    assert choose_backend(BackendName.LOCAL) == BackendChoice(name=BackendName.LOCAL, reason="--backend local")


def test_a_worker_with_other_sources_refuses(spec: Path) -> None:
    """A worker whose engine is not the one that was planned with gives a failure that says so, and no counts."""
    start(spec)
    plan = plan_sweep(read(spec), "another engine")
    task = Task(
        number=1,
        batches=(WantedBatch(planned=plan.batches[0], share=1.0),),
        run=str(spec.parent / "run"),
        simulate=simulate_batch,
        fingerprint="another engine",
        memory_bytes=1,
    )

    outcome = run_task(task)

    failure = outcome.failure
    assert (outcome.entry, outcome.answers) == (None, ())
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.UNFIT
    assert failure.error == "MismatchError"
    assert "the sweep was planned with another engine" in failure.message
