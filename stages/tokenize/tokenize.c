/* Tokenize: bytes in, tokens out. It keeps nothing that matters: every message that it sends carries
 * the cursor to continue after it, and a stream begins wherever an open says.
 *
 * Opens, grants and closes pass on upstream, announcements and refusals pass on downstream, each with
 * tokenize's own part added or taken off. When upstream went, or lost something, `lost` goes down and
 * the owner of the streams opens them again. */
#include "schemas/step.h"
#include "schemas/table.h"
#include "stages/stage.h"
#include "stages/tokenize/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

enum { TEXT_BYTES = 1 << 20 }; /* a message is full with so much text */

struct input {
    uint64_t stream, epoch;
    uint64_t expected; /* position of the next byte */
    uint64_t sent;     /* tokens since the open */
    uint64_t skip; /* source bytes that grants must be raised by: to be passed over, or held back */
    bool told_end;
    bool full; /* so upstream says; told when its tokens are sent */
    char *name;
    struct text text;
    struct input *next; /* in the queue of those with something to do */
    bool queued;
};

struct tokenize {
    const struct stage_env *env;
    struct tokenizer *tokenizer;
    struct text_readers readers; /* those that no stream has at the moment */
    struct table streams;
    struct stage_outbox up, down;
    struct input *head, *tail; /* queue */
    struct msg *waiting;
    bool drained; /* upstream says so; told when all tokens are sent */
    bool stop, bye;
};

static void tokenize_close(void **self);

/* The vocabulary that is asked for, if the model carries no other, or the model's own where its file has one, or
 * bytes. */
static enum err_code open_tokenizer(struct tokenizer **out, const struct config *config,
                                    struct err *err)
{
    const struct tokenizer_options options = {.specials = config->special_tokens};
    enum err_code code = ERR_ABSENT;
    struct err why;

    if (config->vocab) {
        code = tokenizer_open(out, config->vocab, &options, err);
        return code || !config->model
                   ? code
                   : tokenizer_check_model(*out, config->vocab, config->model, err);
    }
    if (config->model)
        code = tokenizer_open_model(out, config->model, &why);
    if (code == ERR_ABSENT)
        return tokenizer_open_bytes(out, err);
    return code ? err_set(err, code, 0, "%s%s", why.text,
                          code == ERR_INPUT ? "; give another one with --vocab FILE" : "")
                : ERR_OK;
}

static enum err_code tokenize_open(void **self, const struct stage_env *env, struct err *err)
{
    struct tokenize *t = calloc(1, sizeof *t);
    enum err_code code;

    if (!t)
        return err_set(err, ERR_MEMORY, 0, "tokenize");
    t->env = env;
    code = open_tokenizer(&t->tokenizer, env->config, err);
    if (code)
        tokenize_close((void **)&t);
    *self = t;
    return code;
}

static void enqueue(struct tokenize *t, struct input *in)
{
    if (in->queued)
        return;
    in->queued = true;
    in->next = NULL;
    *(t->head ? &t->tail->next : &t->head) = in;
    t->tail = in;
}

static void unqueue(struct tokenize *t, struct input *in)
{
    struct input **at = &t->head, *before = NULL;

    if (!in->queued)
        return;
    while (*at != in) {
        before = *at;
        at = &(*at)->next;
    }
    *at = in->next;
    if (t->tail == in)
        t->tail = before;
    in->queued = false;
}

static void drop(struct tokenize *t, struct input *in)
{
    unqueue(t, in);
    table_remove(&t->streams, in->stream);
    text_close(&in->text);
    free(in->name);
    free(in);
}

static void drop_all(struct tokenize *t)
{
    struct input *in;
    size_t at = 0;

    while ((in = table_next(&t->streams, &at))) {
        drop(t, in);
        at = 0;
    }
    msg_free(&t->waiting);
}

static enum err_code accept_open(struct tokenize *t, Riverrun__Open *open, struct err *err)
{
    struct input *in = table_get(&t->streams, open->stream);
    struct view cursor = {open->cursor.data, open->cursor.len}, upstream;
    enum normalize normalize = strcmp(open->normalize, "nfc") ? NORMALIZE_NONE : NORMALIZE_NFC;
    enum err_code code;

