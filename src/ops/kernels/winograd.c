/* 3 x 3 convolutions by Winograd's minimal filtering F(4 x 4, 3 x 3), of images with channels innermost (Lavin and Gray
 * 2016, "Fast algorithms for convolutional neural networks", section 4.3; points 0, 1, -1, 2, -2 and infinity).
 *
 * The image is cut into tiles of 6 x 6 pixels, four apart. ROWS tiles are a group: 36 matrices of ROWS rows, which are
 * multiplied by the filters' and laid down as 4 x 4 pixels a tile. A few groups at a time are cut, multiplied and laid,
 * so that they stay in the caches from one to the other. A library of matrix products would copy them into an order of
 * its own each time; here they are cut into that order, and the filters are in theirs from the start.
 *
 * Built by kernels/build.py with -fopenmp against the OpenMP that PyTorch has loaded, so that both share threads.
 */
#include "vectors.h"

enum {
    BLOCK = 32,           /* channels at a time: 36 tiles of them fit a core's first cache twice */
    LINES = ROWS * BLOCK, /* numbers of a block of one matrix */
    CACHED = 16,          /* numbers of a line of the cache */
    NEAR = 4 << 20,       /* bytes of the groups that a thread works on, in and out */
    TURNS = 4,            /* of a thread: fewer, and others wait for the last */
    FEWEST = 72,          /* tiles of these: the filters are read from the far cache once for all of them */
};

/* What is convolved, see `convolve`. */
typedef struct {
    const float *image, *mask, *filters, *bias;
    float *result;
    int height, width, channels, tall, broad, made, before, extend, relu;
    int columns, tiles; /* tiles in a line, and in all */
} Job;

/* Six values of a line of the image to six of a line of the tile, each a step apart: B^T d. */
INLINE void spread(const vector *d, vector *t, int step) {
    const vector a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], e = d[4] - d[2], f = 2 * (d[3] - d[1]);
    t[0] = 4 * d[0] - 5 * d[2] + d[4];
    t[step] = a + b;
    t[2 * step] = a - b;
    t[3 * step] = e + f;
    t[4 * step] = e - f;
    t[5 * step] = 4 * d[1] - 5 * d[3] + d[5];
}

/* Six values of a line of a product to four of a line of the result, each a step apart: A^T m. */
INLINE void gather(const vector *m, vector *y, int step) {
    const vector p = m[1] + m[2], q = m[1] - m[2], r = m[3] + m[4], s = m[3] - m[4];
    y[0] = m[0] + p + r;
    y[step] = q + 2 * s;
    y[2 * step] = p + 4 * r;
    y[3 * step] = q + 8 * s + m[5];
}

INLINE int clamped(int value, int size) { return value < 0 ? 0 : value >= size ? size - 1 : value; }

/* A tile as a row of each of 36 matrices. */
static void cut(const Job *job, int tile, float *to) {
    ptrdiff_t pixels[6][6]; /* where each is; negative: beyond the border, where there is nothing */
    const size_t matrix = (size_t)ROWS * job->channels;
    const int y = tile / job->columns * 4 - job->before, x = tile % job->columns * 4 - job->before;
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            const int inside = y + i >= 0 && y + i < job->height && x + j >= 0 && x + j < job->width;
            const ptrdiff_t pixel = (ptrdiff_t)clamped(y + i, job->height) * job->width + clamped(x + j, job->width);
            pixels[i][j] = inside || job->extend ? pixel * job->channels : -1;
        }
    for (int c = 0; c < job->channels; c += WIDTH) {
        vector half[6][6], column[6], line[6];
        for (int j = 0; j < 6; j++) {
            for (int i = 0; i < 6; i++) {
                const ptrdiff_t at = pixels[i][j] + c;
                column[i] = pixels[i][j] < 0 ? (vector){0} : load(job->image + at);
                if (job->mask && pixels[i][j] >= 0) column[i] = where(load(job->mask + at) > 0, column[i]);
            }
            spread(column, &half[0][j], 6);
        }
        float *lines = to + c / BLOCK * LINES + c % BLOCK;
        for (int i = 0; i < 6; i++) {
            spread(half[i], line, 1);
            for (int j = 0; j < 6; j++) store(line[j], lines + (6 * i + j) * matrix);
        }
    }
}

/* One matrix of a group, of so many blocks, by a panel of filters: ROWS x PANEL numbers in lines of a block.
 *
 * Meanwhile a part of the next panel is fetched, from `next` on, a line of the cache at every other channel.
 */
static void multiply(const float *restrict matrix, const float *restrict panel, float *restrict to, int blocks,
                     const float *next) {
    vector sum[ROWS][2] = {0};
    for (int block = 0; block < blocks; block++, matrix += LINES)
        for (int c = 0; c < BLOCK; c++, panel += PANEL) {
            const vector left = load(panel), right = load(panel + WIDTH);
            if (c % 2 == 0) __builtin_prefetch(next + (block * BLOCK + c) / 2 * CACHED, 0, 2);
#pragma GCC unroll 12
            for (int r = 0; r < ROWS; r++) {
                sum[r][0] += matrix[r * BLOCK + c] * left;
                sum[r][1] += matrix[r * BLOCK + c] * right;
            }
        }
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++) {
        store(sum[r][0], to + r * BLOCK);
        store(sum[r][1], to + r * BLOCK + WIDTH);
    }
}

