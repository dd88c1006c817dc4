#include "checks.h"

static int wrong_store(const struct event *event)
{
	unsigned length = (unsigned)event->width * event->count;

	if (length == 0 || (unsigned)(event->address % PAGE_SIZE) + length > PAGE_SIZE)
		return WRONG_SPAN;
	return event->insn < INSTRUCTIONS ? WRONG_NOTHING : WRONG_INSTRUCTION;
}

static int wrong_run(uint64_t nanoseconds, struct event_limits *limits)
{
	if (nanoseconds > RUN_NS_MAX - limits->run)
		return WRONG_RUN;
	limits->run += nanoseconds;
	return WRONG_NOTHING;
}

static int wrong_window(uint64_t window, struct event_limits *limits)
{
	if (window < limits->window)
		return WRONG_WINDOW;
	limits->window = window;
	return WRONG_NOTHING;
}

static int wrong_event(const struct event *event, struct event_limits *limits)
{
	if (event->vcpu >= limits->vcpus)
		return WRONG_VCPU;
	switch (event->kind) {
	case EVENT_STORE:
		return event->address < limits->memory ? wrong_store(event) : WRONG_ADDRESS;
	case EVENT_CONTENT:
		return event->address < limits->memory ? WRONG_NOTHING : WRONG_ADDRESS;
	case EVENT_LINK:
		if (event->address >= limits->memory)
			return WRONG_ADDRESS;
		return event->value >= 1 && event->value <= GUEST_LEVELS ? WRONG_NOTHING : WRONG_LEVEL;
	case EVENT_CR3:
		return event->value < limits->memory ? WRONG_NOTHING : WRONG_ROOT;
	case EVENT_RUN:
		return wrong_run(event->value, limits);
	case EVENT_WINDOW:
		return wrong_window(event->value, limits);
	default:
		return event->kind < EVENT_KINDS ? WRONG_NOTHING : WRONG_KIND;
	}
}

/*
 * Whether an event is one of the frequent kinds, and right. Nine of ten are: one branch that is foreseen well costs less
 * than the many of `wrong_event`.
 */
static bool is_plain(const struct event *event, const struct event_limits *limits)
{
	unsigned length = (unsigned)event->width * event->count, offset = (unsigned)(event->address % PAGE_SIZE);
	bool uses = (event->kind == EVENT_TOUCH) | (event->kind == EVENT_GUEST_FAULT);
	bool stores = (event->kind == EVENT_STORE) & (event->address < limits->memory) & (length > 0) &
		      (offset + length <= PAGE_SIZE) & (event->insn < INSTRUCTIONS);

	return (event->vcpu < limits->vcpus) & (uses | stores);
}

int first_wrong_event(const struct event *events, size_t count, struct event_limits *limits, size_t *row)
{
	for (size_t i = 0; i < count; i++) {
		if (is_plain(&events[i], limits))
			continue;
		int wrong = wrong_event(&events[i], limits);

		if (wrong != WRONG_NOTHING) {
			*row = i;
			return wrong;
		}
	}
	*row = 0;
	return WRONG_NOTHING;
}
