/* stages/emit/report/alike.h: texts that say the same of different things: lines of a log that differ in numbers, names
 * or times alone. A list of what stands out shows ten different things, not ten times the same one.
 *
 * A shape is made of the words of a text: runs of letters, digits and bytes over 127. One with a digit in it stands
 * for any other such. Two shapes are the same when all words are, in order, and alike when they share most of them. */
#ifndef STAGES_EMIT_REPORT_ALIKE_H
#define STAGES_EMIT_REPORT_ALIKE_H

#include "schemas/bytes.h"

enum { SHAPE_WORDS_MAX = 48 };

struct shape {
    uint64_t key;                    /* the same for the same shapes */
    uint32_t words[SHAPE_WORDS_MAX]; /* (count) hashes, ascending, of those without digits */
    uint32_t count;
};

void shape_of(struct view text, struct shape *shape);
bool shape_alike(const struct shape *a, const struct shape *b);

#endif
