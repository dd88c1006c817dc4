"""`sweep status`: how far a run is, read from its files alone, while it runs and after."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.exit_codes import ExitCode
from tests.support.calling import call
from tests.support.cluster.processes import Bench, ended, wait_until
from tests.support.cluster.small_sweep import start, touch, waits
from tests.support.starting import start as start_here

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("clusters")]


def look(*words: str) -> str:
    """Return what `sweep status` prints in a process of its own."""
    program = [sys.executable, "-m", "sweep.cli", "status", *words]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    return done.stdout


def came_from_elsewhere(run: Path) -> None:
    """Let a run say that its driver is on another machine, whose locks this one does not see."""
    records = json.loads((run / "provenance.json").read_bytes())
    records[-1]["host"] = "elsewhere"
    (run / "provenance.json").write_text(json.dumps(records), encoding="utf-8")


def test_a_run_is_watched_from_elsewhere_while_it_runs(bench: Bench, spec: str, tmp_path: Path) -> None:
    """From the run's files alone status says what is done, per axis, at which rate, and `--watch` ends with the run."""
    run = str(tmp_path / "run")
    driver = start(bench, "wait_for_the_marker", spec, "-j", "1")
    wait_until(lambda: waits(spec), driver)

    shutil.copytree(run, tmp_path / "elsewhere")
    came_from_elsewhere(tmp_path / "elsewhere")
    seen = json.loads(look(str(tmp_path / "elsewhere"), "--json"))
    text = look(run)
    watch = bench.start("sweep.cli", "status", run, "--json", "--watch", "--every", "0.1")
    assert watch.stdout is not None
    first = json.loads(watch.stdout.readline())
    touch(spec, "go")
    done, watched = ended(driver), ended(watch)

    assert (seen["sweep"], seen["complete"], seen["ended"], seen["abandoned"]) == ("small", False, None, False)
    assert seen["cells"] == {"done": 8, "total": 16, "failed": 0}
    assert seen["axes"]["guest"] == [
        {"value": "1cpu-1g", "done": 4, "total": 8},
        {"value": "2cpu-1g", "done": 4, "total": 8},
    ]
    assert {one["done"] for one in seen["axes"]["policy"]} == {2}
    assert seen["cells_per_second"] > 0
    assert seen["seconds_left"] == pytest.approx(8 / seen["cells_per_second"])
    assert "cells     8 of 16  [############            ] 50.0 %" in text
    assert "state     under way since " in text
    assert done.returncode == watched.returncode == ExitCode.OK
    assert (first["cells"]["done"], first["complete"]) == (8, False)
    last = json.loads(watched.stdout.splitlines()[-1])
    assert (last["cells"]["done"], last["complete"]) == (16, True)
    assert not last["seconds_left"]


def test_a_driver_that_was_killed_is_known_to_be_gone(bench: Bench, spec: str, tmp_path: Path) -> None:
    """On its machine a killed driver is not taken for one at work, and `--watch` ends; elsewhere nobody can tell."""
    run = tmp_path / "run"
    driver = start(bench, "wait_for_the_marker", spec, "-j", "1")
    wait_until(lambda: waits(spec), driver)
    before = look(str(run))
    driver.kill()
    driver.communicate()

    after = look(str(run), "--watch")
    told = json.loads(look(str(run), "--json"))
    came_from_elsewhere(run)
    elsewhere = look(str(run))

    assert "state     under way since " in before
    assert "is gone without a word; last commit " in after
    assert " left" not in after
    assert (told["abandoned"], told["ended"], told["seconds_left"]) == (True, None, None)
    assert "state     under way since " in elsewhere


def test_a_run_with_failures_says_which(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a run with failures status counts them by kind; without a name it lists the runs in ./runs."""
    from tests.support import fakes

    monkeypatch.chdir(tmp_path)
    start_here(Path(spec), simulate=fakes.fail_until_mended, out="runs/broken")
    start_here(Path(spec), out="runs/whole")
    capsys.readouterr()

    codes = [call(monkeypatch, "status", "runs/broken"), call(monkeypatch, "status")]
    text = capsys.readouterr().out
    call(monkeypatch, "status", "--json")
    content = json.loads(capsys.readouterr().out)

    assert codes == [ExitCode.OK, ExitCode.OK]
    assert "failures  8 cells: 8 ValueError" in text
    assert "state     not complete, and the last driver ended " in text
    rows = [line.split() for line in text.splitlines() if line.startswith("runs/")]
    assert [row[:6] for row in rows] == [
        ["runs/broken", "8", "of", "16", "8", "failed"],
        ["runs/whole", "16", "of", "16", "0", "failed"],
    ]
    assert [run["complete"] for run in content["runs"]] == [False, True]
    assert content["runs"][0]["failures"] == {"ValueError": 8}


def test_status_of_nothing_says_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder without a run says what makes one, a name alone which run is meant; no runs at all is no error."""
    monkeypatch.chdir(tmp_path)

    codes = [call(monkeypatch, "status", "./nowhere"), call(monkeypatch, "status")]
    out, err = capsys.readouterr()
    (tmp_path / "runs" / "small").mkdir(parents=True)
    (tmp_path / "runs" / "small" / "spec.json").touch()
    codes.append(call(monkeypatch, "status", "small"))

    assert codes == [ExitCode.USAGE, ExitCode.OK, ExitCode.USAGE]
    assert err.startswith("./nowhere: no run here\n")
    assert out == "no run in ./runs\n"
    assert capsys.readouterr().err.startswith("small: no run of that name\n  did you mean `sweep status runs/small`?\n")
