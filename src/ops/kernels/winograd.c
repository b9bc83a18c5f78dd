/* 3 x 3 convolutions by Winograd's minimal filtering F(4 x 4, 3 x 3), for images in channels-last layout (Lavin and Gray
 * 2016, "Fast algorithms for convolutional neural networks", section 4.3; points 0, 1, -1, 2, -2 and infinity).
 *
 * The image is cut into tiles of 6 x 6 pixels, four apart. ROWS tiles form a group. Each group is transformed into 36
 * matrices of ROWS rows, which are multiplied with those of the filters and transformed back to 4 x 4 pixels a tile. A
 * few groups are processed at a time, so that they stay in the caches between these three steps. A BLAS library would
 * copy the matrices into its own order each time; here tiles and filters are stored in the order of the product.
 *
 * Compiled by kernels/build.py with -fopenmp against the OpenMP that PyTorch has loaded, so that both share threads.
 */
#include "vectors.h"

enum {
    BLOCK = 32,             /* channels at a time: 36 tiles of them fit an L1 cache twice */
    LINES = ROWS * BLOCK,   /* floats in a block of one matrix */
    CACHE_LINE = 16,        /* floats in a cache line */
    NEAR_BYTES = 4 << 20,   /* size of the groups that a thread processes at a time, input and output */
    BATCHES_PER_THREAD = 4, /* with fewer, some threads wait for the last one */
    LEAST_TILES = 72,       /* tiles at a time: the filters are read from the L3 cache once for all of them */
};

/* One convolution, see `convolve`. */
typedef struct {
    const float *image, *positive, *filters, *bias;
    float *result;
    int height, width, channels, out_height, out_width, out_channels, offset, replicate, relu;
    int columns, tiles; /* tiles in a row, and in all */
} Job;

/* Transform six values of the image to six of a tile, `step` apart: B^T d. */
INLINE void transform_input(const vector *d, vector *t, int step) {
    const vector a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], e = d[4] - d[2], f = 2 * (d[3] - d[1]);
    t[0] = 4 * d[0] - 5 * d[2] + d[4];
    t[step] = a + b;
    t[2 * step] = a - b;
    t[3 * step] = e + f;
    t[4 * step] = e - f;
    t[5 * step] = 4 * d[1] - 5 * d[3] + d[5];
}

/* Transform six values of a product to four of the result, `step` apart: A^T m. */
INLINE void transform_output(const vector *m, vector *y, int step) {
    const vector p = m[1] + m[2], q = m[1] - m[2], r = m[3] + m[4], s = m[3] - m[4];
    y[0] = m[0] + p + r;
    y[step] = q + 2 * s;
    y[2 * step] = p + 4 * r;
    y[3 * step] = q + 8 * s + m[5];
}

INLINE int clamp(int value, int size) { return value < 0 ? 0 : value >= size ? size - 1 : value; }

/* Transform a tile of the image to one row of each of the 36 matrices. */
static void read_tile(const Job *job, int tile, float *to) {
    ptrdiff_t pixels[6][6]; /* index of each pixel; negative for zeros beyond the border */
    const size_t matrix = (size_t)ROWS * job->channels;
    const int y = tile / job->columns * 4 - job->offset, x = tile % job->columns * 4 - job->offset;
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            const int inside = y + i >= 0 && y + i < job->height && x + j >= 0 && x + j < job->width;
            const ptrdiff_t pixel = (ptrdiff_t)clamp(y + i, job->height) * job->width + clamp(x + j, job->width);
            pixels[i][j] = inside || job->replicate ? pixel * job->channels : -1;
        }
    for (int c = 0; c < job->channels; c += WIDTH) {
        vector half[6][6], column[6], line[6];
        for (int j = 0; j < 6; j++) {
            for (int i = 0; i < 6; i++) {
                const ptrdiff_t at = pixels[i][j] + c;
                column[i] = pixels[i][j] < 0 ? (vector){0} : load(job->image + at);
                if (job->positive && pixels[i][j] >= 0) column[i] = mask(load(job->positive + at) > 0, column[i]);
            }
            transform_input(column, &half[0][j], 6);
        }
        float *lines = to + c / BLOCK * LINES + c % BLOCK;
        for (int i = 0; i < 6; i++) {
            transform_input(half[i], line, 1);
            for (int j = 0; j < 6; j++) store(line[j], lines + (6 * i + j) * matrix);
        }
    }
}

