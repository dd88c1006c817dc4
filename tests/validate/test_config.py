"""The measured policies as a sweep."""

from pathlib import Path

from sweep.commands.common import read_sweep
from sweep.validate.variants import load_variants


def test_sweep_has_the_knobs_of_the_measured_variants(project: Path) -> None:
    """Where the sweep names a variant of the recordings, its knobs are those of variants.csv."""
    variants = load_variants(project / "tests" / "data" / "kvm-truth" / "variants.csv")

    spec = read_sweep(project / "configs" / "validate-kvm.yaml", ())

    swept = {policy.name: policy.knobs for policy in spec.policies}
    assert {name: swept[name] for name in variants} == {name: policy.knobs for name, policy in variants.items()}
