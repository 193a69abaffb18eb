/* stages/encode/analysis/headings.h: which paragraphs are headings, and the headings that hold a place.
 *
 * A reader of marked-up text says where a heading begins (schemas/msg.h). In plain text it is told by its form: a
 * line of Markdown with `#`, one that is underlined, "CHAPTER IV", "Part I - 1805", a Roman numeral alone. What looks
 * like prose is none, so a book whose chapters have names alone has no headings here. */
#ifndef STAGES_ENCODE_ANALYSIS_HEADINGS_H
#define STAGES_ENCODE_ANALYSIS_HEADINGS_H

#include "schemas/msg.h"

enum { HEADING_WORDS_MAX = 80, HEADING_PATH_MAX = 240 };

/* The level of the heading that text, the beginning of a paragraph, is; 0: it is none. whole: it is all of it. */
uint8_t heading_level(struct view text, bool whole, bool markdown);

/* "Book I / Part II / III". All zero: none. */
struct heading_path {
    uint8_t count;
    uint8_t level[PLACE_LEVEL_MAX], end[PLACE_LEVEL_MAX]; /* (count); end: of its words in text */
    uint8_t text[HEADING_PATH_MAX];
};

/* The heading that text begins with takes the place of those of its level and below. */
void heading_path_enter(struct heading_path *path, uint8_t level, struct view text);
struct view heading_path_text(const struct heading_path *path);
void heading_path_save(const struct heading_path *path, struct buffer *out);
/* False: no bytes of save's. */
bool heading_path_load(struct heading_path *path, struct reader *r);

#endif
