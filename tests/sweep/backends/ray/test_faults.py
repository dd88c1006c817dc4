"""One fault at a time, each in real processes: what is said, what is kept, what is left behind, and how to go on."""

import contextlib
import ipaddress
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from results.store.run_store import RunStore
from results.upkeep.diff import diff_runs
from sweep.backends.ray.guard import members
from sweep.exit_codes import ExitCode
from sweep.status import RunReader
from tests.support import fakes
from tests.support.calling import call
from tests.support.cluster.processes import PATIENCE_SECONDS, Bench, ended, open_cluster, wait_until
from tests.support.cluster.program import put_in_place
from tests.support.cluster.small_sweep import CELLS, PROGRAM, finished, start, touch, waits
from tests.support.starting import start as start_here

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("clusters")]

POLICIES = 4
MANY = ("replicates=1", "guests.vcpus=[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]")
"""Four times as many batches, so that some are left when those that run have ended; each is a task of its own."""
AS_OPTIONS = tuple(word for override in MANY for word in ("-s", override))


def goes_on(fake: str, spec: str, *options: str, cells: int = CELLS) -> None:
    """Check that the same sweep, started again, ends with each cell once and nothing beside them."""
    code = start_here(Path(spec), *options, simulate=getattr(fakes, fake))

    store = RunStore(Path(spec).parent / "run")
    assert code is ExitCode.OK
    assert finished(spec) == cells
    assert store.failures().collect().is_empty()
    assert store.orphans() == []


def has_said_its_end(spec: str) -> bool:
    """Say whether the run itself tells that its last driver has ended, and when."""
    status = RunReader(str(Path(spec).parent / "run")).look()
    return status.ended is not None and not status.is_complete


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """Runs verbs in this process, with workers that are processes of their own."""

    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]
    spec: str

    def sweep(self, fake: str, *words: str) -> tuple[int, str]:
        """Run a verb with a fake engine; return its exit code and all that it printed."""
        with self.patch.context() as patch:
            put_in_place(fake, patch.setattr)
            code = call(patch, *words)
        return code, "".join(self.capture.readouterr())

    def run(self, fake: str, *options: str) -> tuple[int, str]:
        """Run the small sweep into the folder beside it."""
        return self.sweep(fake, "run", self.spec, "--out", str(Path(self.spec).parent / "run"), *options)


@pytest.fixture
def here(spec: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Give the program in this process."""
    return Here(patch=monkeypatch, capture=capsys, spec=spec)


def read_until(text: str, driver: "subprocess.Popen[str]") -> str:
    """Read what a driver says until the line with `text`: two signals that come at once are one."""
    assert driver.stderr is not None
    for line in driver.stderr:
        if text in line:
            return line
    raise AssertionError(f"it ended without saying '{text}'")


def listened(pid: int) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Yield the addresses on which a process waits for connections, as the kernel tells."""
    sockets = set()
    for number in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.add(number.readlink().name)
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                # Four bytes at a time, each in the order of this machine.
                raw = bytes.fromhex(words[1].partition(":")[0])
                address = ipaddress.ip_address(b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4)))
                mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
                yield mapped or address


def test_a_batch_that_raises_says_all_about_itself(bench: Bench, here: Here, spec: str) -> None:
    """A failed cell has its attempt, cause, host, last words and the command that shows the error in a terminal."""
    code, told = here.run("fail_until_mended", "-j", "2")

    store = RunStore(Path(spec).parent / "run")
    failures = store.failures().collect()
    assert code == ExitCode.CELLS_FAILED
    assert failures.height == finished(spec) == CELLS // 2
    assert set(failures["attempt"]) == {1}
    assert set(failures["host"]) == {platform.node()}
    assert set(failures["stderr"]) == {"looking at the value 2"}
    assert set(failures["error"]) == {"ValueError"}
    (cause,) = set(failures["fingerprint"])
    assert f"cause {cause}: 2 batches; to try these again: sweep retry {store.name} --only {cause}" in told
    command = failures["command"][0]
    assert f"to see it here: {command}" in told

    program, *words = shlex.split(command)
    shown = bench.run(PROGRAM, "fail_until_mended", *words)
    touch(spec, "value")
    mended = here.sweep("fail_until_mended", *words)

    assert (program, shown.returncode) == ("sweep", 1)
    assert shown.stderr.splitlines()[0] == "looking at the value 2"
    assert "ValueError: 2 vCPUs are too many" in shown.stderr
    assert mended[0] == ExitCode.OK
    assert "4 cells, 1,000 events, no error" in mended[1]
    assert finished(spec) == CELLS // 2
    goes_on("fail_until_mended", spec)


