/* SIMD vectors of the processor, and the size of the block of a matrix product that fits its registers. */
#include <omp.h>
#include <stddef.h>

/* A block has ROWS x PANEL sums: two vectors wide, and as many rows as the registers allow. */
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

/* aligned(4): tensors are not always aligned to a vector's length. */
typedef float vector __attribute__((vector_size(4 * WIDTH), aligned(4)));
typedef int integers __attribute__((vector_size(4 * WIDTH), aligned(4)));

INLINE vector load(const float *from) { return *(const vector *)from; }
INLINE void store(vector values, float *to) { *(vector *)to = values; }
/* Return `values` where `chosen` is true, else 0. */
INLINE vector mask(integers chosen, vector values) { return (vector)(chosen & (integers)values); }
/* Return `values` where `chosen` is true, else `others`. */
INLINE vector choose(integers chosen, vector values, vector others) {
    return (vector)((chosen & (integers)values) | (~chosen & (integers)others));
}

INLINE int minimum(int one, int other) { return one < other ? one : other; }
/* Return number / by, rounded up. */
INLINE int ceiling(int number, int by) { return (number + by - 1) / by; }
