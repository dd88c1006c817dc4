/* Write layer-2 events (engine/events.py says what their fields mean). */
#pragma once

#include "guest/state.h"

/* What an event has besides kind, vCPU, address and value. */
struct operand {
	uint8_t insn;
	uint8_t width;
	uint8_t access;
	uint16_t count;
};

static inline void emit_row(struct guest *guest, int vcpu, int kind, int64_t address, uint64_t value,
			    struct operand operand)
{
	struct event *event = append_row(&guest->out, sizeof(*event));

	*event = (struct event){
		.address = (uint64_t)address,
		.value = value,
		.kind = (uint8_t)kind,
		.vcpu = (uint8_t)vcpu,
		.insn = operand.insn,
		.width = operand.width,
		.access = operand.access,
		.activity = (uint8_t)guest->world->activity,
		.count = operand.count,
	};
}

static inline void emit(struct guest *guest, int vcpu, int kind, int64_t address, uint64_t value)
{
	emit_row(guest, vcpu, kind, address, value, (struct operand){0});
}

/* A store of one operand. */
static inline void emit_store(struct guest *guest, int vcpu, int64_t address, uint64_t value, int insn, int width,
			      int access)
{
	struct operand operand = {(uint8_t)insn, (uint8_t)width, (uint8_t)access, 1};

	emit_row(guest, vcpu, EVENT_STORE, address, value, operand);
}

/* A store of zeros to `count` operands from `address` on. */
static inline void emit_block(struct guest *guest, int vcpu, int64_t address, int insn, int width, int count)
{
	struct operand operand = {(uint8_t)insn, (uint8_t)width, 0, (uint16_t)count};

	emit_row(guest, vcpu, EVENT_STORE, address, 0, operand);
}

/* The first touch of a translation. */
static inline void emit_touch(struct guest *guest, int vcpu, int64_t address, int access)
{
	emit_row(guest, vcpu, EVENT_TOUCH, address, 0, (struct operand){.access = (uint8_t)access});
}

/* A page fault that the guest's own tables cause. */
static inline void emit_fault(struct guest *guest, int vcpu, int64_t address, int access)
{
	emit_row(guest, vcpu, EVENT_GUEST_FAULT, address, 0, (struct operand){.access = (uint8_t)access});
}

/* Draw a number below `bound` from the guest's own generator (Knuth's MMIX constants, upper 31 bits). */
static inline int64_t random_below(struct guest *guest, int64_t bound)
{
	struct world *world = guest->world;

	world->random = world->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return ((int64_t)(world->random >> 33) * bound) >> 31;
}