/* A row of each of 36 products as the 4 x 4 pixels of its tile. */
static void lay(const Job *job, int tile, const float *from) {
    const size_t matrix = (size_t)ROWS * job->made;
    const int y = tile / job->columns * 4, x = tile % job->columns * 4;
    const int down = least(4, job->tall - y), across = least(4, job->broad - x);
    for (int c = 0; c < job->made; c += WIDTH) {
        const float *lines = from + c / BLOCK * LINES + c % BLOCK;
        const vector bias = job->bias ? load(job->bias + c) : (vector){0};
        vector half[4][6], column[6], line[4];
        for (int j = 0; j < 6; j++) {
            for (int i = 0; i < 6; i++) column[i] = load(lines + (6 * i + j) * matrix);
            gather(column, &half[0][j], 6);
        }
        for (int i = 0; i < down; i++) {
            gather(half[i], line, 1);
            for (int j = 0; j < across; j++) {
                const vector value = line[j] + bias;
                float *to = job->result + ((size_t)(y + i) * job->broad + x + j) * job->made + c;
                store(job->relu ? where(~(value < 0), value) : value, to);
            }
        }
    }
}

/* Groups [first, first + groups) of a job's tiles, and where their matrices and products are. */
typedef struct {
    float *matrices, *products;
    size_t in, out; /* numbers of a group's */
    int first, groups, tiles;
} Part;

INLINE Part part_of(const Job *job, int first, int groups, float *space) {
    const size_t in = (size_t)36 * ROWS * job->channels, out = (size_t)36 * ROWS * job->made;
    return (Part){space, space + in * groups, in, out, first, groups, least(job->tiles - first * ROWS, groups * ROWS)};
}

INLINE void cut_one(const Job *job, const Part *part, int tile) {
    cut(job, part->first * ROWS + tile, part->matrices + tile / ROWS * part->in + tile % ROWS * BLOCK);
}

INLINE void lay_one(const Job *job, const Part *part, int tile) {
    lay(job, part->first * ROWS + tile, part->products + tile / ROWS * part->out + tile % ROWS * BLOCK);
}

/* All groups' matrices of a number by a panel of filters; `index` counts the panels of all 36. */
INLINE void multiply_one(const Job *job, const Part *part, int index) {
    const int number = index / (job->made / PANEL), column = index % (job->made / PANEL) * PANEL;
    const size_t size = (size_t)PANEL * job->channels;
    const float *panel = job->filters + index * size;
    const float *from = part->matrices + (size_t)number * ROWS * job->channels;
    float *to = part->products + (size_t)number * ROWS * job->made + column / BLOCK * LINES + column % BLOCK;
    const size_t share = (size / CACHED / part->groups + 1) * CACHED; /* of the next panel, for each group to fetch */
    for (int group = 0; group < part->groups; group++, from += part->in, to += part->out)
        multiply(from, panel, to, job->channels / BLOCK, panel + size + group * share);
}

/* Return how many groups are worked on at a time for each thread; *alone: whether there are enough for a thread to have
 * groups of its own. Otherwise all threads share them.
 */
static int plan(int tall, int broad, int channels, int made, int *alone) {
    const int groups = ceiling(ceiling(tall, 4) * ceiling(broad, 4), ROWS);
    const int fit = NEAR / (sizeof(float) * 36 * ROWS * (channels + made)), fewest = FEWEST / ROWS;
    const int some = fit > fewest ? fit : fewest;
    *alone = groups >= TURNS * some * omp_get_max_threads();
    return some;
}

/* Return how many numbers the space for `convolve` must have. */
size_t space(int tall, int broad, int channels, int made) {
    int alone;
    const int some = plan(tall, broad, channels, made, &alone);
    return (size_t)36 * ROWS * (channels + made) * some * omp_get_max_threads();
}

/* Return the filters of a panel. */
int panel(void) { return PANEL; }

/* Convolve an image; channels, given and made, come in whole blocks.
 *
 * image    (height, width, channels)
 * mask     NULL, or likewise: image counts as 0 where it is not positive (the gradient of a ReLU, by its result)
 * filters  (36, made / PANEL, channels, PANEL), transformed
 * bias     NULL, or (made)
 * result   (tall, broad, made)
 * space    for what lies between, see `space`
 * before   how far the first tile reaches beyond the image's upper and left border
 * extend   whether the border is replicated beyond; otherwise there are zeros
 * relu     whether negative values become 0
 */
void convolve(const float *image, const float *mask, const float *filters, const float *bias, float *result,
              float *space, int height, int width, int channels, int tall, int broad, int made, int before, int extend,
              int relu) {
    const int columns = ceiling(broad, 4), tiles = ceiling(tall, 4) * columns, groups = ceiling(tiles, ROWS);
    const Job job = {image, mask, filters, bias, result, height, width, channels, tall, broad, made, before, extend,
                     relu, columns, tiles};
    const int products = 36 * made / PANEL;
    int alone;
    const int some = plan(tall, broad, channels, made, &alone), together = some * omp_get_max_threads();
#pragma omp parallel
    if (alone) {
        float *own = space + (size_t)36 * ROWS * (channels + made) * some * omp_get_thread_num();
#pragma omp for schedule(dynamic)
        for (int first = 0; first < groups; first += some) {
            const Part part = part_of(&job, first, least(some, groups - first), own);
            for (int tile = 0; tile < part.tiles; tile++) cut_one(&job, &part, tile);
            for (int index = 0; index < products; index++) multiply_one(&job, &part, index);
            for (int tile = 0; tile < part.tiles; tile++) lay_one(&job, &part, tile);
        }
    } else
        for (int first = 0; first < groups; first += together) {
            const Part part = part_of(&job, first, least(together, groups - first), space);
#pragma omp for schedule(dynamic)
            for (int tile = 0; tile < part.tiles; tile++) cut_one(&job, &part, tile);
#pragma omp for schedule(dynamic, 4)
            for (int index = 0; index < products; index++) multiply_one(&job, &part, index);
#pragma omp for schedule(dynamic)
            for (int tile = 0; tile < part.tiles; tile++) lay_one(&job, &part, tile);
        }
}
