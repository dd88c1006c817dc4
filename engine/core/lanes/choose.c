/* Which of the compiled instruction sets and words this CPU has. */
#include "lanes.h"

#include <stdlib.h>
#ifdef LANES_X86
#include <cpuid.h>
#endif

extern const struct lanes_functions lanes_baseline;
#ifdef LANES_X86
extern const struct lanes_functions lanes_x86_64_v3_16;
extern const struct lanes_functions lanes_x86_64_v4;
extern const struct lanes_functions lanes_x86_64_v4_512;
#endif

#ifdef LANES_X86
/*
 * What the CPU says that it has (Intel SDM, CPUID leaves 1 and 7), and of which registers the system keeps the contents
 * (XCR0). Asked for directly: the runtime of clang in the package `ziglang` answers no to __builtin_cpu_supports.
 */
enum { YMM_KEPT = 6, ZMM_KEPT = 0xE6 };

static bool keeps(unsigned registers)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return false;
	__asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	return (a & registers) == registers;
}

/* The features that x86-64-v3 and x86-64-v4 add (x86-64 psABI), as far as the compiler uses them here. */
static bool has_v3(void)
{
	const unsigned wanted = bit_AVX2 | bit_BMI | bit_BMI2;
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_FMA))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & wanted) == wanted && keeps(YMM_KEPT);
}

static bool has_v4(void)
{
	const unsigned wanted = bit_AVX512F | bit_AVX512DQ | bit_AVX512CD | bit_AVX512BW | bit_AVX512VL;
	unsigned a, b, c, d;

	return has_v3() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & wanted) == wanted && keeps(ZMM_KEPT);
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