    if (!open->stream)
        return err_set(err, ERR_INPUT, 0, "open of no stream");
    if (in)
        drop(t, in);
    in = calloc(1, sizeof *in);
    if (!in)
        return err_set(err, ERR_MEMORY, 0, "stream '%s'", open->name);
    in->stream = open->stream;
    in->epoch = open->epoch;
    in->name = strdup(open->name);
    require(in->name);
    code = text_open(&in->text, t->tokenizer, normalize, open->line_edges, cursor, &upstream, err);
    text_share(&in->text, &t->readers);
    if (!code)
        code = table_set(&t->streams, in->stream, in, err);
    if (code) {
        text_close(&in->text);
        free(in->name);
        free(in);
        return code;
    }
    /* What is passed over of the first piece is never told as consumed. */
    in->skip = in->text.skip + tokenizer_hold_max(t->tokenizer) * (in->text.skip_tokens ? 2 : 1);
    open->cursor = proto_bytes(upstream.data, upstream.bytes);
    outbox_tell(&t->up, RIVERRUN__CONTROL__IS_OPEN, open);
    open->cursor = proto_bytes(cursor.data, cursor.bytes); /* the decoder frees this one */
    return ERR_OK;
}

/* Upstream's answer, with what tokenize knows added. */
static enum err_code pass_opened(struct tokenize *t, Riverrun__Opened *opened, struct err *err)
{
    struct input *in = table_get(&t->streams, opened->stream);
    ProtobufCBinaryData cursor = opened->cursor;
    Riverrun__Fingerprints *prints = opened->fingerprints;
    Riverrun__Fingerprints sent;
    struct buffer mine = buffer_of(CURSOR_MAX);
    enum err_code code;

    if (!in || in->epoch != opened->epoch || !prints)
        return ERR_OK;
    code = text_mark(&in->text, (struct view){cursor.data, cursor.len}, err);
    if (!code) {
        /* With bytes to skip the first place is the open's own, and is known downstream. */
        if (!in->text.skip && !in->text.skip_plain && !in->text.skip_tokens)
            code = text_cursor(&in->text, &mine, err);
    }
    if (!code) {
        sent = *prints;
        sent.tokenizer = proto_text(tokenizer_name(t->tokenizer));
        sent.vocabulary = tokenizer_fingerprint(t->tokenizer);
        sent.normalize = proto_text(normalize_name(in->text.normalize));
        sent.unicode = proto_text(utf8proc_unicode_version());
        sent.line_edges = in->text.line_edges;
        opened->fingerprints = &sent;
        opened->cursor = proto_bytes(mine.data, mine.bytes);
        opened->vocab = tokenizer_vocab(t->tokenizer);
        outbox_tell(&t->down, RIVERRUN__CONTROL__IS_OPENED, opened);
        opened->fingerprints = prints;
        opened->cursor = cursor;
        STEP_AT(tokenize_opened, in->stream, in->epoch);
    }
    buffer_release(&mine);
    return code;
}

/* Pass on what may be forgotten, by upstream's part of the cursor. */
static enum err_code pass_keep(struct tokenize *t, Riverrun__Keep *keep, struct err *err)
{
    struct input *in = table_get(&t->streams, keep->stream);
    ProtobufCBinaryData cursor = keep->cursor;
    struct view upstream;

    if (!in || in->epoch != keep->epoch)
        return ERR_OK;
    if (text_upstream((struct view){cursor.data, cursor.len}, &upstream, err))
        return err->code;
    keep->cursor = proto_bytes(upstream.data, upstream.bytes);
    outbox_tell(&t->up, RIVERRUN__CONTROL__IS_KEEP, keep);
    keep->cursor = cursor; /* the decoder frees this one */
    return ERR_OK;
}

static enum err_code accept_from_down(struct tokenize *t, Riverrun__Control *control,
                                      struct err *err)
{
    struct input *in;

