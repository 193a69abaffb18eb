#include "stages/care/found.h"

#include "schemas/record.h"
#include "stages/emit/sinks/chain.h"
#include "stages/emit/sinks/claim.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK_BYTES = 256 * 1024 };

/* ---- Lines ---- */

struct lines {
    const struct sink_want *want;
    struct found *found;
    uint64_t seq; /* of the next line */
    uint64_t covered, beyond;
    bool wrong; /* said once */
};

/* "" or what is wrong with a line as the record that is due. */
static void check_line(struct lines *l, struct view line, bool covered)
{
    json_error_t why;
    json_t *record = json_loadb((const char *)line.data, line.bytes,
                                JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &why);
    const char *stream = json_string_value(json_object_get(record, "stream"));
    const json_t *seq = json_object_get(record, "seq");

    if (!covered && !json_is_object(record)) { /* as a run will take it */
        found_add(l->found, CARE_NOTE,
                  "what follows record %llu is torn: the next run cuts it off and writes it again",
                  (unsigned long long)l->seq);
        l->wrong = true;
    } else if (!stream || strcmp(stream, l->want->name) != 0 || !json_is_integer(seq) ||
               (uint64_t)json_integer_value(seq) != l->seq) {
        found_add(l->found, CARE_SINK,
                  "the line in the place of record %llu is not that record: put the file back, or "
                  "begin it again with --restart",
                  (unsigned long long)l->seq);
        l->wrong = true;
    }
    json_decref(record);
    l->covered += covered && !l->wrong;
    l->beyond += !covered && !l->wrong;
    l->seq++;
}

/* Whole lines up to the end, or to where something is wrong; returns the bytes behind the last. */
static uint64_t check_lines(struct lines *l, int fd, uint64_t length, uint64_t size)
{
    struct buffer held = buffer_of(2 * RECORD_LINE_MAX + 4 * CHUNK_BYTES);
    uint64_t read = 0, behind = 0;

    while (!l->wrong && read < size && !held.refused) {
        size_t wanted = size - read < CHUNK_BYTES ? (size_t)(size - read) : CHUNK_BYTES;
        uint8_t *room = buffer_add(&held, wanted);
        size_t got = room ? read_at(fd, room, wanted, read) : 0, at = 0;
        const uint8_t *end;
        if (!got)
            break;
        read += got;
        held.bytes -= wanted - got;
        while (!l->wrong && (end = memchr(held.data + at, '\n', held.bytes - at))) {
            size_t bytes = (size_t)(end - (held.data + at));
            check_line(l, (struct view){held.data + at, bytes}, behind + bytes + 1 <= length);
            at += bytes + 1;
            behind += bytes + 1;
        }
        buffer_drop(&held, at);
    }
    buffer_release(&held);
    return behind;
}

/* ---- The file against its tokens ---- */

/* Whose it is; false where nothing more is to be said of it. */
static bool check_owner(const struct sink_want *w, uint64_t size, struct found *found)
{
    struct sidecar side;
    struct err err;
    char id[33];

    for (size_t i = 0; i < 16; i++)
        sprintf(id + 2 * i, "%02x", w->store_id[i]);
    if (sidecar_read(w->folder, w->name, &side, &err)) {
        found_add(found, CARE_SINK, "%s", err.text);
        return false;
    }
    if (!side.there || strcmp(side.store, id) != 0) {
        if (size > 0)
            found_add(found, CARE_SINK,
                      "its output was written by another job: move it away, or choose another -o");
        return size == 0;
    }
    if (side.generation > w->generation)
        found_add(found, CARE_SINK,
                  "its output is of generation %llu, its newest checkpoint of %llu: put back the "
                  "store that wrote it, or move the output and its sidecar away",
                  (unsigned long long)side.generation, (unsigned long long)w->generation);
    if (side.generation < w->generation)
        found_add(found, CARE_NOTE,
                  "its output still holds generation %llu: the next run cuts it to %llu bytes",
                  (unsigned long long)side.generation, (unsigned long long)w->tokens[0].length);
    return side.generation == w->generation;
}

static void check_size(const struct sink_want *w, uint64_t size, struct found *found)
{
    const struct sink_token *newest = &w->tokens[0];
    uint64_t least = newest->length;

    for (size_t i = 1; i < w->count; i++)
        least = w->tokens[i].length < least ? w->tokens[i].length : least;
    if (size < newest->length)
        found_add(found, CARE_SINK,
                  "its output has %llu bytes, its newest checkpoint stands on %llu: put it back%s",
                  (unsigned long long)size, (unsigned long long)newest->length,
                  size >= least ? ", or run it again: it goes on from an older checkpoint"
                                : ", or begin it again with --restart");
    if (w->finished && size > newest->length)
        found_add(found, CARE_SINK,
                  "its output goes on behind its document record: put it back, or begin it again "
                  "with --restart");
}

static void check_content(const struct sink_want *w, int fd, uint64_t size, struct found *found,
                          struct sink_checked *checked)
{
    const struct sink_token *newest = &w->tokens[0];
    struct lines lines = {.want = w, .found = found, .seq = newest->first};
    uint64_t tail = 0, behind;

    if (size >= newest->length && (!chain_tail(fd, newest->length, &tail) || tail != newest->tail ||
                                   !chain_whole(fd, newest)))
        found_add(found, CARE_SINK,
                  "its output is not what was written up to record %llu: put it back, or begin it "
                  "again with --restart",
                  (unsigned long long)newest->n);
    if (w->finished && size > newest->length) /* check_size said it: no run goes on there */
        size = newest->length;
    behind = check_lines(&lines, fd, newest->length, size);
    checked->records += lines.covered;
    checked->bytes += newest->length < behind ? newest->length : behind;
    if (lines.beyond)
        found_add(found, CARE_NOTE,
                  "%llu records beyond the newest checkpoint, they will be compared",
                  (unsigned long long)lines.beyond);
    if (!lines.wrong && behind < size && size > newest->length)
        found_add(found, CARE_NOTE,
                  "%llu bytes of a record that is not whole at its end: the next run cuts them off",
                  (unsigned long long)(size - behind));
}

void sink_check(const struct sink_want *w, struct found *found, struct sink_checked *checked)
{
    char *path = sink_path(w->folder, w->name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* it may be a pipe */
    struct stat st;

    if (fd < 0 && errno == ENOENT) {
        if (w->tokens[0].length)
            found_add(found, CARE_SINK,
                      "its output '%s' is gone, %llu records: put it back, or begin it again with "
                      "--restart",
                      path, (unsigned long long)(w->tokens[0].n - w->tokens[0].first));
    } else if (fd < 0 || fstat(fd, &st)) {
        found_add(found, CARE_SINK, "its output '%s' cannot be read: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        found_add(found, CARE_SINK,
                  "its output '%s' is a directory or a device: move it away or choose another -o",
                  path);
    } else if (check_owner(w, (uint64_t)st.st_size, found)) {
        check_size(w, (uint64_t)st.st_size, found);
        check_content(w, fd, (uint64_t)st.st_size, found, checked);
    }
    if (fd >= 0)
        close(fd);
    free(path);
}
