/* The last retry of each vCPU. */
#pragma once

struct retry_vcpu {
	lanes_t retried; /* the place of a retried instruction is remembered */
	int64_t place[LANES];
	uint8_t instruction[LANES];
};