    switch (control->is_case) {
    case RIVERRUN__CONTROL__IS_OPEN:
        return accept_open(t, control->open, err);
    case RIVERRUN__CONTROL__IS_GRANT:
        in = table_get(&t->streams, control->grant->stream);
        if (in && in->epoch == control->grant->epoch)
            control->grant->limit += in->skip;
        break;
    case RIVERRUN__CONTROL__IS_CLOSE:
        in = table_get(&t->streams, control->close->stream);
        if (in && in->epoch == control->close->epoch)
            drop(t, in);
        break;
    case RIVERRUN__CONTROL__IS_KEEP:
        return pass_keep(t, control->keep, err);
    case RIVERRUN__CONTROL__IS_BYE:
        t->bye = true;
        break;
    case RIVERRUN__CONTROL__IS_LIST:
        break;
    default:
        return err_set(err, ERR_INPUT, 0, "tokenize: unexpected control message %d from below",
                       (int)control->is_case);
    }
    outbox_put(&t->up, control);
    return ERR_OK;
}

static enum err_code accept_from_up(struct tokenize *t, Riverrun__Control *control, struct err *err)
{
    struct input *in;

    switch (control->is_case) {
    case RIVERRUN__CONTROL__IS_OPENED:
        return pass_opened(t, control->opened, err);
    case RIVERRUN__CONTROL__IS_REFUSED:
        in = table_get(&t->streams, control->refused->stream);
        if (in && in->epoch == control->refused->epoch)
            drop(t, in);
        break;
    case RIVERRUN__CONTROL__IS_DRAINED:
        t->drained = true;
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_FULL:
        in = table_get(&t->streams, control->full->stream);
        if (in && in->epoch == control->full->epoch) {
            in->full = true;
            enqueue(t, in);
        }
        return ERR_OK;
    case RIVERRUN__CONTROL__IS_ANNOUNCE:
    case RIVERRUN__CONTROL__IS_ANNOUNCED:
    case RIVERRUN__CONTROL__IS_LOST:
    case RIVERRUN__CONTROL__IS_WANT:
        break;
    default:
        return err_set(err, ERR_INPUT, 0, "tokenize: unexpected control message %d from above",
                       (int)control->is_case);
    }
    outbox_put(&t->down, control);
    return ERR_OK;
}

static enum err_code accept_bytes(struct tokenize *t, const struct frame *f, struct err *err)
{
    struct input *in = table_get(&t->streams, f->stream);
    enum err_code code;

    if (!in || in->epoch != f->epoch)
        return ERR_OK; /* of an open that is over */
    if (f->position != in->expected || in->text.ended || in->text.mark_count == 0)
        return err_set(err, ERR_INPUT, 0, "gap: byte %llu came where %llu was due",
                       (unsigned long long)f->position, (unsigned long long)in->expected);
    code = text_begin_place(&in->text, f->place, err);
    if (!code)
        code = text_push(&in->text, f->payload, f->flags, err);
    if (!code)
        code = text_mark(&in->text, f->cursor, err);
    in->expected += f->count;
    enqueue(t, in);
    return code;
}

static enum err_code tokenize_accept(void *self, enum stage_port port, struct msg **msg,
                                     struct err *err)
{
    struct tokenize *t = self;
    struct frame f;
    Riverrun__Control *control;
    enum err_code code = msg_read(*msg, &f, err);

    if (!code && f.kind == MSG_BYTES && port == PORT_UP) {
        code = accept_bytes(t, &f, err);
    } else if (!code) {
        code = control_read(&f, &control, err);
        if (code)
            return code;
        code =
            port == PORT_UP ? accept_from_up(t, control, err) : accept_from_down(t, control, err);
        riverrun__control__free_unpacked(control, NULL);
    }
    if (!code)
        msg_free(msg);
    return code;
}

