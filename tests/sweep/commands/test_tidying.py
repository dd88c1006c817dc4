"""The verbs that look after a run: fsck, gc, compact, merge and export, from the command line."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from results.store.run_store import RunStore
from sweep import cli
from sweep.exit_codes import ExitCode
from tests.support.synthetic import cell, make_run, replicate_batches, write_batch


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs the program and returns exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["sweep", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, shown.out, shown.err

    return call


@pytest.fixture
def run(tmp_path: Path) -> RunStore:
    """Return a run of three batches, and two staged files that nobody has committed."""
    store = make_run(tmp_path / "run", replicate_batches(3))
    write_batch(store, "late", [cell("oracle")])
    return store


def test_fsck_says_what_the_others_would_do(sweep: Any, run: RunStore) -> None:
    """A run that a crash has left is sound; its leftovers and what to do are listed, for people and for programs."""
    code, text, _ = sweep("fsck", run.name)
    json_code, content, _ = sweep("fsck", run.name, "--json")

    assert (code, json_code) == (ExitCode.OK, ExitCode.OK)
    assert text.count("leftover: .tmp/") == 2
    assert "`sweep gc` removes it" in text
    assert "`sweep compact` makes a few sorted files of them" in text
    assert text.splitlines()[-1].endswith(": sound")
    found = json.loads(content)
    assert (found["damaged"], found["commits"], found["files"], len(found["findings"])) == (False, 3, 6, 3)


def test_fsck_has_an_exit_code_for_damage(sweep: Any, run: RunStore) -> None:
    """A changed byte ends it with the code for damage."""
    path = run.path / run.manifest.files("cells")[0]
    path.write_bytes(path.read_bytes()[:-1] + b"X")

    code, text, _ = sweep("fsck", run.name)

    assert code == ExitCode.DAMAGED == 4
    assert f"damage: {path.relative_to(run.path)}: " in text
    assert text.splitlines()[-1].endswith(": DAMAGED")


def test_gc_removes_leftovers_and_nothing_else(sweep: Any, run: RunStore) -> None:
    """A dry run changes nothing; the real one leaves a run without findings but for its many files."""
    orphans = run.orphans()
    cells = run.finished_cells()

    _, dry, _ = sweep("gc", run.name, "--dry-run", "--json")
    still = run.orphans()
    _, text, _ = sweep("gc", run.name)

    assert json.loads(dry)["files"] == orphans == still
    assert text.splitlines()[-1] == f"{run.name}: removed 2 files"
    assert run.orphans() == []
    assert run.finished_cells() == cells


def test_nothing_is_tidied_while_a_sweep_writes(sweep: Any, run: RunStore) -> None:
    """Gc and compact refuse a run that somebody holds, and say who."""
    with run.storage.lock({"host": "there"}):
        codes = [sweep(verb, run.name) for verb in ("gc", "compact")]

    assert [(code, "is writing here (host there)" in err) for code, _, err in codes] == [(ExitCode.USAGE, True)] * 2
    assert len(run.orphans()) == 2


def test_compact_makes_few_files(sweep: Any, run: RunStore) -> None:
    """Six files become two, and a second time nothing changes."""
    code, text, _ = sweep("compact", run.name)
    _, again, _ = sweep("compact", run.name, "--json")

    assert code == ExitCode.OK
    assert text == f"{run.name}: 6 files became 2\n"
    assert json.loads(again) == {"run": run.name, "files_before": 2, "files": 2}


def test_merge_says_what_came_from_where(sweep: Any, run: RunStore, tmp_path: Path) -> None:
    """The union and the shared cells are counted; a second merge into the same place is refused."""
    make_run(tmp_path / "other", replicate_batches(4)[2:])

    code, text, _ = sweep("merge", run.name, tmp_path / "other", "--out", tmp_path / "both")
    refused, _, error = sweep("merge", run.name, tmp_path / "other", "--out", tmp_path / "both")

    assert code == ExitCode.OK
    assert text == f"{tmp_path / 'both'}: 16 cells: 12 of {run.name} and 8 of {tmp_path / 'other'}, 4 in both\n"
    assert refused == ExitCode.USAGE
    assert "there is a run. Give --out another folder" in error


def test_export_writes_one_file(sweep: Any, run: RunStore, tmp_path: Path) -> None:
    """The file has the rows that it says; an unknown ending is refused."""
    code, content, _ = sweep("export", run.name, "-o", tmp_path / "w.parquet", "--table", "windows", "--json")
    refused, _, error = sweep("export", run.name, "-o", tmp_path / "w.xlsx")

    assert code == ExitCode.OK
    assert json.loads(content)["rows"] == pl.read_parquet(tmp_path / "w.parquet").height == 36
    assert refused == ExitCode.USAGE
    assert "unknown format '.xlsx'" in error


@pytest.mark.parametrize("verb", ["fsck", "gc", "compact"])
def test_a_folder_without_a_run_is_an_error(sweep: Any, tmp_path: Path, verb: str) -> None:
    """Nothing is not tidied, and not made either."""
    code, _, error = sweep(verb, tmp_path / "nothing")

    assert code == ExitCode.USAGE
    assert "no run here" in error
    assert not (tmp_path / "nothing").exists()
