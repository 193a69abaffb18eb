#include "stages/emit/writer.h"

#include "schemas/step.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct queue {
    struct writer_task *head, **tail;
};

struct writer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct queue todo, done;
    bool stop;
    int descriptor;
};

static void push(struct queue *q, struct writer_task *task)
{
    task->next = NULL;
    *q->tail = task;
    q->tail = &task->next;
}

static struct writer_task *pop(struct queue *q)
{
    struct writer_task *task = q->head;

    if (task && !(q->head = task->next))
        q->tail = &q->head;
    return task;
}

static void do_task(struct writer_task *task)
{
    STEP(emit_fsync_begin);
    task->cause = fsync(task->fd) ? errno : 0;
    if (!task->cause && task->whole)
        task->torn = !jsonl_whole(task->fd, &task->token);
    close(task->fd);
    STEP(emit_fsync_end);
}

static void *run(void *self)
{
    struct writer *w = self;
    struct writer_task *task;
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

enum err_code writer_open(struct writer **out, struct err *err)
{
    struct writer *w = calloc(1, sizeof *w);
    int cause;

    if (!w)
        return err_set(err, ERR_MEMORY, 0, "writer");
    w->todo.tail = &w->todo.head;
    w->done.tail = &w->done.head;
    w->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->descriptor < 0) {
        cause = errno;
        free(w);
        return err_set(err, ERR_SYSTEM, cause, "writer's event");
    }
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    cause = pthread_create(&w->thread, NULL, run, w);
    if (cause) {
        close(w->descriptor);
        free(w);
        return err_set(err, ERR_SYSTEM, cause, "writer's thread");
    }
    *out = w;
    return ERR_OK;
}

void writer_close(struct writer **writer)
{
    struct writer *w = *writer;
    struct writer_task *task;

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
    *writer = NULL;
}

enum err_code writer_submit(struct writer *writer, const struct writer_task *task, struct err *err)
{
    struct writer_task *mine = malloc(sizeof *mine);

    if (!mine)
        return err_set(err, ERR_MEMORY, 0, "writer's task");
    *mine = *task;
    mine->fd = fcntl(task->fd, F_DUPFD_CLOEXEC, 0);
    if (mine->fd < 0) {
        free(mine);
        return err_set(err, ERR_SYSTEM, errno, "writer's descriptor");
    }
    pthread_mutex_lock(&writer->lock);
    push(&writer->todo, mine);
    pthread_cond_signal(&writer->wake);
    pthread_mutex_unlock(&writer->lock);
    return ERR_OK;
}

bool writer_collect(struct writer *writer, struct writer_task *task)
{
    struct writer_task *done;
    uint64_t count;

    pthread_mutex_lock(&writer->lock);
    done = pop(&writer->done);
    if (!writer->done.head && read(writer->descriptor, &count, sizeof count) < 0)
        require(errno == EAGAIN);
    pthread_mutex_unlock(&writer->lock);
    if (!done)
        return false;
    *task = *done;
    free(done);
    return true;
}

int writer_descriptor(const struct writer *writer)
{
    return writer->descriptor;
}
