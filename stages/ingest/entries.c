/* Entries. What was read and not given lies in `pending`, whose first byte is at `at`. `scan` runs ahead of
 * it to the end of the lines that are known to belong to the entry at hand; where it stands behind a newline
 * nobody knows yet whether the next line does (`open`), and that newline is not given. */
#include "stages/ingest/entries.h"

#include "schemas/step.h"
#include "stages/ingest/pattern.h"
#include "stages/ingest/spooled.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

enum { CURSOR_VERSION = 1, PENDING_MAX = 1 << 20, MARKS_MOST = 4, ENTRIES_WORDS_MAX = 200 };

struct entries {
    struct ingest *ingest;
    struct pattern *start;
    char words[ENTRIES_WORDS_MAX]; /* what makes entries of lines, for fingerprints */
    uint64_t wait_ms, now_ms;
    struct entry_input *oldest, *newest; /* those that wait for time to end an entry */
};

/* Of the entry at hand, up to some place. */
struct extent {
    uint32_t lines, bytes;
};

struct decision {
    uint64_t offset, number; /* number: of the journal's entry */
};

struct mark {
    uint64_t offset;
    size_t cursor_bytes;
    uint8_t cursor[INPUT_CURSOR_MAX];
};

struct entry_input {
    struct entries *entries;
    struct input *input;
    const struct input_kind *kind;
    void *inner;
    char *topic;
    struct buffer pending;
    size_t given; /* of pending, lent by the last read */
    uint64_t at;
    struct extent extent; /* at `at` */
    uint64_t scan;
    struct extent scanned; /* at `scan` */
    bool open, over;       /* scan is behind a newline; the entry is known to end there */
    uint64_t skip;         /* of what the inner input gives again */
    struct mark marks[MARKS_MOST];
    size_t mark_count;
    struct decision *decisions; /* (decision_count), offsets ascending */
    size_t decision_count, decision_room, next_decision;
    struct spool_task decide, cut;
    bool begins;       /* at the origin, once the journal has forgotten what former lives decided */
    struct err failed; /* what could not be read of the journal; told by the next read */
    uint64_t deciding; /* offset of the decision on its way */
    uint64_t last_number; /* of the journal's entries that are known */
    uint64_t since_ms;    /* waits since then, in the list of entries */
    bool waits;
    struct entry_input *older, *newer;
};

/* ---- Who waits for time to end an entry ---- */

static void stop_waiting(struct entry_input *e)
{
    struct entries *all = e->entries;

    if (!e->waits)
        return;
    *(e->older ? &e->older->newer : &all->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &all->newest) = e->older;
    e->older = e->newer = NULL;
    e->waits = false;
}

static void wait_for_more(struct entry_input *e)
{
    struct entries *all = e->entries;

    if (e->waits || e->decide.in_flight)
        return;
    e->since_ms = all->now_ms;
    e->older = all->newest;
    *(all->newest ? &all->newest->newer : &all->oldest) = e;
    all->newest = e;
    e->waits = true;
}

/* ---- Decisions ---- */

static enum err_code add_decision(struct entry_input *e, uint64_t offset, uint64_t number,
                                  struct err *err)
{
    if (e->decision_count == e->decision_room) {
        size_t room = e->decision_room ? 2 * e->decision_room : 4;
        struct decision *grown = realloc(e->decisions, room * sizeof *grown);
        if (!grown)
            return err_set(err, ERR_MEMORY, 0, "'%s'", e->topic);
        e->decisions = grown;
        e->decision_room = room;
    }
    e->decisions[e->decision_count++] = (struct decision){offset, number};
    return ERR_OK;
}

/* What the journal says and is not known yet. */
static enum err_code load_decisions(struct entry_input *e, struct err *err)
{
    struct journal *journal = ingest_journal(e->entries->ingest);
    struct buffer entry = buffer_of(JOURNAL_ENTRY_MAX);
    enum err_code code = ERR_OK;

    for (uint64_t number = e->last_number + 1; !code; number++) {
        code = journal_read(journal, e->topic, &number, &entry, err);
        if (!code && entry.bytes != 8)
            code = err_set(err, ERR_DAMAGED, 0, "the journal's entry %llu of '%s'",
                           (unsigned long long)number, e->topic);
        if (!code)
            code = add_decision(e, load_u64(entry.data), number, err);
        if (!code)
            e->last_number = number;
    }
    buffer_release(&entry);
    return code == ERR_ABSENT ? ERR_OK : code;
}

