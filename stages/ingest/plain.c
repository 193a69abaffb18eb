/* The inputs of `read`: files as they were when they were opened, and pipes (source.h); files that are no plain
 * text are handed on to made.h. Which a file is, is asked once: from then on its cursor says so. */
#include "stages/ingest/entries.h"
#include "stages/ingest/input.h"
#include "stages/ingest/made.h"
#include "stages/ingest/paths.h"
#include "stages/ingest/readers/encoding.h"
#include "stages/ingest/readers/look.h"
#include "stages/ingest/segment.h"
#include "stages/ingest/source.h"
#include "stages/ingest/spooled.h"

#include <stdlib.h>

struct plain {
    const struct stage_env *env;
    struct source source;
    struct made *made; /* instead of source, while it is open */
    char *file, *name;
    bool drained; /* a pipe that was read: what was read is gone */
};

/* Is it one of `follow`'s? */
static bool is_of_what_grows(struct view cursor)
{
    struct segment_place place;

    return (cursor.bytes == SPOOLED_CURSOR_BYTES && cursor.data[1] == SPOOLED_CURSOR_KIND) ||
           (cursor.bytes >= ENTRIES_CURSOR_BYTES && cursor.data[1] == ENTRIES_CURSOR_KIND) ||
           (cursor.bytes && !segment_cursor_decode(&place, cursor, NULL));
}

static enum err_code plain_open(void *self, struct view cursor, struct err *err)
{
    struct plain *p = self;

    if (p->drained)
        return err_set(
            err, ERR_SOURCE, 0,
            "'%s' cannot be read again within a run: give the same input to the same command, and "
            "it goes on",
            p->file);
    if (is_of_what_grows(cursor))
        return err_set(
            err, ERR_CHANGED, 0,
            "'%s' was begun by `follow`: read it into another store (-o), or begin again with "
            "--restart",
            p->file);
    if (cursor.bytes ? made_is_cursor(cursor) : made_wants(p->env->config, p->file))
        return made_open(&p->made, p->env, p->file, p->name, cursor, err);
    if (cursor.bytes && made_check_plain(p->env->config, p->file, err))
        return err->code;
    return source_open(&p->source, p->file, cursor, err);
}

static void plain_finished(void *self)
{
    struct plain *p = self;

    p->source.ends = p->source.pipe;
}

static bool plain_ready(void *self)
{
    struct plain *p = self;

    return p->made ? made_ready(p->made) : source_ready(&p->source);
}

static enum err_code set_cursor(struct plain *p, struct piece *at, struct err *err)
{
    at->cursor_bytes = SOURCE_CURSOR_BYTES;
    return source_cursor(&p->source, at->cursor, err);
}

static enum err_code plain_opened(void *self, Riverrun__Fingerprints *prints, struct piece *at,
                                  struct err *err)
{
    struct plain *p = self;

    if (p->made)
        return made_opened(p->made, prints, at, err);
    prints->size_known = !p->source.pipe;
    prints->source_bytes = p->source.size;
    if (p->source.head_known)
        prints->head = proto_bytes(p->source.head, SOURCE_HEAD_BYTES);
    return set_cursor(p, at, err);
}

/* Its beginning says that `#` makes headings. As a place of the source it needs no memory: encode keeps it. */
static const uint8_t markdown = PLACE_MARKDOWN;

static enum err_code plain_read(void *self, struct piece *piece, struct err *err)
{
    struct plain *p = self;
    uint64_t before = p->source.offset;
    bool end = false;
    size_t got = 0;
    enum err_code code;

    if (p->made)
        return made_read(p->made, piece, err);
    code = source_read(&p->source, piece->buffer, piece->room, &got, &end, err);

    if (code)
        return code;
    piece->bytes = (struct view){piece->buffer, got};
    if (!before && look_names_markdown(p->file))
        piece->place = (struct view){&markdown, 1};
    piece->flags = end ? MSG_END : 0;
    piece->more = !end && p->source.offset > before;
    return got || end ? set_cursor(p, piece, err) : ERR_OK;
}

static int plain_descriptor(void *self)
{
    struct plain *p = self;

    if (p->made)
        return made_descriptor(p->made);
    return p->source.pipe ? p->source.fd : -1;
}

static void plain_close(void *self)
{
    struct plain *p = self;

    made_close(&p->made);
    p->drained = p->drained || (p->source.pipe && p->source.offset > 0);
    source_close(&p->source);
}

static void plain_free(void *self)
{
    struct plain *p = self;

    plain_close(p);
    free(p->file);
    free(p->name);
    free(p);
}

static const struct input_kind plain_kind = {
    .open = plain_open,
    .finished = plain_finished,
    .ready = plain_ready,
    .opened = plain_opened,
    .read = plain_read,
    .descriptor = plain_descriptor,
    .close = plain_close,
    .free = plain_free,
};

static enum err_code add(struct ingest *g, const struct path *path, struct err *err)
{
    struct plain *p = calloc(1, sizeof *p);
    struct input *in;
    enum err_code code;

    if (!p || !(p->file = strdup(path->file)) || !(p->name = strdup(path->name))) {
        free(p ? p->file : NULL);
        free(p);
        return err_set(err, ERR_MEMORY, 0, "input '%s'", path->file);
    }
    p->env = ingest_env(g);
    p->source.fd = -1;
    code = ingest_add(g, &plain_kind, p, path->name, path->file, &in, err);
    if (code)
        plain_free(p);
    return code;
}

/* What is kept of the list: what to say of it when the run ends. */
struct listed {
    const struct stage_env *env;
    struct passed passed;
};

static enum err_code add_all(struct ingest *g, struct listed *listed, struct err *err)
{
    const struct config *config = ingest_env(g)->config;
    struct path_list paths;
    enum err_code code = path_list_make(&paths, config, err);

    if (code)
        return code;
    for (size_t i = 0; i < paths.count && !code; i++)
        code = add(g, &paths.items[i], err);
    listed->passed = paths.passed;
    paths.passed = (struct passed){.first = NULL};
    path_list_release(&paths);
    return code;
}

static enum err_code paths_open(void **self, struct ingest *g, struct err *err)
{
    const struct config *config = ingest_env(g)->config;
    struct listed *listed = calloc(1, sizeof *listed);
    enum err_code code;

    *self = listed;
    if (!listed)
        return err_set(err, ERR_MEMORY, 0, "list of inputs");
    listed->env = ingest_env(g);
    code = config->encoding ? encoding_check(config->encoding, err) : ERR_OK;
    return code ? code : add_all(g, listed, err);
}

static enum err_code paths_work(void *self, bool *ran, struct err *err)
{
    (void)self;
    (void)ran;
    (void)err;
    return ERR_OK;
}

static void paths_close(void **self)
{
    struct listed *listed = *self;
    char words[PASSED_WORDS_MAX];

    *self = NULL;
    if (!listed)
        return;
    if (passed_all(&listed->passed))
        stage_report(listed->env, STAGE_NOTE, NULL, "passed over in folders: %s",
                     passed_words(&listed->passed, words));
    passed_release(&listed->passed);
    free(listed);
}

const struct feeder_kind path_feeder = {
    .open = paths_open, .work = paths_work, .close = paths_close};