/* Multiply one matrix of a group, of `blocks` blocks, with a panel of filters: ROWS x PANEL sums.
 *
 * Prefetches a part of the next panel, from `next` on, one cache line at every other channel.
 */
static void multiply(const float *restrict matrix, const float *restrict panel, float *restrict to, int blocks,
                     const float *next) {
    vector sum[ROWS][2] = {0};
    for (int block = 0; block < blocks; block++, matrix += LINES)
        for (int c = 0; c < BLOCK; c++, panel += PANEL) {
            const vector left = load(panel), right = load(panel + WIDTH);
            if (c % 2 == 0) __builtin_prefetch(next + (block * BLOCK + c) / 2 * CACHE_LINE, 0, 2);
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

/* Transform one row of each of the 36 products to the 4 x 4 pixels of its tile. */
static void write_tile(const Job *job, int tile, const float *from) {
    const size_t matrix = (size_t)ROWS * job->out_channels;
    const int y = tile / job->columns * 4, x = tile % job->columns * 4;
    const int down = minimum(4, job->out_height - y), across = minimum(4, job->out_width - x);
    for (int c = 0; c < job->out_channels; c += WIDTH) {
        const float *lines = from + c / BLOCK * LINES + c % BLOCK;
        const vector bias = job->bias ? load(job->bias + c) : (vector){0};
        vector half[4][6], column[6], line[4];
        for (int j = 0; j < 6; j++) {
            for (int i = 0; i < 6; i++) column[i] = load(lines + (6 * i + j) * matrix);
            transform_output(column, &half[0][j], 6);
        }
        for (int i = 0; i < down; i++) {
            transform_output(half[i], line, 1);
            for (int j = 0; j < across; j++) {
                const vector value = line[j] + bias;
                float *to = job->result + ((size_t)(y + i) * job->out_width + x + j) * job->out_channels + c;
                store(job->relu ? mask(~(value < 0), value) : value, to);
            }
        }
    }
}

/* Groups [first, first + groups) of a job's tiles, with their matrices and products. */
typedef struct {
    float *matrices, *products;
    size_t in, out; /* floats of one group's matrices, and of its products */
    int first, groups, tiles;
} Batch;

INLINE Batch batch_of(const Job *job, int first, int groups, float *workspace) {
    const size_t in = (size_t)36 * ROWS * job->channels, out = (size_t)36 * ROWS * job->out_channels;
    const int tiles = minimum(job->tiles - first * ROWS, groups * ROWS);
    return (Batch){workspace, workspace + in * groups, in, out, first, groups, tiles};
}

INLINE void read_one(const Job *job, const Batch *batch, int tile) {
    read_tile(job, batch->first * ROWS + tile, batch->matrices + tile / ROWS * batch->in + tile % ROWS * BLOCK);
}

INLINE void write_one(const Job *job, const Batch *batch, int tile) {
    write_tile(job, batch->first * ROWS + tile, batch->products + tile / ROWS * batch->out + tile % ROWS * BLOCK);
}

/* Multiply one of the 36 matrices of all groups with one panel of filters; `index` counts the panels of all 36. */
INLINE void multiply_one(const Job *job, const Batch *batch, int index) {
    const int number = index / (job->out_channels / PANEL), column = index % (job->out_channels / PANEL) * PANEL;
    const size_t size = (size_t)PANEL * job->channels;
    const float *panel = job->filters + index * size;
    const float *from = batch->matrices + (size_t)number * ROWS * job->channels;
    float *to = batch->products + (size_t)number * ROWS * job->out_channels + column / BLOCK * LINES + column % BLOCK;
    const size_t share = (size / CACHE_LINE / batch->groups + 1) * CACHE_LINE; /* prefetched at each group */
    for (int group = 0; group < batch->groups; group++, from += batch->in, to += batch->out)
        multiply(from, panel, to, job->channels / BLOCK, panel + size + group * share);
}

/* Return how many groups are processed at a time for each thread. Sets *separate to whether there are enough groups for
 * each thread to process batches of its own; otherwise all threads share each batch.
 */
static int plan(int out_height, int out_width, int channels, int out_channels, int threads, int *separate) {
    const int groups = ceiling(ceiling(out_height, 4) * ceiling(out_width, 4), ROWS);
    const int fit = NEAR_BYTES / (sizeof(float) * 36 * ROWS * (channels + out_channels)), least = LEAST_TILES / ROWS;
    const int batch = fit > least ? fit : least;
    *separate = groups >= BATCHES_PER_THREAD * batch * threads;
    return batch;
}

/* Return the floats of workspace that `convolve` needs. */
size_t space(int out_height, int out_width, int channels, int out_channels, int threads) {
    int separate;
    const int batch = plan(out_height, out_width, channels, out_channels, threads, &separate);
    return (size_t)36 * ROWS * (channels + out_channels) * batch * threads;
}

/* Return the number of filters in a panel. */
int panel(void) { return PANEL; }

/* Convolve an image; both numbers of channels are multiples of BLOCK.
 *
 * image      (height, width, channels)
 * positive   NULL, or the shape of image: image counts as 0 where it is not positive (the gradient of a ReLU, given the
 *            ReLU's output)
 * filters    (36, out_channels / PANEL, channels, PANEL), transformed
 * bias       NULL, or (out_channels)
 * result     (out_height, out_width, out_channels)
 * workspace  `space` floats
 * offset     pixels by which the first tile extends beyond the image's upper and left border
 * replicate  whether the border is replicated; otherwise the image is padded with zeros
 * relu       whether negative values become 0
 */
void convolve(const float *image, const float *positive, const float *filters, const float *bias, float *result,
              float *workspace, int height, int width, int channels, int out_height, int out_width, int out_channels,
              int offset, int replicate, int relu, int threads) {
    const int columns = ceiling(out_width, 4), tiles = ceiling(out_height, 4) * columns, groups = ceiling(tiles, ROWS);
    const Job job = {image, positive, filters, bias, result, height, width, channels, out_height, out_width,
                     out_channels, offset, replicate, relu, columns, tiles};
    const int products = 36 * out_channels / PANEL;
    int separate;
    const int own = plan(out_height, out_width, channels, out_channels, threads, &separate), shared = own * threads;
#pragma omp parallel num_threads(threads)
    if (separate) {
        float *space = workspace + (size_t)36 * ROWS * (channels + out_channels) * own * omp_get_thread_num();
#pragma omp for schedule(dynamic)
        for (int first = 0; first < groups; first += own) {
            const Batch batch = batch_of(&job, first, minimum(own, groups - first), space);
            for (int tile = 0; tile < batch.tiles; tile++) read_one(&job, &batch, tile);
            for (int index = 0; index < products; index++) multiply_one(&job, &batch, index);
            for (int tile = 0; tile < batch.tiles; tile++) write_one(&job, &batch, tile);
        }
    } else
        for (int first = 0; first < groups; first += shared) {
            const Batch batch = batch_of(&job, first, minimum(shared, groups - first), workspace);
#pragma omp for schedule(dynamic)
            for (int tile = 0; tile < batch.tiles; tile++) read_one(&job, &batch, tile);
#pragma omp for schedule(dynamic, 4)
            for (int index = 0; index < products; index++) multiply_one(&job, &batch, index);
#pragma omp for schedule(dynamic)
            for (int tile = 0; tile < batch.tiles; tile++) write_one(&job, &batch, tile);
        }
}
