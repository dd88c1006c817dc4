"""Measures the engine on the kernbench trace with 1, 8 and 64 policies, and prints a digest of the answers.

    python benchmarks/bench_engine.py [SCALE] [ROUNDS]

SCALE is the part of a full build (default 0.03: 11 compile units). Each round runs the three sizes one after the other,
so that the ratios hold when the machine's speed drifts; medians over rounds are printed. The 64 policies are `kvm-3.3`
under 64 flood thresholds; eight are the policies of the registry that shadow and that somebody ran.
"""

import argparse
import hashlib
import statistics
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine.guests import Guest
from engine.knobs import Policy
from engine.simulate import Batch, BatchCounts, run_batch
from sweep.spec.policies import shipped_policies

EIGHT: Final = (
    "kvm-3.0",
    "+desc-topup",
    "+rep-string-zap",
    "+last-byte",
    "+spte-accessed-flooding",
    "xiao-v1",
    "kvm-3.3",
    "kvm-6.1",
)
LINUX_2011: Final = {
    "fault_around_pages": 1,
    "tlb_single_page_flush_ceiling": 0,
    "upgrade_invlpg": 1,
    "protect_restores_write": 0,
    "init_on_alloc": 0,
}


def batches() -> dict[str, tuple[Policy, ...]]:
    """Return the policies of each size."""
    policies = shipped_policies()
    base = policies["kvm-3.3"]
    thresholds = tuple(base.override(f"threshold {n}", {"flood_threshold": n}) for n in range(1, 65))
    return {
        "1 (kvm-6.1)": (policies["kvm-6.1"],),
        "8 (2011 series)": tuple(policies[name] for name in EIGHT),
        "64 (thresholds)": thresholds,
        f"{len(policies)} (kernbench.yaml)": tuple(policies.values()),
    }


def measure(policies: tuple[Policy, ...], scale: float) -> BatchCounts:
    """Simulate one batch."""
    parameters = {"scale": scale, **LINUX_2011}
    guest = Guest(vcpus=2, memory_mib=1024)
    return run_batch(
        Batch(
            workload="kernbench",
            parameters=parameters,
            guest=guest,
            policies=policies,
            seed=1,
            window_ns=1_000_000_000,
        ),
    )


def main(scale: float, rounds: int) -> None:
    """Print medians of nanoseconds per event and of policy-events per second."""
    measure(batches()["1 (kvm-6.1)"], 0.003)
    seconds: dict[str, list[float]] = {}
    last: dict[str, BatchCounts] = {}
    for _ in range(rounds):
        for name, policies in batches().items():
            last[name] = measure(policies, scale)
            seconds.setdefault(name, []).append(last[name].engine_seconds)
    for name, policies in batches().items():
        counts, median = last[name], statistics.median(seconds[name])
        rate = counts.events * len(policies) / median / 1e6
        digest = hashlib.blake2b(counts.totals.tobytes(), digest_size=8).hexdigest()
        per_event = median / counts.events * 1e9
        producer = (counts.generate_seconds + counts.guest_seconds) / counts.events * 1e9
        print(
            f"{name:22} {counts.events:>10,} events  {per_event:7.1f} ns/event  {rate:8.1f} M policy-events/s  "
            f"generator and guest {producer:5.1f} ns/event  digest {digest}",
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scale", metavar="SCALE", type=float, nargs="?", default=0.03, help="default: %(default)s")
    parser.add_argument("rounds", metavar="ROUNDS", type=int, nargs="?", default=3, help="default: %(default)s")
    chosen = parser.parse_args()
    main(chosen.scale, chosen.rounds)
