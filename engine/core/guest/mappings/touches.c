/*
 * Touch the working set again after translations were dropped: a parametric model, calibrated on a recording.
 * After a CR3 load a vCPU touches kernel pages at once, and user pages at a rate of its run time that falls after a
 * burst. User pages are drawn from the ring of recent faults, recent ones more often. Each page is touched once per
 * CR3 load.
 */
#include "touches.h"

#include "areas.h"
#include "faults.h"
#include "guest/emit.h"
#include "guest/tables/tables.h"

/* Most retouches before one operation. */
#define RETOUCHES_AT_ONCE 512
#define SPREAD_BITS 16
/* The first regions of the kernel image hold code, the others data. */
#define TEXT_REGIONS 9
#define STRUCT_PAGE_BYTES 64
#define NS_PER_US 1000
#define NS_PER_MS 1000000
/* Bounds a product of run time and rate, which 64 bits must hold. */
#define PRODUCT_MAX (INT64_C(1) << 62)

/* Hash a small number to 31 bits, so that fixed sets of pages need no table. */
static int64_t scatter(int64_t number)
{
	uint64_t hash = ((uint64_t)number * 0x9E3779B1) & 0x7FFFFFFF;

	return (int64_t)(((hash ^ (hash >> 15)) * 0x85EBCA6B) & 0x7FFFFFFF);
}

/* Touch code and data of the kernel image. */
static void touch_kernel_image(struct guest *guest, int vcpu)
{
	guest->world->activity = ACTIVITY_KERNEL;
	for (int64_t i = 0; i < guest->knobs->kernel_image_touches; i++) {
		int64_t region = i % KERNEL_TEXT_REGIONS;
		int64_t page = scatter(i + 1) % REGION_PAGES;
		int access = i & 1 ? ACCESS_READ : ACCESS_WRITE;

		if (region < TEXT_REGIONS)
			access = ACCESS_FETCH;
		emit_touch(guest, vcpu, KERNEL_TEXT + region * span_bytes(2) + (page << PAGE_SHIFT), access);
	}
}

/* Return the direct-map address of a page of kernel data. */
static int64_t kernel_data_page(const struct world *world, int64_t number)
{
	int64_t skip = world->memmap_regions * REGION_PAGES;
	int64_t gfn = world->kernel_base + skip + scatter(number) % (world->kernel_frames - skip);

	return DIRECT_MAP + (gfn << PAGE_SHIFT);
}

/* Touch kernel data: three of four pages are always the same for a vCPU, the others are drawn. */
static void touch_kernel_data(struct guest *guest, int vcpu)
{
	int64_t stack = guest->cpus[vcpu].pid & (KERNEL_STACK_PAGES - 1);

	for (int64_t i = 0; i < guest->knobs->kernel_data_touches; i++) {
		int64_t number = (i & 3) == 3 ? random_below(guest, 1 << SPREAD_BITS) : i * 64 + vcpu;

		emit_touch(guest, vcpu, kernel_data_page(guest->world, number), i & 1 ? ACCESS_WRITE : ACCESS_READ);
	}
	emit_touch(guest, vcpu, STACK_MAP + (stack << PAGE_SHIFT), ACCESS_WRITE);
	emit_touch(guest, vcpu, CPU_ENTRY_AREA, ACCESS_READ);
}

void touch_for_fault(struct guest *guest, int vcpu)
{
	for (int64_t left = guest->knobs->kernel_fault_touches; left > 0; left--) {
		int64_t page = random_below(guest, guest->world->pages);

		emit_touch(guest, vcpu, MEMMAP + page * STRUCT_PAGE_BYTES, ACCESS_WRITE);
	}
}

/* Return how many user pages this run interval has touched by now. */
static int64_t touches_due(const struct guest *guest, int vcpu)
{
	const struct guest_knobs *knobs = guest->knobs;
	int64_t run = guest->cpus[vcpu].since_ns;
	int64_t burst = knobs->retouch_burst_us * NS_PER_US;
	int64_t due = knobs->retouch_pages_first + least(run, burst) * knobs->retouch_pages_per_ms / NS_PER_MS;
	int64_t rate = knobs->retouch_pages_per_ms_later;

	if (run > burst)
		due += least(run - burst, PRODUCT_MAX / most(rate, 1)) * rate / NS_PER_MS;
	return due;
}

/*
 * Touch one user page if this is its first touch since the CR3 load. After a fork that no recording saw, pages that
 * fork protected or did not copy fault first.
 */
static void retouch_page(struct guest *guest, int vcpu, int mm, int64_t va, bool write)
{
	const struct mm *space = &guest->mms[mm];
	uint64_t *place = find_entry(guest, space->root, va);
	uint64_t entry = place == NULL ? 0 : *place;
	bool forked = guest->knobs->retouch_breaks_cow || space->breaks_cow;
	int index = forked ? find_area(guest, mm, va) : ABSENT;
	int flags = index != ABSENT ? guest->areas[mm][index].flags : 0;
	int access;

	if (entry == 0 && flags & VM_FILE) {
		access = flags & VM_EXEC ? ACCESS_FETCH : ACCESS_READ;
		page_fault(guest, vcpu, mm, va, access | ACCESS_USER, 0);
		guest->world->activity = ACTIVITY_RETOUCH;
		return;
	}
	if (!(entry & PTE_PRESENT))
		return;
	if (write && !(entry & PTE_WRITABLE)) {
		if (flags & VM_WRITE && entry & PTE_DIRTY) {
			page_fault(guest, vcpu, mm, va, ACCESS_WRITE | ACCESS_USER, 0);
			guest->world->activity = ACTIVITY_RETOUCH;
			return;
		}
		write = false;
	}
	access = entry & PTE_NO_EXECUTE ? ACCESS_READ : ACCESS_FETCH;
	if (write)
		access = ACCESS_WRITE;
	if (mark_seen(guest, vcpu, place, access))
		emit_touch(guest, vcpu, va, access | ACCESS_USER);
}

/* Touch user pages until as many are touched as are due. */
static void retouch_pages(struct guest *guest, int vcpu, int mm)
{
	struct cpu *cpu = &guest->cpus[vcpu];
	const struct mm *space = &guest->mms[mm];
	int64_t filled = least(space->recent, RECENT);
	int64_t due = least(touches_due(guest, vcpu), cpu->retouched + least(RETOUCHES_AT_ONCE, 2 * filled));

	while (cpu->retouched < due && !guest->world->failure) {
		int64_t draw = random_below(guest, 1 << SPREAD_BITS);
		/* The square of a uniform number: recent pages are drawn more often. */
		int64_t back = (((draw * draw) >> SPREAD_BITS) * filled) >> SPREAD_BITS;
		int64_t va = guest->recent[mm][(space->recent - 1 - back) & (RECENT - 1)];
		bool write = random_below(guest, 100) < guest->knobs->retouch_write_percent;

		cpu->retouched++;
		retouch_page(guest, vcpu, mm, va, write);
	}
}

void retouch(struct guest *guest, int vcpu)
{
	struct cpu *cpu = &guest->cpus[vcpu];

	if (cpu->fresh) {
		cpu->fresh = 0;
		touch_kernel_image(guest, vcpu);
		touch_kernel_data(guest, vcpu);
	}
	if (cpu->mm == ABSENT || cpu->active_mm != cpu->mm || !cpu->running)
		return;
	guest->world->activity = ACTIVITY_RETOUCH;
	retouch_pages(guest, vcpu, cpu->mm);
}
