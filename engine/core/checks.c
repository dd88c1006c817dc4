#include "checks.h"

static int wrong_store(const struct event *event, const struct event_limits *limits)
{
	if (event->address >= limits->memory)
		return WRONG_ADDRESS;
	if (!is_in_page(event))
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

int wrong_event(const struct event *event, struct event_limits *limits)
{
	if (event->vcpu >= limits->vcpus)
		return WRONG_VCPU;
	switch (event->kind) {
	case EVENT_STORE:
		return wrong_store(event, limits);
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
