/* Of all products of two sets of rows, the largest or the smallest: each is looked at in the registers where it was summed
 * up, and written nowhere.
 *
 * Columns are worked on a chunk at a time, which each thread copies into panels of its own, D x PANEL, and multiplies with
 * all rows. What is found does not depend on the number of threads: of equal products the first counts.
 */
#include <limits.h>
#include <math.h>

#include "vectors.h"

enum { CHUNK = 256 << 10 }; /* bytes of the panels of a chunk: they stay in a core's second cache */

/* Return the panels of a chunk, of numbers `depth` deep. */
static int panels_of(int depth) {
    const int fit = CHUNK / (sizeof(float) * PANEL * depth);
    return fit > 1 ? fit : 1;
}

/* Copy columns [first, first + panels x PANEL) into panels; the last stands for those beyond the end. */
static void pack(const float *columns, float *to, int first, int panels, int count, int depth) {
    for (int c = 0; c < panels * PANEL; c++) {
        const float *from = columns + (size_t)least(first + c, count - 1) * depth;
        float *panel = to + (size_t)(c / PANEL) * PANEL * depth + c % PANEL;
        for (int d = 0; d < depth; d++) panel[(size_t)d * PANEL] = from[d];
    }
}

/* Products of ROWS rows from one on, the last standing for those beyond the end, with a panel. */
static void multiply(const float *rows, int row, int count, const float *panel, int depth, vector sum[ROWS][2]) {
    const float *at[ROWS];
    vector here[ROWS][2] = {0};
    for (int r = 0; r < ROWS; r++) at[r] = rows + (size_t)least(row + r, count - 1) * depth;
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

/* Return how many numbers a thread needs of the space of `largest`, and of that of `smallest`: a chunk's panels. */
size_t space(int depth) { return (size_t)panels_of(depth) * PANEL * depth; }

/* For each row, which column has the largest product with it.
 *
 * rows     (count, depth)
 * columns  (total, depth)
 * values   (threads, count): each thread's largest so far
 * found    (threads, count): and where; the first thread's are the result
 * space    (threads, see above)
 */
void largest(const float *rows, const float *columns, float *values, int *found, float *room, int count, int total,
             int depth) {
    const int panels = panels_of(depth), chunks = ceiling(total, panels * PANEL), threads = omp_get_max_threads();
    for (size_t k = 0; k < (size_t)threads * count; k++) {
        values[k] = -INFINITY;
        found[k] = 0;
    }
#pragma omp parallel
    {
        const size_t rank = omp_get_thread_num();
        float *packed = room + rank * space(depth), *mine = values + rank * count;
        int *place = found + rank * count;
#pragma omp for schedule(dynamic)
        for (int chunk = 0; chunk < chunks; chunk++) {
            const int first = chunk * panels * PANEL;
            const int some = least(panels, ceiling(total - first, PANEL));
            pack(columns, packed, first, some, total, depth);
            for (int row = 0; row < count; row += ROWS) {
                vector sum[ROWS][2], best[ROWS][2];
                integers panel_of[ROWS][2] = {0};
                multiply(rows, row, count, packed, depth, best);
                for (int p = 1; p < some; p++) {
                    multiply(rows, row, count, packed + (size_t)p * PANEL * depth, depth, sum);
                    for (int r = 0; r < ROWS; r++)
                        for (int half = 0; half < 2; half++) {
                            const integers larger = sum[r][half] > best[r][half];
                            best[r][half] = either(larger, sum[r][half], best[r][half]);
                            panel_of[r][half] = (larger & p) | (~larger & panel_of[r][half]);
                        }
                }
                for (int r = 0; r < least(ROWS, count - row); r++)
                    for (int c = 0; c < PANEL; c++) {
                        const float value = best[r][c / WIDTH][c % WIDTH];
                        const int at = first + panel_of[r][c / WIDTH][c % WIDTH] * PANEL + c;
                        if (value > mine[row + r] || (value == mine[row + r] && at < place[row + r])) {
                            mine[row + r] = value;
                            place[row + r] = at;
                        }
                    }
            }
        }
    }
    for (int thread = 1; thread < threads; thread++)
        for (int row = 0; row < count; row++) {
            const size_t k = (size_t)thread * count + row;
            if (values[k] > values[row] || (values[k] == values[row] && found[k] < found[row])) {
                values[row] = values[k];
                found[row] = found[k];
            }
        }
}

/* For each column, its smallest product with any row.
 *
 * rows     (count, depth)
 * columns  (total, depth)
 * values   (total): the result
 * space    (threads, see above)
 */
void smallest(const float *rows, const float *columns, float *values, float *room, int count, int total, int depth) {
    const int panels = panels_of(depth), chunks = ceiling(total, panels * PANEL);
#pragma omp parallel
    {
        float *packed = room + (size_t)omp_get_thread_num() * space(depth);
#pragma omp for schedule(dynamic)
        for (int chunk = 0; chunk < chunks; chunk++) {
            const int first = chunk * panels * PANEL, last = least(total, first + panels * PANEL);
            const int some = ceiling(last - first, PANEL);
            pack(columns, packed, first, some, total, depth);
            for (int c = first; c < last; c++) values[c] = INFINITY;
            for (int row = 0; row < count; row += ROWS)
                for (int p = 0; p < some; p++) {
                    vector sum[ROWS][2];
                    multiply(rows, row, count, packed + (size_t)p * PANEL * depth, depth, sum);
                    for (int r = 1; r < ROWS; r++)
                        for (int half = 0; half < 2; half++)
                            sum[0][half] = either(sum[r][half] < sum[0][half], sum[r][half], sum[0][half]);
                    for (int c = 0; c < PANEL && first + p * PANEL + c < last; c++) {
                        const float value = sum[0][c / WIDTH][c % WIDTH];
                        if (value < values[first + p * PANEL + c]) values[first + p * PANEL + c] = value;
                    }
                }
        }
    }
}
