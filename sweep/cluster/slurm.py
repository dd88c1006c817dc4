"""An sbatch script that starts a Ray cluster of its own, runs a sweep on it, and leaves before its time is up."""

import re
import shlex
from dataclasses import dataclass

from sweep.cluster.options import ClusterSize
from sweep.cluster.request import DRAIN_SECONDS, GO_ON_VARIABLE, JobRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmOptions:
    """What a Slurm job needs to know beside the sweep."""

    size: ClusterSize
    partition: str | None


def sbatch_script(request: JobRequest, options: SlurmOptions, *, file: str) -> str:
    """Return the script, with the specification inside; `file` is its own name."""
    words = {
        "@directives@": "\n".join(f"#SBATCH --{text}" for text in _directives(request, options)),
        "@sweep@": request.spec.name,
        "@python@": shlex.quote(request.python),
        "@run@": shlex.quote(request.run),
        "@file@": shlex.quote(file),
        "@command@": request.command("@spec@").replace("@spec@", '"$spec"'),
        "@specname@": shlex.quote(request.spec_name),
        "@text@": request.spec_text.rstrip("\n"),
        "@end@": _end_mark(request.spec_text),
        "@drain@": str(DRAIN_SECONDS),
        "@goon@": GO_ON_VARIABLE,
        "@again@": shlex.quote(f"sbatch {shlex.quote(file)}"),
        "@minutes@": str(DRAIN_SECONDS // 60),
    }
    return re.sub(r"@[a-z]+@", lambda match: words[match[0]], _SCRIPT)


def _end_mark(text: str) -> str:
    """Return a line that does not occur in the text that it ends."""
    mark = "END_OF_SWEEP"
    while mark in text.splitlines():
        mark += "_"
    return mark


def _directives(request: JobRequest, options: SlurmOptions) -> list[str]:
    size = options.size
    minutes, seconds = divmod(size.seconds, 60)
    return [
        f"job-name={request.name}",
        f"nodes={size.workers}",
        "ntasks-per-node=1",
        f"cpus-per-task={size.cpus}",
        f"mem={size.memory_mib}M",
        f"time={minutes // 60}:{minutes % 60:02}:{seconds:02}",
        *([] if options.partition is None else [f"partition={options.partition}"]),
        f"output={request.name}-%j.log",
        f"signal=B:TERM@{DRAIN_SECONDS}",
    ]


_SCRIPT = r"""#!/usr/bin/env bash
# @sweep@ on Slurm. Written by `sweep submit --slurm`; change it as you like.
#
# Start, and go on with, once it has ended:  sbatch @file@
# Watch from anywhere:                       sweep status @run@
# Stop (what is finished stays):             scancel --batch --signal=TERM JOBID
#
# --signal: Slurm sends SIGTERM to this script @minutes@ minutes before the time is up; the driver then commits what it
# has.
@directives@
set -euo pipefail

python=@python@
run=@run@

# Ports, a temporary folder and a token per job: jobs that share a node do not meet. Below Linux' ephemeral ports.
port=$((20000 + SLURM_JOB_ID % 6000 * 2))
temp="/tmp/sweep-$SLURM_JOB_ID"
token="$HOME/.sweep-token-$SLURM_JOB_ID" # Home is on all nodes; nobody else may read it.
(umask 077 && "$python" -c 'import secrets; print(secrets.token_hex(32), end="")' >"$token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$token" RAY_USAGE_STATS_ENABLED=0
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
first=${nodes[0]}
export python temp first
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # Since Slurm 22.05 srun does not take it from sbatch by itself.

# The sweep as it was when this script was written.
spec_folder="/tmp/sweep-$SLURM_JOB_ID.spec"
spec="$spec_folder"/@specname@
mkdir -m 700 "$spec_folder"
cat >"$spec" <<'@end@'
@text@
@end@

# shellcheck disable=SC2329 # Called on the nodes.
# Run one Ray node in the foreground and leave nothing of it behind. A lost head ends the job, and sbatch goes on from
# the run's folder; a Redis for the head's tables (GCS fault tolerance) would only save the minutes of a restart.
ray_node() {
  # Beside the head runs a worker in the same folder, which must not take it away.
  if [ "$1" = --head ] || [ "$SLURMD_NODENAME" != "$first" ]; then
    trap 'rm -rf "$temp"' EXIT
  fi
  trap 'kill "$ray" 2>/dev/null; wait "$ray"; exit 0' TERM
  "$python" -m ray.scripts.scripts start --block --disable-usage-stats \
    --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0 "$@" &
  ray=$!
  wait "$ray"
}
export -f ray_node

# Start a Ray node on each of $1 nodes out of the list $2; the rest are arguments of `ray start`.
start_nodes() {
  local count=$1 list=$2
  shift 2
  # shellcheck disable=SC2016 # "$@" is for the shell on the node.
  srun --overlap --nodes="$count" --ntasks="$count" --ntasks-per-node=1 --nodelist="$list" \
    bash -c 'ray_node "$@"' ray_node "$@" &
  steps+=("$!")
}

steps=()
# shellcheck disable=SC2329 # Called at the exit.
finish() {
  for step in "${steps[@]}"; do kill "$step" 2>/dev/null || true; done
  wait || true
  rm -rf "$token" "$spec_folder"
}
trap finish EXIT

address=$(srun --overlap --nodes=1 --ntasks=1 --nodelist="$first" hostname --ip-address | awk '{print $1; exit}')

# The head has no CPUs: it keeps the cluster's tables, and batches run on the workers, one of them beside it. Ray is
# told how much memory the job has, or it would take all of a node that others use too: 7 tenths are for tasks, 1 for
# each of two object stores, and the rest for Ray itself and the driver.
tenth=$((SLURM_MEM_PER_NODE * 1024 * 1024 / 10))
start_nodes 1 "$first" --head --num-cpus=0 --include-dashboard=false --object-store-memory="$tenth" \
  --node-ip-address="$address" --port="$port" --ray-client-server-port=$((port + 1)) --temp-dir="$temp"
start_nodes "$SLURM_JOB_NUM_NODES" "$SLURM_JOB_NODELIST" --address="$address:$port" \
  --num-cpus="$SLURM_CPUS_PER_TASK" --memory="$((tenth * 7))" --object-store-memory="$tenth"

export RAY_ADDRESS="$address:$port" @goon@=@again@
# Wait until all nodes are there, and do not spend hours on a cluster that can't keep the results.
"$python" -m sweep.cli doctor --address "$RAY_ADDRESS" --nodes "$((SLURM_JOB_NUM_NODES + 1))" --out "$run"

stopping=
trap 'stopping=1; kill -TERM "$driver" 2>/dev/null || true' TERM
@command@ &
driver=$!
code=0
wait "$driver" || code=$?
# The signal ends `wait` early; the driver is still committing.
while kill -0 "$driver" 2>/dev/null; do
  code=0
  wait "$driver" || code=$?
done
if [ -n "$stopping" ]; then
  echo "The time is up; what was finished is in $run. To go on: sbatch @file@" >&2
fi
exit "$code"
"""
