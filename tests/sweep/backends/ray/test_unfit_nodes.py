"""Nodes that can't take part in a sweep: one that is there from the start, and one that joins later."""

from dataclasses import replace

import pytest

from results.store.opening import open_storage
from results.store.run_store import RunStore
from sweep.exit_codes import ExitCode
from tests.support.cluster import host as cluster_host
from tests.support.cluster.processes import Bench, ended, open_cluster, wait_until
from tests.support.cluster.small_sweep import PROGRAM
from tests.support.s3_server import BUCKET, s3_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("clusters")]

NOWHERE = {"AWS_ENDPOINT_URL": cluster_host.NOWHERE, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
"""An environment in which no bucket is in reach: nothing listens on port 1."""


def test_the_only_node_of_a_cluster_must_reach_the_run(bench: Bench, spec: str) -> None:
    """A cluster of one node that is named by its address is asked before the first task, and the node is named."""
    afar = replace(bench, environment=bench.environment | NOWHERE)
    with s3_server() as store, open_cluster(afar, 1) as cluster:
        words = ["run", spec, "--out", f"s3://{BUCKET}/far", "--address", cluster.address]
        done = ended(bench.start(PROGRAM, "simulate", *words, **cluster.access, **store))

    assert done.returncode == ExitCode.USAGE, done.stderr
    assert "backend ray: not every node can take part\n  127.0.0.1: " in done.stderr
    assert f"does not see s3://{BUCKET}/far (UnreachableError: " in done.stderr
    assert "cells in 4 batches to do" not in done.stderr


def test_a_node_that_joins_and_does_not_reach_the_run_gets_no_work(bench: Bench, spec: str) -> None:
    """What a node that joins later can't write goes to another one; it gets nothing more, and no cell has failed."""
    run = f"s3://{BUCKET}/near"
    words = ["run", spec, "--out", run, "-s", "replicates=40"]
    with s3_server() as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.items():
            patch.setenv(name, value)
        near = replace(bench, environment=bench.environment | store)
        with open_cluster(near, 0, 1) as cluster:
            driver = near.start(PROGRAM, "take_a_moment", *words, "--address", cluster.address, **cluster.access)
            wait_until(lambda: open_storage(run).files_in("manifest"), driver)
            cluster.tell("add_apart 2")
            done = ended(driver)
        written = RunStore(run)
        finished, failures = written.finished_cells(), written.failures().collect()

    assert done.returncode == ExitCode.OK, done.stderr
    assert f"{run}/spec.json: GenericError: " in done.stderr
    assert done.stderr.count("gets no more work") == 1
    assert len(finished) == 2 * 40 * 4
    assert failures.is_empty()