static bool is_decided(struct entry_input *e, uint64_t offset)
{
    while (e->next_decision < e->decision_count && e->decisions[e->next_decision].offset < offset)
        e->next_decision++;
    return e->next_decision < e->decision_count && e->decisions[e->next_decision].offset == offset;
}

/* Forget the first count decisions, here and in the journal. */
static enum err_code forget(struct entry_input *e, size_t count, struct err *err)
{
    struct store_batch *batch = NULL;
    enum err_code code = store_batch_open(&batch, err);

    if (!code)
        code = batch_cut(batch, e->topic, e->decisions[count - 1].number + 1, err);
    if (!code) {
        spooled_submit(ingest_spooled(e->entries->ingest), &e->cut, &batch);
        e->decision_count -= count;
        e->next_decision -= e->next_decision < count ? e->next_decision : count;
        memmove(e->decisions, e->decisions + count, e->decision_count * sizeof *e->decisions);
    }
    store_batch_close(&batch);
    return code;
}

/* What was decided in former lives is not true of this one, which is told as opened when it is forgotten: from then on
 * there may be a checkpoint, and whoever goes on there takes the journal's word. */
static enum err_code begin(struct entry_input *e, struct err *err)
{
    enum err_code code = ERR_OK;

    if (!e->begins || e->decide.in_flight || e->cut.in_flight)
        return ERR_OK;
    code = load_decisions(e, err);
    if (!code && e->decision_count)
        return forget(e, e->decision_count, err);
    e->begins = code != ERR_OK;
    return code;
}

/* The journal has it: the entry ends, and that is seen at the next read. */
static void decided(void *self)
{
    struct entry_input *e = self;
    struct err err;

    STEP(ingest_journal);
    if (load_decisions(e, &err) || begin(e, &err))
        e->failed = err;
    input_wake(e->input);
}

static enum err_code end_by_time(struct entry_input *e, struct err *err)
{
    struct store_batch *batch = NULL;
    uint8_t offset[8];
    enum err_code code = store_batch_open(&batch, err);

    stop_waiting(e);
    store_u64(offset, e->scan);
    if (!code)
        code = batch_entry(batch, e->topic, (struct view){offset, sizeof offset}, err);
    if (!code) {
        e->deciding = e->scan;
        spooled_submit(ingest_spooled(e->entries->ingest), &e->decide, &batch);
    }
    store_batch_close(&batch);
    return code;
}

/* ---- Scanning ---- */

static size_t behind_scan(const struct entry_input *e)
{
    return e->pending.bytes - (size_t)(e->scan - e->at);
}

static const uint8_t *scan_bytes(const struct entry_input *e)
{
    return e->pending.data + (e->scan - e->at);
}

static void extend(struct extent *extent, size_t lines, size_t bytes)
{
    extent->lines =
        lines < UINT16_MAX - extent->lines ? extent->lines + (uint32_t)lines : UINT16_MAX;
    extent->bytes =
        bytes < UINT32_MAX - extent->bytes ? extent->bytes + (uint32_t)bytes : UINT32_MAX;
}

/* Behind a newline: does the entry end here? False when that cannot be told yet. */
static bool look_at_next_line(struct entry_input *e)
{
    size_t bytes = behind_scan(e), head = bytes < PATTERN_LINE_MAX ? bytes : PATTERN_LINE_MAX;
    const uint8_t *line = scan_bytes(e), *end;

    if (e->decide.in_flight)
        return false;
    if (is_decided(e, e->scan) || e->scanned.lines >= ENTRY_LINES_MAX ||
        e->scanned.bytes >= ENTRY_BYTES_MAX) {
        e->over = true;
        return true;
    }
    end = head ? memchr(line, '\n', head) : NULL;
    if (!end && head < PATTERN_LINE_MAX)
        return false;
    e->over = pattern_matches(e->entries->start,
                              (struct view){line, end ? (size_t)(end - line) : head}, NULL);
    e->open = e->over;
    return true;
}

static void scan_lines(struct entry_input *e)
{
    while (!e->over) {
        const uint8_t *from = scan_bytes(e), *end;
        size_t left = behind_scan(e), count;
        if (e->open && !look_at_next_line(e))
            return;
        if (e->over || !left)
            return;
        end = memchr(from, '\n', left);
        count = end ? (size_t)(end - from) + 1 : left;
        e->scan += count;
        extend(&e->scanned, end != NULL, count);
        e->open = end != NULL;
    }
}

