"""Backends: the same tasks give the same bytes, and nothing is left behind."""

import importlib
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from results.store.run_store import RunStore
from sweep.backends.choose import BackendName, choose_backend
from sweep.backends.contract import BackendError
from sweep.backends.ray.connection import check_address
from sweep.backends.ray.guard import members
from sweep.backends.ray.own_cluster import OwnCluster
from sweep.exit_codes import ExitCode
from tests.support import fakes
from tests.support.starting import start, write_spec

pytestmark = pytest.mark.xdist_group("clusters")


def tables(run: Path) -> dict[str, bytes]:
    """Return the tables of a run, byte by byte."""
    return {str(path.relative_to(run)): path.read_bytes() for path in sorted(run.glob("*/*.parquet"))}


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give temporary files a folder of their own, with a short name: Ray makes sockets below it."""
    with tempfile.TemporaryDirectory(prefix="sb-", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.mark.slow
def test_ray_and_local_give_the_same_bytes(tmp_path: Path, temporary: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A sweep with a worker that dies ends in the same files on both backends; Ray leaves no folder and no noise.

    Not even where Ray was imported before, and knows that this process has no token.
    """
    raylet: Any = importlib.import_module("ray._raylet")
    raylet.Config.initialize("")
    spec = write_spec(tmp_path)
    assert start(spec, simulate=fakes.simulate, out="local", workers=2) is ExitCode.OK
    local_out = capfd.readouterr().out

    code = start(spec, simulate=fakes.die_once, backend=BackendName.RAY, out="ray", workers=2)

    captured = capfd.readouterr()
    assert code is ExitCode.OK
    assert tables(tmp_path / "ray") == tables(tmp_path / "local")
    assert len(RunStore(tmp_path / "ray").finished_cells()) == 16
    assert captured.out.replace(f"{tmp_path}/ray", f"{tmp_path}/local") == local_out
    assert "backend ray (a test): Ray 2." in captured.err
    assert "(raylet)" not in captured.err
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_cluster_that_was_not_up_in_time_is_started_once_more(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """When Ray gives up on its own processes, all of them go, and a second cluster runs the sweep."""
    begin = OwnCluster.start
    begun: list[OwnCluster] = []

    def start_and_give_up_once(cluster: OwnCluster, ray: Any) -> None:
        begin(cluster, ray)
        begun.append(cluster)
        if len(begun) == 1:
            raise RuntimeError("The current node timed out during startup")

    monkeypatch.setattr(OwnCluster, "start", start_and_give_up_once)

    code = start(write_spec(tmp_path), backend=BackendName.RAY)

    assert code is ExitCode.OK
    assert len(begun) == 2
    assert begun[0].folder != begun[1].folder
    assert [pid for cluster in begun for pid in members(str(cluster.folder))] == []
    assert list(temporary.iterdir()) == []
    assert "timed out" not in capfd.readouterr().err


def test_a_cluster_that_does_not_start_is_an_error(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two attempts the run ends with an error that says what to do, and nothing is left or runs locally."""

    def give_up(_cluster: OwnCluster, _ray: Any) -> None:
        raise RuntimeError("Failed to start GCS.\n\nLast lines of error files:")

    monkeypatch.setattr(OwnCluster, "start", give_up)

    with pytest.raises(BackendError) as error:
        start(write_spec(tmp_path), backend=BackendName.RAY)

    assert str(error.value) == (
        "backend ray: RuntimeError: Failed to start GCS.\n"
        "  Ray did not start here, in two attempts. Try again when the machine has less to do, or use --backend local"
    )
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("address", ["127.0.0.1", "local", "http://127.0.0.1:8265"])
def test_what_is_no_address_of_a_head_is_refused(address: str) -> None:
    """Only HOST:PORT and Ray's own word `auto` name a cluster; the error shows the form."""
    with pytest.raises(BackendError, match=f"^backend ray: {address}: .*\n  give HOST:PORT of the head"):
        check_address(address)

    check_address("auto")


def test_a_cluster_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With RAY_ADDRESS pointing nowhere the run ends with an error that says what to do, and nothing runs locally."""
    spec = write_spec(tmp_path)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    choice = choose_backend(BackendName.RAY)

    with pytest.raises(BackendError) as caught:
        start(spec, backend=choice.name, address=choice.address)

    assert str(caught.value) == (
        f"backend ray: nobody answers at {address} (Connection refused)\n"
        "  start the cluster, unset RAY_ADDRESS, or run with --backend local"
    )
    assert caught.value.exit_code is ExitCode.USAGE
    assert RunStore(tmp_path / "run").finished_cells() == set()


def test_the_guard_knows_who_writes_below_its_folder(tmp_path: Path) -> None:
    """A process without the folder's name is a member if it has a file there open for writing, not for reading."""
    folder, neighbour = tmp_path / "folder", tmp_path / "folder-of-another"
    started = {}
    for name, place, way in (("writes", folder, "ab"), ("reads", folder, "rb"), ("next door", neighbour, "ab")):
        place.mkdir(exist_ok=True)
        (place / "log").touch()
        with (place / "log").open(way) as stream:
            started[name] = subprocess.Popen(["sleep", "60"], env={}, stdout=stream, stdin=stream)

    found = set(members(str(folder)))
    for process in started.values():
        process.kill()
        process.wait()

    assert {name for name, process in started.items() if process.pid in found} == {"writes"}
