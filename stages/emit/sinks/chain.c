#include "stages/emit/sinks/chain.h"

#include "schemas/record.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

enum { CHUNK_BYTES = 64 * 1024, TAIL_BYTES = 64 * 1024 };

void chain_add(uint8_t chain[SINK_CHAIN_BYTES], struct view line)
{
    uint8_t pair[2 * SINK_CHAIN_BYTES];
    XXH128_hash_t hash = XXH3_128bits(line.data, line.bytes);

    memcpy(pair, chain, SINK_CHAIN_BYTES);
    store_u64(pair + SINK_CHAIN_BYTES, hash.low64);
    store_u64(pair + SINK_CHAIN_BYTES + 8, hash.high64);
    hash = XXH3_128bits(pair, sizeof pair);
    store_u64(chain, hash.low64);
    store_u64(chain + 8, hash.high64);
}

size_t read_at(int fd, uint8_t *data, size_t count, uint64_t offset)
{
    size_t done = 0;

    while (done < count) {
        ssize_t got = pread(fd, data + done, count - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    return done;
}

bool chain_tail(int fd, uint64_t length, uint64_t *hash)
{
    size_t bytes = length < TAIL_BYTES ? (size_t)length : TAIL_BYTES;
    uint8_t *data = malloc(TAIL_BYTES);
    bool all;

    require(data);
    all = read_at(fd, data, bytes, length - bytes) == bytes;
    *hash = bytes ? XXH3_64bits(data, bytes) : 0; /* encode makes the token of nothing itself */
    free(data);
    return all;
}

/* Walk the lines of a file from its beginning: the chain behind each. */
struct walk {
    int fd;
    struct buffer held; /* read; the bytes before at are walked */
    size_t at;
    uint64_t length,
        n; /* behind the last line; n numbers records, so it begins at the file's first */
    uint8_t chain[SINK_CHAIN_BYTES];
};

/* Read more of the file behind what is held; false at its end, or where a line is too long. */
static bool walk_more(struct walk *w)
{
    uint8_t *room;
    size_t held, got;

    buffer_drop(&w->held, w->at);
    w->at = 0;
    held = w->held.bytes;
    room = buffer_add(&w->held, CHUNK_BYTES);
    if (!room)
        return false;
    got = read_at(w->fd, room, CHUNK_BYTES, w->length + held);
    w->held.bytes = held + got;
    return got > 0;
}

/* Step over one line; false at the end, or where what follows is no whole line. */
static bool walk_line(struct walk *w)
{
    const uint8_t *end = NULL;
    size_t bytes;

    do
        if (w->held.bytes > w->at)
            end = memchr(w->held.data + w->at, '\n', w->held.bytes - w->at);
    while (!end && walk_more(w));
    if (!end)
        return false;
    bytes = (size_t)(end - (w->held.data + w->at)) + 1;
    chain_add(w->chain, (struct view){w->held.data + w->at, bytes});
    w->at += bytes;
    w->length += bytes;
    w->n++;
    return true;
}

static struct walk walk_begin(int fd, uint64_t first)
{
    return (struct walk){
        .fd = fd, .held = buffer_of(2 * RECORD_LINE_MAX + 4 * CHUNK_BYTES), .n = first};
}

static bool walk_to(struct walk *w, const struct sink_token *token)
{
    while (w->n < token->n)
        if (!walk_line(w))
            return false;
    return w->n == token->n && w->length == token->length &&
           !memcmp(w->chain, token->chain, SINK_CHAIN_BYTES);
}

bool chain_whole(int fd, const struct sink_token *token)
{
    struct walk walk = walk_begin(fd, token->first);
    bool fits = walk_to(&walk, token);

    buffer_release(&walk.held);
    return fits;
}

bool chain_fits(int fd, uint64_t size, const struct sink_token *token)
{
    uint64_t tail;

    if (size < token->length || !chain_tail(fd, token->length, &tail) || tail != token->tail)
        return false;
    return token->length > SINK_WHOLE_BYTES || chain_whole(fd, token);
}
