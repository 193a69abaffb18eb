/* pipeline/eval/room.h: what score.c and lambada.c share. Private to pipeline/eval. */
#ifndef PIPELINE_EVAL_ROOM_H
#define PIPELINE_EVAL_ROOM_H

#include "pipeline/eval/score.h"
#include <stdbool.h>

enum {
    BLOCK_TOKENS = 256, /* of a job */
    BLOCKS = 16,        /* in flight */
    RESET_STATES = 4,
    PASSAGES = 16, /* read side by side */
    READ_BYTES = 65536
};

struct scorer {
    struct engine *engine;
    const struct tokenizer *tokenizer;
    bool has_origin;                   /* the tokenizer has an "end of text", token 0 */
    const volatile sig_atomic_t *stop; /* NULL: nobody stops it */
};

#endif
