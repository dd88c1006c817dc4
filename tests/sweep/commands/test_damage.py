"""A damaged file of a run: every verb that reads tables names it, with one exit code; none believes it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

import results
from results.store import soundness
from results.store.storage import StoreError
from sweep.cli import VERBS
from sweep.exit_codes import DamagedError, ExitCode
from sweep.runs import results_errors
from tests.support.calling import call
from tests.support.project import DATA
from tests.support.starting import start, write_spec

RUN: Final = DATA / "runs" / "v2"
TABLES: Final = ("cells", "windows", "activities")

Words = tuple[str, ...]
READ: Final[dict[str, Words]] = {
    "summarize": ("summarize", "{run}"),
    "compare": ("compare", "{run}"),
    "compare with another": ("compare", "{sound}", "{run}"),
    "compare the front": ("compare", "{run}", "--pareto"),
    "explain": ("explain", "{run}", "--policy", "kvm-3.3", "--activities"),
    "price": ("price", "{run}"),
    "report": ("report", "{run}", "-o", "{out}"),
    "plot": ("plot", "{run}"),
    "plot to a file": ("plot", "{run}", "-o", "{out}.svg"),
    "diff": ("diff", "{sound}", "{run}"),
    "merge": ("merge", "{run}", "{sound}", "--out", "{out}"),
    "compact": ("compact", "{run}"),
    "export": ("export", "{run}", "-o", "{out}.csv"),
    "retry": ("retry", "{run}"),
}
"""Verbs that read a whole run, as a user types them."""
OTHERS: Final = {
    "fsck": "has its own tests",
    "status": "reads the cells alone",
    "run": "needs an engine",
    "gc": "leaves alone what the manifest knows, and what it should know",
    **dict.fromkeys(
        ("plan", "submit", "logs", "cancel", "doctor", "catalog", "validate", "prices", "trace", "bench"),
        "reads no table of a run",
    ),
}


def cut(path: Path) -> None:
    """Lose the end of a file."""
    path.write_bytes(path.read_bytes()[:-50])


def empty(path: Path) -> None:
    """Lose all of a file but its name."""
    path.write_bytes(b"")


def lose(path: Path) -> None:
    """Lose a file."""
    path.unlink()


def overwrite_footer(path: Path) -> None:
    """Change a byte in the middle of the footer, which a reader may or may not stumble over."""
    _overwrite(path, -2_000)


def overwrite_rows(path: Path) -> None:
    """Change a byte among the rows, where it gives other counts and no error."""
    _overwrite(path, 1_000)


def overwrite_end(path: Path) -> None:
    """Change a byte without which no reader takes a file for Parquet."""
    _overwrite(path, -1)


def _overwrite(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


Harm = Callable[[Path], None]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a copy of a real run."""
    shutil.copytree(RUN, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def sweep(run: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Words], int]:
    """Return what runs a verb in this process, with names of runs and files filled in, by the engine of the run."""
    planned_with = json.loads((RUN / "provenance.json").read_text())[-1]["code_fingerprint"]
    monkeypatch.setattr("sweep.plan.cell.engine_fingerprint", lambda: planned_with)
    places = {"run": run, "sound": RUN, "out": run.parent / "out"}
    return lambda words: call(monkeypatch, *(word.format_map(places) for word in words))


def part_of(run: Path, table: str) -> Path:
    """Return the only file of a table."""
    (path,) = (run / table).glob("*.parquet")
    return path


def check_said(err: str, path: Path) -> None:
    """Check that a message names a file and what to do, in letters that a terminal shows."""
    assert str(path.relative_to(path.parents[1])) in err
    assert "restore" in err.lower()
    assert "sweep fsck" in err
    assert all(line.isprintable() for line in err.splitlines())


def test_no_verb_is_forgotten() -> None:
    """Every verb of the command line is in one of the lists of this file."""
    assert set(VERBS) == {words[0] for words in READ.values()} | OTHERS.keys()