static void tokenize_event(void *self, const struct stage_event *event)
{
    struct tokenize *t = self;
    Riverrun__Lost lost = RIVERRUN__LOST__INIT;

    if (event->kind == EVENT_STOP)
        t->stop = true;
    if (event->kind != EVENT_PEER && event->kind != EVENT_PEER_GONE)
        return;
    drop_all(t);
    t->drained = false;
    outbox_clear(event->port == PORT_UP ? &t->up : &t->down);
    if (event->port == PORT_UP) {
        lost.gone = event->kind == EVENT_PEER_GONE;
        outbox_tell(&t->down, RIVERRUN__CONTROL__IS_LOST, &lost);
    }
}

/* Fill a message's arrays with the next tokens of in, up to a break or before a place; returns how many. place: what
 * begins with the first. */
static uint32_t take_tokens(struct input *in, uint8_t *ids, uint8_t *source, uint8_t *lengths,
                            struct buffer *text, uint16_t *flags, struct buffer *place)
{
    struct text_token token;
    uint32_t count = 0;

    *flags = 0;
    while (count < MSG_TOKENS_MAX && text->bytes < TEXT_BYTES && !*flags &&
           !(count && text_at_place(&in->text)) && text_take(&in->text, &token)) {
        require(!count || !token.place_bytes);
        buffer_put(place, token.place, token.place_bytes);
        store_u32(ids + 4 * (size_t)count, token.id);
        store_u32(source + 4 * (size_t)count, token.source_bytes);
        store_u16(lengths + 2 * (size_t)count, (uint16_t)token.text_bytes);
        buffer_put(text, token.text, token.text_bytes);
        count++;
        *flags = text_broke(&in->text) ? MSG_BREAK : 0;
    }
    return count;
}

/* At the end of a text: what was done to it since it was opened. */
static void report_changes(const struct tokenize *t, const struct input *in)
{
    if (in->text.repaired)
        stage_report(t->env, STAGE_WARNING, in->name,
                     "not UTF-8: %llu ill-formed pieces were read as U+FFFD",
                     (unsigned long long)in->text.repaired);
    if (in->text.returns == TEXT_RETURNS && !in->text.line_feeds)
        stage_report(t->env, STAGE_WARNING, in->name,
                     "its lines end with CR alone, which ends none here: it was read as one line "
                     "(tr '\\r' '\\n' makes others of them)");
    if (in->text.forced)
        stage_report(
            t->env, STAGE_WARNING, in->name,
            "cut %llu times for length alone, after %d characters: tokens may differ there "
            "from those of the whole",
            (unsigned long long)in->text.forced, TOKENIZER_SEGMENT_MAX);
}

/* The next message of in: tokens, or the end. *out stays NULL when there is nothing to say. */
static enum err_code make_tokens(struct input *in, struct msg **out, struct err *err)
{
    static _Thread_local uint8_t ids[4 * MSG_TOKENS_MAX], source[4 * MSG_TOKENS_MAX],
        lengths[2 * MSG_TOKENS_MAX];
    struct buffer text = buffer_of(MSG_BYTES_MAX), cursor = buffer_of(CURSOR_MAX),
                  place = buffer_of(PLACE_BYTES_MAX);
    struct frame f = {
        .kind = MSG_TOKENS, .stream = in->stream, .epoch = in->epoch, .position = in->sent};
    uint8_t *payload;
    enum err_code code = ERR_OK;

    f.count = take_tokens(in, ids, source, lengths, &text, &f.flags, &place);
    f.place = (struct view){place.data, place.bytes};
    if (text_done(&in->text))
        f.flags |= MSG_END;
    if (f.count == 0 && !f.flags)
        goto done;
    code = text_cursor(&in->text, &cursor, err);
    f.cursor = (struct view){cursor.data, cursor.bytes};
    f.payload.bytes = 10 * (size_t)f.count + text.bytes;
    if (!code)
        code = msg_make(out, &f, &payload, err);
    if (code)
        goto done;
    memcpy(payload, ids, 4 * (size_t)f.count);
    memcpy(payload + 4 * (size_t)f.count, source, 4 * (size_t)f.count);
    memcpy(payload + 8 * (size_t)f.count, lengths, 2 * (size_t)f.count);
    if (text.bytes)
        memcpy(payload + 10 * (size_t)f.count, text.data, text.bytes);
    in->sent += f.count;
    in->told_end = f.flags & MSG_END;
    STEP_AT(tokenize_tokens, in->stream, in->sent);
done:
    buffer_release(&text);
    buffer_release(&cursor);
    buffer_release(&place);
    return code;
}

