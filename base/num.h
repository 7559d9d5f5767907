/* num.h: small arithmetic on counts and sizes. No overflow check: what comes from outside is checked where it comes in. */
#ifndef BMC_BASE_NUM_H
#define BMC_BASE_NUM_H
#include <stdint.h>

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
/* a / b rounded up; a >= 0, b > 0 */
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
/* The smallest multiple of b that is not below a; a >= 0, b > 0 */
static inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
/* Greatest common divisor; gcd64(a, 0) = a */
static inline uint64_t gcd64(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

#endif
