/* Roots in lanes: CR3 loads, flushes, and what an exit leaves to be done before the guest runs again. */
#pragma once

#include "counting.h"
#include "descs.h"
#include "guess.h"
#include "mechanism_hooks.h"
#include "memory.h"
#include "pages.h"
#include "rmap.h"
#include "slots.h"
#include "state.h"
#include "sync.h"
#include "tree.h"

/* Serve the flushes that an exit asked for; those of one exit are one flush (kvm_service_local_tlb_flush_requests). */
OUT_OF_LINE void flush_local(struct machine *m, lanes_t lanes)
{
	m->flush &= ~lanes;
	for (int which = 0; which < m->vcpus_used; which++) {
		struct vcpu *vcpu = &m->vcpus[which];

		count(m, COUNTER_TLB_FLUSH, (vcpu->flush | vcpu->flush_current) & lanes);
		vcpu->flush &= ~lanes;
		vcpu->flush_current &= ~lanes;
	}
}

/* Synchronise everything below the current root, under the lock if there is something (kvm_mmu_sync_roots). */
static void sync_root(struct machine *m, struct vcpu *vcpu, lanes_t lanes)
{
	lanes &= vcpu->valid;
	if (any(lanes))
		count(m, COUNTER_LOCK_ACQUISITIONS, sync_children(m, vcpu->root, lanes));
}

/* Give a vCPU a root for its CR3 and synchronise it (kvm_mmu_load). */
static void load_root(struct machine *m, struct vcpu *vcpu, lanes_t lanes)
{
	top_up(m, vcpu, lanes);
	count(m, COUNTER_LOCK_ACQUISITIONS, lanes);
	make_pages_available(m, lanes);
	set_root(vcpu, get_page(m, vcpu->cr3, key_of(ROOT_LEVEL, false, ACC_ALL), lanes));
	vcpu->valid |= lanes;
	sync_root(m, vcpu, lanes);
}

/* Note a zapped root that a lane lets go of, unless it is among those noted just now; how many are. */
INLINE int release_once(int32_t *released, int count_of, int32_t slot)
{
	for (int one = 0; one < count_of; one++)
		if (released[one] == slot)
			return count_of;
	released[count_of] = slot;
	return count_of + 1;
}

/* Drop all references of a lane to roots that were zapped; how many roots. */
static int release_zapped(struct machine *m, int lane)
{
	int32_t released[VCPUS * (CACHED_ROOTS + 1)];
	int used = 0;

	for (int which = 0; which < m->vcpus_used; which++) {
		struct vcpu *vcpu = &m->vcpus[which];

		for (int place = 0; place < CACHED_ROOTS; place++) {
			int32_t *root = &vcpu->cached_roots[place][lane];

			if (*root < NONE) {
				used = release_once(released, used, -*root);
				*root = NONE;
			}
		}
		if (has(vcpu->zapped, lane)) {
			used = release_once(released, used, vcpu->root);
			vcpu->zapped &= ~bit(lane);
		}
	}
	return used;
}

/* Have lanes let go of roots that were zapped; each is freed once and counted once more. */
static void release_roots(struct machine *m, lanes_t lanes)
{
	int released[LANES], most = 0;

	FOR_EACH_LANE(lane, lanes) {
		released[lane] = release_zapped(m, lane);
		most = released[lane] > most ? released[lane] : most;
	}
	for (int one = 0; one < most; one++) {
		lanes_t freeing = NO_LANES;

		FOR_EACH_LANE(lane, lanes)
			if (released[lane] > one)
				freeing |= bit(lane);
		count_some(m, COUNTER_MMU_SHADOW_ZAPPED, freeing);
		free_pages(m, freeing);
	}
	on_root_freed(m, lanes);
}

