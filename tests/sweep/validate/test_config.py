"""The measured policies as a sweep."""

from pathlib import Path

from sweep.commands.common import read_sweep
from sweep.validate.variants import load_variants


def test_sweep_has_the_knobs_of_the_measured_variants(project: Path) -> None:
    """Every variant of the recordings has a policy with its knobs in the sweep."""
    variants = load_variants(project / "tests" / "data" / "kvm-truth" / "variants.csv")

    spec = read_sweep(project / "configs" / "validate-kvm.yaml", ())

    swept = {policy.knobs for policy in spec.policies}
    assert [] == [name for name, policy in variants.items() if policy.knobs not in swept]
