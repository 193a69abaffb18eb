/* stages/ingest/readers/frames.h: what a reader's process says through its pipe.
 *
 * 0 u8 kind | 1 u32 bytes | payload
 *
 * A note first, text as it comes, warnings anywhere, and an end or a fault last: a pipe that ends without is a
 * reader that died. Notes, warnings and faults are a line of words. A place (schemas/msg.h) is that of the next byte of
 * text. */
#ifndef STAGES_INGEST_READERS_FRAMES_H
#define STAGES_INGEST_READERS_FRAMES_H

enum frame_of_reader {
    READER_NOTE = 1,
    READER_TEXT,
    READER_WARNING,
    READER_FAULT,
    READER_END,
    READER_PLACE
};
enum { READER_HEAD_BYTES = 5, READER_WORDS_MAX = 300, READER_TEXT_MAX = 64 * 1024 };

#endif
