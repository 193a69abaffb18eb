/* One file that grows, as a row of segments (segment.h): the file at its path, and before it those that
 * were rotated away.
 *
 * Each look reads, in one call, the 64 KiB before the place and what is behind it. If the first are no
 * longer what was read, the file was truncated (or written over), and the rest of the segment is looked
 * for in a copy. Whole lines leave, or pieces of a line that is longer than a read; what is behind the
 * last newline waits, for however long.
 *
 * A segment is over when its file is not at the path any more and another, not empty, is; it is then
 * read to its end once more, for a single writer has changed over by then. That depends on when we
 * looked: so the end, and which file goes on, is a row in the journal before anything that depends on it
 * leaves (nothing is read meanwhile), and a replay does as the journal says. A last line without its
 * newline gets one there: lines of two files never join.
 *
 * Descriptors of segments that are over stay open until nobody needs them (keep), at most CHAIN_OLD_OPEN_MOST;
 * beyond that, and after a restart, a segment is found again by what it holds (rotated.h). That of a file which was
 * deleted too, once nobody has it open to write and all of it is in checkpoints, which are asked for. */
#include "stages/ingest/chain.h"
#include "stages/ingest/follow.h"
#include "stages/ingest/made.h"
#include "stages/ingest/paths.h"
#include "stages/ingest/rotated.h"
#include "stages/ingest/segment.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>

enum { PART_BYTES = 128 };

struct followed {
    struct follow *follow;
    struct input *input;
    char *path, *folder, *file; /* path is folder/file */
    struct chain chain;
    struct segment_place at;    /* of the open: where to go on; its name is the segment's */
    uint64_t eof_end, eof_tail; /* of the segment, as it was seen last */
    bool warned;                /* that the file cannot be read */
    bool pressed; /* checkpoints were asked for, to let go of a file that was deleted */
    uint64_t kept_number, kept_offset; /* nothing before this place is needed */
    struct file_facts was;             /* of a file that was deleted and let go */
    struct file_id seen;     /* what would go on, when the segment was last read to its end */
    bool refound;            /* the segment's file was looked for again */
    struct file_facts stood; /* its file, when that last held what was read; bytes 0: never */
    uint64_t begun;          /* the segment that begin is of */
    size_t begin_bytes, last_bytes;
    uint8_t begin[PART_BYTES]; /* (begin_bytes) as was read */
    uint8_t last[PART_BYTES];  /* (last_bytes) what was read last when it stood so */
};

/* What a look sees. */
struct sight {
    enum { SEEN_NOTHING, SEEN_BYTES, SEEN_AGAIN } what; /* again: the row went on, look again */
    size_t window, count;                               /* bytes: at window of the scratch buffer */
    bool newline; /* which is not in the file goes with them */
};

/* ---- Files ---- */

/* What err says can be cured by whoever keeps the files: told once, and waited for. Not so a lack of
 * descriptors. */
static enum err_code unreadable(struct followed *f, struct err *err)
{
    const struct err why = *err;

    if (err_no_descriptor(why.cause))
        return err_set(err, ERR_SOURCE, 0, "%s; one descriptor a followed file", why.text);
    if (!f->warned)
        stage_report(ingest_env(f->follow->ingest), STAGE_WARNING, input_name(f->input),
                     "%s; looked at again when it changes", why.text);
    f->warned = true;
    return ERR_OK;
}

static enum err_code name_of(struct segment_file *file, struct segment_name *out, struct err *err)
{
    uint8_t *head = malloc(SEGMENT_WINDOW_BYTES);
    enum err_code code = head ? ERR_OK : err_set(err, ERR_MEMORY, 0, "head of a file");
    size_t got = 0;

    if (!code)
        code = segment_file_read(file, head, SEGMENT_WINDOW_BYTES, 0, &got, err);
    if (!code)
        *out = (struct segment_name){file->id, (uint32_t)got, segment_hash(head, got)};
    free(head);
    return code;
}

/* Open what is at the path, unless it is nothing, or empty, or the file but. fd -1: none. */
static enum err_code open_path(struct followed *f, const struct file_id *but,
                               struct segment_file *out, struct segment_name *name, struct err *err)
{
    enum err_code code;

