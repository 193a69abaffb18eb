/* schemas/msg.h: what travels between stages: one contiguous message, a drawn header and a payload.
 *
 *    0 u16 kind       2 u16 version = 3    4 u32 session     the link's, see pipeline/link.h
 *    8 u64 number     the link's           16 u64 stream     number in the store's catalogue
 *   24 u64 epoch      32 u64 position      40 u32 count      44 u16 flags    46 u16 cursor bytes
 *   48 u32 payload bytes   52 u32 zero     56 cursor, then payload.  The size is exact.
 *
 * kind     count               position               payload
 * BYTES    source bytes        source bytes since     the bytes
 *                              the open
 * TOKENS   tokens              tokens since the open  u32 id[], u32 source bytes[], u16 text
 *                                                     bytes[], then the text of all
 * RECORD   1                   sequence number        one JSON line with its newline
 * CONTROL  0                   0                      protobuf riverrun.Control
 * LINK     0                   0                      the link's own
 *
 * Where flags have PLACE the payload begins with u8 bytes and so many bytes (msg_place_write), before what is said
 * above.
 *
 * epoch is (owner epoch << 32 | counter) in BYTES and TOKENS, (owner epoch << 32 | generation) in
 * RECORD. The cursor says how to continue after the message. A message with END is the last of its
 * stream. A BYTES or TOKENS message with BREAK ends a unit: a boundary that ingest decided (--unit entry) stands
 * behind its last byte, which is a token's last. One with PLACE begins with a place of the source: a chapter's file, a
 * page, a heading. All numbers are little-endian. */
#ifndef SCHEMAS_MSG_H
#define SCHEMAS_MSG_H

#include "schemas/bytes.h"

enum msg_kind { MSG_BYTES = 1, MSG_TOKENS, MSG_RECORD, MSG_CONTROL, MSG_LINK };
enum { MSG_END = 1, MSG_BREAK = 2, MSG_PLACE = 4 };

enum {
    MSG_HEADER_BYTES = 56,
    CURSOR_MAX = 256,
    MSG_SOURCE_MAX = 64 * 1024,     /* source bytes in one BYTES message */
    MSG_TOKENS_MAX = 4096,          /* tokens in one TOKENS message */
    MSG_BYTES_MAX = 4 * 1024 * 1024 /* of a whole message */
};

struct msg {
    size_t bytes;
    uint8_t *data; /* header, cursor, payload */
    void *owner;   /* what data belongs to where it is not malloc'ed, with how to let it go */
    void (*release)(void *owner);
};

/* A message taken apart. The views are lent by the message. */
struct frame {
    enum msg_kind kind;
    uint16_t flags;
    uint64_t stream, epoch, position;
    uint32_t count;
    struct view cursor, payload;
    struct view place; /* as msg_place_write made it; without bytes: none (then PLACE is not set) */
};

/* What begins with a byte of a text. */
enum {
    PLACE_TEXT_MAX = 100,
    PLACE_BYTES_MAX = 1 + PLACE_TEXT_MAX,
    PLACE_LEVEL_MAX = 6, /* of headings, 1 the highest */
    PLACE_TITLE = 7,     /* instead of a level: what begins is the document's title */
    PLACE_MARKDOWN =
        8, /* flag beside the level: what begins is Markdown, up to the next place with a name */
    PLACE_ALONE =
        16 /* flag: what begins is a document of its own; headings before it do not hold it */
};
struct msg_place {
    uint8_t heading;  /* level of the heading that begins, PLACE_TITLE, or 0: none; and flags */
    struct view name; /* of the file inside, the page; without bytes: the one that holds */
};

/* Tokens of a TOKENS frame; lent by the message. Unaligned: read with load_u32, load_u16. */
struct frame_tokens {
    const uint8_t *ids;    /* u32 (count) */
    const uint8_t *source; /* u32 (count): bytes of the source that each stands for */
    const uint8_t *text;   /* u16 (count): bytes of text */
    const uint8_t *bytes;  /* the text of all */
    size_t text_bytes;
};

/* Make a message of f: header, cursor and room for f->payload.bytes, which are copied where
 * f->payload.data is not NULL and else left for the caller at *payload (may be NULL).
 * Fails  ERR_LIMIT: cursor or size beyond the maxima above; ERR_MEMORY. */
MUST_CHECK enum err_code msg_make(struct msg **out, const struct frame *f, uint8_t **payload,
                                  struct err *err);
void msg_free(struct msg **msg);

/* A place as bytes; returns how many. A name that is too long keeps its end, which tells more of a path. */
size_t msg_place_write(uint8_t out[PLACE_BYTES_MAX], const struct msg_place *place);
/* name is lent by bytes. Fails  ERR_INPUT: they are no place. */
MUST_CHECK enum err_code msg_place_read(struct msg_place *out, struct view bytes, struct err *err);
/* A second one at the same byte: what it does not say stays as the first has it, and a document that begins does. */
size_t msg_place_join(uint8_t out[PLACE_BYTES_MAX], struct view first, struct view second);

/* Fails  ERR_INPUT: the bytes break the schema; *f is then not touched. */
MUST_CHECK enum err_code msg_read(const struct msg *msg, struct frame *f, struct err *err);
MUST_CHECK enum err_code msg_read_tokens(const struct frame *f, struct frame_tokens *tokens,
                                         struct err *err);

#endif
