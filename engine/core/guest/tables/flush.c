/* Load CR3 and flush translations, on this vCPU and on those that an inter-processor interrupt reaches. */
#include "flush.h"

#include "guest/emit.h"

void load_root(struct guest *guest, int vcpu, int mm)
{
	struct cpu *cpu = &guest->cpus[vcpu];
	int64_t root = guest->world->kernel_root;

	if (mm != ABSENT) {
		root = guest->mms[mm].root;
		guest->mms[mm].live = 1;
	}
	cpu->mm = mm;
	emit(guest, vcpu, EVENT_CR3, 0, (uint64_t)(root << PAGE_SHIFT));
	cpu->generation++;
	cpu->fresh = 1;
	cpu->since_ns = 0;
	cpu->retouched = 0;
}

/* Tell whether a vCPU executes a process of an address space, rather than having it loaded lazily. */
static bool runs(const struct guest *guest, int vcpu, int mm)
{
	const struct cpu *cpu = &guest->cpus[vcpu];

	return cpu->mm == mm && cpu->running && cpu->active_mm == mm;
}

void flush_range(struct guest *guest, int vcpu, int mm, int64_t start, int64_t end)
{
	int64_t pages = (end - start) >> PAGE_SHIFT;
	bool whole = pages > guest->knobs->tlb_single_page_flush_ceiling;

	for (int other = 0; other < guest->world->vcpus; other++) {
		if (guest->cpus[other].mm != mm)
			continue;
		if (other != vcpu && !runs(guest, other, mm)) {
			guest->cpus[other].mm = ABSENT;
		} else if (whole) {
			load_root(guest, other, mm);
		} else {
			for (int64_t page = 0; page < pages; page++)
				emit(guest, other, EVENT_INVLPG, start + (page << PAGE_SHIFT), 0);
		}
	}
}

void flush_page(struct guest *guest, int vcpu, int mm, int64_t va)
{
	for (int other = 0; other < guest->world->vcpus; other++) {
		if (guest->cpus[other].mm != mm)
			continue;
		if (other != vcpu && !runs(guest, other, mm))
			guest->cpus[other].mm = ABSENT;
		else
			emit(guest, other, EVENT_INVLPG, va & ~(int64_t)(PAGE_SIZE - 1), 0);
	}
}

void flush_all(struct guest *guest, int vcpu, int mm)
{
	flush_range(guest, vcpu, mm, 0, USER_END);
}

void leave_space(struct guest *guest, int mm)
{
	for (int other = 0; other < guest->world->vcpus; other++) {
		if (guest->cpus[other].mm == mm)
			load_root(guest, other, ABSENT);
	}
}

void forget_touches(struct guest *guest, int64_t gfn)
{
	int64_t *stamps = stamps_of(guest, gfn);

	for (int64_t vcpu = 0; vcpu < guest->world->vcpus; vcpu++)
		stamps[vcpu] = 0;
}