/* How much of pending may go now. */
static size_t free_bytes(const struct entry_input *e)
{
    size_t scanned = (size_t)(e->scan - e->at);

    return e->open && !e->over ? scanned - 1 : scanned;
}

/* ---- The input ---- */

static void set_cursor(const struct entry_input *e, struct piece *piece)
{
    const struct mark *mark = e->marks;

    while (mark + 1 < e->marks + e->mark_count && mark[1].offset <= e->at)
        mark++;
    piece->cursor[0] = CURSOR_VERSION;
    piece->cursor[1] = ENTRIES_CURSOR_KIND;
    store_u32(piece->cursor + 2, (uint32_t)(e->at - mark->offset));
    store_u64(piece->cursor + 6, e->at);
    store_u16(piece->cursor + 14, (uint16_t)e->extent.lines);
    store_u32(piece->cursor + 16, e->extent.bytes);
    if (mark->cursor_bytes)
        memcpy(piece->cursor + ENTRIES_CURSOR_BYTES, mark->cursor, mark->cursor_bytes);
    piece->cursor_bytes = ENTRIES_CURSOR_BYTES + mark->cursor_bytes;
}

/* The inner cursor of a place, of which those that lie before `at` are not needed but the last. */
static void add_mark(struct entry_input *e, uint64_t offset, const uint8_t *cursor, size_t bytes)
{
    size_t keep = 0;

    require(bytes <= INPUT_CURSOR_MAX - ENTRIES_CURSOR_BYTES);
    while (keep + 1 < e->mark_count && e->marks[keep + 1].offset <= e->at)
        keep++;
    if (e->mark_count == MARKS_MOST && keep == 0)
        e->mark_count--; /* of those that lie ahead the last is enough */
    memmove(e->marks, e->marks + keep, (e->mark_count - keep) * sizeof *e->marks);
    e->mark_count -= keep;
    struct mark *mark = &e->marks[e->mark_count++];
    mark->offset = offset;
    mark->cursor_bytes = bytes;
    if (bytes)
        memcpy(mark->cursor, cursor, bytes);
}

static enum err_code read_cursor(struct view cursor, struct entry_input *e, struct view *inner,
                                 struct err *err)
{
    struct reader r = reader_of(cursor.data, cursor.bytes);
    uint8_t version = read_u8(&r), kind = read_u8(&r);
    uint32_t skip = read_u32(&r);
    uint64_t at = read_u64(&r);
    struct extent extent = {.lines = read_u16(&r)};

    extent.bytes = read_u32(&r);
    if (r.short_read || version != CURSOR_VERSION || skip > at || cursor.bytes > INPUT_CURSOR_MAX)
        return err_set(err, ERR_INPUT, 0, "cursor of %zu bytes is not one of entries",
                       cursor.bytes);
    if (kind != ENTRIES_CURSOR_KIND)
        return err_set(err, ERR_CHANGED, 0,
                       "it was begun without --multiline-start: go on without, or begin again with "
                       "--restart");
    *inner = (struct view){r.at, (size_t)(r.end - r.at)};
    e->skip = skip;
    e->at = at;
    e->extent = extent;
    return ERR_OK;
}

bool entries_cursor_is_spooled(struct view cursor)
{
    if (cursor.bytes > ENTRIES_CURSOR_BYTES && cursor.data[1] == ENTRIES_CURSOR_KIND) {
        cursor.data += ENTRIES_CURSOR_BYTES;
        cursor.bytes -= ENTRIES_CURSOR_BYTES;
    }
    return cursor.bytes == SPOOLED_CURSOR_BYTES && cursor.data[1] == SPOOLED_CURSOR_KIND;
}

static enum err_code entries_open_input(void *self, struct view cursor, struct err *err)
{
    struct entry_input *e = self;
    struct view inner = {NULL, 0};
    enum err_code code = ERR_OK;

    stop_waiting(e);
    buffer_release(&e->pending);
    e->pending = buffer_of(PENDING_MAX);
    e->given = 0;
    e->at = e->skip = 0;
    e->extent = (struct extent){0, 0};
    e->mark_count = 0;
    if (cursor.bytes)
        code = read_cursor(cursor, e, &inner, err);
    e->scan = e->at;
    e->scanned = e->extent;
    e->open = e->over = false;
    add_mark(e, e->at - e->skip, inner.data, inner.bytes);
    e->next_decision = 0;
    e->failed.code = ERR_OK;
    e->begins = !cursor.bytes;
    if (!code)
        code = begin(e, err);
    if (!code && !e->decide.in_flight)
        code = load_decisions(e, err);
    return code ? code : e->kind->open(e->inner, inner, err);
}

