/* tests/follow_help.h: a feed that ingest follows, over the lives of the stage, and the world that it is in. */
#ifndef TESTS_FOLLOW_HELP_H
#define TESTS_FOLLOW_HELP_H

#include "stages/ingest/segment.h"
#include "tests/stages_help.h"

enum { STREAM = 5, TEXT_MAX = 1 << 20, PIECES_MAX = 4096, NAMES_MAX = 4000 };

/* A place that a message led to: so much text lies before it. */
struct place {
    size_t text;
    uint8_t cursor[SEGMENT_CURSOR_BYTES];
};

/* One feed as it is followed, over the lives of the stage. */
struct feed {
    void **state;
    struct driver *d;
    const char *paths[4];
    size_t path_count;
    char folder[512]; /* of the journal */
    uint32_t read_bytes;
    uint64_t epoch, sent; /* of the open */
    char name[256];       /* of the stream that is read */
    char *names[NAMES_MAX];
    size_t name_count, wants, presses; /* asked for: grants, checkpoints */
    char text[TEXT_MAX];
    size_t bytes;
    struct place places[PIECES_MAX];
    size_t place_count;
    uint32_t refused; /* its code */
    char why[512];
};

struct feed *feed_new(void **state);
/* Follow the file called name in the test's folder too. */
void feed_want(struct feed *f, const char *name);
/* Let ingest work until nothing it wants to be durable is on its way to the disk. */
void feed_settle(struct driver *d);
/* The same, and take what it sends. */
void feed_work(struct feed *f);
/* Begin a life of the stage. */
void feed_start(struct feed *f);
void feed_stop(struct feed *f);
void feed_free(struct feed *f);
void feed_open(struct feed *f, const char *name, struct view cursor);
void feed_grant(struct feed *f, uint64_t limit);
void feed_keep(struct feed *f, const struct place *p);
/* Begin a life and follow the only (or first) stream from its origin. */
void feed_begin(struct feed *f);
void feed_expect(struct feed *f, const char *text);
/* Open at p in the running life and read on: what came behind p comes again, byte for byte. */
void feed_expect_again(struct feed *f, const struct place *p, uint64_t step);
/* Every place leads on to the same bytes: in this life, and in a life for each of them. */
void feed_expect_all_again(struct feed *f);
/* Killed, and begun again at the last place. */
void feed_live_again(struct feed *f);
void world_append(void **state, const char *name, const char *text);
void world_move(void **state, const char *from, const char *to);
void world_copy(void **state, const char *from, const char *to);
void world_cut(void **state, const char *name);
void world_command(void **state, const char *what, const char *name);
/* So long ago was the file written to. */
void world_age(void **state, const char *name, long seconds);

/* Make a folder in the test's. */
void world_folder(void **state, const char *name);

#endif
