/* What Python may call of the guest model and the scheduler. */
#include "../buffers.h"

PyMethodDef guest_methods[] = {
	{NULL, NULL, 0, NULL},
};
