/* tests/stages_help.h: a stage driven by an array, a folder a test, and chance that repeats. */
#ifndef TESTS_STAGES_HELP_H
#define TESTS_STAGES_HELP_H

#include "stages/stage.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
/* cmocka.h needs the two above. */
#include <cmocka.h>

#define STAGE_TEST(function) cmocka_unit_test_setup_teardown(function, make_folder, remove_folder)

/* The folder of a test; the test's *state. */
int make_folder(void **state);
int remove_folder(void **state);
/* FOLDER/NAME, lent until eight calls later. */
const char *in_folder(void **state, const char *name);
void put_file(const char *path, const void *data, size_t bytes);
/* A whole file, malloc'ed, with a NUL behind it; fails the test where it is not there. */
uint8_t *get_file(const char *path, size_t *bytes);

/* xorshift; *seed is not 0. */
uint64_t random_next(uint64_t *seed);

/* True, and says so, when a file of ../shared is not there. */
bool shared_missing(const char *path);
/* What main returns: failures first, then 77 when something was skipped. */
int tests_result(int failed);

/* ---- One stage, its two neighbours played by the test ---- */

enum { DRIVER_MESSAGES = 4096 };

struct driver {
    const struct stage_ops *ops;
    void *self;
    struct stage_env env;
    struct config config;
    bool closed[PORT_COUNT]; /* the link takes no data now */
    size_t data_room;        /* data messages that still go; SIZE_MAX: any number */
    struct msg *sent[PORT_COUNT][DRIVER_MESSAGES]; /* taken in order from first */
    size_t first[PORT_COUNT], count[PORT_COUNT];
    uint64_t now_ms;
    char reports[4096];
    enum stage_progress progress;
    struct err outcome;
};

/* Config with the defaults of the program; change it before driver_start. */
struct driver *driver_new(const char *stage);
void driver_start(struct driver *d); /* open, and a peer at each port */
void driver_free(struct driver **d);
void driver_event(struct driver *d, enum stage_event_kind kind, enum stage_port port);
/* Work until the stage has nothing more to do now, or is done. */
void driver_work(struct driver *d);
/* For a stage with a thread: wait at its descriptors for one thing to happen, and work. */
void driver_poll(struct driver *d);
/* As driver_work, for a stage with a thread: wait at its descriptors until something was sent at port. */
void driver_wait(struct driver *d, enum stage_port port);
/* Hand it a message, which is taken in any case. */
enum err_code driver_accept(struct driver *d, enum stage_port port, struct msg *msg);
enum err_code driver_control(struct driver *d, enum stage_port port, Riverrun__Control__IsCase is,
                             void *body);
enum err_code driver_data(struct driver *d, enum stage_port port, const struct frame *f);

/* The next message that it sent; NULL when there is none. Freed by the caller. */
struct msg *driver_take(struct driver *d, enum stage_port port);
/* The next, which must be control of this kind; freed with riverrun__control__free_unpacked. */
Riverrun__Control *driver_expect(struct driver *d, enum stage_port port,
                                 Riverrun__Control__IsCase is);
/* The next must be data; *f is lent by the message returned. */
struct msg *driver_expect_data(struct driver *d, enum stage_port port, enum msg_kind kind,
                               struct frame *f);
void driver_expect_nothing(struct driver *d);
void driver_drop_sent(struct driver *d);

/* got lies within this share of want. */
static inline void assert_near(double got, double want, double share)
{
    if (!(fabs(got - want) <= share * fabs(want)))
        fail_msg("%g instead of %g", got, want);
}

#endif
