/* stages/encode/analysis/templates.h: log lines that were written by one statement, found as they come.
 *
 * A tree of fixed depth, as Drain has it (He et al., ICWS 2017): lines of one number of tokens and the same first
 * three tokens that are no <*> are candidates for one another; the path down to such a leaf is one hash, and the
 * leaves lie in an array. In its leaf a line joins the template that shares most tokens with it, if those are 8 in
 * 10 of the ones that do not vary in both; tokens that differ become <*> in the template. Else it begins one.
 *
 * At most TEMPLATES_MAX templates, and TEMPLATES_BYTES of their texts: then the one that was not seen for the longest
 * time goes. No two were seen last by the same line, so which one that is never depends on anything else.
 *
 * Memory  grows with the templates, up to some 600 KiB. */
#ifndef STAGES_ENCODE_ANALYSIS_TEMPLATES_H
#define STAGES_ENCODE_ANALYSIS_TEMPLATES_H

#include "stages/encode/analysis/mask.h"
#include "stages/encode/analysis/usual.h"

enum {
    TEMPLATES_MAX = 1024,
    TEMPLATES_BYTES = 160 * 1024, /* of all texts */
    TEMPLATE_VALUES = 16,         /* bits a byte of its last lines */
    TEMPLATE_TEXT_MAX = MASK_TEXT_MAX + 2 * MASK_TOKENS_MAX,
    TEMPLATES_SAVED_MAX = TEMPLATES_BYTES + TEMPLATES_MAX * (37 + 4 * TEMPLATE_VALUES) + 18
};

struct template
{
    uint64_t id;    /* 0, 1, 2, ... in the order of their first lines; never used again */
    uint64_t count; /* lines */
    uint64_t last;  /* number of the last line */
    uint8_t tokens, value_count, value_next;
    uint16_t bytes, charge; /* charge: the most that bytes can become, by tokens that become <*> */
    float values[TEMPLATE_VALUES]; /* (value_count), the oldest at value_next once it is full */
    uint32_t *hashes;              /* (tokens) */
    uint8_t *text;                 /* (bytes), in the same piece of memory */
};

struct templates {
    struct template *list; /* (count) */
    uint64_t *paths;       /* (count) of the leaf that each is in */
    size_t count, room;
    size_t charged; /* of all texts, at most TEMPLATES_BYTES */
    uint64_t next_id, lines;
};

/* The template of the next line, which counts it; lent until the next call. Its count is 1 where it is new. */
struct template *templates_match(struct templates *t, const struct masked *line);
void template_add_value(struct template *one, float value);

void templates_save(const struct templates *t, struct buffer *out);
/* Into an empty one. False: no bytes of templates_save's; *t may be released. */
bool templates_load(struct templates *t, struct reader *r);
size_t templates_memory(const struct templates *t);
void templates_release(struct templates *t);

#endif
