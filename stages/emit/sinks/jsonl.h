/* stages/emit/sinks/jsonl.h: a file of lines that is exactly what an uninterrupted run writes.
 *
 * Beside DIR/NAME.jsonl stands DIR/.riverrun/NAME.sidecar: which store it belongs to, the owner epoch
 * and the generation. A file without a sidecar that fits is somebody else's and is not touched.
 *
 * Opened at a token, the file may hold more lines than the token covers: those that a run wrote
 * before it was killed. Lines sent again are compared with them and not written; a torn end is cut
 * off; a whole valid line that differs is somebody's edit, and is refused without touching it.
 *
 * Memory  one buffer of JSONL_BUFFER_BYTES. */
#ifndef STAGES_EMIT_SINKS_JSONL_H
#define STAGES_EMIT_SINKS_JSONL_H

#include "schemas/bytes.h"

enum {
    JSONL_TOKENS_MAX = 4,
    JSONL_CHAIN_BYTES = 16,
    JSONL_BUFFER_BYTES = 64 * 1024,
    JSONL_TAIL_BYTES = 64 * 1024,
    JSONL_WHOLE_BYTES =
        64 * 1024 * 1024 /* up to here all of a file is verified when it is opened */
};

/* What was written when the next record was n. The file's first line is record first: a stream that was branched
 * or imported does not begin at 0. */
struct jsonl_token {
    uint64_t generation, n, segment, length, tail;
    uint8_t chain[JSONL_CHAIN_BYTES]; /* h_n = H(h_n-1, H(line)); that of the first is zero */
    uint64_t first;
};

struct jsonl_owner {
    const char *folder, *name;
    struct view store_id;
    uint64_t epoch, generation;
    bool finished; /* the file ends at the newest token */
};

struct jsonl {
    int fd; /* -1: closed */
    char *path, *sidecar;
    struct jsonl_token at; /* behind the last line compared or written; tail is not kept */
    bool comparing;        /* lines may follow in the file */
    struct buffer buffer;  /* lines not yet handed to the system */
};

/* Open at the newest of tokens (newest first), or where the file is shorter than that, at the newest
 * that fits; *at is that token's place. *older: it is not the newest. A generation above the sidecar's
 * cuts the file to tokens[0] first.
 * Fails  ERR_SINK: somebody else's file, edited, missing, not writable; ERR_BUSY: another process has
 *        it, or a newer owner was here; ERR_FULL; ERR_MEMORY. */
MUST_CHECK enum err_code jsonl_open(struct jsonl *s, const struct jsonl_owner *owner,
                                    const struct jsonl_token *tokens, size_t token_count,
                                    bool *older, struct err *err);
void jsonl_close(struct jsonl *s);

/* The next line, with its newline; last: nothing may follow it in the file.
 * Fails  ERR_SINK: the file holds another line here, or more after the last; ERR_FULL. */
MUST_CHECK enum err_code jsonl_write(struct jsonl *s, struct view line, bool last, struct err *err);

/* Hand what is buffered to the system, so that others can read it. Fails: ERR_SINK, ERR_FULL. */
MUST_CHECK enum err_code jsonl_flush(struct jsonl *s, struct err *err);

/* Flush, and say where that is. Not yet durable: fsync(s->fd) does that.
 * Fails  ERR_SINK, ERR_FULL. */
MUST_CHECK enum err_code jsonl_token(struct jsonl *s, struct jsonl_token *token, struct err *err);

/* Cut the file to token, and sync it. Fails: ERR_SINK. */
MUST_CHECK enum err_code jsonl_cut(struct jsonl *s, const struct jsonl_token *token,
                                   struct err *err);

/* Does the file behind fd begin with what token covers? All of it is read. Any thread. */
bool jsonl_whole(int fd, const struct jsonl_token *token);

#endif