static bool entries_ready(void *self)
{
    struct entry_input *e = self;

    return !e->begins && (!e->kind->ready || e->kind->ready(e->inner));
}

static enum err_code entries_opened(void *self, Riverrun__Fingerprints *prints, struct piece *at,
                                    struct err *err)
{
    struct entry_input *e = self;
    enum err_code code = e->kind->opened(e->inner, prints, at, err);

    if (code)
        return code;
    prints->entries = e->entries->words;
    if (e->marks[0].cursor_bytes == 0)
        add_mark(e, e->at, at->cursor, at->cursor_bytes);
    set_cursor(e, at);
    return ERR_OK;
}

/* Give what may go, up to the end of the entry. */
static void give(struct entry_input *e, size_t count, struct piece *piece)
{
    size_t lines = 0;

    piece->more = true;
    if (piece->room == 0)
        return;
    count = count < piece->room ? count : piece->room;
    for (const uint8_t *at = e->pending.data, *end = at + count;
         (at = memchr(at, '\n', (size_t)(end - at))); at++)
        lines++;
    piece->bytes = (struct view){e->pending.data, count};
    e->given = count;
    e->at += count;
    extend(&e->extent, lines, count);
    if (e->over && e->at == e->scan) {
        piece->flags = MSG_BREAK;
        e->extent = e->scanned = (struct extent){0, 0};
        e->open = e->over = false;
    }
    set_cursor(e, piece);
}

/* Take what the inner input gave into pending. */
static enum err_code take(struct entry_input *e, const struct piece *piece, struct err *err)
{
    size_t skip = e->skip < piece->bytes.bytes ? (size_t)e->skip : piece->bytes.bytes;
    uint64_t end = e->at + e->pending.bytes + (piece->bytes.bytes - skip);

    e->skip -= skip;
    buffer_put(&e->pending, piece->bytes.data + skip, piece->bytes.bytes - skip);
    if (e->pending.refused)
        return err_set(err, ERR_MEMORY, 0, "'%s'", e->topic);
    if (e->skip == 0)
        add_mark(e, end, piece->cursor, piece->cursor_bytes);
    return ERR_OK;
}

static enum err_code entries_read(void *self, struct piece *piece, struct err *err)
{
    struct entry_input *e = self;
    enum err_code code;
    size_t count;

    if (e->failed.code) {
        *err = e->failed;
        return err->code;
    }
    if (e->begins)
        return ERR_OK; /* woken when it may */
    buffer_drop(&e->pending, e->given);
    e->given = 0;
    for (;;) {
        struct piece inner = {.buffer = piece->buffer, .room = piece->room};
        scan_lines(e);
        count = free_bytes(e);
        if (count) {
            give(e, count, piece);
            return ERR_OK;
        }
        if (e->decide.in_flight)
            break; /* what comes meanwhile waits where it is */
        code = e->kind->read(e->inner, &inner, err);
        if (!code && inner.bytes.bytes) {
            stop_waiting(e);
            code = take(e, &inner, err);
        }
        if (code)
            return code;
        piece->more = inner.more;
        if (!inner.bytes.bytes)
            break;
    }
    piece->holds = e->open;
    if (e->open && !piece->more)
        wait_for_more(e);
    return ERR_OK;
}

/* Forget the decisions about places up to `before`. */
static void cut_journal(struct entry_input *e, uint64_t before)
{
    size_t count = 0;

    while (count < e->decision_count && e->decisions[count].offset <= before)
        count++;
    if (count && !e->cut.in_flight && e->next_decision >= count && forget(e, count, NULL))
        return; /* later, then */
}

static void was_cut(void *self)
{
    struct entry_input *e = self;
    struct err err;

    if (!e->begins)
        return;
    if (begin(e, &err))
        e->failed = err;
    input_wake(e->input);
}

static void entries_keep(void *self, struct view cursor)
{
    struct entry_input *e = self, decoded = {.at = 0};
    struct view inner = {NULL, 0};

    if (read_cursor(cursor, &decoded, &inner, NULL))
        return;
    if (e->kind->keep && inner.bytes)
        e->kind->keep(e->inner, inner);
    cut_journal(e, decoded.at);
}

