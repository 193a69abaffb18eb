/* stages/ingest/pattern.h: a pattern of lines (PCRE2, with JIT where there is one).
 *
 * A line is looked at without its newline, and of a long one the first PATTERN_LINE_MAX bytes. What needs more
 * than PATTERN_STEPS_MAX steps matches nothing, so a bad pattern makes a feed slow, not still. */
#ifndef STAGES_INGEST_PATTERN_H
#define STAGES_INGEST_PATTERN_H

#include "schemas/bytes.h"

enum { PATTERN_LINE_MAX = 8192, PATTERN_STEPS_MAX = 100000 };

struct pattern;

/* option is what it was given with, for words. group: its first group is wanted.
 * Fails  ERR_USAGE: names the offset of what is wrong; or it has no group; ERR_MEMORY. */
MUST_CHECK enum err_code pattern_open(struct pattern **out, const char *text, const char *option,
                                      bool group, struct err *err);
void pattern_close(struct pattern **pattern);

/* Does it match somewhere in line? *group (may be NULL) lies in line; empty where the group took no part. */
bool pattern_matches(struct pattern *p, struct view line, struct view *group);

#endif
