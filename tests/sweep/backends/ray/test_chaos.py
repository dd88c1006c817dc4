"""The worst night of a cluster: workers killed, a node lost, a node added, the driver killed twice."""

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from results.store.run_store import RunStore
from results.upkeep.diff import diff_runs
from sweep.exit_codes import ExitCode
from tests.support.cluster.processes import Bench, RunningCluster, ended, open_cluster
from tests.support.cluster.small_sweep import PROGRAM
from tests.support.fakes import WINDOWS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("clusters")]

POLICIES = 4
BATCHES = 200
CELLS = BATCHES * POLICIES
KILLS_MAX = 12
"""Workers killed in all: each costs some seconds until another one has started."""
STARTS_MAX = 4
"""Starts after the chaos until everything is there: a batch may have been unlucky three times and count as failed."""


def test_after_a_night_of_faults_the_tables_are_those_of_a_calm_run(bench: Bench, tmp_path: Path, spec: str) -> None:
    """Whatever is killed, the same command ends in the tables of an undisturbed local run: no cell missing or twice."""
    calm, run = tmp_path / "calm", tmp_path / "run"
    size = ["-s", "replicates=100"]
    undisturbed = bench.start(PROGRAM, "simulate", "run", spec, *size, "--out", str(calm), "-j", "1")
    with open_cluster(bench, 0, 1, 2, 1) as cluster:
        assert ended(undisturbed).returncode == ExitCode.OK
        chaos = Chaos(bench, cluster, run, ["run", spec, *size, "--out", str(run), "--address", cluster.address])

        chaos.drive_to(0.15)
        cluster.tell("remove 0")
        chaos.drive_to(0.3)
        chaos.kill_the_driver()
        chaos.drive_to(0.45)
        cluster.tell("add 3")
        chaos.drive_to(0.6)
        chaos.kill_the_driver()
        codes = chaos.drive_to_the_end()

    assert codes[-1] == ExitCode.OK, codes
    assert chaos.kills
    difference = diff_runs(run, calm)
    assert difference.identical, difference.text()
    store = RunStore(run)
    cells, windows = store.scan("cells").collect(), store.scan("windows").collect()
    assert cells.height == cells["cell_id"].n_unique() == CELLS
    assert windows.height == windows.select("cell_id", "window").n_unique() == CELLS * WINDOWS
    assert store.failures().collect().is_empty()
    assert store.orphans() == []


class Chaos:
    """Starts drivers of one sweep, watches the run's manifest, and kills workers that a seeded generator picks."""

    def __init__(self, bench: Bench, cluster: RunningCluster, run: Path, words: list[str]) -> None:
        self.kills = 0
        self._bench, self._cluster, self._run, self._words = bench, cluster, run, words
        self._random = np.random.default_rng(20110726)
        self._driver: subprocess.Popen[str] | None = None
        self._last_kill = time.monotonic()

    def drive_to(self, share: float) -> None:
        """Let a driver work until a share of the cells is finished, while workers die."""
        driver = self._driver or self._start()
        while self._finished() < share * CELLS:
            assert driver.poll() is None, driver.communicate()
            self._maybe_kill_a_worker()
            time.sleep(0.1)

    def kill_the_driver(self) -> None:
        """Kill the driver without a warning."""
        assert self._driver is not None
        self._driver.kill()
        self._driver.communicate()
        self._driver = None

    def drive_to_the_end(self) -> list[int]:
        """Start the same command until all cells are there; return the exit codes."""
        codes = []
        for _ in range(STARTS_MAX):
            done = ended(self._driver or self._start())
            self._driver = None
            codes.append(done.returncode)
            assert done.returncode in {ExitCode.OK, ExitCode.CELLS_FAILED}, done.stderr
            if done.returncode == ExitCode.OK:
                break
        return codes

    def _start(self) -> "subprocess.Popen[str]":
        self._driver = self._bench.start(PROGRAM, "take_a_moment", *self._words, **self._cluster.access)
        return self._driver

    def _finished(self) -> int:
        manifest = self._run / "manifest"
        entries = (json.loads(path.read_bytes()) for path in manifest.glob("*.json"))
        return sum(part["rows"] for entry in entries for part in entry["parts"] if part["table"] == "cells")

    def _maybe_kill_a_worker(self) -> None:
        if self.kills >= KILLS_MAX or time.monotonic() - self._last_kill < 1.0:
            return
        busy = self._cluster.busy_workers()
        if not busy:
            return
        try:
            busy[self._random.integers(len(busy))].kill()
        except psutil.NoSuchProcess:
            return
        self.kills += 1
        self._last_kill = time.monotonic()
