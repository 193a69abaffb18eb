/* schemas/step.h: the named steps of the protocol, as places to crash at.
 *
 * STEP(name) marks the instant between two effects whose order matters. In the test build (RIVERRUN_STEPS) the
 * environment variable RIVERRUN_CRASH=name:n kills the process, as by kill -9, the n-th time that step is reached; in
 * the release the macro is nothing. The list is complete: a step that is not in it does not compile, and the crash test
 * fails for one that is never reached. */
#ifndef SCHEMAS_STEP_H
#define SCHEMAS_STEP_H

/* Name; what has happened just before. */
#define STEP_LIST(X)                                                            \
    X(store_commit_begin, "a transaction is filled, nothing of it is durable")  \
    X(store_commit_end, "a transaction is durable, nobody was told")            \
    X(store_epoch_raised, "a new owner's epoch is durable, it did nothing yet") \
    X(ingest_announce, "the streams are known, nobody was told")                \
    X(ingest_opened, "a source was found to be the one that was read")          \
    X(ingest_read, "bytes were read and not sent")                              \
    X(tokenize_opened, "upstream's answer to an open passed")                   \
    X(tokenize_tokens, "a token message was made and not sent")                 \
    X(encode_open, "upstream is to be opened")                                  \
    X(encode_opened, "upstream is open")                                        \
    X(encode_sink_open, "the sink is to be opened")                             \
    X(encode_sink_opened, "emit chose a checkpoint")                            \
    X(encode_accepted, "a token message was accepted")                          \
    X(encode_submit, "a job went to the engine")                                \
    X(encode_collect, "a job's results are in")                                 \
    X(encode_record, "a record was made and not sent")                          \
    X(encode_captured, "state, place and analysis of a snapshot are fixed")     \
    X(encode_sync, "`sync n` goes to emit")                                     \
    X(encode_durable, "emit says that n records are durable")                   \
    X(encode_commit, "a checkpoint goes to the store's writer")                 \
    X(encode_committed, "a checkpoint is durable, and encode knows")            \
    X(emit_opened, "a sink is open")                                            \
    X(emit_record, "a record was compared or written, not synced")              \
    X(emit_compared, "a record sent again is what the file holds")              \
    X(emit_cut, "the end of a file was cut off")                                \
    X(emit_sidecar_written, "the new sidecar is durable beside the old")        \
    X(emit_sidecar_renamed, "the new sidecar is in place")                      \
    X(emit_fsync_begin, "records were handed to the system, not synced")        \
    X(emit_fsync_end, "records are durable, nobody was told")                   \
    X(emit_durable, "`durable n` goes to encode")

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
