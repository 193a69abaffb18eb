#include "engine/train/pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct worker {
    struct pool *pool;
    pthread_t thread;
    size_t number;
};

struct pool {
    unsigned threads;
    pthread_mutex_t mutex;
    pthread_cond_t begun, done;
    uint64_t round; /* counts calls */
    unsigned busy;  /* workers that have not finished the round */
    bool stop;
    pool_fn *run;
    void *self;
    size_t parts;
    unsigned started;
    struct worker workers[];
};

static void run_parts(const struct pool *pool, size_t number)
{
    for (size_t part = number; part < pool->parts; part += pool->threads)
        pool->run(pool->self, part);
}

static void *work(void *value)
{
    struct worker *worker = value;
    struct pool *pool = worker->pool;
    uint64_t seen = 0;

    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (pool->round == seen && !pool->stop)
            pthread_cond_wait(&pool->begun, &pool->mutex);
        if (pool->stop)
            break;
        seen = pool->round;
        pthread_mutex_unlock(&pool->mutex);
        run_parts(pool, worker->number);
        pthread_mutex_lock(&pool->mutex);
        if (--pool->busy == 0)
            pthread_cond_signal(&pool->done);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

enum err_code pool_open(struct pool **out, unsigned threads, struct err *err)
{
    struct pool *pool = calloc(1, sizeof *pool + threads * sizeof *pool->workers);
    enum err_code code = ERR_OK;

    if (!pool)
        return err_set(err, ERR_MEMORY, 0, "%u threads", threads);
    pool->threads = threads;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->begun, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (size_t i = 1; !code && i < threads; i++) {
        struct worker *worker = &pool->workers[i];
        *worker = (struct worker){.pool = pool, .number = i};
        int cause = pthread_create(&worker->thread, NULL, work, worker);
        if (cause)
            code = err_set(err, ERR_SYSTEM, cause, "start a thread");
        else
            pool->started++;
    }
    if (code)
        pool_close(&pool);
    else
        *out = pool;
    return code;
}

void pool_close(struct pool **pool)
{
    struct pool *p = *pool;

    if (!p)
        return;
    pthread_mutex_lock(&p->mutex);
    p->stop = true;
    pthread_cond_broadcast(&p->begun);
    pthread_mutex_unlock(&p->mutex);
    for (size_t i = 1; i <= p->started; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->begun);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->mutex);
    free(p);
    *pool = NULL;
}

void pool_run(struct pool *pool, pool_fn *run, void *self, size_t parts)
{
    pthread_mutex_lock(&pool->mutex);
    pool->run = run;
    pool->self = self;
    pool->parts = parts;
    pool->busy = pool->threads - 1;
    pool->round++;
    pthread_cond_broadcast(&pool->begun);
    pthread_mutex_unlock(&pool->mutex);
    run_parts(pool, 0);
    pthread_mutex_lock(&pool->mutex);
    while (pool->busy)
        pthread_cond_wait(&pool->done, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}
