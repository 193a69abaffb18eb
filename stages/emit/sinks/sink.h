/* stages/emit/sinks/sink.h: where a stream's records go. Each kind is a small table of calls.
 *
 *     open      look at what is there, and choose the token to go on from; writes nothing but a cut
 *     attach    get a descriptor, where the kind has one for each stream: there may be too many to keep them
 *     write     the next lines
 *     stands    is it still there?
 *     token     where that is, and what makes it durable: a task for the syncer
 *     cut       back to a token, durably
 *     close     forget it; while a task of it is under way, unlock first and close later
 *
 * Threads  all calls are the stage's; the task is done by the syncer's (stages/emit/syncer.h). */
#ifndef STAGES_EMIT_SINKS_SINK_H
#define STAGES_EMIT_SINKS_SINK_H

#include "schemas/bytes.h"

enum {
    SINK_TOKENS_MAX = 4,
    SINK_CHAIN_BYTES = 16,
    SINK_WHOLE_BYTES = 64 * 1024 * 1024 /* up to here all of a file is verified when it is opened */
};

/* What was written when the next record was n. The file's first line is record first: a stream that was branched
 * or imported does not begin at 0. */
struct sink_token {
    uint64_t generation, n, segment, length, tail;
    uint8_t chain[SINK_CHAIN_BYTES]; /* h_n = H(h_n-1, H(line)); that of the first is zero */
    uint64_t first;
};

struct sink_owner {
    const char *folder, *name;
    struct view store_id;
    uint64_t epoch, generation;
    bool finished; /* the file ends at the newest token */
};

struct claim;
struct sync_task;

struct sink_file {
    char *name;
    const char *folder;   /* of all sinks; lent */
    struct sink_token at; /* behind the last line compared or written; tail is not kept */
    uint64_t generation, epoch;
    /* a file of its own */
    const struct claim *claim;
    int fd;         /* -1: none now */
    bool there;     /* the file was there, or was made */
    bool marked;    /* its sidecar is of this store and generation, durably */
    bool named;     /* the folders that it and its sidecar stand in were synced since the open */
    bool comparing; /* lines may follow in the file */
    uint64_t size;  /* of the file, as we left it */
    uint64_t inode;
    /* standard output */
    struct buffer lines; /* for the next task */
};

/* Attached is what write, token and cut need. Codes: ERR_SYSTEM for a call that failed and may be tried again after
 * a cut, ERR_FULL, ERR_SINK for what is refused, ERR_BUSY. On failure of open nothing is left to close. */
struct sink_ops {
    bool eager; /* lines go to the syncer at once, whatever --sync says */
    /* *claim is taken or raised where the kind needs one. *older: the token chosen is not the newest. */
    enum err_code (*open)(struct sink_file *f, struct claim **claim, const struct sink_owner *owner,
                          const struct sink_token *tokens, size_t count, bool *older,
                          struct err *err);
    enum err_code (*attach)(struct sink_file *f, struct err *err);
    /* Fills in the task that makes the file ours before its first line, where f is not marked. */
    void (*mark)(struct sink_file *f, struct sync_task *task);
    /* Whole lines, each with its newline; last: nothing may follow them. */
    enum err_code (*write)(struct sink_file *f, struct view lines, bool last, struct err *err);
    /* Is what was written still where its reader looks for it? Asked before any of it is called durable. */
    enum err_code (*stands)(struct sink_file *f, struct err *err);
    /* Fills in the task: its work, token and what that needs. */
    enum err_code (*token)(struct sink_file *f, struct sync_task *task, struct err *err);
    enum err_code (*cut)(struct sink_file *f, const struct sink_token *token, struct err *err);
    /* Let others have it. */
    void (*unlock)(struct sink_file *f);
    void (*detach)(struct sink_file *f);
    void (*close)(struct sink_file *f);
};

extern const struct sink_ops jsonl_ops, stdout_ops;

#endif
