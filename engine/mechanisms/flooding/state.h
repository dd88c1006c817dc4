/* Counts of stores: those of each shadow page, and those in a row of each vCPU. */
#pragma once

struct flooding_page {
	lanes_t counted; /* lanes whose count is not 0 */
};

struct flooding_vcpu {
	lanes_t updated;     /* the last speculative spte is the shared one */
	lanes_t updated_own; /* the lane has one of its own */
	lanes_t count_reset; /* the count of stores in a row is to be taken as 0 */
	/* The last speculative spte, in the lanes that share it. */
	int32_t updated_spte;
	int32_t updated_gfn;
	int32_t own_updated_spte[LANES];
	int32_t own_updated_gfn[LANES];
	/* Stores in a row; 1 + the gfn to which they go, so that 0 is none. */
	int32_t write_gfn[LANES];
	int64_t write_count[LANES];
};

struct flooding_machine {
	lanes_t repeats; /* the store that is emulated now floods by its vCPU's count */
	bytes_t counts[SLOTS];
};