static int entries_descriptor(void *self)
{
    struct entry_input *e = self;

    return e->kind->descriptor ? e->kind->descriptor(e->inner) : -1;
}

static void entries_close_input(void *self)
{
    struct entry_input *e = self;

    stop_waiting(e);
    e->kind->close(e->inner);
}

void entries_unwrap(struct entry_input **pointer)
{
    struct entry_input *e = *pointer;

    if (!e)
        return;
    stop_waiting(e);
    buffer_release(&e->pending);
    free(e->decisions);
    free(e->topic);
    free(e);
    *pointer = NULL;
}

static void entries_free_input(void *self)
{
    struct entry_input *e = self;

    e->kind->free(e->inner);
    entries_unwrap(&e);
}

const struct input_kind entries_kind = {
    .open = entries_open_input,
    .ready = entries_ready,
    .opened = entries_opened,
    .read = entries_read,
    .keep = entries_keep,
    .descriptor = entries_descriptor,
    .close = entries_close_input,
    .free = entries_free_input,
};

enum err_code entries_wrap(struct entry_input **out, struct entries *entries,
                           const struct input_kind *kind, void *inner, const char *name,
                           struct err *err)
{
    static const char topic[] = "entries/";
    struct entry_input *e = calloc(1, sizeof *e);

    if (e)
        e->topic = malloc(sizeof topic + strlen(name));
    if (!e || !e->topic) {
        free(e);
        return err_set(err, ERR_MEMORY, 0, "input '%s'", name);
    }
    memcpy(e->topic, topic, sizeof topic);
    strcat(e->topic, name);
    e->entries = entries;
    e->kind = kind;
    e->inner = inner;
    e->pending = buffer_of(PENDING_MAX);
    e->decide = (struct spool_task){.done = decided, .self = e};
    e->cut = (struct spool_task){.done = was_cut, .self = e};
    *out = e;
    return ERR_OK;
}

void entries_bind(struct entry_input *e, struct input *in)
{
    e->input = in;
}

/* ---- The feeder ---- */

static void feeder_close(void **self)
{
    struct entries *all = *self;

    if (!all)
        return;
    pattern_close(&all->start);
    free(all);
    *self = NULL;
}

/* The pattern where it can be shown and is short, a hash of it else. */
static void set_words(char out[ENTRIES_WORDS_MAX], const char *pattern)
{
    bool plain = strlen(pattern) < ENTRIES_WORDS_MAX / 2;

    for (const char *at = pattern; *at; at++)
        plain = plain && *at >= ' ' && *at < 0x7F;
    if (plain)
        snprintf(out, ENTRIES_WORDS_MAX, "%s", pattern);
    else
        snprintf(out, ENTRIES_WORDS_MAX, "pattern %016llx",
                 (unsigned long long)XXH3_64bits(pattern, strlen(pattern)));
}

static enum err_code feeder_open(void **self, struct ingest *g, struct err *err)
{
    const struct config *config = ingest_env(g)->config;
    struct entries *all;
    enum err_code code;

    *self = NULL;
    if (!config->multiline_start)
        return ERR_OK;
    all = calloc(1, sizeof *all);
    if (!all)
        return err_set(err, ERR_MEMORY, 0, "entries");
    all->ingest = g;
    all->wait_ms = config->multiline_ms;
    set_words(all->words, config->multiline_start);
    code = pattern_open(&all->start, config->multiline_start, "--multiline-start", false, err);
    *self = all;
    return code;
}

/* Those that waited long enough; the list is in the order in which they began to. */
static enum err_code feeder_work(void *self, bool *ran, struct err *err)
{
    struct entries *all = self;
    enum err_code code = ERR_OK;

    while (!code && all && all->oldest && all->now_ms - all->oldest->since_ms >= all->wait_ms) {
        code = end_by_time(all->oldest, err);
        *ran = true;
    }
    return code;
}

static void feeder_event(void *self, const struct stage_event *event)
{
    struct entries *all = self;

    if (all)
        all->now_ms = event->now_ms;
}

static uint64_t feeder_deadline(void *self)
{
    struct entries *all = self;

    return all && all->oldest ? all->oldest->since_ms + all->wait_ms : UINT64_MAX;
}

const struct feeder_kind entries_feeder = {
    .open = feeder_open,
    .work = feeder_work,
    .event = feeder_event,
    .deadline = feeder_deadline,
    .close = feeder_close,
};
