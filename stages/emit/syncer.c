#include "stages/emit/syncer.h"

#include "stages/emit/sinks/claim.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { BATCH = 64 /* tasks that share the syncs of their folders */ };

struct queue {
    struct sync_task *head, **tail;
};

struct lane {
    struct syncer *syncer;
    pthread_t thread;
    bool started;
    pthread_cond_t wake;
    struct queue todo;
};

struct syncer {
    pthread_mutex_t lock;
    struct lane lanes[SYNC_LANES];
    struct queue done;
    bool stop;
    int descriptor, halt;
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

static void task_free(struct sync_task *task)
{
    free(task->name);
    free(task->text);
    buffer_release(&task->lines);
    free(task);
}

/* ---- Folders ---- */

struct folders {
    char **paths;
    size_t count;
};

static void add_folder(struct folders *f, const char *path, size_t bytes)
{
    for (size_t i = f->count; i-- > 0;)
        if (!strncmp(f->paths[i], path, bytes) && !f->paths[i][bytes])
            return;
    f->paths = realloc(f->paths, (f->count + 1) * sizeof *f->paths);
    require(f->paths);
    f->paths[f->count] = strndup(path, bytes);
    require(f->paths[f->count++]);
}

/* All folders from task's own down to those that its file and its sidecar stand in. */
static void add_folders(struct folders *f, const struct sync_task *task)
{
    char *paths[] = {sink_path(task->folder, task->name), sidecar_path(task->folder, task->name)};

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const char *at = paths[i] + strlen(task->folder);
        for (; at; at = strchr(at + 1, '/'))
            add_folder(f, paths[i], (size_t)(at - paths[i]));
        free(paths[i]);
    }
}

static int sync_folders(struct folders *f)
{
    int cause = 0;

    for (size_t i = 0; i < f->count; i++) {
        int one = sync_folder(f->paths[i]);
        cause = cause ? cause : one;
        free(f->paths[i]);
    }
    free(f->paths);
    return cause;
}

/* ---- A lane ---- */

static void hand_back(struct syncer *w, struct sync_task *task)
{
    uint64_t one = 1;

    pthread_mutex_lock(&w->lock);
    push(&w->done, task);
    require(write(w->descriptor, &one, sizeof one) == sizeof one);
    pthread_mutex_unlock(&w->lock);
}

/* Do the tasks of list; those with a name are done when their folders are synced, once for all of them. */
static void do_batch(struct syncer *w, struct queue *list)
{
    struct queue named = {.tail = &named.head};
    struct folders folders = {.count = 0};
    struct sync_task *task;
    int cause;

    while ((task = pop(list))) {
        task->cause = task->work(task, w->halt);
        if (task->name && !task->cause) {
            add_folders(&folders, task);
            push(&named, task);
        } else {
            hand_back(w, task);
        }
    }
    cause = sync_folders(&folders);
    while ((task = pop(&named))) {
        task->cause = cause;
        hand_back(w, task);
    }
}

static void *run(void *self)
{
    struct lane *lane = self;
    struct syncer *w = lane->syncer;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct queue list = {.tail = &list.head};
        while (!lane->todo.head && !w->stop)
            pthread_cond_wait(&lane->wake, &w->lock);
        for (unsigned i = 0; i < BATCH && lane->todo.head; i++)
            push(&list, pop(&lane->todo));
        if (!list.head)
            break;
        pthread_mutex_unlock(&w->lock);
        do_batch(w, &list);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* ---- The stage's side ---- */

enum err_code syncer_open(struct syncer **out, struct err *err)
{
    struct syncer *w = calloc(1, sizeof *w);
    int cause = 0;

    if (!w)
        return err_set(err, ERR_MEMORY, 0, "syncer");
    w->done.tail = &w->done.head;
    pthread_mutex_init(&w->lock, NULL);
    w->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->halt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->descriptor < 0 || w->halt < 0)
        cause = errno;
    for (size_t i = 0; i < SYNC_LANES; i++) {
        struct lane *lane = &w->lanes[i];
        lane->syncer = w;
        lane->todo.tail = &lane->todo.head;
        pthread_cond_init(&lane->wake, NULL);
        if (!cause)
            cause = pthread_create(&lane->thread, NULL, run, lane);
        lane->started = !cause;
    }
    if (cause) {
        syncer_close(&w);
        return err_set(err, ERR_SYSTEM, cause, "syncer");
    }
    *out = w;
    return ERR_OK;
}

void syncer_close(struct syncer **syncer)
{
    struct syncer *w = *syncer;
    struct sync_task *task;
    uint64_t one = 1;

    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    if (w->halt >= 0)
        require(write(w->halt, &one, sizeof one) == sizeof one);
    for (size_t i = 0; i < SYNC_LANES; i++)
        pthread_cond_signal(&w->lanes[i].wake);
    pthread_mutex_unlock(&w->lock);
    for (size_t i = 0; i < SYNC_LANES; i++) {
        if (w->lanes[i].started)
            pthread_join(w->lanes[i].thread, NULL);
        pthread_cond_destroy(&w->lanes[i].wake);
    }
    while ((task = pop(&w->done)))
        task_free(task);
    pthread_mutex_destroy(&w->lock);
    if (w->descriptor >= 0)
        close(w->descriptor);
    if (w->halt >= 0)
        close(w->halt);
    free(w);
    *syncer = NULL;
}

void syncer_submit(struct syncer *syncer, const struct sync_task *task)
{
    struct sync_task *mine = malloc(sizeof *mine);
    struct lane *lane = &syncer->lanes[task->one_lane ? 0 : task->stream % SYNC_LANES];

    require(mine);
    *mine = *task;
    pthread_mutex_lock(&syncer->lock);
    push(&lane->todo, mine);
    pthread_cond_signal(&lane->wake);
    pthread_mutex_unlock(&syncer->lock);
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
    task->name = task->text = NULL;
    task->lines = buffer_of(0);
    task_free(done);
    return true;
}

int syncer_descriptor(const struct syncer *syncer)
{
    return syncer->descriptor;
}
