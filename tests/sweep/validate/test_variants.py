"""From the words of variants.csv to knobs."""

from pathlib import Path

import pytest

from sweep.validate.variants import VariantError, load_variants

HEADER = (
    "variant,flood_threshold,flood_mode,flood_level1,flood_clear_on_walk,flood_reset_on_other_faults,"
    "accessed_bit_exception,misaligned_rule,unsync,retry_unprotect,rep_emulation,refill_spte_from_written_gpte,"
    "pte_prefetch,pool_pages,host_pages,kvm_module"
)
OLD = (
    "old,never,per_vcpu_2011,yes,does not apply (per_vcpu_2011),yes,yes,"
    "pre-2011 (shorter than 4 bytes or crossing an entry),no,no,one_per_exit,yes,no,64,4k,patched"
)


def variants_file(folder: Path, *lines: str) -> Path:
    """Write a variants.csv."""
    path = folder / "variants.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_every_column_becomes_its_knob(tmp_path: Path) -> None:
    """A variant that differs from 6.1 in everything differs in every knob."""
    knobs = load_variants(variants_file(tmp_path, HEADER, OLD))["old"].knobs

    assert (knobs.flood_threshold, knobs.flood_scope, knobs.flood_level1) == (0, "vcpu", True)
    assert (knobs.flood_clear_on_walk, knobs.flood_reset_on_fault, knobs.flood_accessed_exception) == (
        False,
        True,
        True,
    )
    assert (knobs.misaligned, knobs.unsync, knobs.retry_untagged, knobs.rep_limit) == ("before_2011", False, False, 1)
    assert (knobs.update_written_spte, knobs.prefetch, knobs.pool_pages) == (True, False, 64)
    assert not knobs.host_large_pages


def test_default_pool_follows_from_the_guest(tmp_path: Path) -> None:
    """A pool that is marked as the default is left to the size of the guest."""
    path = variants_file(tmp_path, HEADER, OLD.replace(",64,4k", ",655 (default),2m"))

    assert load_variants(path)["old"].knobs.pool_pages == 0


def test_unknown_value_names_place_and_choices(tmp_path: Path) -> None:
    """A value that is not documented is an error with file, line, column and what is allowed."""
    path = variants_file(tmp_path, HEADER, OLD.replace("one_per_exit", "two_per_exit"))

    with pytest.raises(VariantError) as caught:
        load_variants(path)

    expected = f"{path}:2: rep_emulation: found 'two_per_exit'; allowed: one of up_to_1024, one_per_exit."
    assert expected == str(caught.value)


def test_unknown_column_is_an_error(tmp_path: Path) -> None:
    """A knob that we don't know is not silently left out."""
    path = variants_file(tmp_path, HEADER + ",colour", OLD + ",red")

    with pytest.raises(VariantError, match="unknown 'colour'"):
        load_variants(path)


def test_missing_file_says_what_it_is_for(tmp_path: Path) -> None:
    """Without variants.csv there is an error, not a guess."""
    with pytest.raises(VariantError, match="no such file"):
        load_variants(tmp_path / "variants.csv")
