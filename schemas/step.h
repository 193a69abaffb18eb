/* schemas/step.h: the named steps of the protocol, as places to crash at.
 *
 * STEP(name) marks the instant between two effects whose order matters. In the test build (RIVERRUN_STEPS) the
 * environment variable RIVERRUN_CRASH=name:n kills the process, as by kill -9, the n-th time that step is reached; in
 * the release the macro is nothing. The list is complete: a step that is not in it does not compile, and the crash test
 * fails for one that is never reached. */
#ifndef SCHEMAS_STEP_H
#define SCHEMAS_STEP_H

/* Name; what has happened just before. */
#define STEP_LIST(X)                                                           \
    X(store_commit_begin, "a transaction is filled, nothing of it is durable") \
    X(store_commit_end, "a transaction is durable, nobody was told")           \
    X(store_epoch_raised, "a new owner's epoch is durable, it did nothing yet")

#define STEP_ENUM(name, words) STEP_##name,
enum step { STEP_LIST(STEP_ENUM) STEP_COUNT };
#undef STEP_ENUM

extern const char *const step_names[STEP_COUNT];

#ifdef RIVERRUN_STEPS
void step_reached(enum step step);
#define STEP(name) step_reached(STEP_##name)
#else
#define STEP(name) ((void)0)
#endif

#endif
