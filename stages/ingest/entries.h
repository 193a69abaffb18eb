/* stages/ingest/entries.h: lines that belong together, as a wrapper around any kind of input.
 *
 * An entry is a line that matches --multiline-start, and those behind it that do not. It ends before the next
 * one that matches; or when nothing came for --multiline-seconds; or at the first line end behind
 * ENTRY_LINES_MAX lines or ENTRY_BYTES_MAX bytes. The first line of a stream, and one behind an entry that
 * time or size ended, begins one whatever it is.
 *
 * The newline of a line waits until it is known whether the next line belongs to it, so that the message that ends
 * with the entry can say so (MSG_BREAK): at most that and the beginning of the next line is held.
 *
 * That time ended an entry depends on when we looked: it is in the journal (topic entries/STREAM, u64 offset)
 * before the newline leaves, and a replay ends entries there and nowhere else by time.
 *
 * A cursor:  0 u8 version = 1 | 1 u8 kind = 4 | 2 u32 bytes to skip | 6 u64 offset since the origin |
 *            14 u16 lines of the entry | 16 u32 bytes of it | 20 the inner input's. */
#ifndef STAGES_INGEST_ENTRIES_H
#define STAGES_INGEST_ENTRIES_H

#include "stages/ingest/input.h"

enum {
    ENTRIES_CURSOR_BYTES = 20,
    ENTRIES_CURSOR_KIND = 4, /* 0 to 3 are source.h's, segment.h's, spooled.h's */
    ENTRY_LINES_MAX = 1000,
    ENTRY_BYTES_MAX = 1 << 20
};

struct entries; /* what all of them share; NULL where lines are not joined */
struct entry_input;

/* The feeder that owns the pattern and the clock; it brings nothing. */
extern const struct feeder_kind entries_feeder;

/* Wrap an input of kind whose self is inner; the wrapper is an input of entries_kind. On success inner is the
 * wrapper's, which lets it go with itself, unless it is unwrapped. Fails: ERR_MEMORY. */
MUST_CHECK enum err_code entries_wrap(struct entry_input **out, struct entries *entries,
                                      const struct input_kind *kind, void *inner, const char *name,
                                      struct err *err);
void entries_unwrap(struct entry_input **e);
void entries_bind(struct entry_input *e, struct input *in);
extern const struct input_kind entries_kind;

/* Does a cursor, of entries or not, lead into the spool? The offsets of what is read there are no file's. */
bool entries_cursor_is_spooled(struct view cursor);

#endif
