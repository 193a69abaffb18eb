/* stages/emit/report/page.h: an HTML page on a stream: its frame and style, text that cannot break out of it, numbers
 * for people.
 *
 * The page has no scripts and asks for nothing from elsewhere. Its colours follow the reader's light or dark setting;
 * on paper it is black on white.
 * Errors   are the stream's: ask ferror. */
#ifndef STAGES_EMIT_REPORT_PAGE_H
#define STAGES_EMIT_REPORT_PAGE_H

#include "schemas/bytes.h"
#include <stdio.h>

/* In the first line of each page, so that one is known again, and a file of somebody else is not written over. */
#define PAGE_BEGIN "<!DOCTYPE html><!-- riverrun report -->"

/* title  in front of "riverrun report" in the window's frame; may be empty */
void page_begin(FILE *out, struct view title);
void page_end(FILE *out);

/* Any bytes, in an element or in a quoted attribute. Control characters become their pictures; what is no UTF-8, or
 * would turn the direction of what follows, becomes U+FFFD. */
void page_text(FILE *out, struct view text);
void page_words(FILE *out, const char *text);
/* "1,234,567" */
void page_count(FILE *out, uint64_t count);
/* "1 paragraph", "2 paragraphs": noun without its s; "entry" is known. */
void page_counted(FILE *out, uint64_t count, const char *noun);

enum { PAGE_NUMBER_BYTES = 32 };

/* "1,234,567" into text. */
const char *page_grouped(uint64_t count, char text[PAGE_NUMBER_BYTES]);
/* For axes: "0", "500", "20k", "1.5M". */
const char *page_short(double value, char text[PAGE_NUMBER_BYTES]);
/* "paragraphs", "entries". */
const char *page_plural(const char *noun);

#endif
