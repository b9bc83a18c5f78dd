/* Vectors of the processor at hand, and how large a part of a matrix product stays in its registers. */
#include <omp.h>
#include <stddef.h>

/* ROWS x PANEL sums of a product: two vectors across, and as many rows as there are registers for. */
#if defined(__AVX512F__)
enum { WIDTH = 16, ROWS = 12 };
#elif defined(__AVX__)
enum { WIDTH = 8, ROWS = 6 };
#elif defined(__aarch64__)
enum { WIDTH = 4, ROWS = 12 };
#else
enum { WIDTH = 4, ROWS = 6 };
#endif
enum { PANEL = 2 * WIDTH };

#define INLINE static inline __attribute__((always_inline))

/* Not all memory given is aligned to a vector's length. */
typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4)));
typedef int integers __attribute__((vector_size(4 * WIDTH), aligned(4)));

INLINE vector load(const float *from) { return *(const vector *)from; }
INLINE void store(vector values, float *to) { *(vector *)to = values; }
/* The values where a comparison holds, else 0; and else others. */
INLINE vector where(integers chosen, vector values) { return (vector)(chosen & (integers)values); }
INLINE vector either(integers chosen, vector values, vector others) {
    return (vector)((chosen & (integers)values) | (~chosen & (integers)others));
}

INLINE int least(int one, int other) { return one < other ? one : other; }
INLINE int ceiling(int number, int by) { return (number + by - 1) / by; }
