#include "stages/emit/syncer.h"

#include "schemas/step.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct queue {
    struct sync_task *head, **tail;
};

struct syncer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct queue todo, done;
    bool stop;
    int descriptor;
};

static void push(struct queue *q, struct sync_task *task)
{
    task->next = NULL;
    *q->tail = task;
    q->tail = &task->next;
}

static struct sync_task *pop(struct queue *q)
{
    struct sync_task *task = q->head;

    if (task && !(q->head = task->next))
        q->tail = &q->head;
    return task;
}

static void do_task(struct sync_task *task)
{
    STEP_AT(emit_fsync_begin, task->stream, task->token.n);
    task->cause = fsync(task->fd) ? errno : 0;
    if (!task->cause && task->whole)
        task->torn = !jsonl_whole(task->fd, &task->token);
    close(task->fd);
    STEP_AT(emit_fsync_end, task->stream, task->token.n);
}

static void *run(void *self)
{
    struct syncer *w = self;
    struct sync_task *task;
    uint64_t one = 1;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->todo.head && !w->stop)
            pthread_cond_wait(&w->wake, &w->lock);
        task = pop(&w->todo);
        if (!task)
            break;
        pthread_mutex_unlock(&w->lock);
        do_task(task);
        pthread_mutex_lock(&w->lock);
        push(&w->done, task);
        require(write(w->descriptor, &one, sizeof one) == sizeof one);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

enum err_code syncer_open(struct syncer **out, struct err *err)
{
    struct syncer *w = calloc(1, sizeof *w);
    int cause;

    if (!w)
        return err_set(err, ERR_MEMORY, 0, "syncer");
    w->todo.tail = &w->todo.head;
    w->done.tail = &w->done.head;
    w->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->descriptor < 0) {
        cause = errno;
        free(w);
        return err_set(err, ERR_SYSTEM, cause, "syncer's event");
    }
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    cause = pthread_create(&w->thread, NULL, run, w);
    if (cause) {
        close(w->descriptor);
        free(w);
        return err_set(err, ERR_SYSTEM, cause, "syncer's thread");
    }
    *out = w;
    return ERR_OK;
}

void syncer_close(struct syncer **syncer)
{
    struct syncer *w = *syncer;
    struct sync_task *task;

    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    while ((task = pop(&w->done)))
        free(task);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
    close(w->descriptor);
    free(w);
    *syncer = NULL;
}

enum err_code syncer_submit(struct syncer *syncer, const struct sync_task *task, struct err *err)
{
    struct sync_task *mine = malloc(sizeof *mine);

    if (!mine)
        return err_set(err, ERR_MEMORY, 0, "syncer's task");
    *mine = *task;
    mine->fd = fcntl(task->fd, F_DUPFD_CLOEXEC, 0);
    if (mine->fd < 0) {
        free(mine);
        return err_set(err, ERR_SYSTEM, errno, "syncer's descriptor");
    }
    pthread_mutex_lock(&syncer->lock);
    push(&syncer->todo, mine);
    pthread_cond_signal(&syncer->wake);
    pthread_mutex_unlock(&syncer->lock);
    return ERR_OK;
}

bool syncer_collect(struct syncer *syncer, struct sync_task *task)
{
    struct sync_task *done;
    uint64_t count;

    pthread_mutex_lock(&syncer->lock);
    done = pop(&syncer->done);
    if (!syncer->done.head && read(syncer->descriptor, &count, sizeof count) < 0)
        require(errno == EAGAIN);
    pthread_mutex_unlock(&syncer->lock);
    if (!done)
        return false;
    *task = *done;
    free(done);
    return true;
}

int syncer_descriptor(const struct syncer *syncer)
{
    return syncer->descriptor;
}
