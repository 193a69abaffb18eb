/* schemas/config.h: what a run was asked to do. Filled by the command line, read by the stages. */
#ifndef SCHEMAS_CONFIG_H
#define SCHEMAS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum unit {
    UNIT_PARAGRAPH,
    UNIT_LINE,
    UNIT_ENTRY, /* of lines, as ingest joins them */
    UNIT_SECTION
};
enum normalize { NORMALIZE_NONE, NORMALIZE_NFC };
enum sync { SYNC_INTERVAL, SYNC_BATCH, SYNC_RECORD }; /* when emit makes records durable unasked */
/* Parts of the analysis, by their place in a set of bits. Append, never renumber: a checkpoint holds them. */
enum analyze {
    ANALYZE_SURPRISE,
    ANALYZE_NOVELTY,
    ANALYZE_EMBEDDINGS,
    ANALYZE_SUMMARY,
    ANALYZE_BOUNDARIES,
    ANALYZE_COUNT
};
enum sink_kind { SINK_JSONL, SINK_STDOUT };

struct config {
    bool follow; /* ingest, encode: sources grow, streams come, nothing ends by itself */
    uint64_t
        max_latency_ms; /* all: of a line, from written to durable, where the machine keeps up */
    /* ingest */
    const char *const *paths; /* (path_count); "-" is standard input */
    size_t path_count;
    const char *name;    /* of the single stream, or NULL */
    uint32_t read_bytes; /* of one read, 1..MSG_SOURCE_MAX */
    /* Program with the command `reader`, for files that are no plain text; NULL: all of them are. */
    const char *reader;
    const char *field;           /* of JSON Lines, whose text is read; NULL: they are plain text */
    const char *encoding;        /* that all of them are in; NULL: each tells */
    const char *feed;            /* folder of its journal and spool; NULL unless it follows */
    uint64_t spool_bytes;        /* of the spool, at most */
    const char *multiline_start; /* pattern of an entry's first line; NULL: a line is an entry */
    uint64_t multiline_ms;       /* an entry is over when nothing came for so long */
    const char *key; /* pattern whose first group splits a feed into streams; NULL: none */
    /* tokenize */
    const char *vocab;   /* vocabulary file; NULL: the model file's own, else bytes */
    bool special_tokens; /* of the vocabulary, wherever they stand in a text */
    /* encode; tokenize: only to look for a vocabulary in it, may be NULL */
    const char *model;
    const char
        *initial_state; /* file that new streams begin with; NULL: the model's own, or zeros */
    const char *store;
    const char *blas, *isa, *weights;
    unsigned threads;
    uint32_t block_tokens;
    enum unit unit;
    enum normalize normalize;
    uint32_t analyze;            /* parts of the analysis: bits 1 << enum analyze */
    uint64_t alerts_per_million; /* expected of lines where nothing happens; 0: none are made */
    uint64_t summary_lines, summary_minutes; /* what a summary of a log covers; 0: no end by it */
    uint64_t checkpoint_tokens;              /* 0: by time alone */
    uint64_t checkpoint_ms;
    bool restart;
    bool accept_model, accept_arithmetic;
    uint64_t state_bytes;         /* of engine states in memory, streams at rest included */
    uint64_t window_bytes;        /* of source, granted to all streams together */
    uint64_t record_window_bytes; /* records sent and not yet durable */
    /* emit */
    const char *output;
    enum sink_kind sink;
    enum sync sync;
};

static inline const char *unit_name(enum unit unit)
{
    static const char *const names[] = {[UNIT_PARAGRAPH] = "paragraph",
                                        [UNIT_LINE] = "line",
                                        [UNIT_ENTRY] = "entry",
                                        [UNIT_SECTION] = "section"};
    return names[unit];
}

/* A log's, not a document's. */
static inline bool unit_is_of_lines(enum unit unit)
{
    return unit == UNIT_LINE || unit == UNIT_ENTRY;
}

static inline const char *analyze_name(enum analyze part)
{
    static const char *const names[] = {[ANALYZE_SURPRISE] = "surprise",
                                        [ANALYZE_NOVELTY] = "novelty",
                                        [ANALYZE_EMBEDDINGS] = "embeddings",
                                        [ANALYZE_SUMMARY] = "summary",
                                        [ANALYZE_BOUNDARIES] = "boundaries"};
    return names[part];
}

enum { ANALYZE_TEXT_MAX = 128 };

/* The set as --analyze takes it, in one fixed order; text has room for ANALYZE_TEXT_MAX. */
static inline const char *analyze_text(uint32_t parts, char *text)
{
    size_t at = 0;

    for (unsigned i = 0; i < ANALYZE_COUNT; i++)
        if (parts >> i & 1)
            at += (size_t)snprintf(text + at, ANALYZE_TEXT_MAX - at, "%s%s", at ? "," : "",
                                   analyze_name((enum analyze)i));
    if (!at)
        snprintf(text, ANALYZE_TEXT_MAX, "none");
    return text;
}

static inline const char *normalize_name(enum normalize normalize)
{
    return normalize == NORMALIZE_NFC ? "nfc" : "none";
}

#endif
