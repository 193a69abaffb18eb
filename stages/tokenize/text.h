/* stages/tokenize/text.h: source bytes in, tokens out, and always the place to continue from.
 *
 * Bytes are pushed as they come, with the cursor that leads to each run of them; tokens are taken
 * off. Between two tokens the place is (upstream's cursor before some message, bytes of it to skip,
 * bytes of the normaliser's output to skip): the normaliser works on segments that stand alone, so a
 * place inside the output of a segment is found again by normalising that segment again.
 *
 * A cursor:  0 u8 version = 1 | 1 u16 output bytes to skip | 3 u32 source bytes to skip | 7 upstream's.
 *
 * Memory   what was pushed and not yet taken, three bytes a byte where text is normalised; the caller
 *          bounds it by what it grants. */
#ifndef STAGES_TOKENIZE_TEXT_H
#define STAGES_TOKENIZE_TEXT_H

#include "engine/engine.h"
#include "schemas/bytes.h"
#include "schemas/config.h"
#include "schemas/msg.h"

enum { TEXT_CURSOR_BYTES = 7 };

struct text_mark {
    uint64_t at; /* source position since the open */
    size_t cursor_bytes;
    uint8_t cursor[CURSOR_MAX]; /* leads there */
};

struct text {
    const struct tokenizer *tokenizer; /* borrowed */
    enum normalize normalize;
    bool line_edges;
    bool ended;            /* no more bytes will come */
    struct buffer raw;     /* source bytes that the normaliser has not taken */
    struct buffer plain;   /* its output that is not yet tokens */
    struct buffer advance; /* u16 for each byte of plain: source bytes that end with it (those of an
                               atomic segment with its last byte); only where normalised, else 1 */
    size_t taken;          /* bytes of plain that are tokens already */
    size_t line_end;       /* of plain: one behind the next line end, 0 not looked for */
    uint64_t pushed;       /* source bytes since the open */
    uint64_t source_at;    /* where the segment of the next token begins, since the open */
    uint32_t into;         /* output bytes of that segment that are tokens already */
    uint32_t skip, skip_plain; /* still to be passed over after the open */
    struct text_mark *marks;   /* (mark_count) places at or before source_at and later ones */
    size_t mark_count, mark_room;
};

struct text_token {
    uint32_t id;
    uint16_t source_bytes, text_bytes;
    const uint8_t *text; /* lent until the next push */
};

/* Begin at cursor, which is what text_cursor gave or empty; *upstream is what to open upstream with,
 * lent by cursor. Fails: ERR_INPUT. */
MUST_CHECK enum err_code text_open(struct text *t, const struct tokenizer *tokenizer,
                                   enum normalize normalize, bool line_edges, struct view cursor,
                                   struct view *upstream, struct err *err);
void text_close(struct text *t);

/* The cursor that leads to the next byte pushed: upstream's answer to the open first, then after
 * each push that message's. Fails: ERR_MEMORY, ERR_LIMIT. */
MUST_CHECK enum err_code text_mark(struct text *t, struct view cursor, struct err *err);
MUST_CHECK enum err_code text_push(struct text *t, struct view bytes, bool end, struct err *err);

/* The next token, false when more bytes are needed (or all are taken, if the end was pushed). */
bool text_take(struct text *t, struct text_token *token);
/* True when the end was pushed and every byte is a token. */
bool text_done(const struct text *t);
/* The place after the last token taken. */
MUST_CHECK enum err_code text_cursor(const struct text *t, struct buffer *out, struct err *err);

#endif
