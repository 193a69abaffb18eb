/* stages/ingest/readers/out.h: the text on its way out of a reader. */
#ifndef STAGES_INGEST_READERS_OUT_H
#define STAGES_INGEST_READERS_OUT_H

#include "schemas/msg.h"
#include "stages/ingest/readers/frames.h"

struct out {
    int fd;                          /* of the pipe; -1: a test looks at text alone */
    bool noted;                      /* what it is was told, and no text was before */
    char inside[PLACE_TEXT_MAX + 1]; /* of the file at hand, of several in one; "" */
    uint64_t all;                    /* bytes of text so far */
    size_t bytes;                    /* in text */
    uint8_t text[READER_TEXT_MAX];
};

/* Fails  ERR_SYSTEM: nobody reads any more. */
MUST_CHECK enum err_code out_text(struct out *out, const void *text, size_t bytes, struct err *err);
/* A line of words. note: what is read, once, before all text. */
MUST_CHECK enum err_code out_words(struct out *out, enum frame_of_reader kind, const char *words,
                                   struct err *err);
/* It begins with the next byte of text. */
MUST_CHECK enum err_code out_place(struct out *out, const struct msg_place *place, struct err *err);
/* What comes is of a file inside, which is a document of its own: notes that tell what it is are not heard, places and
 * warnings are told with its name. */
MUST_CHECK enum err_code out_enter(struct out *out, const char *name, struct err *err);
void out_leave(struct out *out);
/* All of the text, and the end. */
MUST_CHECK enum err_code out_end(struct out *out, struct err *err);

#endif
