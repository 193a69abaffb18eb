/* schemas/step.h: the named steps of the protocol, as places to crash at.
 *
 * STEP(name) marks the instant between two effects whose order matters. In the test build (RIVERRUN_STEPS) the
 * environment variable RIVERRUN_CRASH=name:n kills the process, as by kill -9, the n-th time that step is reached; in
 * the release the macro is nothing. The list is complete: a step that is not in it does not compile, and the crash test
 * fails for one that is never reached.
 *
 * STEP_AT(name, stream, at) also says which stream it is and how far. RIVERRUN_TRACE=FILE appends a line for each step,
 * "PID NAME STREAM AT", by one write, so that it is there when the process is killed a moment later; two steps of which
 * one is the other's cause stand in that order, whichever processes they are of. tests/protocol/ replays such traces.
 *
 * step_mistake(name) is true where RIVERRUN_MISTAKE=name asks the test build for one of the three mistakes that the
 * protocol's model refutes (tests/protocol/README.md), so that the tests can show that they would notice:
 *     commit_before_durable  emit says `durable` of records that were written and not synced
 *     cursor_late            the place of a message is taken to be behind it, though tokens of it are still to be used
 *     watermark              emit takes the newest token unread and goes on at the end of its file */
#ifndef SCHEMAS_STEP_H
#define SCHEMAS_STEP_H

#include <stdbool.h>
#include <stdint.h>

/* Name; what has happened just before. */
#define STEP_LIST(X)                                                            \
    X(store_commit_begin, "a transaction is filled, nothing of it is durable")  \
    X(store_commit_end, "a transaction is durable, nobody was told")            \
    X(store_epoch_raised, "a new owner's epoch is durable, it did nothing yet") \
    X(repair_written, "a repaired file is durable beside the damaged one")      \
    X(repair_kept, "the damaged file has a second name")                        \
    X(repair_renamed, "the repaired file is in place")                          \
    X(gc_copied, "a compact copy is durable beside the store's file")           \
    X(gc_renamed, "the compact copy is in place")                               \
    X(ingest_announce, "the streams are known, nobody was told")                \
    X(ingest_opened, "a source was found to be the one that was read")          \
    X(ingest_read, "bytes were read and not sent")                              \
    X(ingest_journal, "a decision is durable, nothing that depends on it left") \
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
void step_reached(enum step step, uint64_t stream, uint64_t at);
bool step_mistake(const char *name);
#define STEP_AT(name, stream, at) step_reached(STEP_##name, stream, at)
#else
#define step_mistake(name)        false
#define STEP_AT(name, stream, at) ((void)0)
#endif
#define STEP(name) STEP_AT(name, 0, 0)

#endif
