/* Arg-max of the dot products of two sets of rows. Each product is compared in the registers where it was
 * computed; the matrix of products is never stored.
 *
 * The columns are processed in chunks. A thread copies a chunk into panels (depth x PANEL) of its own and multiplies
 * them with all rows. The result does not depend on the number of threads: of equal products the first counts.
 */
#include <math.h>

#include "vectors.h"

enum { CHUNK_BYTES = 256 << 10 }; /* size of a chunk's panels: they fit a core's L2 cache */

/* Return the number of panels in a chunk. */
static int panels_of(int depth) {
    const int fit = CHUNK_BYTES / (sizeof(float) * PANEL * depth);
    return fit > 1 ? fit : 1;
}

/* Copy columns [first, first + panels x PANEL) into panels; the last column is repeated beyond the end. */
static void pack(const float *columns, float *to, int first, int panels, int count, int depth) {
    for (int c = 0; c < panels * PANEL; c++) {
        const float *from = columns + (size_t)minimum(first + c, count - 1) * depth;
        float *panel = to + (size_t)(c / PANEL) * PANEL * depth + c % PANEL;
        for (int d = 0; d < depth; d++) panel[(size_t)d * PANEL] = from[d];
    }
}

/* Multiply ROWS rows, from `row` on, with a panel; the last row is repeated beyond the end. */
static void multiply(const float *rows, int row, int count, const float *panel, int depth, vector sum[ROWS][2]) {
    const float *at[ROWS];
    vector here[ROWS][2] = {0};
    for (int r = 0; r < ROWS; r++) at[r] = rows + (size_t)minimum(row + r, count - 1) * depth;
    for (int d = 0; d < depth; d++, panel += PANEL) {
        const vector left = load(panel), right = load(panel + WIDTH);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; r++) {
            here[r][0] += at[r][d] * left;
            here[r][1] += at[r][d] * right;
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++) {
        sum[r][0] = here[r][0];
        sum[r][1] = here[r][1];
    }
}

/* Replace the best product so far and its column by another if that is larger, or equal and of an earlier column. */
INLINE void keep_larger(float *best, int *best_column, float value, int column) {
    if (value > *best || (value == *best && column < *best_column)) {
        *best = value;
        *best_column = column;
    }
}

/* Return the floats of workspace that each thread needs: a chunk's panels. */
size_t space(int depth) { return (size_t)panels_of(depth) * PANEL * depth; }

/* Find for each row the column with the largest product.
 *
 * rows       (count, depth)
 * columns    (total, depth)
 * values     (threads, count), each thread's largest product
 * found      (threads, count), and its column; the first thread's are the result
 * workspace  (threads, space(depth))
 */
void argmax_products(const float *rows, const float *columns, float *values, int *found, float *workspace, int count,
                     int total, int depth, int threads) {
    const int panels = panels_of(depth), chunks = ceiling(total, panels * PANEL);
    for (size_t k = 0; k < (size_t)threads * count; k++) {
        values[k] = -INFINITY;
        found[k] = 0;
    }
#pragma omp parallel num_threads(threads)
    {
        const size_t rank = omp_get_thread_num();
        float *packed = workspace + rank * space(depth), *own_values = values + rank * count;
        int *own_found = found + rank * count;
#pragma omp for schedule(dynamic)
        for (int chunk = 0; chunk < chunks; chunk++) {
            const int first = chunk * panels * PANEL;
            const int present = minimum(panels, ceiling(total - first, PANEL));
            pack(columns, packed, first, present, total, depth);
            for (int row = 0; row < count; row += ROWS) {
                vector sum[ROWS][2], best[ROWS][2];
                integers best_panel[ROWS][2] = {0};
                multiply(rows, row, count, packed, depth, best);
                for (int p = 1; p < present; p++) {
                    multiply(rows, row, count, packed + (size_t)p * PANEL * depth, depth, sum);
                    for (int r = 0; r < ROWS; r++)
                        for (int half = 0; half < 2; half++) {
                            const integers larger = sum[r][half] > best[r][half];
                            best[r][half] = choose(larger, sum[r][half], best[r][half]);
                            best_panel[r][half] = (larger & p) | (~larger & best_panel[r][half]);
                        }
                }
                for (int r = 0; r < minimum(ROWS, count - row); r++)
                    for (int c = 0; c < PANEL; c++)
                        keep_larger(own_values + row + r, own_found + row + r, best[r][c / WIDTH][c % WIDTH],
                                    first + best_panel[r][c / WIDTH][c % WIDTH] * PANEL + c);
            }
        }
    }
    for (int thread = 1; thread < threads; thread++)
        for (int row = 0; row < count; row++) {
            const size_t k = (size_t)thread * count + row;
            keep_larger(values + row, found + row, values[k], found[k]);
        }
}
