/*
 * Zap a shadow page when a store to it has a size or a place that no page-table write has.
 *
 * Source: detect_write_misaligned, Linux 3.0 and 6.1 arch/x86/kvm/mmu.c; the one-byte exception is the third change of
 * "KVM: x86: optimize for guest page written" (2011). `under_8_bytes` is a rule of the validation data only.
 */
#pragma once

#include "../state.h"


/* The lanes whose rule a store of `width` bytes at `offset` of the page violates. */
INLINE lanes_t misaligned_lanes(const struct machine *m, int offset, int width)
{
	bool low_byte = width == 1 && offset % ENTRY_BYTES == 0;
	bool crosses = offset / ENTRY_BYTES != (offset + width - 1) / ENTRY_BYTES;
	lanes_t lanes = 0;

	if (crosses || width < 4) {
		lanes |= m->knobs.misaligned_2011;
		if (!low_byte)
			lanes |= m->knobs.misaligned_low_byte;
	}
	if (width < ENTRY_BYTES)
		lanes |= m->knobs.misaligned_under_8;
	return lanes;
}