static void refuse(struct tokenize *t, struct input *in, struct err *why)
{
    Riverrun__Refused refused = RIVERRUN__REFUSED__INIT;
    Riverrun__Close close = RIVERRUN__CLOSE__INIT;

    refused.stream = close.stream = in->stream;
    refused.epoch = close.epoch = in->epoch;
    refused.code = why->code;
    refused.text = why->text;
    outbox_tell(&t->down, RIVERRUN__CONTROL__IS_REFUSED, &refused);
    outbox_tell(&t->up, RIVERRUN__CONTROL__IS_CLOSE, &close);
    drop(t, in);
}

static void pass_full(struct tokenize *t, struct input *in)
{
    Riverrun__Full full = RIVERRUN__FULL__INIT;

    full.stream = in->stream;
    full.epoch = in->epoch;
    outbox_tell(&t->down, RIVERRUN__CONTROL__IS_FULL, &full);
    in->full = false;
}

/* Behind the last tokens, which wait for room where control does not. */
static bool pass_drained(struct tokenize *t, const struct stage_out *out)
{
    Riverrun__Drained drained = RIVERRUN__DRAINED__INIT;

    if (!t->drained)
        return false;
    t->drained = false;
    outbox_tell(&t->down, RIVERRUN__CONTROL__IS_DRAINED, &drained);
    return outbox_flush(&t->down, out, PORT_DOWN);
}

static enum stage_progress tokenize_work(void *self, uint64_t budget_us,
                                         const struct stage_out *out, struct err *err)
{
    struct tokenize *t = self;
    bool ran = outbox_flush(&t->up, out, PORT_UP);
    struct err why;

    (void)budget_us;
    ran = outbox_flush(&t->down, out, PORT_DOWN) || ran;
    if (t->bye || t->stop) {
        err_set(err, t->bye ? ERR_OK : ERR_STOPPED, 0,
                "tokenize stopped: start it again and it is picked up");
        return STAGE_DONE;
    }
    while (t->head || t->waiting) {
        struct input *in = t->head;
        if (t->waiting) {
            if (!out->send(out->self, PORT_DOWN, &t->waiting))
                return STAGE_NO_ROOM;
            ran = true;
            continue;
        }
        if (!out->room(out->self, PORT_DOWN))
            return STAGE_NO_ROOM;
        unqueue(t, in);
        if (in->told_end)
            continue;
        if (make_tokens(in, &t->waiting, &why)) {
            refuse(t, in, &why);
        } else if (t->waiting) {
            enqueue(t, in); /* there may be more: those behind it first */
            if (in->told_end)
                report_changes(t, in);
        } else if (in->full) {
            pass_full(t, in);
            ran = true;
        }
    }
    ran = pass_drained(t, out) || ran;
    return ran ? STAGE_RAN : STAGE_IDLE;
}

static size_t tokenize_descriptors(void *self, int *fds)
{
    (void)self;
    (void)fds;
    return 0;
}

static uint64_t tokenize_deadline(void *self)
{
    (void)self;
    return UINT64_MAX;
}

static void tokenize_close(void **self)
{
    struct tokenize *t = *self;

    if (!t)
        return;
    drop_all(t);
    table_release(&t->streams);
    outbox_clear(&t->up);
    outbox_clear(&t->down);
    text_readers_close(&t->readers);
    tokenizer_close(&t->tokenizer);
    free(t);
    *self = NULL;
}

const struct stage_ops tokenize_ops = {
    .name = "tokenize",
    .has_up = true,
    .has_down = true,
    .open = tokenize_open,
    .accept = tokenize_accept,
    .event = tokenize_event,
    .work = tokenize_work,
    .descriptors = tokenize_descriptors,
    .deadline = tokenize_deadline,
    .close = tokenize_close,
};
