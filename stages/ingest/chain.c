#include "stages/ingest/chain.h"

#include "schemas/step.h"
#include "stages/ingest/follow.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>

enum { TRIM_LEAST = 16 /* rows, since each trim is a commit */ };

/* ---- Segments ---- */

struct segment *chain_find(const struct chain *c, uint64_t number)
{
    for (size_t i = c->count; i-- > 0;)
        if (c->segments[i].number == number)
            return &c->segments[i];
    return NULL;
}

void chain_unwatch(struct chain *c, struct segment *s)
{
    watch_file_end(c->follow->watch, s->watch);
    s->watch = -1;
}

void chain_hold(struct chain *c, struct segment *s, const struct segment_file *file)
{
    require(s->file.fd < 0);
    s->file = *file;
    c->follow->open += file->fd >= 0;
}

void chain_let_go(struct chain *c, struct segment *s)
{
    chain_unwatch(c, s);
    c->follow->open -= s->file.fd >= 0;
    segment_file_close(&s->file);
}

void chain_cut(struct chain *c, size_t index)
{
    while (c->count > index)
        chain_let_go(c, &c->segments[--c->count]);
}

struct segment *chain_push(struct chain *c, uint64_t number, const struct segment_name *name)
{
    struct segment *grown;
    size_t keep = 0;

    while (keep < c->count && c->segments[keep].number < number)
        keep++;
    chain_cut(c, keep); /* of a life that was given up */
    grown = realloc(c->segments, (c->count + 1) * sizeof *grown);
    require(grown);
    c->segments = grown;
    grown[c->count] =
        (struct segment){.number = number, .name = *name, .file = {.fd = -1}, .watch = -1};
    return &grown[c->count++];
}

void chain_close_old(struct chain *c)
{
    size_t most = c->follow->open < c->follow->open_most ? CHAIN_OLD_OPEN_MOST : 0;

    for (size_t i = 0; i + most + 1 < c->count; i++)
        chain_let_go(c, &c->segments[i]);
}

/* ---- The journal ---- */

static void take_row(struct chain *c, const struct segment_row *row, uint64_t number)
{
    struct segment *s;

    if (row->has_before) {
        s = chain_find(c, row->number - 1);
        if (!s)
            s = chain_push(c, row->number - 1, &row->before);
        s->name = row->before;
        s->closed = true;
        s->newline = row->newline;
        s->end = row->before_end;
        s->tail = row->before_tail;
        s->row = number;
    }
    s = chain_find(c, row->number);
    if (s && !s->name.id.inode)
        s->name = row->name;
    else
        chain_push(c, row->number, &row->name);
}

/* Rows that are not known yet. */
static enum err_code load_rows(struct chain *c, struct err *err)
{
    struct journal *journal = ingest_journal(c->follow->ingest);
    struct buffer entry = buffer_of(JOURNAL_ENTRY_MAX);
    struct segment_row row;
    enum err_code code = ERR_OK;

    for (uint64_t number = c->known + 1; !code; number++) {
        code = journal_read(journal, c->topic, &number, &entry, err);
        if (!code)
            code = segment_row_decode(&row, (struct view){entry.data, entry.bytes}, err);
        if (!code) {
            take_row(c, &row, number);
            c->known = number;
        }
    }
    buffer_release(&entry);
    return code == ERR_ABSENT ? ERR_OK : code;
}

enum err_code chain_load(struct chain *c, struct err *err)
{
    if (c->decide.in_flight && !spooled_settle(ingest_spooled(c->follow->ingest), &c->decide))
        segment_file_close(&c->coming);
    if (c->failed.code) {
        *err = c->failed;
        return err->code;
    }
    return load_rows(c, err);
}

/* It is durable. What begins with no file does so because the one before was truncated: its descriptor leads
 * to something else by now. */
static void decided(void *self)
{
    struct chain *c = self;
    struct segment *s, *before;
    struct err err;

    STEP(ingest_journal);
    if (load_rows(c, &err)) {
        c->failed = err;
        segment_file_close(&c->coming);
    } else {
        s = chain_find(c, c->deciding);
        before = c->deciding ? chain_find(c, c->deciding - 1) : NULL;
        require(s);
        if (before)
            chain_unwatch(c, before);
        if (before && c->coming.fd < 0)
            chain_let_go(c, before);
        chain_hold(c, s, &c->coming);
        c->coming = (struct segment_file){.fd = -1};
    }
    followed_wake(c->owner);
}

enum err_code chain_decide(struct chain *c, const struct segment_row *row,
                           const struct segment_file *file, struct err *err)
{
    uint8_t bytes[SEGMENT_ROW_BYTES];
    struct store_batch *batch = NULL;
    enum err_code code = store_batch_open(&batch, err);

    require(!chain_is_deciding(c));
    c->coming = *file;
    c->deciding = row->number;
    segment_row_encode(row, bytes);
    if (!code)
        code = batch_entry(batch, c->topic, (struct view){bytes, sizeof bytes}, err);
    if (!code)
        spooled_submit(ingest_spooled(c->follow->ingest), &c->decide, &batch);
    else
        segment_file_close(&c->coming);
    store_batch_close(&batch);
    return code;
}

void chain_wait(struct chain *c)
{
    spooled_wait(ingest_spooled(c->follow->ingest), &c->decide);
}

bool chain_is_deciding(const struct chain *c)
{
    return c->decide.in_flight;
}

static void was_cut(void *self)
{
    (void)self;
}

/* Rows that cannot be dropped now are dropped later. */
static void trim(struct chain *c, size_t needed)
{
    size_t drop = needed > CHAIN_ROWS_KEPT ? needed - CHAIN_ROWS_KEPT : 0;
    struct store_batch *batch = NULL;

    if (drop < TRIM_LEAST || c->cut.in_flight || store_batch_open(&batch, NULL))
        return;
    if (batch_cut(batch, c->topic, c->segments[drop - 1].row + 1, NULL) == ERR_OK) {
        spooled_submit(ingest_spooled(c->follow->ingest), &c->cut, &batch);
        for (size_t i = 0; i < drop; i++)
            chain_let_go(c, &c->segments[i]);
        c->count -= drop;
        memmove(c->segments, c->segments + drop, c->count * sizeof *c->segments);
    }
    store_batch_close(&batch);
}

void chain_forget(struct chain *c, uint64_t number)
{
    size_t needed = 0;

    while (needed < c->count && c->segments[needed].number < number)
        chain_let_go(c, &c->segments[needed++]);
    trim(c, needed);
}

enum err_code chain_init(struct chain *c, struct follow *follow, struct followed *owner,
                         const char *name, struct err *err)
{
    *c = (struct chain){.follow = follow, .owner = owner, .coming = {.fd = -1}};
    c->decide = (struct spool_task){.done = decided, .self = c};
    c->cut = (struct spool_task){.done = was_cut, .self = c};
    if (asprintf(&c->topic, CHAIN_TOPIC "%s", name) >= 0)
        return ERR_OK;
    c->topic = NULL;
    return err_set(err, ERR_MEMORY, 0, "input '%s'", name);
}

void chain_release(struct chain *c)
{
    if (c->count)
        chain_cut(c, 0);
    if (c->topic)
        segment_file_close(&c->coming);
    free(c->segments);
    free(c->topic);
    *c = (struct chain){.follow = NULL};
}
