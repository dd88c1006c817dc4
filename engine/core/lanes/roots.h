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

/* Count a zapped root that a lane lets go of, unless it is among those counted just now. */
INLINE int release_once(struct machine *m, int lane, int32_t *released, int count_of, int32_t slot)
{
	for (int one = 0; one < count_of; one++)
		if (released[one] == slot)
			return count_of;
	released[count_of] = slot;
	count_some(m, COUNTER_MMU_SHADOW_ZAPPED, bit(lane));
	free_pages(m, bit(lane));
	return count_of + 1;
}

/* Drop all references of a lane to roots that were zapped; each root is freed once and counted once more. */
static void release_zapped(struct machine *m, int lane)
{
	int32_t released[VCPUS * (CACHED_ROOTS + 1)];
	int used = 0;

	for (int which = 0; which < m->vcpus_used; which++) {
		struct vcpu *vcpu = &m->vcpus[which];

		for (int place = 0; place < CACHED_ROOTS; place++) {
			int32_t *root = &vcpu->cached_roots[place][lane];

			if (*root < NONE) {
				used = release_once(m, lane, released, used, -*root);
				*root = NONE;
			}
		}
		if (has(vcpu->zapped, lane)) {
			used = release_once(m, lane, released, used, vcpu->root);
			vcpu->zapped &= ~bit(lane);
		}
	}
	on_root_freed(m, bit(lane));
}

/* Replace roots that were zapped (kvm_mmu_free_obsolete_roots, kvm_mmu_reload). */
static void replace_roots(struct machine *m, lanes_t lanes)
{
	while (any(m->obsolete & lanes)) {
		lanes_t obsolete = m->obsolete & lanes;

		m->obsolete &= ~obsolete;
		FOR_EACH_LANE(lane, obsolete)
			release_zapped(m, lane);
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

/* Rotate the current root into the cache and `root`, if it is cached, out of it (fast_pgd_switch). */
static bool rotate_roots(struct machine *m, struct vcpu *vcpu, int lane, int32_t root)
{
	int32_t moving = has(vcpu->valid, lane) ? vcpu->root : NONE;

	for (int place = 0; place < m->knobs.cached_roots[lane]; place++) {
		int32_t taken = vcpu->cached_roots[place][lane];

		vcpu->cached_roots[place][lane] = moving;
		moving = taken;
		if (root != NONE && taken == root)
			return true;
	}
	return false;
}

/* Serve a guest load of CR3 (kvm_set_cr3, kvm_mmu_new_pgd). */
static void load_cr3(struct machine *m, struct vcpu *vcpu, int64_t gfn, lanes_t lanes)
{
	lanes_t hit = NO_LANES;

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

	FOR_EACH_LANE(lane, lanes)
		if (rotate_roots(m, vcpu, lane, root))
			hit |= bit(lane);
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
