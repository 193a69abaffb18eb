/* engine/crew.c: a task is published as one number, so that a part is taken, and a task that is over is seen to be
 * over, by one compare-and-swap. Who has taken a part may read the task: it stays until that part is done. */
#include "engine/crew.h"

#include <sched.h>

enum { PATIENCE = 2000 }; /* looks, some 50 us, before others get the core */

static void wait_a_little(unsigned *looks)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
    if (++*looks % PATIENCE == 0)
        sched_yield();
}

/* The number of a part that is the caller's now; parts or more: there is none. */
static bool take(struct crew *crew, size_t *part)
{
    uint64_t task = atomic_load_explicit(&crew->task, memory_order_acquire);

    do {
        *part = task & 0xFFFF;
        if (*part >= (task >> 16 & 0xFFFF))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&crew->task, &task, task + 1,
                                                    memory_order_acq_rel, memory_order_acquire));
    return true;
}

/* Parts that were done. */
static size_t take_all(struct crew *crew)
{
    size_t part, count = 0;

    for (; take(crew, &part); count++)
        crew->run(crew->self, part);
    return count;
}

void crew_open(struct crew *crew)
{
    atomic_store_explicit(&crew->open, true, memory_order_release);
}

void crew_close(struct crew *crew)
{
    atomic_store_explicit(&crew->open, false, memory_order_release);
}

bool crew_is_open(const struct crew *crew)
{
    return atomic_load_explicit(&crew->open, memory_order_acquire);
}

void crew_run(struct crew *crew, crew_part_fn *run, void *self, size_t parts)
{
    uint64_t generation;
    unsigned looks = 0;

    if (parts < 2 || parts > CREW_PARTS_MAX || !crew_is_open(crew)) {
        for (size_t part = 0; part < parts; part++)
            run(self, part);
        return;
    }
    generation = (atomic_load_explicit(&crew->task, memory_order_relaxed) >> 32) + 1;
    crew->run = run;
    crew->self = self;
    atomic_store_explicit(&crew->done, 0, memory_order_relaxed);
    atomic_store_explicit(&crew->task, generation << 32 | (uint64_t)parts << 16,
                          memory_order_release);
    atomic_fetch_add_explicit(&crew->done, take_all(crew), memory_order_relaxed);
    while (atomic_load_explicit(&crew->done, memory_order_acquire) < parts)
        wait_a_little(&looks);
}

void crew_help(struct crew *crew)
{
    unsigned looks = 0;

    while (crew_is_open(crew)) {
        size_t count = take_all(crew);
        if (count)
            atomic_fetch_add_explicit(&crew->done, count, memory_order_release);
        else
            wait_a_little(&looks);
    }
}