    *out = (struct segment_file){.fd = -1};
    if (!segment_file_open(out, f->path, true)) {
        if (errno == ENOENT || errno == ENOTDIR)
            return ERR_OK;
        (void)err_set(err, ERR_SOURCE, errno, "'%s' cannot be read", f->path);
        return unreadable(f, err);
    }
    f->warned = false;
    code = name_of(out, name, err);
    if (code || name->head_bytes == 0 || (but && same_file(&out->id, but)))
        segment_file_close(out);
    return code;
}

static enum err_code gone(struct followed *f, struct err *err)
{
    return err_set(err, ERR_CHANGED, 0,
                   "'%s': %llu bytes were read of a file that is no more to be found, neither here "
                   "nor beside it, as it was; put it back, or begin again with --restart",
                   f->path, (unsigned long long)f->at.offset);
}

/* Find the file of s, at the path or where it went. out: nothing, while it cannot be read. */
static enum err_code find_file(struct followed *f, struct segment *s, struct sight *out,
                               struct err *err)
{
    struct segment_place place = f->at;
    enum rotated_found where;
    struct segment_file file;
    enum err_code code;

    place.name = s->name;
    code = rotated_find(&file, &where, f->folder, f->file, &place, false, err);
    if (code == ERR_SOURCE && err->cause) {
        out->what = SEEN_NOTHING;
        return unreadable(f, err);
    }
    if (code)
        return code;
    if (where == ROTATED_NOWHERE)
        return gone(f, err);
    f->warned = false;
    chain_hold(&f->chain, s, &file);
    if (where == ROTATED_AT_PATH && !s->closed)
        s->name.id = file.id; /* put back, it is another file with the same in it */
    return ERR_OK;
}

/* ---- What becomes of a segment ---- */

static void go_on(struct followed *f)
{
    f->at.number++;
    f->at.offset = 0;
    f->at.tail = segment_hash(NULL, 0);
    f->at.open_line = f->refound = false;
    f->seen = (struct file_id){0};
    chain_close_old(&f->chain);
}

/* The segment is over: next (or a file that is not there yet) goes on. This is waited for: files beside it may
 * be renamed, copied and truncated again at any moment, and the sooner next is read the better. */
static enum err_code end_segment(struct followed *f, struct segment *s, struct segment_file *next,
                                 const struct segment_name *name, bool newline, struct sight *out,
                                 struct err *err)
{
    enum err_code code;

    const struct segment_row row = {.number = s->number + 1,
                                    .name = *name,
                                    .has_before = true,
                                    .newline = newline,
                                    .before = s->name,
                                    .before_end = f->eof_end,
                                    .before_tail = f->eof_tail};

    code = chain_decide(&f->chain, &row, next, err);
    if (code)
        return code;
    chain_wait(&f->chain);
    out->what = chain_is_deciding(&f->chain) ? SEEN_NOTHING : SEEN_AGAIN;
    return ERR_OK;
}

/* Does file hold what s held, and no more, or (itself) is it the file of s? That may hold something else by
 * now, where it was truncated. head: (bytes) of the file. */
static bool is_segment(const struct followed *f, const struct segment *s, struct segment_file *file,
                       const uint8_t *head, size_t bytes, bool itself)
{
    bool now = s->number == f->at.number && !s->closed;
    uint64_t end = now ? f->eof_end : s->end, tail = now ? f->eof_tail : s->tail;

    if (!(s->closed || now) || end == 0 || bytes < s->name.head_bytes ||
        segment_hash(head, s->name.head_bytes) != s->name.head_hash)
        return false;
    return segment_file_holds(file, &s->name, end, tail) &&
           (same_file(&s->name.id, &file->id) || (!itself && segment_file_ends(file, end)));
}

/* Was this read already, by another name, or is it an input of its own? What is read now counts, up to where it ends.
 */
static bool is_known(void *self, const char *path, struct segment_file *file, bool sure)
{
    struct followed *f = self;
    uint8_t *head;
    size_t got = 0;
    bool known = false;

    if (f->follow->is_input(f->follow->inputs, path))
        return true;
    head = malloc(SEGMENT_WINDOW_BYTES);
    if (!head || segment_file_read(file, head, SEGMENT_WINDOW_BYTES, 0, &got, NULL))
        got = 0; /* then it is not, and whoever reads it will say so */
    for (size_t i = 0; i < f->chain.count && !known; i++)
        known = is_segment(f, &f->chain.segments[i], file, head, got, sure);
    free(head);
    return known;
}

