/* stages/tokenize/text.h: source bytes in, tokens out, and always the place to continue from.
 *
 * Bytes are pushed as they come, with the cursor that leads to each run of them; tokens are taken
 * off. Between two tokens the place is (upstream's cursor before some message, bytes of it to skip,
 * bytes of the normaliser's output to skip, tokens to skip): the normaliser works on segments that stand
 * alone, the tokenizer on pieces that do, so a place inside the output of either is found again by making
 * it again.
 *
 * A cursor:  0 u8 version = 2 | 1 u16 output bytes to skip | 3 u32 source bytes to skip |
 *            7 u32 tokens to skip | 11 upstream's. Version 1 had no tokens to skip, and is read too.
 *
 * A break (MSG_BREAK) behind some bytes is an edge of tokens and of the normaliser's segments: what comes
 * before it is read as if nothing followed. It stands where the source has it, so a replay, however cut,
 * breaks in the same places; one that lies at or before the place of an open has been told already.
 *
 * A place (MSG_PLACE) before some bytes is such an edge too, and belongs to the token that begins there; the message
 * that carries it begins with that token. It is told by whoever passes it: a replay from there tells it again, one from
 * behind it does not, for by then it is in the state of who took that token.
 *
 * Memory   what was pushed and not yet taken, three bytes a byte where text is normalised; the caller
 *          bounds it by what it grants. With nothing to take it is about 1 KiB: texts that share
 *          readers have one only while there is something to tokenize. */
#ifndef STAGES_TOKENIZE_TEXT_H
#define STAGES_TOKENIZE_TEXT_H

#include "engine/engine.h"
#include "schemas/bytes.h"
#include "schemas/config.h"
#include "schemas/msg.h"

enum { TEXT_CURSOR_BYTES = 11 };
enum { TEXT_RETURNS = 3 }; /* CRs that are no accident */

struct text_mark {
    uint64_t at; /* source position since the open */
    size_t cursor_bytes;
    uint8_t cursor[CURSOR_MAX]; /* leads there */
};

/* Readers that nobody has at the moment, for the texts of one tokenizer. Half a megabyte each (NeoX). */
enum { TEXT_READERS_KEPT = 4 };
struct text_readers {
    struct tokenizer_reader *idle[TEXT_READERS_KEPT];
    size_t count;
};
void text_readers_close(struct text_readers *readers);

struct text {
    const struct tokenizer *tokenizer; /* borrowed */
    struct text_readers *readers;      /* borrowed; NULL: it keeps its own */
    struct tokenizer_reader *reader;   /* NULL while there is nothing to tokenize */
    enum normalize normalize;
    bool line_edges;
    bool ended;            /* no more bytes will come */
    struct buffer raw;     /* source bytes that the normaliser has not taken */
    struct buffer plain;   /* its output that is not yet tokens */
    struct buffer advance; /* u16 for each byte of plain: source bytes that end with it (those of an
                               atomic segment with its last byte); only where normalised, else 1 */
    size_t taken;          /* bytes of plain that are tokens already */
    size_t line_end;       /* of plain: one behind the next line end, 0 not looked for */
    struct buffer breaks;  /* u64 each: where in plain a break stands, behind taken */
    bool broke;            /* the token taken last ends at one */
    struct buffer
        places;         /* struct text_place each: where in plain one begins, at or behind taken */
    uint64_t pushed;    /* source bytes since the open */
    uint64_t source_at; /* where the segment of the next token begins, since the open */
    uint32_t into;      /* output bytes of that segment that are tokens already */
    uint32_t skip, skip_plain, skip_tokens; /* still to be passed over after the open */
    struct tokenizer_piece piece;           /* the one being taken apart */
    size_t piece_next, piece_text;          /* its next token, and where that one's text is */
    uint64_t piece_source;                  /* source_at and into where it begins */
    uint32_t piece_into;
    uint64_t repaired, forced; /* since the open: ill-formed pieces, cuts for length alone */
    bool line_feeds;           /* there are, or were before the open for all we know */
    unsigned returns;          /* CRs while there are none, up to TEXT_RETURNS */
    struct text_mark *marks;   /* (mark_count) places at or before source_at and later ones */
    size_t mark_count, mark_room;
};

struct text_place {
    uint64_t at;
    size_t bytes;
    uint8_t place[PLACE_BYTES_MAX];
};

struct text_token {
    uint32_t id, source_bytes, text_bytes;
    const uint8_t *text; /* lent until the next push or take */
    size_t place_bytes;  /* 0: no place begins with it */
    uint8_t place[PLACE_BYTES_MAX];
};

/* Begin at cursor, which is what text_cursor gave or empty; *upstream is what to open upstream with,
 * lent by cursor. Fails: ERR_INPUT, ERR_MEMORY. */
MUST_CHECK enum err_code text_open(struct text *t, const struct tokenizer *tokenizer,
                                   enum normalize normalize, bool line_edges, struct view cursor,
                                   struct view *upstream, struct err *err);
void text_close(struct text *t);
/* From now on take readers from there, and give them back. Directly after text_open. */
void text_share(struct text *t, struct text_readers *readers);

/* What a cursor of ours would open upstream with. Fails: ERR_INPUT. */
MUST_CHECK enum err_code text_upstream(struct view cursor, struct view *upstream, struct err *err);

/* The cursor that leads to the next byte pushed: upstream's answer to the open first, then after
 * each push that message's. Fails: ERR_MEMORY, ERR_LIMIT. */
MUST_CHECK enum err_code text_mark(struct text *t, struct view cursor, struct err *err);
/* What the next push begins with; before it. Fails: ERR_MEMORY. */
MUST_CHECK enum err_code text_begin_place(struct text *t, struct view place, struct err *err);
/* flags are the message's: MSG_END, MSG_BREAK. A break without bytes is nobody's: ERR_INPUT. */
MUST_CHECK enum err_code text_push(struct text *t, struct view bytes, uint16_t flags,
                                   struct err *err);

/* The next token, false when more bytes are needed (or all are taken, if the end was pushed). */
bool text_take(struct text *t, struct text_token *token);
/* True when a break stands behind the token taken last. */
bool text_broke(const struct text *t);
/* Does a place begin with the next token? */
bool text_at_place(const struct text *t);
/* True when the end was pushed and every byte is a token. */
bool text_done(const struct text *t);
/* The place after the last token taken. */
MUST_CHECK enum err_code text_cursor(const struct text *t, struct buffer *out, struct err *err);

#endif
