/* bench_roofline: the limits of this machine (roofline.h), on one thread and on one a core. CSV. */
#include "bench/roofline.h"

#include <sched.h>
#include <stdio.h>

int main(void)
{
    cpu_set_t cores;
    unsigned most = sched_getaffinity(0, sizeof cores, &cores) ? 1 : (unsigned)CPU_COUNT(&cores);

    printf("threads,f32_gflops,bf16_gflops,int8_gops,read_gb_s\n");
    for (unsigned threads = 1; threads <= most; threads += most > 1 ? most - 1 : 1) {
        struct roofline limit;
        struct err err;
        if (roofline_measure(&limit, threads, &err)) {
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