/* Was this read already? A copy holds less than was read of its original, where that was read after the copy was
 * made: then it only begins as the segment does. And who keeps the last lines of what is truncated has a file that
 * only ends as the segment does. */
static bool is_known_in_part(void *self, const char *path, struct segment_file *file, bool sure)
{
    const struct followed *f = self;
    uint8_t part[PART_BYTES];
    struct file_facts is;
    size_t got = 0, bytes;

    if (is_known(self, path, file, sure) ||
        (!segment_file_read(file, part, f->begin_bytes, 0, &got, NULL) && got &&
         !memcmp(part, f->begin, got)))
        return true;
    if (file->packed || !facts_of_descriptor(file->fd, &is))
        return false;
    bytes = is.bytes < PART_BYTES ? is.bytes : PART_BYTES;
    return bytes <= f->last_bytes &&
           !segment_file_read(file, part, bytes, is.bytes - bytes, &got, NULL) && got == bytes &&
           !memcmp(part, f->last + f->last_bytes - bytes, bytes);
}

/* What goes on may be newer than now (NULL: only what is at the path), which was read to end, and not known; at the
 * path it is not the file but. */
struct search {
    const struct file_facts *now;
    struct segment_place end;
    rotated_known_fn *known;
    const struct file_id *but;
};

static enum err_code find_beside(struct followed *f, const struct search *w,
                                 struct segment_file *next, struct segment_name *name,
                                 struct err *err)
{
    enum err_code code = ERR_OK;

    next->fd = -1;
    if (w->now)
        code = rotated_next(next, f->folder, f->file, w->now, &w->end, w->known, f, err);
    if (!code && next->fd >= 0) {
        code = name_of(next, name, err);
        if (code)
            segment_file_close(next);
    }
    return code;
}

/* The oldest beside the path, or else (*here) what is at it. Between that search and the open what was at the path may
 * have gone beside it, by copytruncate under the same identity: so the search is made again. next->fd -1: none yet. */
static enum err_code find_next(struct followed *f, const struct search *w,
                               struct segment_file *next, struct segment_name *name, bool *here,
                               struct err *err)
{
    struct segment_file at_path = {.fd = -1};
    struct segment_name named;
    enum err_code code = find_beside(f, w, next, name, err);

    *here = false;
    if (!code && next->fd < 0)
        code = open_path(f, w->but, &at_path, &named, err);
    if (!code && at_path.fd >= 0)
        code = find_beside(f, w, next, name, err);
    if (!code && at_path.fd >= 0 && next->fd < 0) {
        *here = true;
        *next = at_path;
        *name = named;
    } else {
        segment_file_close(&at_path);
    }
    return code == ERR_SOURCE && err->cause ? unreadable(f, err) : code;
}

/* There is no file yet: is there now? Its first byte may leave once the journal has it. Where a truncation without a
 * copy was before, what was truncated since stands beside the path: newer than the file was when it still held what
 * was read. */
static enum err_code be_born(struct followed *f, struct segment *s, struct err *err)
{
    const bool cut = f->stood.bytes && f->begin_bytes;
    const struct search search = {.now = cut ? &f->stood : NULL, .known = is_known_in_part};
    struct segment_row row = {.number = s->number};
    struct segment_file file;
    bool here;
    enum err_code code = find_next(f, &search, &file, &row.name, &here, err);

    return code || file.fd < 0 ? code : chain_decide(&f->chain, &row, &file, err);
}

/* What was read is not what the file holds there: it was truncated, or written over. */
static enum err_code changed(struct followed *f, struct segment *s, struct sight *out,
                             struct err *err)
{
    const struct segment_name nobody = {.id = {.inode = 0}};
    struct segment_place place = f->at;
    struct segment_file file = {.fd = -1};
    enum rotated_found where;
    enum err_code code;