/* Replace roots that were zapped (kvm_mmu_free_obsolete_roots, kvm_mmu_reload). */
static void replace_roots(struct machine *m, lanes_t lanes)
{
	while (any(m->obsolete & lanes)) {
		lanes_t obsolete = m->obsolete & lanes;

		m->obsolete &= ~obsolete;
		release_roots(m, obsolete);
		for (int which = 0; which < m->vcpus_used; which++) {
			struct vcpu *vcpu = &m->vcpus[which];
			lanes_t missing = obsolete & ~vcpu->valid;

			if (any(missing) && vcpu->cr3 != NO_GFN)
				load_root(m, vcpu, missing);
		}
	}
}

/* Do what is pending before the guest runs again (vcpu_enter_guest). */
INLINE void finish_exit(struct machine *m, lanes_t lanes)
{
	on_exit_end(m, lanes);
	if (any(m->obsolete & lanes))
		replace_roots(m, lanes);
	if (any(m->flush & lanes))
		flush_local(m, lanes);
}

/* Rotate the current root into the cache and `root`, if it is cached, out of it; where it is (fast_pgd_switch). */
static lanes_t rotate_roots(struct machine *m, struct vcpu *vcpu, int32_t root, lanes_t lanes)
{
	numbers_t moving, taken;
	lanes_t hit = NO_LANES;

	set_numbers(moving, NONE, lanes);
	set_numbers(moving, vcpu->root, lanes & vcpu->valid);
	for (int place = 0; place < CACHED_ROOTS; place++) {
		lanes &= m->knobs.caches[place];
		copy_numbers(taken, vcpu->cached_roots[place], lanes);
		copy_numbers(vcpu->cached_roots[place], moving, lanes);
		if (root != NONE)
			hit |= numbers_equal(taken, root, lanes);
		lanes &= ~hit;
		copy_numbers(moving, taken, lanes);
	}
	return hit;
}

/* Serve a guest load of CR3 (kvm_set_cr3, kvm_mmu_new_pgd). */
static void load_cr3(struct machine *m, struct vcpu *vcpu, int64_t gfn, lanes_t lanes)
{
	count_some(m, COUNTER_CR3_LOADS, lanes);
	on_cr3(m, vcpu, lanes);
	vcpu->flush_current |= lanes;
	m->flush |= lanes;
	if (vcpu->cr3 == gfn) {
		sync_root(m, vcpu, lanes);
		finish_exit(m, lanes);
		return;
	}
	int32_t root = find_slot(m, gfn, key_of(ROOT_LEVEL, false, ACC_ALL));
	lanes_t hit = rotate_roots(m, vcpu, root, lanes);

	vcpu->cr3 = (int32_t)gfn;
	vcpu->valid &= ~(lanes & ~hit);
	if (any(hit)) {
		set_root(vcpu, root);
		on_root(m, root, hit);
		sync_root(m, vcpu, hit);
	}
	if (any(lanes & ~hit)) {
		flush_local(m, lanes & ~hit);
		load_root(m, vcpu, lanes & ~hit);
	}
	finish_exit(m, lanes);
}

static bool has_unsync(struct machine *m, int32_t slot, lanes_t lanes)
{
	int32_t begin = collect_unsync(m, slot, lanes, false);
	bool found = m->work_used > begin;

	m->work_used = begin;
	return found;
}

/* Serve a guest's flush of all translations; frees cached roots with stale leaves (kvm_vcpu_flush_tlb_guest). */
static void flush_all(struct machine *m, struct vcpu *vcpu, lanes_t lanes)
{
	count(m, COUNTER_EXITS, lanes);
	if (vcpu->cr3 != NO_GFN) {
		count(m, COUNTER_TLB_FLUSH, lanes);
		sync_root(m, vcpu, lanes);
		for (int place = 0; place < CACHED_ROOTS; place++)
			FOR_EACH_LANE(lane, lanes) {
				int32_t slot = vcpu->cached_roots[place][lane];

				if (slot > NONE && has_unsync(m, slot, bit(lane)))
					vcpu->cached_roots[place][lane] = NONE;
			}
	}
	finish_exit(m, lanes);
}
