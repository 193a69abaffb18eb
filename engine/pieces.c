/* engine/pieces.c: work in pieces, by several threads. */
#include "engine/pieces.h"

#include "engine/engine.h"
#include "engine/kernels/kernels.h"
#include <pthread.h>
#include <stdatomic.h>

struct crew {
    piece_fn *each;
    void *context;
    size_t pieces;
    atomic_size_t next;
    pthread_mutex_t lock; /* of the two below */
    enum err_code code;
    struct err err;
};

static void *take_pieces(void *context)
{
    struct crew *crew = context;
    size_t piece;

    float_control_set();
    while ((piece = atomic_fetch_add(&crew->next, 1)) < crew->pieces) {
        struct err err;
        enum err_code code = crew->each(crew->context, piece, &err);
        if (!code)
            continue;
        pthread_mutex_lock(&crew->lock);
        crew->code = code;
        crew->err = err;
        pthread_mutex_unlock(&crew->lock);
        atomic_store(&crew->next, crew->pieces);
    }
    return NULL;
}

enum err_code pieces_run(piece_fn *each, void *context, size_t pieces, unsigned threads,
                         struct err *err)
{
    struct crew crew = {
        .each = each, .context = context, .pieces = pieces, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t helpers[ENGINE_THREADS_MAX];
    unsigned started = 0;

    while (started + 1 < threads && started + 1 < pieces && started + 1 < ENGINE_THREADS_MAX &&
           !pthread_create(&helpers[started], NULL, take_pieces, &crew))
        started++;
    take_pieces(&crew);
    while (started > 0)
        pthread_join(helpers[--started], NULL);
    return crew.code ? err_set(err, crew.code, 0, "%s", crew.err.text) : ERR_OK;
}