    out->what = SEEN_AGAIN;
    if (s->closed) {
        chain_let_go(&f->chain, s);
        if (f->refound)
            return gone(f, err);
        f->refound = true;
        return ERR_OK; /* found again by the next look */
    }
    place.name = s->name;
    code = rotated_find(&file, &where, f->folder, f->file, &place, true, err);
    if (code == ERR_SOURCE && err->cause) {
        out->what = SEEN_NOTHING;
        return unreadable(f, err);
    }
    if (code)
        return code;
    f->warned = false;
    if (where != ROTATED_NOWHERE) {
        chain_let_go(&f->chain, s);
        chain_hold(&f->chain, s, &file);
        return ERR_OK;
    }
    stage_report(ingest_env(f->follow->ingest), STAGE_WARNING, input_name(f->input),
                 "'%s' was truncated, or written over, when %llu bytes of it had been read, and "
                 "no copy of it is beside it: what else it held is lost",
                 f->path, (unsigned long long)f->at.offset);
    f->eof_end = f->at.offset;
    f->eof_tail = f->at.tail;
    return end_segment(f, s, &file, &nobody, f->at.open_line, out, err);
}

/* Is file what the segment's was copied from, and not truncated yet? It was born before its copy, and holds all that
 * the copy does; so the two are one segment, and what is read on is read of it. */
static bool is_original(const struct followed *f, const struct segment *s,
                        struct segment_file *file)
{
    const struct file_id *a = &file->id, *b = &s->file.id;
    bool older = a->birth_s != b->birth_s ? a->birth_s < b->birth_s : a->birth_ns < b->birth_ns;

    return older && !s->file.packed && f->eof_end > 0 &&
           segment_file_holds(file, &s->name, f->eof_end, f->eof_tail);
}

/* Was the segment's file deleted, read to its end, and let go? */
static bool is_gone(const struct followed *f, const struct segment *s)
{
    return !s->closed && s->file.fd < 0 && f->was.id.inode && same_file(&s->file.id, &f->was.id);
}

/* At the end of the segment's file, as it is now: which file goes on? next->fd -1: none yet. */
static enum err_code what_follows(struct followed *f, struct segment *s, struct segment_file *next,
                                  struct segment_name *name, struct sight *out, struct err *err)
{
    struct file_facts is, now = f->was;
    const struct search search = {
        &now, {.offset = f->eof_end, .name = s->name, .tail = f->eof_tail}, is_known, &s->file.id};
    bool gone = is_gone(f, s), here;
    enum err_code code;

    next->fd = -1;
    if (facts_of_path(f->path, &is) && same_file(&is.id, &s->file.id)) {
        f->seen = (struct file_id){0};
        chain_unwatch(&f->chain, s);
        return ERR_OK;
    }
    if (s->watch < 0 && !gone && same_file(&s->file.id, &s->name.id)) {
        s->watch = watch_file(f->follow->watch, s->file.fd, f);
        if (s->watch >= 0) {
            out->what = SEEN_AGAIN; /* what was written before it was watched */
            return ERR_OK;
        }
    }
    if (!gone && !facts_of_descriptor(s->file.fd, &now))
        return err_set(err, ERR_SOURCE, errno, "input '%s'", f->path);
    code = find_next(f, &search, next, name, &here, err);
    if (!code && here && !gone && is_original(f, s, next)) {
        chain_let_go(&f->chain, s);
        chain_hold(&f->chain, s, next);
        next->fd = -1;
        out->what = SEEN_AGAIN;
    }
    return code;
}

/* ---- Looking ---- */

/* Bytes that may leave of count at data: up to the last newline, or all where a line is longer than
 * what can be read at a time. */
static size_t whole_lines(const struct followed *f, const uint8_t *data, size_t count)
{
    const uint8_t *last = count ? memrchr(data, '\n', count) : NULL;

    return last ? (size_t)(last - data) + 1 : count == f->follow->config->read_bytes ? count : 0;
}

static bool holds(const struct followed *f, const struct segment *s, size_t window, size_t got)
{
    const uint8_t *scratch = f->follow->scratch;

    if (got < window || segment_hash(scratch, window) != f->at.tail)
        return false;
    return f->at.offset >= s->name.head_bytes ||
           (got >= s->name.head_bytes &&
            segment_hash(scratch, s->name.head_bytes) == s->name.head_hash);
}

/* The hash of the last 64 KiB of the scratch buffer's first bytes. */
static uint64_t tail_of(const struct followed *f, size_t bytes)
{
    size_t count = bytes < SEGMENT_WINDOW_BYTES ? bytes : SEGMENT_WINDOW_BYTES;

    return segment_hash(f->follow->scratch + bytes - count, count);
}

/* Nothing comes behind the end of the segment's file yet. If it was deleted nothing ever will of it once its last
 * writer is gone: then it need not be held, if no checkpoint would have it read again. */
