/* stages/encode/analysis/sentences.h: sentences, cut from tokens as they come.
 *
 * A sentence ends behind . ! ? … and what closes after them (quotes, brackets), where white space follows; behind
 * 。！？ and their like without any; and at a blank line. It does not end
 *   behind a full stop after one capital letter (a name's initial), an abbreviation that is nearly always followed by
 *   something (Mr., e.g., vol.), or the number that begins it (1.);
 *   behind ! ? … where a small letter follows: "What?" he said.
 * What has no end within SENTENCE_MAX is cut behind the last white space in the second half of that. A line's end is
 * white space. The next character must be there before an end is one, so nothing depends on how tokens arrive.
 *
 * Memory  9 KiB */
#ifndef STAGES_ENCODE_ANALYSIS_SENTENCES_H
#define STAGES_ENCODE_ANALYSIS_SENTENCES_H

#include "schemas/bytes.h"

enum {
    SENTENCE_MAX = 512,
    SENTENCES_HELD = 2 * SENTENCE_MAX,
    SENTENCES_BYTES_MAX = 2 + 16 + SENTENCES_HELD * 9
};

struct sentences {
    size_t bytes;                 /* held, at most SENTENCES_HELD */
    size_t taken;                 /* of them, by the last sentence: they go with the next call */
    size_t known;                 /* of them, hold no end; saves looking again */
    uint64_t base, end;           /* of the source: what offsets count from; behind what is held */
    uint8_t text[SENTENCES_HELD]; /* (bytes) */
    float nats[SENTENCES_HELD];   /* (bytes) of each byte */
    uint32_t offsets[SENTENCES_HELD]; /* (bytes) where each is in the source */
};

/* A sentence that ended: its text without white space around it. */
struct sentence {
    uint64_t begin, end; /* of the source */
    struct view text;    /* lent until the next call */
    const float *nats;   /* (text.bytes) */
};

/* As much of a token as there is room for: its text, nats for each byte, where it begins in the source and what it
 * covers there. Returns the bytes taken, at least one where there are any, if all sentences were taken before. */
size_t sentences_add(struct sentences *s, struct view text, float nats, uint64_t begin,
                     uint32_t source_bytes, size_t from);
/* The next sentence that is known to have ended. over: nothing comes behind what is held. */
bool sentences_next(struct sentences *s, bool over, struct sentence *out);

void sentences_save(const struct sentences *s, struct buffer *out);
/* False: no bytes of sentences_save's. */
bool sentences_load(struct sentences *s, struct reader *r);

#endif