@pytest.mark.parametrize("harm", [cut, empty, lose, overwrite_footer, overwrite_rows])
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("verb", READ)
def test_a_damaged_file_is_named(
    run: Path,
    sweep: Callable[[Words], int],
    capsys: pytest.CaptureFixture[str],
    verb: str,
    table: str,
    harm: Harm,
) -> None:
    """Verbs that read a run end with the code for damage, the file's name and what to do, and write nothing."""
    path = part_of(run, table)
    harm(path)

    code = sweep(READ[verb])

    out, err = capsys.readouterr()
    assert (code, out) == (ExitCode.DAMAGED, ""), err
    check_said(err, path)
    assert sorted(one.name for one in run.parent.iterdir()) == ["run"]


@pytest.mark.parametrize("harm", [cut, empty, lose])
@pytest.mark.parametrize("table", TABLES)
def test_sizes_are_compared_whatever_the_size(
    run: Path,
    sweep: Callable[[Words], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    harm: Harm,
) -> None:
    """A run that is too large to be hashed at each question still has files of the sizes that its manifest says."""
    monkeypatch.setattr(soundness, "HASHED_BYTES", 0)
    path = part_of(run, table)
    harm(path)

    assert sweep(READ["price"]) == ExitCode.DAMAGED
    check_said(capsys.readouterr().err, path)


@pytest.mark.parametrize(
    ("verb", "table"),
    [
        ("summarize", "windows"),
        ("compare", "cells"),
        ("compare", "windows"),
        ("compare the front", "windows"),
        ("explain", "windows"),
        ("explain", "activities"),
        ("price", "windows"),
        ("report", "cells"),
        ("plot", "windows"),
        ("retry", "cells"),
    ],
)
def test_a_file_that_a_library_refuses_is_found(
    run: Path,
    sweep: Callable[[Words], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    table: str,
) -> None:
    """In a run that is too large to be hashed, the file that stopped a reader is named, not its complaint."""
    monkeypatch.setattr(soundness, "HASHED_BYTES", 0)
    path = part_of(run, table)
    overwrite_end(path)

    code = sweep(READ[verb])

    out, err = capsys.readouterr()
    assert (code, out) == (ExitCode.DAMAGED, ""), err
    check_said(err, path)


@pytest.mark.parametrize("verb", ["diff", "merge", "compact", "export"])
def test_what_is_rewritten_is_hashed_whatever_the_size(
    run: Path, sweep: Callable[[Words], int], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Counts that damage has changed are not told as a difference, and get no new file with a hash that fits."""
    monkeypatch.setattr(soundness, "HASHED_BYTES", 0)
    overwrite_rows(part_of(run, "cells"))

    assert sweep(READ[verb]) == ExitCode.DAMAGED
    assert sorted(one.name for one in run.parent.iterdir()) == ["run"]


@pytest.mark.parametrize(
    ("name", "verb"),
    [
        ("labels.parquet", "summarize"),
        ("labels.parquet", "price"),
        ("failures", "report"),
        ("failures", "retry"),
        ("spec.json", "summarize"),
        ("provenance.json", "compare"),
        ("manifest", "explain"),
        ("labels.parquet", "compact"),
        ("costs.json", "summarize"),
        ("costs.json", "compare"),
        ("costs.json", "explain"),
        ("costs.json", "price"),
        ("costs.json", "report"),
    ],
)
def test_other_files_are_named_too(
    run: Path, sweep: Callable[[Words], int], capsys: pytest.CaptureFixture[str], name: str, verb: str
) -> None:
    """What the manifest has no hash of is named by who stumbles over it."""
    path = run / name if (run / name).is_file() else min((run / name).iterdir())
    path.write_bytes(path.read_bytes()[:50])

    assert sweep(READ[verb]) == ExitCode.DAMAGED
    assert path.name in capsys.readouterr().err


def everything(run: Path) -> dict[Path, bytes]:
    """Return all files of a run; the lock says who was here last."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}


EVERY: Final = READ | {
    "status": ("status", "{run}"),
    "fsck": ("fsck", "{run}"),
    "gc": ("gc", "{run}"),
    "gc dry": ("gc", "{run}", "--dry-run"),
    "merge over it": ("merge", "{sound}", "{sound}", "--out", "{run}"),
}
"""Verbs that look at a run that is there, as a user types them."""


@pytest.mark.parametrize("verb", [verb for verb in EVERY if verb != "merge over it"])
def test_a_lost_commit_is_damage(
    run: Path, sweep: Callable[[Words], int], capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """Without its only commit a run is not sound and empty: its rows are named, and nothing is removed or written."""
    (entry,) = (run / "manifest").iterdir()
    entry.unlink()
    before = everything(run)

    code = sweep(EVERY[verb])

    shown = capsys.readouterr()
    said = shown.out if verb == "fsck" else shown.err
    assert code == ExitCode.DAMAGED, shown
    assert any(f"{table}/{part_of(run, table).name}: no commit names this file" in said for table in TABLES)
    assert "restore the manifest" in said
    assert everything(run) == before
    assert sorted(one.name for one in run.parent.iterdir()) == ["run"]


@pytest.mark.parametrize("verb", EVERY)
@pytest.mark.parametrize("name", ["spec.json", "provenance.json"])
def test_a_lost_file_is_damage(
    run: Path, sweep: Callable[[Words], int], capsys: pytest.CaptureFixture[str], name: str, verb: str
) -> None:
    """A run with rows and without what says where they are from is damaged, not missing, and nothing is written."""
    (run / name).unlink()
    before = everything(run)

    code = sweep(EVERY[verb])

    shown = capsys.readouterr()
    said = shown.out if verb == "fsck" else shown.err
    assert code == ExitCode.DAMAGED, shown
    assert f"{name}: missing" in said
    assert "restore the file" in said.lower()
    assert everything(run) == before
    assert sorted(one.name for one in run.parent.iterdir()) == ["run"]


@pytest.mark.parametrize("name", ["spec.json", "provenance.json"])
def test_a_damaged_run_is_in_the_list_of_runs(
    run: Path,
    sweep: Callable[[Words], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Who asks what runs there are hears of one that has lost a file, and which."""
    run.rename(run.parent / "moved")
    (run.parent / "runs").mkdir()
    (run.parent / "moved").rename(run.parent / "runs" / "mine")
    (run.parent / "runs" / "mine" / name).unlink()
    monkeypatch.chdir(run.parent)

    sweep(("status",))

    assert f"runs/mine  can't be read: runs/mine/{name}: missing" in capsys.readouterr().out


@pytest.mark.parametrize("lost", ["spec.json", "provenance.json", "manifest"])
def test_a_run_that_lost_a_file_is_not_begun_anew(tmp_path: Path, lost: str) -> None:
    """The same command adds nothing to the rows that are there, whole run or part of one, and removes nothing."""
    spec = write_spec(tmp_path)
    assert start(spec, "replicates=1") == ExitCode.OK
    path = tmp_path / "run" / lost
    (next(path.iterdir()) if path.is_dir() else path).unlink()
    before = everything(tmp_path / "run")

    for replicates in (1, 2):
        with pytest.raises(DamagedError, match=r"missing, and the run has rows|no commit names this file"):
            start(spec, f"replicates={replicates}")

    assert everything(tmp_path / "run") == before


def test_a_run_goes_on_after_the_way_out_of_a_lost_commit(tmp_path: Path) -> None:
    """Who has no copy and moves the files away that a message names gets the same rows from the same command."""
    spec = write_spec(tmp_path)
    start(spec)
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*/*.parquet")}
    (entry,) = (tmp_path / "run" / "manifest").iterdir()
    entry.unlink()

    for path in before:
        path.rename(tmp_path / path.name)
    code = start(spec)

    assert code == ExitCode.OK
    assert {path: path.read_bytes() for path in (tmp_path / "run").glob("*/*.parquet")} == before


@pytest.mark.parametrize("verb", READ)
def test_lost_names_are_damage(
    run: Path, sweep: Callable[[Words], int], capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """Without the names of its cells a run is not read under those that its tables happen to hold."""
    (run / "labels.parquet").unlink()

    code = sweep(READ[verb])
    checked = sweep(("fsck", "{run}"))

    shown = capsys.readouterr()
    assert (code, checked) == (ExitCode.DAMAGED, ExitCode.DAMAGED)
    assert "labels.parquet: " in shown.err
    assert "damage: labels.parquet: missing" in shown.out


def test_names_that_the_tables_hold_are_not_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If it was noted down that the tables have the same names, the run reads as before without the file of names."""
    spec = write_spec(tmp_path)
    start(spec)
    before = results.open(tmp_path / "run").summary()
    (tmp_path / "run" / "labels.parquet").unlink()

    assert results.open(tmp_path / "run").summary().equals(before)
    capsys.readouterr()


@pytest.mark.parametrize("content", [b"", b"hi", b"{}", b"[]", b"[" * 100_000])
@pytest.mark.parametrize("name", ["costs.json", "labels.parquet", "spec.json", "provenance.json"])
def test_fsck_lists_what_no_manifest_knows(
    run: Path, sweep: Callable[[Words], int], capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    """A file beside the tables that is none of ours is damage to `sweep fsck`, whatever stands in it."""
    (run / name).write_bytes(content)

    code = sweep(("fsck", "{run}"))

    assert code == ExitCode.DAMAGED
    assert f"damage: {name}: " in capsys.readouterr().out


@pytest.mark.parametrize(("name", "content"), [("costs.json", b"{"), ("costs.json", b"{}"), ("labels.parquet", b"hi")])
def test_python_readers_get_an_error_of_the_store(run: Path, name: str, content: bytes) -> None:
    """What `results.open` promises holds for the files beside the tables too."""
    (run / name).write_bytes(content)

    with pytest.raises(StoreError, match=name):
        results.open(run).summary()


@pytest.mark.parametrize("name", ["costs.json", "labels.parquet"])
def test_a_start_writes_lost_names_and_prices_again(tmp_path: Path, name: str) -> None:
    """Names and prices follow from the specification: a start with nothing to do writes those that are missing."""
    spec = write_spec(tmp_path)
    start(spec)
    path = tmp_path / "run" / name
    before = path.read_bytes()
    path.unlink()

    code = start(spec)

    assert (code, path.read_bytes()) == (ExitCode.OK, before)


@pytest.mark.parametrize("name", ["costs.json", "labels.parquet", "spec.json"])
def test_a_start_with_nothing_to_do_writes_these_again(tmp_path: Path, name: str) -> None:
    """What follows from the specification is restored by a start of the same sweep, as messages promise."""
    spec = write_spec(tmp_path)
    start(spec)
    path = tmp_path / "run" / name
    before = path.read_bytes()
    path.write_bytes(b"hi")

    code = start(spec)

    assert (code, path.read_bytes()) == (ExitCode.OK, before)


def test_status_counts_no_changed_cells(
    run: Path, sweep: Callable[[Words], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed byte in the table of cells is told, even if the table can still be read."""
    path = part_of(run, "cells")
    overwrite_rows(path)

    code = sweep(("status", "{run}"))

    assert code == ExitCode.DAMAGED
    check_said(capsys.readouterr().err, path)


def test_status_names_damaged_cells(
    run: Path, sweep: Callable[[Words], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """How far a run is can't be said without its table of cells; the other tables do not matter for that."""
    empty(part_of(run, "windows"))
    before = sweep(("status", "{run}"))
    path = part_of(run, "cells")
    cut(path)

    after = sweep(("status", "{run}"))

    assert (before, after) == (ExitCode.OK, ExitCode.DAMAGED)
    assert path.name in capsys.readouterr().err


def test_a_damaged_run_is_not_taken_up(tmp_path: Path) -> None:
    """`sweep run` simulates nothing into a run whose rows are damaged, even if it would not read them."""
    spec = write_spec(tmp_path)
    assert start(spec) == ExitCode.OK
    path = part_of(tmp_path / "run", "windows")
    cut(path)

    with pytest.raises(DamagedError, match=path.name):
        start(spec, "replicates=3")


def test_errors_of_ours_are_not_told_as_damage(run: Path) -> None:
    """What a library refuses about a sound run is a bug, and keeps its traceback; of a damaged one it is the damage."""

    class PanicException(BaseException):
        pass

    with pytest.raises(PanicException), results_errors(str(run)):
        raise PanicException
    empty(part_of(run, "activities"))
    with pytest.raises(DamagedError, match=r"activities/.*0 bytes"), results_errors(str(run)):
        raise PanicException