static void let_go_deleted(struct followed *f, struct segment *s, struct sight *out)
{
    struct file_facts is;

    if (s->file.packed || !facts_of_descriptor(s->file.fd, &is) || is.linked ||
        !segment_file_is_left(&s->file) || !facts_of_descriptor(s->file.fd, &is))
        return;
    if (is.bytes != f->at.offset) {
        out->what = SEEN_AGAIN; /* it was written to before it was left */
        return;
    }
    if (f->kept_number == s->number && f->kept_offset == f->at.offset) {
        chain_let_go(&f->chain, s);
        f->was = is;
    } else if (!f->pressed) {
        f->pressed = true;
        input_press(f->input);
    }
}

/* The file's end was seen, but for count bytes of a line that is not over. What goes on has to be found twice: what was
 * written before the first time is read by the second. */
static enum err_code look_behind(struct followed *f, struct segment *s, size_t window, size_t count,
                                 struct sight *out, struct err *err)
{
    struct segment_file next = {.fd = -1};
    struct segment_name name;
    enum err_code code;

    f->eof_end = f->at.offset + count;
    f->eof_tail = count ? tail_of(f, window + count) : f->at.tail;
    code = what_follows(f, s, &next, &name, out, err);
    if (!code && next.fd < 0 && out->what == SEEN_NOTHING && !is_gone(f, s) && !count)
        let_go_deleted(f, s, out);
    if (code || next.fd < 0)
        return code;
    if (!same_file(&f->seen, &next.id)) {
        segment_file_close(&next);
        f->seen = next.id;
        out->what = SEEN_AGAIN;
        return ERR_OK;
    }
    return end_segment(f, s, &next, &name, count || f->at.open_line, out, err);
}

static enum err_code look_at(struct followed *f, struct segment *s, struct sight *out,
                             struct err *err)
{
    size_t read_bytes = f->follow->config->read_bytes, got, count;
    size_t window =
        f->at.offset < SEGMENT_WINDOW_BYTES ? (size_t)f->at.offset : SEGMENT_WINDOW_BYTES;
    size_t want =
        window + read_bytes < s->name.head_bytes ? s->name.head_bytes : window + read_bytes;
    struct file_facts is = {.bytes = 0};
    enum err_code code;

    (void)facts_of_descriptor(s->file.fd, &is);
    code = segment_file_read(&s->file, f->follow->scratch, want, f->at.offset - window, &got, err);
    if (code) {
        const struct err why = *err;
        return err_set(err, code, 0, "'%s' at byte %llu: %s", f->path,
                       (unsigned long long)f->at.offset, why.text);
    }
    if (!holds(f, s, window, got))
        return changed(f, s, out, err);
    f->stood = is;
    if (f->begun != s->number)
        f->begin_bytes = 0;
    f->begun = s->number;
    if (window == f->at.offset && f->begin_bytes < PART_BYTES) {
        f->begin_bytes = window < PART_BYTES ? window : PART_BYTES;
        memcpy(f->begin, f->follow->scratch, f->begin_bytes);
    }
    f->last_bytes = window < PART_BYTES ? window : PART_BYTES;
    memcpy(f->last, f->follow->scratch + window - f->last_bytes, f->last_bytes);
    count = got - window < read_bytes ? got - window : read_bytes;
    if (s->closed && count > s->end - f->at.offset)
        count = (size_t)(s->end - f->at.offset);
    *out = (struct sight){SEEN_BYTES, window, whole_lines(f, f->follow->scratch + window, count),
                          false};
    if (out->count)
        return ERR_OK;
    out->what = SEEN_NOTHING;
    if (!s->closed)
        return look_behind(f, s, window, count, out, err);
    if (f->at.offset + count < s->end)
        return changed(f, s, out, err); /* it is shorter than it was */
    *out = (struct sight){SEEN_BYTES, window, count, true};
    return ERR_OK;
}

static enum err_code look(struct followed *f, struct sight *out, struct err *err)
{
    struct segment *s = chain_find(&f->chain, f->at.number);

