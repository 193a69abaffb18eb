/* bench_roofline [MIB]: the limits of this machine (roofline.h), on one thread and on one a core, reading so much
 * memory (default 1,024). CSV. */
#include "bench/roofline.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments)
{
    const size_t mib = count > 1 ? strtoul(arguments[1], NULL, 10) : 1024;
    cpu_set_t cores;
    unsigned most = sched_getaffinity(0, sizeof cores, &cores) ? 1 : (unsigned)CPU_COUNT(&cores);

    printf("threads,f32_gflops,bf16_gflops,int8_gops,read_gb_s\n");
    for (unsigned threads = 1; threads <= most; threads += most > 1 ? most - 1 : 1) {
        struct roofline limit;
        struct err err;
        if (roofline_measure(&limit, threads, mib << 20, &err)) {
            fprintf(stderr, "bench_roofline: %s\n", err.text);
            return err_status(err.code);
        }
        printf("%u,%.1f,%.1f,%.1f,%.1f\n", threads, limit.flops[WEIGHTS_F32] / 1e9,
               limit.flops[WEIGHTS_BF16] / 1e9, limit.flops[WEIGHTS_INT8] / 1e9,
               limit.read_bytes / 1e9);
        fflush(stdout);
    }
    return 0;
}
