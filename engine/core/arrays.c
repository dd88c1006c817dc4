#include "arrays.h"

#include <stdlib.h>

#define SPILL_NAME "engine._core.spill"

bool take_arrays(struct arrays *arrays, PyObject *tuple, void *record)
{
	arrays->taken = 0;
	if (!PyTuple_Check(tuple) || PyTuple_Size(tuple) != arrays->count) {
		PyErr_Format(PyExc_ValueError, "%s: state is no tuple of %d arrays", arrays->owner, arrays->count);
		return false;
	}
	while (arrays->taken < arrays->count) {
		const struct array *array = &arrays->list[arrays->taken];
		Py_buffer *view = &arrays->views[arrays->taken];

		if (!take_buffer(PyTuple_GetItem(tuple, arrays->taken), view, array->name,
				 (Py_ssize_t)array->item_bytes, array->writable)) {
			release_arrays(arrays);
			return false;
		}
		*(void **)((char *)record + array->offset) = view->buf;
		arrays->taken++;
	}
	return true;
}

void release_arrays(struct arrays *arrays)
{
	while (arrays->taken > 0)
		PyBuffer_Release(&arrays->views[--arrays->taken]);
}

int64_t array_length(const struct arrays *arrays, int place)
{
	return arrays->views[place].len / (Py_ssize_t)arrays->list[place].item_bytes;
}

bool expect_length(const struct arrays *arrays, int place, int64_t length)
{
	if (array_length(arrays, place) == length)
		return true;
	PyErr_Format(PyExc_ValueError, "%s: array %s holds %lld records; expected %lld", arrays->owner,
		     arrays->list[place].name, (long long)array_length(arrays, place), (long long)length);
	return false;
}

bool expect_range(const struct arrays *arrays, const char *name, int64_t value, int64_t low, int64_t high)
{
	if (low <= value && value <= high)
		return true;
	PyErr_Format(PyExc_ValueError, "%s: %s = %lld; allowed is %lld to %lld", arrays->owner, name, (long long)value,
		     (long long)low, (long long)high);
	return false;
}

static void free_spill(PyObject *capsule)
{
	struct spill *spill = PyCapsule_GetPointer(capsule, SPILL_NAME);

	empty_spill(spill);
	free(spill);
}

PyObject *new_spill(PyObject *module, PyObject *arguments)
{
	struct spill *spill = calloc(1, sizeof(*spill));
	PyObject *capsule;

	(void)module;
	(void)arguments;
	if (spill == NULL)
		return PyErr_NoMemory();
	capsule = PyCapsule_New(spill, SPILL_NAME, free_spill);
	if (capsule == NULL)
		free(spill);
	return capsule;
}

struct spill *spill_of(PyObject *capsule)
{
	return PyCapsule_GetPointer(capsule, SPILL_NAME);
}