    require(s);
    *out = (struct sight){SEEN_NOTHING, 0, 0, false};
    if (f->chain.failed.code) {
        *err = f->chain.failed;
        return err->code;
    }
    if (chain_is_deciding(&f->chain))
        return ERR_OK; /* woken when it is durable */
    if (!s->name.id.inode)
        return be_born(f, s, err);
    if (s->closed && f->at.offset == s->end && s->newline) {
        *out = (struct sight){SEEN_BYTES, 0, 0, true};
        return ERR_OK;
    }
    if (s->closed && f->at.offset == s->end) {
        go_on(f);
        out->what = SEEN_AGAIN;
        return ERR_OK;
    }
    if (is_gone(f, s))
        return look_behind(f, s, 0, 0, out, err);
    if (s->file.fd < 0) {
        enum err_code code = find_file(f, s, out, err);
        if (code || s->file.fd < 0)
            return code;
    }
    return look_at(f, s, out, err);
}

/* ---- The input ---- */

/* Does the head that names the segment grow with what was read? It does up to 64 KiB. */
static void grow_head(struct followed *f, size_t window, uint64_t offset)
{
    struct segment *s = chain_find(&f->chain, f->at.number);
    uint64_t bytes = offset < SEGMENT_WINDOW_BYTES ? offset : SEGMENT_WINDOW_BYTES;

    if (s->closed || bytes <= s->name.head_bytes || window != f->at.offset)
        return;
    s->name.head_bytes = (uint32_t)bytes;
    s->name.head_hash = segment_hash(f->follow->scratch, (size_t)bytes);
}

static void set_cursor(struct followed *f, struct piece *piece)
{
    struct segment_place place = f->at;

    place.name = chain_find(&f->chain, f->at.number)->name;
    segment_cursor_encode(&place, piece->cursor);
    piece->cursor_bytes = SEGMENT_CURSOR_BYTES;
}

/* Give what was seen, as far as it has room. */
static void give(struct followed *f, const struct sight *seen, struct piece *piece)
{
    size_t count = seen->count < piece->room ? seen->count : piece->room;
    bool newline = seen->newline && count == seen->count && count < piece->room;
    uint8_t *bytes = f->follow->scratch + seen->window;

    piece->more = true;
    if (count == 0 && !newline)
        return;
    if (count) {
        grow_head(f, seen->window, f->at.offset + count);
        f->at.offset += count;
        f->at.tail = tail_of(f, seen->window + count);
        f->at.open_line = bytes[count - 1] != '\n';
        f->refound = f->pressed = false;
    }
    if (newline) {
        bytes[count++] = '\n';
        go_on(f);
    }
    piece->bytes = (struct view){bytes, count};
    set_cursor(f, piece);
}

static enum err_code followed_read(void *self, struct piece *piece, struct err *err)
{
    struct followed *f = self;
    struct sight seen;
    enum err_code code;

    do
        code = look(f, &seen, err);
    while (!code && seen.what == SEEN_AGAIN);
    if (!code && seen.what == SEEN_BYTES)
        give(f, &seen, piece);
    return code;
}

/* Begin with the file as it is now, or when it comes. The cursor says which file it is; the journal has it too, so that
 * another run knows that the path is followed (followed_before) though nothing is there. */
static enum err_code open_origin(struct followed *f, struct err *err)
{
    struct segment_row row = {.name = {.id = {.inode = 0}}};
    struct segment_file file;
    enum err_code code = open_path(f, NULL, &file, &row.name, err);

    if (code)
        return code;
    if (file.fd < 0)
        row.name.id.inode = 0;
    row.number = f->chain.count ? f->chain.segments[f->chain.count - 1].number + 1 : 0;
    (void)chain_push(&f->chain, row.number, &row.name);
    f->at = (struct segment_place){.number = row.number, .tail = segment_hash(NULL, 0)};
    return file.fd < 0 ? ERR_OK : chain_decide(&f->chain, &row, &file, err);
}

/* Go on at place: its segment is one of the row, or the row goes on with it. */
static enum err_code open_place(struct followed *f, const struct segment_place *place,
                                struct err *err)
{
    struct segment *s = chain_find(&f->chain, place->number);
    struct sight seen;

