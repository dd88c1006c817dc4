"""A sweep whose run is in an object store, from the plan to the summary, by the local backend and a real server."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from results.store import objects as storage_object
from results.store.manifest import ManifestEntry
from results.store.opening import open_storage
from results.store.run_store import RunStore
from results.upkeep.diff import diff_runs
from sweep import cli
from sweep.backends.choose import BackendChoice, BackendName
from sweep.exit_codes import ExitCode, SweepError
from sweep.start.execute import Execution, execute
from sweep.status import RunReader
from tests.support import fakes
from tests.support.s3_server import BUCKET, KEY, SECRET, objects, s3_server
from tests.support.starting import read, start, write_spec


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Serve a bucket, and let the environment say how to reach it."""
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield environment


def execution(path: Path, *overrides: str, **changes: Any) -> Execution:
    """Return a start of the small sweep into the bucket."""
    return Execution(
        spec=read(path, *overrides),
        run=f"s3://{BUCKET}/{path.parent.name}/small",
        backend=BackendChoice(name=BackendName.LOCAL, reason="a test", address=None, workers=2),
        simulate=fakes.simulate,
        fingerprint="a fake engine",
        command=f"sweep run {path}",
        **changes,
    )


def test_a_sweep_runs_into_a_bucket(
    server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Workers write, the driver commits, a second start only does what is new, and every verb takes the URL."""
    path = write_spec(tmp_path)
    url = execution(path).run

    def call(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["sweep", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == ExitCode.OK
        return capsys.readouterr().out

    codes = [execute(execution(path, "replicates=1")), execute(execution(path)), execute(execution(path))]
    said = capsys.readouterr()
    start(path)
    capsys.readouterr()

    assert codes == [ExitCode.OK] * 3
    assert re.search(r"8 cells in 2 batches to do, 8 are there; about .* by 2 earlier batches here", said.err)
    assert "nothing to do: 16 cells are already there" in said.err
    assert diff_runs(url, tmp_path / "run").identical
    status = json.loads(call("status", url, "--json"))
    assert (status["complete"], status["cells"]["done"]) == (True, 16)
    assert call("summarize", url, "--csv") == call("summarize", str(tmp_path / "run"), "--csv")
    assert json.loads(call("fsck", url, "--json"))["findings"] == []
    assert json.loads(call("gc", url, "--json"))["files"] == []
    assert call("compact", url) == f"{url}: 3 files\n"
    call("export", url, "-o", str(tmp_path / "cells.csv"))
    found = objects(server, url)
    assert len([name for name in found if name.startswith("timings.jsonl/")]) == 2
    texts = [*found.values(), said.out.encode(), said.err.encode()]
    assert [word for text in texts for word in (KEY, SECRET) if word.encode() in text] == []
    assert not any(name.startswith(".tmp/") or name == "lease.json" for name in found)


@pytest.mark.usefixtures("server")
def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    """While somebody holds the run nothing is started; --break-lock takes it."""
    path = write_spec(tmp_path)
    held = open_storage(execution(path).run)

    with held.lock({"host": "elsewhere"}):
        with pytest.raises(SweepError, match=r"another `sweep run` is writing here \(host elsewhere"):
            execute(execution(path))
        code = execute(execution(path, break_lock=True))

    assert code == ExitCode.OK
    assert len(RunStore(execution(path).run).finished_cells()) == 16


def test_a_store_that_goes_away_ends_the_sweep_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no request is answered any more the sweep ends with 74 and says how to go on, and then it does go on."""
    path = write_spec(tmp_path)
    commit = RunStore.commit
    monkeypatch.setattr(storage_object, "RETRY_SECONDS", 1)
    with ExitStack() as down, ExitStack() as up:

        def serve(stack: ExitStack) -> None:
            for name, value in stack.enter_context(s3_server()).items():
                monkeypatch.setenv(name, value)

        def lose_the_store(store: RunStore, entry: ManifestEntry) -> None:
            down.close()
            commit(store, entry)

        serve(down)
        assert execute(execution(path, "replicates=1")) == ExitCode.OK
        with monkeypatch.context() as patch:
            patch.setattr(RunStore, "commit", lose_the_store)
            with pytest.raises(SweepError) as lost:
                execute(execution(path))
        serve(up)
        left = RunReader(execution(path).run).look()
        # A process that has ended leaves a lease that is taken at once; here both drivers are this process.
        code = execute(execution(path, break_lock=True))
        cells = RunStore(execution(path).run).finished_cells()

    assert lost.value.exit_code is ExitCode.STORAGE
    assert f"what was finished is kept. To go on: sweep run {path}" in str(lost.value)
    assert "/cells/" in str(lost.value)
    assert (left.cells_done, left.abandoned, left.ended) == (8, False, None)
    assert code == ExitCode.OK
    assert len(cells) == 16


@pytest.mark.usefixtures("server")
def test_a_bucket_that_is_not_there_is_no_damage(tmp_path: Path) -> None:
    """A run in a bucket that does not exist is an error of use that names the store's own word for it."""
    with pytest.raises(SweepError, match=r"s3://nowhere/run/lease\.json: NoSuchBucket ") as refused:
        execute(replace(execution(write_spec(tmp_path)), run="s3://nowhere/run"))

    assert refused.value.exit_code is ExitCode.USAGE
    assert "damaged" not in str(refused.value)
