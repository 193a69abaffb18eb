/* Group commit. The thread takes all batches that wait, up to a bound, into one transaction: one pair
 * of syncs for all. When that transaction is refused, each of its batches is committed alone, in
 * order, so that one that cannot be stored does not take the others with it. */
#include "store/writer.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    GROUP_MAX = 64,              /* batches of one transaction */
    GROUP_BYTES_MAX = 128 << 20, /* and about how much: its pages are held in memory */
};

struct queue {
    struct store_batch *first, *last;
};

struct writer {
    struct env *env;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t submitted, finished_one;
    struct queue waiting, finished;
    size_t in_flight; /* submitted, not yet collected */
    bool closing;
    int event_fd; /* readable while finished holds something */
};

static void queue_put(struct queue *queue, struct store_batch *batch)
{
    batch->next = NULL;
    if (queue->last)
        queue->last->next = batch;
    else
        queue->first = batch;
    queue->last = batch;
}

static struct store_batch *queue_take(struct queue *queue)
{
    struct store_batch *batch = queue->first;

    if (!batch)
        return NULL;
    queue->first = batch->next;
    if (!queue->first)
        queue->last = NULL;
    batch->next = NULL;
    return batch;
}

/* ---- On the writer's thread ---- */

/* The batches from user on, linked by next. */
static int fill_group(void *user, struct env_txn *txn, struct err *err)
{
    int rc = 0;

    for (const struct store_batch *batch = user; batch && !rc; batch = batch->next)
        rc = batch_apply(batch, txn, err);
    return rc;
}

static int fill_one(void *user, struct env_txn *txn, struct err *err)
{
    return batch_apply(user, txn, err);
}

/* Whether the batches from here on do nothing but make room. */
static bool frees_alone(const struct store_batch *batch)
{
    while (batch && batch->frees_alone)
        batch = batch->next;
    return !batch;
}

/* Into *outcome how it went. False where that is not even known: it may be there, and is not applied again. */
static bool commit(struct env *env, size_t bytes, bool frees, env_fill_fn *fill,
                   struct store_batch *batches, struct err *outcome)
{
    struct err later;
    bool there;

    there = !env_write(env, bytes, frees, fill, batches, outcome);
    if (!there && env->unsure && env_settle(env, &there, &later))
        return false;
    if (there)
        *outcome = (struct err){0}; /* of faults on the way */
    return true;
}

static void commit_group(struct env *env, struct queue *group, size_t bytes)
{
    struct err err;
    bool known = commit(env, bytes, frees_alone(group->first), fill_group, group->first, &err);
    bool each = err.code && known && group->first != group->last;

    for (struct store_batch *batch = group->first; batch; batch = batch->next) {
        batch->outcome = err;
        if (each)
            commit(env, batch->bytes, batch->frees_alone, fill_one, batch, &batch->outcome);
    }
}

/* Wait for work and take it; false at the end. */
static bool take_group(struct writer *writer, struct queue *group, size_t *bytes)
{
    *group = (struct queue){0};
    *bytes = 0;
    pthread_mutex_lock(&writer->lock);
    while (!writer->waiting.first && !writer->closing)
        pthread_cond_wait(&writer->submitted, &writer->lock);
    for (int count = 0; count < GROUP_MAX && writer->waiting.first; count++) {
        if (count && *bytes + writer->waiting.first->bytes > GROUP_BYTES_MAX)
            break;
        *bytes += writer->waiting.first->bytes;
        queue_put(group, queue_take(&writer->waiting));
    }
    pthread_mutex_unlock(&writer->lock);
    return group->first != NULL;
}

static void hand_back(struct writer *writer, struct queue *group)
{
    const uint64_t one = 1;
    struct store_batch *batch;

    pthread_mutex_lock(&writer->lock);
    while ((batch = queue_take(group)))
        queue_put(&writer->finished, batch);
    require(write(writer->event_fd, &one, sizeof one) == sizeof one);
    pthread_cond_broadcast(&writer->finished_one);
    pthread_mutex_unlock(&writer->lock);
}

static void *run(void *user)
{
    struct writer *writer = user;
    struct queue group;
    size_t bytes;

    while (take_group(writer, &group, &bytes)) {
        commit_group(writer->env, &group, bytes);
        hand_back(writer, &group);
    }
    return NULL;
}

/* ---- On the caller's ---- */

/* Signals are the caller's: with all of them blocked none is delivered here, and a write past a file
 * size limit is an error instead of SIGXFSZ. */
static int start_thread(struct writer *writer)
{
    sigset_t all, before;
    int failed;

    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&writer->thread, NULL, run, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

enum err_code writer_open(struct writer **out, struct env *env, struct err *err)
{
    struct writer *writer = calloc(1, sizeof *writer);
    int failed = 0;

    if (!writer)
        return err_set(err, ERR_MEMORY, 0, "the store's writer");
    writer->env = env;
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->submitted, NULL);
    pthread_cond_init(&writer->finished_one, NULL);
    writer->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (writer->event_fd < 0)
        failed = errno;
    else
        failed = start_thread(writer);
    writer->running = !failed;
    if (failed) {
        writer_close(&writer);
        return err_set(err, ERR_SYSTEM, failed, "start the store's writer");
    }
    *out = writer;
    return ERR_OK;
}

void writer_close(struct writer **pointer)
{
    struct writer *writer = *pointer;
    struct store_batch *batch;

    if (!writer)
        return;
    if (writer->running) {
        pthread_mutex_lock(&writer->lock);
        writer->closing = true;
        pthread_cond_signal(&writer->submitted);
        pthread_mutex_unlock(&writer->lock);
        pthread_join(writer->thread, NULL);
    }
    while ((batch = queue_take(&writer->finished)))
        store_batch_close(&batch);
    if (writer->event_fd >= 0)
        close(writer->event_fd);
    pthread_cond_destroy(&writer->finished_one);
    pthread_cond_destroy(&writer->submitted);
    pthread_mutex_destroy(&writer->lock);
    free(writer);
    *pointer = NULL;
}

void writer_submit(struct writer *writer, struct store_batch *batch)
{
    pthread_mutex_lock(&writer->lock);
    queue_put(&writer->waiting, batch);
    writer->in_flight++;
    pthread_cond_signal(&writer->submitted);
    pthread_mutex_unlock(&writer->lock);
}

struct store_batch *writer_collect(struct writer *writer, bool wait)
{
    struct store_batch *batch;
    uint64_t count;

    pthread_mutex_lock(&writer->lock);
    while (wait && !writer->finished.first && writer->in_flight)
        pthread_cond_wait(&writer->finished_one, &writer->lock);
    batch = queue_take(&writer->finished);
    if (batch)
        writer->in_flight--;
    if (batch && !writer->finished.first)
        require(read(writer->event_fd, &count, sizeof count) == sizeof count);
    pthread_mutex_unlock(&writer->lock);
    return batch;
}

int writer_descriptor(const struct writer *writer)
{
    return writer->event_fd;
}