    f->at = *place;
    if (!s && f->chain.count && f->chain.segments[0].number > place->number)
        return gone(f, err);
    if (!s)
        s = chain_push(&f->chain, place->number, &place->name);
    if (!s->closed) {
        chain_cut(&f->chain, (size_t)(s - f->chain.segments) + 1);
        if (!s->name.id.inode || s->name.head_bytes < place->name.head_bytes)
            s->name = place->name;
    }
    if (!s->name.id.inode || (s->closed && s->end == place->offset))
        return ERR_OK;
    if (s->closed && s->end < place->offset)
        return gone(f, err);
    if (is_gone(f, s) && f->was.bytes == place->offset)
        return ERR_OK;
    if (s->file.fd >= 0 && segment_file_holds(&s->file, &s->name, place->offset, place->tail))
        return ERR_OK;
    chain_let_go(&f->chain, s);
    return find_file(f, s, &seen, err);
}

static enum err_code followed_open(void *self, struct view cursor, struct err *err)
{
    struct followed *f = self;
    struct segment_place place;
    enum err_code code = chain_load(&f->chain, err);

    f->seen = (struct file_id){0};
    f->refound = f->pressed = false;
    f->stood.bytes = f->begin_bytes = 0;
    if (code)
        return code;
    if (!cursor.bytes)
        return open_origin(f, err);
    if (cursor.bytes > 1 && cursor.data[1] > SEGMENT_CURSOR_KIND && !made_is_cursor(cursor))
        return err_set(err, ERR_CHANGED, 0,
                       "'%s' was begun with --key or --multiline-start: go on with it, or begin "
                       "again with --restart",
                       f->path);
    if (made_is_cursor(cursor) || (cursor.bytes > 1 && cursor.data[1] < SEGMENT_CURSOR_KIND))
        return err_set(
            err, ERR_CHANGED, 0,
            "'%s' was begun by `read`: follow it into another store (-o), or begin again "
            "with --restart",
            f->path);
    code = segment_cursor_decode(&place, cursor, err);
    return code ? code : open_place(f, &place, err);
}

static enum err_code followed_opened(void *self, Riverrun__Fingerprints *prints, struct piece *at,
                                     struct err *err)
{
    (void)err;
    prints->size_known = false;
    set_cursor(self, at);
    return ERR_OK;
}

static void followed_keep(void *self, struct view cursor)
{
    struct followed *f = self;
    struct segment_place place;

    if (segment_cursor_decode(&place, cursor, NULL) || place.number > f->at.number)
        return;
    f->kept_number = place.number;
    f->kept_offset = place.offset;
    chain_forget(&f->chain, place.number);
    if (f->pressed)
        input_wake(f->input);
}

static void followed_close(void *self)
{
    struct followed *f = self;

    f->seen =
        (struct file_id){0}; /* its files stay open: they may be gone when it is opened again */
}

static void followed_free(void *self)
{
    struct followed *f = self;

    if (!f)
        return;
    chain_release(&f->chain);
    free(f->path);
    free(f->folder);
    free(f->file);
    free(f);
}

const struct input_kind followed_kind = {
    .open = followed_open,
    .opened = followed_opened,
    .read = followed_read,
    .keep = followed_keep,
    .close = followed_close,
    .free = followed_free,
};

enum err_code followed_make(struct followed **out, struct follow *follow, const char *path,
                            const char *name, struct err *err)
{
    const char *slash = strrchr(path, '/');
    struct followed *f = calloc(1, sizeof *f);

    require(slash);
    if (f) {
        f->follow = follow;
        f->path = strdup(path);
        f->folder = slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
        f->file = strdup(slash + 1);
    }
    if (!f || !f->path || !f->folder || !f->file || chain_init(&f->chain, follow, f, name, err)) {
        followed_free(f);
        return err_set(err, ERR_MEMORY, 0, "input '%s'", path);
    }
    *out = f;
    return ERR_OK;
}

bool followed_before(const struct follow *follow, const char *path)
{
    struct buffer row = buffer_of(JOURNAL_ENTRY_MAX);
    char *name = path_name(path), *topic = NULL;
    uint64_t number = 1;
    bool is;

    require(name && asprintf(&topic, CHAIN_TOPIC "%s", name) >= 0);
    is = journal_read(ingest_journal(follow->ingest), topic, &number, &row, NULL) == ERR_OK;
    buffer_release(&row);
    free(topic);
    free(name);
    return is;
}

void followed_bind(struct followed *f, struct input *in)
{
    f->input = in;
}

void followed_wake(struct followed *f)
{
    if (f->input)
        input_wake(f->input);
}

const char *followed_path(const struct followed *f)
{
    return f->path;
}