def test_retry_takes_what_failed_by_one_cause(here: Here, spec: str) -> None:
    """`retry --only` tries the cells of one cause, `retry` all that failed; a cause that is not there is told."""
    first, _ = here.run("fail_until_mended", "-s", "guests.vcpus=[1,2,4]", "-j", "2")
    store = RunStore(Path(spec).parent / "run")
    causes = dict(store.failures().select("error", "fingerprint").unique().collect().iter_rows())
    touch(spec, "value")
    touch(spec, "lookup")

    wrong, allowed = here.sweep("fail_until_mended", "retry", store.name, "--only", "none")
    one, told = here.sweep("fail_until_mended", "retry", store.name, "--only", causes["ValueError"], "-j", "1")
    left = store.failures().collect()
    rest, told_rest = here.sweep("fail_until_mended", "retry", store.name, "-j", "1")

    assert (first, wrong, one, rest) == (ExitCode.CELLS_FAILED, ExitCode.USAGE, ExitCode.OK, ExitCode.OK)
    assert set(causes) == {"ValueError", "LookupError"}
    assert all(cause in allowed for cause in causes.values())
    assert "8 cells in 2 batches to do" in told
    assert set(left["error"]) == {"LookupError"}
    assert "8 cells in 2 batches to do, 16 are there" in told_rest
    assert store.failures().collect().is_empty()
    assert finished(spec) == 24


def test_fail_fast_stops_at_so_many_failures_of_one_cause(here: Here, spec: str) -> None:
    """After N batches with the same cause nothing new is started."""
    many = ["-s", "replicates=40", "-s", "guests.vcpus=[2]"]
    code, told = here.run("fail_until_mended", *many, "-j", "1", "--fail-fast", "2")

    failures = RunStore(Path(spec).parent / "run").failures().collect()
    assert code == ExitCode.CELLS_FAILED
    assert "stopped: 2 batches have failed with cause " in told
    # A task more is in the window when the second failure comes back.
    assert 2 * 4 <= failures.height <= 4 * 4


def test_too_little_memory_halves_the_lanes(here: Here, spec: str) -> None:
    """A batch without room for its lanes is tried as halves, down to one lane, and gives the same rows."""
    code, told = here.run("need_memory_per_lane", "-j", "2")
    start_here(Path(spec), out="calm")

    folder = Path(spec).parent
    assert code == ExitCode.OK
    assert "no room for 4 lanes; tried again as two batches with half of the policies each" in told
    assert "no room for 2 lanes" in told
    assert diff_runs(folder / "run", folder / "calm").identical


@pytest.mark.parametrize("backend", ["local", "ray"])
def test_one_ctrl_c_finishes_what_runs(bench: Bench, spec: str, backend: str) -> None:
    """After the first Ctrl-C nothing begins, not even what is queued; what runs is kept, and how to go on is shown."""
    touch(spec, "many")
    driver = start(bench, "wait_for_the_marker", spec, *AS_OPTIONS, "-j", "1", "--backend", backend)
    wait_until(lambda: waits(spec, 4 * CELLS), driver)
    before = finished(spec)

    driver.send_signal(signal.SIGINT)
    said = read_until("Ctrl-C: what runs is finished", driver)
    touch(spec, "go")
    done = ended(driver)

    running = re.search(r"\(at most (\d+) batch", said)
    begun = len(list(Path(spec).parent.glob("marker.*.waits")))
    left = (4 * CELLS - finished(spec)) // POLICIES
    assert done.returncode == ExitCode.INTERRUPTED, done.stderr
    assert before < finished(spec) < 2 * before
    assert running is not None
    assert begun <= int(running[1])
    assert f"interrupted: {finished(spec)} new cells kept, {left} batches not done. To go on: " in done.stderr
    (command,) = [line.partition("To go on: ")[2] for line in done.stderr.splitlines() if "To go on: " in line]
    assert shlex.split(command)[:3] == ["sweep", "run", spec]
    goes_on("wait_for_the_marker", spec, *MANY, cells=4 * CELLS)


def test_two_ctrl_c_give_up_what_runs(bench: Bench, spec: str) -> None:
    """The second Ctrl-C ends workers in the middle of a batch; finished cells stay."""
    driver = start(bench, "wait_for_the_marker", spec, "-j", "1")
    wait_until(lambda: waits(spec), driver)
    before = finished(spec)

    driver.send_signal(signal.SIGINT)
    read_until("Ctrl-C once more gives it up", driver)
    driver.send_signal(signal.SIGINT)
    done = ended(driver)

    assert done.returncode == ExitCode.INTERRUPTED, done.stderr
    assert finished(spec) == before
    wait_until(lambda: not bench.alive())
    touch(spec, "go")
    goes_on("wait_for_the_marker", spec)


@pytest.mark.parametrize(
    ("number", "released"),
    [(signal.SIGTERM, True), (signal.SIGTERM, False), (signal.SIGHUP, True)],
    ids=["SIGTERM-released", "SIGTERM-held", "SIGHUP-released"],
)
def test_sigterm_gives_what_runs_its_grace(bench: Bench, spec: str, number: signal.Signals, *, released: bool) -> None:
    """After SIGTERM, or a lost terminal, batches are kept if they end within `--grace`, and given up if they don't."""
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, as under nohup")
    grace = "60" if released else "0.5"
    touch(spec, "many")
    driver = start(bench, "wait_for_the_marker", spec, *AS_OPTIONS, "-j", "1", "--grace", grace)
    wait_until(lambda: waits(spec, 4 * CELLS), driver)
    before = finished(spec)

    driver.send_signal(number)
    read_until(f"{number.name}: what runs has {grace} s to finish", driver)
    if released:
        touch(spec, "go")
    done = ended(driver)

    assert done.returncode == ExitCode.INTERRUPTED, done.stderr
    assert (before < finished(spec) < 2 * before) is released
    wait_until(lambda: not bench.alive())
    touch(spec, "go")
    goes_on("wait_for_the_marker", spec, *MANY, cells=4 * CELLS)


