/* stages/encode/analysis/analysis.h: tokens with their losses become records.
 *
 * units.h cuts tokens into units; each finished unit then goes through the parts that --analyze names, in one
 * fixed order. A part adds fields to the unit's record, or a record of its own behind it, and keeps what it has
 * learnt. A part sees only finished units, so nothing depends on how tokens arrive; it looks at no clock and adds
 * up in one fixed order, so the same units give the same bytes.
 *
 * Use      analysis_begin; analysis_token for each token; analysis_end; analysis_save at any place between two tokens
 * Memory   of parts and text by malloc, when the first unit comes: at most ANALYSIS_MEMORY_MAX.
 *          analysis_rest gives it back, analysis_load brings it back.
 * Threads  none of its own; one user at a time. */
#ifndef STAGES_ENCODE_ANALYSIS_ANALYSIS_H
#define STAGES_ENCODE_ANALYSIS_ANALYSIS_H

#include "stages/encode/analysis/pool.h"
#include "stages/encode/analysis/units.h"

enum {
    ANALYSIS_TEXT_MAX = 4096,                     /* of a unit: what a part sees of its text */
    ANALYSIS_RECORDS_MAX = 2 + 2 * ANALYZE_COUNT, /* that one token or the end makes */
    ANALYSIS_BYTES_MAX = 768 * 1024,              /* of everything, saved */
    ANALYSIS_MEMORY_MAX = 1536 * 1024             /* of everything in memory, a stream */
};

/* How this run reads: settings that are fixed for a stream's life. */
struct analysis_options {
    enum unit unit;
    uint32_t parts; /* bits 1 << enum analyze */
    uint64_t alerts_per_million;
    uint64_t summary_lines, summary_minutes; /* of a log, at most; 0: no end by these */
};

/* A finished unit. text is its beginning, at most ANALYSIS_TEXT_MAX bytes; text and vector are only there for parts
 * that want them. */
struct analysis_unit {
    uint64_t bytes, tokens; /* of the source */
    double nats;
    struct view text;
    const float *vector; /* (channels) of pool.h; NULL: no hidden states were given */
    uint32_t channels;
    struct record *record; /* the unit's: add fields here */
    uint64_t begin, end;   /* of the source */
    struct record
        *own; /* kind RECORD_ALERT or another of its own; place, text and number are filled in */
};

/* A part. self is its own; NULL stands for one that has seen nothing, wherever a const self is asked for. */
struct analysis_part {
    uint8_t version; /* of what save writes; raised when load would not understand older bytes */
    bool wants_text, wants_vector;
    size_t bytes_max; /* of what save writes */
    /* Memory for a stream that begins. */
    void (*begin)(void **self, const struct analysis_options *options);
    /* A token, before its unit ends with it: nats, text, where it begins in the source, what it covers there. NULL:
     * of no interest. */
    void (*token)(void *self, double nats, struct view text, uint64_t begin, uint32_t source_bytes);
    /* A document of its own begins with the next token (an archive's file, a mail); its unit ended. NULL: of no
     * interest. */
    void (*alone)(void *self);
    /* A unit ended. True: *unit->own is a record to be written behind the unit's (and behind those of parts
     * before). */
    bool (*unit)(void *self, const struct analysis_unit *unit);
    /* The source ended, all units did. True: *own is a record to be written before the document's, of all its
     * bytes unless the part says otherwise. NULL: none. */
    bool (*last)(void *self, struct record *own);
    /* Fields of the document's record; NULL: none. */
    void (*end)(const void *self, struct record *document);
    void (*save)(const void *self, struct buffer *out); /* NULL, and so load: keeps nothing */
    /* Into what begin made. False: no bytes of save's; self is then closed. */
    bool (*load)(void *self, struct reader *r);
    size_t (*memory)(const void *self);
    void (*close)(void **self); /* takes NULL */
};

extern const struct analysis_part analysis_surprise, analysis_novelty, analysis_embeddings,
    analysis_summary, analysis_boundaries;

struct analysis {
    struct analysis_options options;
    struct units units;
    struct buffer text; /* of the open unit, where a part wants it */
    struct pool pool;   /* the same */
    struct pool
        block; /* of the paragraph at the end of an open section, which may be of the next */
    const float *hidden; /* of the next token, lent; NULL: none */
    uint32_t channels;
    void *self[ANALYZE_COUNT];
    bool resting; /* units alone are here */
};

/* Records that came out; texts in them are lent until the next call. */
struct analysis_records {
    struct record records[ANALYSIS_RECORDS_MAX]; /* (count) */
    size_t count;
};

/* Also of one that was used before: what it held is released. */
void analysis_begin(struct analysis *a, const struct analysis_options *options, uint64_t offset);

/* Does a part want the hidden states of tokens? */
bool analysis_wants_hidden(const struct analysis_options *options);
/* The next token's hidden state (channels), lent until analysis_token has taken it. */
void analysis_hidden(struct analysis *a, const float *hidden, uint32_t channels);
/* One token: its loss, its text, the source bytes it stands for. ends: a break stands behind it (MSG_BREAK). */
void analysis_token(struct analysis *a, double nats, struct view text, uint32_t source_bytes,
                    bool ends, struct analysis_records *out);
/* A place of the source begins with the next token: the unit before it ends, and once its records are taken
 * analysis_place says which (struct msg_place as bytes). */
void analysis_cut(struct analysis *a, struct analysis_records *out);
void analysis_place(struct analysis *a, struct view place);
/* The end of the source: the unit that was open, if there is one, and the document. */
void analysis_end(struct analysis *a, struct analysis_records *out);

/* Nothing but places (units) stays in memory, until analysis_load. */
void analysis_rest(struct analysis *a);
/* Bytes that analysis_rest would free. */
size_t analysis_memory(const struct analysis *a);
void analysis_release(struct analysis *a);

/* The whole state as bytes and back, the same bytes again. options NULL: whatever the bytes were made with, to look
 * at them. rest: places alone are kept, as after analysis_rest. On failure *a is as before.
 * Fails  ERR_DAMAGED */
void analysis_save(const struct analysis *a, struct buffer *out);
MUST_CHECK enum err_code analysis_load(struct analysis *a, const struct analysis_options *options,
                                       struct view bytes, bool rest, struct err *err);

/* What a branch begins with, before it has a source: nothing was seen. */
void analysis_blank(struct buffer *out);

#endif
