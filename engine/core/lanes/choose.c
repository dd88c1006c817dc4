/* Which of the compiled instruction sets and words this CPU has. */
#include "lanes.h"

#include <stdlib.h>

extern const struct lanes_functions lanes_baseline;
#ifdef LANES_X86
extern const struct lanes_functions lanes_x86_64_v3_16;
extern const struct lanes_functions lanes_x86_64_v4;
extern const struct lanes_functions lanes_x86_64_v4_512;
#endif

#ifdef LANES_X86
/* The features that x86-64-v3 and x86-64-v4 add (x86-64 psABI), as far as the compiler uses them here. */
static bool has_v3(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
	       __builtin_cpu_supports("fma");
}

static bool has_v4(void)
{
	return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
	       __builtin_cpu_supports("avx512vl");
}
#endif

#ifdef LANES_X86
/* The level that this CPU has; for tests and measurements SHADOWSWEEP_LEVEL=2 or 3 asks for no more than that. */
static int usable_level(void)
{
	const char *most = getenv("SHADOWSWEEP_LEVEL");
	int level = has_v4() ? 4 : has_v3() ? 3 : 2;

	if (most && (*most == '2' || *most == '3') && *most - '0' < level)
		return *most - '0';
	return level;
}
#endif

const struct lanes_functions *lanes_word(int which)
{
	enum { WORDS = 3 };
#ifdef LANES_X86
	/* Two levels and a few policies are what most machines and sweeps are: not every pair is worth a compilation. */
	static const struct lanes_functions *const of_level[][WORDS] = {
		[2] = {&lanes_baseline},
		[3] = {&lanes_x86_64_v3_16, &lanes_baseline},
		[4] = {&lanes_x86_64_v3_16, &lanes_x86_64_v4, &lanes_x86_64_v4_512},
	};
	const struct lanes_functions *const *words = of_level[usable_level()];
#else
	const struct lanes_functions *const words[WORDS] = {&lanes_baseline};
#endif

	return which >= 0 && which < WORDS ? words[which] : NULL;
}
