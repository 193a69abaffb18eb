/* stages/tokenize/normalize.h: normalisation form C of a stream of bytes, a piece at a time.
 *
 * A *segment* is a character and those after it that may join with what stands before them: marks
 * (categories Mn, Mc, Me) and the vowels and finals of Hangul. NFC never looks over the edge of a
 * segment, so each is normalised alone, and nothing is remembered between two calls. Three rules
 * say where NFC ends; all of them look at the text alone, never at where it was cut into reads:
 *
 *   - At most NORMALIZE_MARKS_MAX characters may follow the first of a segment. Where more do, the
 *     first and the NORMALIZE_MARKS_MAX after it are a segment that is kept as it is, and the next
 *     begins with the mark that follows. No writing system comes near that length.
 *   - A byte that is no part of valid UTF-8 is kept as it is and ends the segment before it.
 *   - A mark with nothing before it (at the start, after such a byte) begins a segment.
 *
 * The output is its own normal form: normalised again it is the same bytes.
 *
 * Source  Unicode Standard Annex 15, with the tables of utf8proc: its Unicode version belongs to
 *         the fingerprint of a stream (utf8proc_unicode_version). */
#ifndef STAGES_TOKENIZE_NORMALIZE_H
#define STAGES_TOKENIZE_NORMALIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NORMALIZE_MARKS_MAX = 64,
    /* The most bytes that may lie undecided: a longest segment, and a character not yet whole. */
    NORMALIZE_HELD_MAX = (1 + NORMALIZE_MARKS_MAX) * 4 + 3,
    /* A character decomposes into at most 4, each of at most 4 bytes; utf8proc adds a NUL. */
    NORMALIZE_ROOM = (1 + NORMALIZE_MARKS_MAX) * 4 + 1
};

struct normalize_piece {
    const uint8_t *data; /* into the source where unchanged, else into room */
    size_t bytes;
    bool unchanged; /* the source's own bytes */
    bool atomic; /* one segment, whose bytes belong together: changed, or of several characters */
    int32_t room[NORMALIZE_ROOM];
};

/* Take the next piece off data: one atomic segment, or as many unchanged segments of one character as
 * lie together. Inside an atomic piece nothing may begin anew: what follows a cut there would be
 * divided into other segments. Between the bytes of the others it may.
 * Returns the source bytes it stands for, <= bytes. 0 means that more bytes are needed to tell:
 * never with end (but for bytes = 0), and never with more than NORMALIZE_HELD_MAX bytes; *piece is
 * then not to be used. end says that nothing follows data.
 *
 * How single characters are gathered into pieces does depend on where data ends; the bytes do not,
 * nor do the atomic pieces with their places in the source.
 * Memory  piece->data is lent until data goes away, or piece is used again. */
size_t normalize_next(const uint8_t *data, size_t bytes, bool end, struct normalize_piece *piece);

#endif
