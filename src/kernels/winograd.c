/* The transforms of Winograd's minimal filtering F(4 x 4, 3 x 3), between images with channels innermost and stacks of
 * tiles (Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", section 4.3; points 0, 1, -1, 2, -2
 * and infinity). Between the two a convolution is 36 matrix products, left to the library that is best at them.
 *
 * Built by kernels/__init__.py with -fopenmp against the OpenMP that PyTorch has loaded, so that both share threads.
 */
#include <stddef.h>

enum { BLOCK = 32 }; /* channels at a time: two sets of 36 tiles of them fit a core's first cache */
/* Whole blocks get code of their own, in which the compiler knows the length of every loop. */
#define SPECIAL(call_whole, call_rest) do { if (n == BLOCK) call_whole; else call_rest; } while (0)
#define INLINE static inline __attribute__((always_inline))

typedef float row[BLOCK];

/* Six values of a line of the image to six of a line of the tile: B^T d. */
INLINE void spread(const float *d0, const float *d1, const float *d2, const float *d3, const float *d4,
                          const float *d5, float *t0, float *t1, float *t2, float *t3, float *t4, float *t5, int n) {
    for (int c = 0; c < n; c++) {
        float a = d4[c] - 4 * d2[c], b = d3[c] - 4 * d1[c];
        float e = d4[c] - d2[c], f = 2 * (d3[c] - d1[c]);
        float first = 4 * d0[c] - 5 * d2[c] + d4[c], last = 4 * d1[c] - 5 * d3[c] + d5[c];
        t0[c] = first;
        t1[c] = a + b;
        t2[c] = a - b;
        t3[c] = e + f;
        t4[c] = e - f;
        t5[c] = last;
    }
}

/* Six values of a line of a product to four of a line of the result: A^T m. */
INLINE void gather(const float *m0, const float *m1, const float *m2, const float *m3, const float *m4,
                          const float *m5, float *y0, float *y1, float *y2, float *y3, int n) {
    for (int c = 0; c < n; c++) {
        float p = m1[c] + m2[c], q = m1[c] - m2[c], r = m3[c] + m4[c], s = m3[c] - m4[c];
        float first = m0[c] + p + r, last = q + 8 * s + m5[c];
        y0[c] = first;
        y1[c] = q + 2 * s;
        y2[c] = p + 4 * r;
        y3[c] = last;
    }
}

INLINE int clamped(int value, int size) { return value < 0 ? 0 : value >= size ? size - 1 : value; }

/* A block of n channels of the 6 x 6 pixels from (y, x) on as a tile; arguments as of `tiles`. */
INLINE void cut(const float *image, const float *mask, float *to, size_t plane, int height, int width, int channels,
                int y, int x, int extend, int n) {
    row in[6][6], half[6][6];
    const float *d[6][6];
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            const int inside = y + i >= 0 && y + i < height && x + j >= 0 && x + j < width;
            const size_t at = ((size_t)clamped(y + i, height) * width + clamped(x + j, width)) * channels;
            d[i][j] = image + at;
            if (!inside && !extend) {
                for (int c = 0; c < n; c++) in[i][j][c] = 0;
                d[i][j] = in[i][j];
            } else if (mask) {
                for (int c = 0; c < n; c++) in[i][j][c] = mask[at + c] > 0 ? image[at + c] : 0;
                d[i][j] = in[i][j];
            }
        }
    for (int j = 0; j < 6; j++)
        spread(d[0][j], d[1][j], d[2][j], d[3][j], d[4][j], d[5][j], half[0][j], half[1][j], half[2][j], half[3][j],
               half[4][j], half[5][j], n);
    for (int i = 0; i < 6; i++, to += 6 * plane)
        spread(half[i][0], half[i][1], half[i][2], half[i][3], half[i][4], half[i][5], to, to + plane, to + 2 * plane,
               to + 3 * plane, to + 4 * plane, to + 5 * plane, n);
}

/* Cut rows [first, first + rows) of tiles out of an image and transform them.
 *
 * image   (height, width, channels)
 * mask    NULL, or likewise: image counts as 0 where it is not positive (the gradient of a ReLU, by its result)
 * tiles   (36, rows x columns, channels)
 * before  how far the first tile reaches beyond the image's upper and left border
 * extend  whether the border is replicated beyond; otherwise there are zeros
 */
void tiles(const float *image, const float *mask, float *tiles, int height, int width, int channels, int first,
           int rows, int columns, int before, int extend) {
    const size_t plane = (size_t)rows * columns * channels;
#pragma omp parallel for schedule(static) collapse(2)
    for (int r = 0; r < rows; r++)
        for (int q = 0; q < columns; q++)
            for (int begin = 0; begin < channels; begin += BLOCK) {
                const int n = channels - begin < BLOCK ? channels - begin : BLOCK;
                const int y = 4 * (first + r) - before, x = 4 * q - before;
                const float *seen = mask ? mask + begin : NULL;
                float *to = tiles + ((size_t)r * columns + q) * channels + begin;
                SPECIAL(cut(image + begin, seen, to, plane, height, width, channels, y, x, extend, BLOCK),
                        cut(image + begin, seen, to, plane, height, width, channels, y, x, extend, n));
            }
}

/* A block of n channels of a tile as the 4 x 4 pixels from (y, x) on; arguments as of `untiled`. */
INLINE void lay(const float *from, const float *bias, float *image, size_t plane, int height, int width, int channels,
                int y, int x, int relu, int n) {
    row half[4][6], out[4];
    for (int j = 0; j < 6; j++, from += plane)
        gather(from, from + 6 * plane, from + 12 * plane, from + 18 * plane, from + 24 * plane, from + 30 * plane,
               half[0][j], half[1][j], half[2][j], half[3][j], n);
    for (int i = 0; i < 4 && y + i < height; i++) {
        gather(half[i][0], half[i][1], half[i][2], half[i][3], half[i][4], half[i][5], out[0], out[1], out[2], out[3],
               n);
        for (int j = 0; j < 4 && x + j < width; j++) {
            float *to = image + ((size_t)(y + i) * width + x + j) * channels;
            for (int c = 0; c < n; c++) {
                const float value = out[j][c] + (bias ? bias[c] : 0);
                to[c] = relu && value < 0 ? 0 : value;
            }
        }
    }
}

/* Transform rows [first, first + rows) of products back and lay them side by side.
 *
 * tiles   (36, rows x columns, channels)
 * bias    NULL, or (channels)
 * image   (height, width, channels); what reaches beyond it is left out
 * relu    whether negative values become 0
 */
void untiled(const float *tiles, const float *bias, float *image, int height, int width, int channels, int first,
             int rows, int columns, int relu) {
    const size_t plane = (size_t)rows * columns * channels;
#pragma omp parallel for schedule(static) collapse(2)
    for (int r = 0; r < rows; r++)
        for (int q = 0; q < columns; q++)
            for (int begin = 0; begin < channels; begin += BLOCK) {
                const int n = channels - begin < BLOCK ? channels - begin : BLOCK;
                const float *from = tiles + ((size_t)r * columns + q) * channels + begin;
                const float *added = bias ? bias + begin : NULL;
                const int y = 4 * (first + r), x = 4 * q;
                SPECIAL(lay(from, added, image + begin, plane, height, width, channels, y, x, relu, BLOCK),
                        lay(from, added, image + begin, plane, height, width, channels, y, x, relu, n));
            }
}