def test_a_lost_terminal_does_not_lose_what_runs(spec: str, bench: Bench) -> None:
    """After SIGHUP nothing can be printed any more, and what runs is finished and kept all the same."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        pytest.skip("SIGHUP is ignored here, as under nohup")
    touch(spec, "many")
    ours, theirs = os.openpty()
    words = ["run", spec, "--out", str(Path(spec).parent / "run"), *AS_OPTIONS, "-j", "1"]
    driver = subprocess.Popen(
        [sys.executable, "-m", PROGRAM, "wait_for_the_marker", *words],
        env=bench.environment | {"TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    wait_until(lambda: waits(spec, 4 * CELLS) or driver.poll() is not None)
    before = finished(spec)

    os.close(ours)
    driver.send_signal(signal.SIGHUP)
    touch(spec, "go")

    assert driver.wait(PATIENCE_SECONDS) == ExitCode.INTERRUPTED
    assert before < finished(spec) < 2 * before
    assert has_said_its_end(spec)
    goes_on("wait_for_the_marker", spec, *MANY, cells=4 * CELLS)


def test_a_killed_driver_takes_its_workers_along(bench: Bench, spec: str) -> None:
    """After kill -9 of the driver none of its processes and temporary files is left, and finished cells stay."""
    driver = start(bench, "wait_for_the_marker", spec, "-j", "1")
    wait_until(lambda: waits(spec), driver)
    before = finished(spec)

    driver.kill()
    driver.communicate()

    wait_until(lambda: not bench.alive() and not bench.left_files())
    assert finished(spec) == before
    touch(spec, "go")
    goes_on("wait_for_the_marker", spec)


def test_a_cluster_of_our_own_is_private_and_goes_with_its_driver(bench: Bench, spec: str) -> None:
    """Ray on this machine listens on loopback only, has no dashboard, and is gone, folder and all, after kill -9."""
    driver = start(bench, "wait_for_the_marker", spec, "-j", "1", "--backend", "ray")
    wait_until(lambda: waits(spec), driver)
    before = finished(spec)
    family = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
    names = " ".join(word for one in family for word in one.cmdline())
    heard = {address for one in family for address in listened(one.pid)}
    (folder,) = bench.folder.glob("sweep-ray-*")
    found = set(members(str(folder)))
    missed = [one.name() for one in family[1:] if one.is_running() and one.pid not in found]

    driver.kill()
    driver.communicate()

    assert missed == []
    assert "raylet" in names
    # Ray starts this process in any case; without the frontend it serves no pages and no jobs.
    assert "ray/dashboard/dashboard.py" not in names or "--disable-frontend" in names
    assert heard
    assert {address for address in heard if not address.is_loopback} == set()
    _, left = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
    assert left == []
    wait_until(lambda: not bench.alive() and not bench.left_files())
    assert finished(spec) == before
    touch(spec, "go")
    goes_on("wait_for_the_marker", spec)


def test_a_full_disk_ends_the_sweep_and_loses_nothing(here: Here, spec: str) -> None:
    """Where a part can't be written the sweep ends with its own exit code; readers see whole batches; it goes on."""
    code, told = here.run("find_the_disk_full", "-j", "1")

    assert code == ExitCode.STORAGE
    assert ": File too large" in told or "File too large: '" in told
    assert "what was finished is kept. To go on: sweep run " in told
    assert finished(spec) == POLICIES
    assert RunStore(Path(spec).parent / "run").orphans() == []
    assert has_said_its_end(spec)
    touch(spec, "mended")
    goes_on("find_the_disk_full", spec)


def test_a_cluster_without_its_head_is_lost(bench: Bench, spec: str) -> None:
    """When the head dies the sweep ends with its own exit code and says how to go on; finished cells stay."""
    with open_cluster(bench, 1) as cluster:
        words = ["run", spec, "--out", str(Path(spec).parent / "run"), "--address", cluster.address]
        driver = bench.start(PROGRAM, "wait_for_the_marker", *words, **cluster.access)
        wait_until(lambda: waits(spec), driver)
        before = finished(spec)

        cluster.tell("behead")
        done = ended(driver)

        assert done.returncode == ExitCode.CLUSTER_LOST, done.stderr
        assert f"backend ray: the head at {cluster.address} has been silent for " in done.stderr
        assert "what was finished is kept. To go on: sweep run " in done.stderr
        assert finished(spec) == before > 0
        assert has_said_its_end(spec)
    touch(spec, "go")
    goes_on("wait_for_the_marker", spec)
