/* bench_formats: how fast each number format of model files becomes float32, on one thread.
 *
 *     bench_formats [MILLIONS OF VALUES, default 16]
 *
 * A row a type: values a second and bytes of file a second, the best of five. The values are decoded a row
 * of 1,024 at a time into the same place, as packing does it. */
#include "bench/bench.h"
#include "engine/formats/formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROW = 1024, ROUNDS = 5 };

/* Seconds for all rows, and a sum that keeps the work from being left out. */
static double decode_all(enum dtype dtype, const uint8_t *data, size_t rows, uint64_t bytes,
                         float *sum)
{
    float out[ROW];
    double start = now_s();

    for (size_t i = 0; i < rows; i++) {
        dtypes[dtype].decode(out, data + i * bytes, ROW);
        *sum += out[i % ROW];
    }
    return now_s() - start;
}

int main(int count, char **words)
{
    size_t rows = (count > 1 ? strtoul(words[1], NULL, 10) : 16) * 1000000 / ROW;
    float sum = 0;

    printf("%-6s %12s %12s\n", "type", "Gvalues/s", "GB/s");
    for (enum dtype dtype = 0; dtype < DTYPE_COUNT; dtype++) {
        uint64_t bytes;
        uint8_t *data;
        double best = 1e9;

        require(dtype_bytes(dtype, ROW, &bytes));
        data = malloc(rows * bytes + 1);
        require(data != NULL);
        /* Scales and integers of all sizes, no infinite and no subnormal ones. */
        for (size_t i = 0; i < rows * bytes; i++)
            data[i] = (uint8_t)(0x20 + i * 37 % 0x1F);
        for (int round = 0; round < ROUNDS; round++) {
            double s = decode_all(dtype, data, rows, bytes, &sum);
            best = s < best ? s : best;
        }
        printf("%-6s %12.2f %12.2f\n", dtypes[dtype].name, (double)(rows * ROW) / best * 1e-9,
               (double)(rows * bytes) / best * 1e-9);
        free(data);
    }
    return sum == 1;
}
