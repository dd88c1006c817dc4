/* Out-of-sync pages of each vCPU, and its zeros in a row. */
#pragma once

struct xen_oos_vcpu {
	int32_t places[XEN_OOS_PAGES_MAX][LANES]; /* 1 + slot of an out-of-sync page, or 0 */
	int32_t zeroed[LANES];                    /* 1 + gfn to which zeros are stored */
	int64_t zeros[LANES];
};

struct xen_oos_machine {
	lanes_t cleared;      /* the store that is emulated now is one zero too many */
	lanes_t due[SLOTS];   /* lanes in which the page is to be resynchronised before the guest runs again */
	int32_t list[SLOTS];  /* slots that are due in any lane, each once */
	bool is_listed[SLOTS];
	int32_t listed;
};
