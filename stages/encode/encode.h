/* stages/encode/encode.h: what the rooms of encode share. Private to stages/encode.
 *
 * Encode owns the truth about where a stream stands. Its rooms:
 *
 *   encode.c      the stage: messages and events to the stream they are for
 *   stream.c      a stream's life: begin or resume, both neighbours opened, finished, paused, failed
 *   restore.c     a checkpoint taken over
 *   turns.c       which of thousands of streams are worked on; the others rest
 *   schedule.c    grants up, jobs to the engine, results to records, records down
 *   checkpoint.c  snapshot -> sync -> durable -> commit, and the metadata of a checkpoint
 *   control.c     status, pause, resume, savepoint, branch: what the control socket asks
 *   points.c      savepoints and branches, on a store alone
 *   drift.c       whether the carried state has become worse than a fresh one
 *
 * A place in a stream is (cursor before a message, tokens of it and of those after it). */
#ifndef STAGES_ENCODE_ENCODE_H
#define STAGES_ENCODE_ENCODE_H

#include "engine/engine.h"
#include "schemas/table.h"
#include "stages/encode/analysis/analysis.h"
#include "stages/encode/drift.h"
#include "stages/encode/latency.h"
#include "stages/stage.h"
#include "store/store.h"
#include <stdatomic.h>

enum {
    READ_MAX = 16,      /* streams that `read` reads at a time */
    ACTIVE_MAX = 64,    /* streams that are worked on at a time, where they are followed */
    JOB_TOKENS = 256,   /* of one job */
    IN_FLIGHT_MS = 400, /* of work queued at the engine, so that a stop is quick */
    FIRST_SNAPSHOT_MS = 1000,
    FAULTS_MAX = 3, /* at one cursor, then the stream is given up */
    NAMED_MOST =
        16 /* with more streams than that a run does not tell of each how it comes and goes */
};

enum phase {
    PHASE_ANNOUNCED,  /* not begun */
    PHASE_NEW_SOURCE, /* a new generation: waits for `opened` */
    PHASE_NEW_COMMIT, /* waits for its checkpoint 0 (or accepted change) to be durable */
    PHASE_SINK,       /* waits for `sink_opened` */
    PHASE_SOURCE,     /* resumed: waits for `opened`, to compare */
    PHASE_IDLE,       /* followed: open upstream, and nothing was there to read yet */
    PHASE_RUNNING,
    PHASE_PAUSED,
    PHASE_FINISHED,
    PHASE_FAILED,
    PHASE_STOPPED
};

struct place {
    size_t cursor_bytes;
    uint8_t cursor[CURSOR_MAX];
    uint64_t used;
};

/* A token message that jobs are cut from. */
struct piece {
    struct msg *msg;
    struct frame frame;
    struct frame_tokens tokens;
    struct place before; /* cursor before it; used: tokens of it that are submitted or skipped */
    size_t text_at;      /* of the text, behind those */
    uint64_t accepted_ms;
    unsigned references; /* by the queue and by jobs */
    struct piece *next;
};

/* Records that are made and not yet durable. */
struct records {
    struct buffer lines, sizes; /* u32 each */
    uint64_t first;             /* sequence number of the first kept */
    uint64_t sent;              /* of the next to send */
    size_t sent_at;             /* its place in lines */
};

/* A sink token, as the checkpoint keeps it. */
struct jsonl_place {
    uint64_t generation, n, segment, length, tail;
    uint8_t chain[16];
    uint64_t first; /* record of the file's first line */
};

enum snapshot_step { SNAPSHOT_NONE, SNAPSHOT_JOB, SNAPSHOT_SYNC, SNAPSHOT_COMMIT };

struct snapshot {
    enum snapshot_step step;
    bool sync_sent, finished, pause, born; /* born: checkpoint 0 or an accepted change */
    bool again;                            /* its commit found no room, and is tried again */
    struct place place;
    uint64_t tokens, offset, n;
    uint64_t commit_us; /* when it went to the store */
    uint8_t *state;     /* NULL: origin */
    struct buffer analysis;
    struct jsonl_place token;
};

struct stream {
    struct encode *encode;
    char *name, *source;
    struct stream *same_hash; /* in encode.by_name */
    uint64_t id;
    enum phase phase;

    /* turns.c */
    bool active, queued;
    struct stream *next_queued;
    struct stream *older, *newer; /* in the list of those that rest with their state in memory */
    bool listed;
    bool wants;        /* ingest has something for it */
    uint64_t served;   /* tokens submitted since it became active */
    bool give_up;      /* its state is to go to the store alone, to make room */
    bool lengthy;      /* it had a long turn and has more to read */
    uint64_t quiet_ms; /* when it was last found with nothing to do; 0: it has something */
    struct kept *kept; /* cursors of checkpoints, for `keep`; NULL before the first */

    bool known;  /* the store has its name */
    bool peeked; /* of its checkpoint only what opens upstream was read */
    bool note_read, note_failed, paused, want_pause;
    bool noted;    /* this run has written a note of it */
    bool finished; /* the newest checkpoint says so */
    uint32_t faults;
    struct err why; /* PHASE_FAILED */

    /* what it was begun with */
    uint64_t generation, base, number; /* number: of the newest checkpoint */
    Riverrun__Fingerprints *prints;
    char *lineage;       /* an accepted change whose record is to be written next, or NULL */
    bool unbound;        /* a branch: the state is loaded, and no source belongs to it yet */
    char *branched_from; /* STREAM@POINT, or NULL */
    struct candidate {
        uint64_t number;
        bool finished;
        struct jsonl_place token;
    } candidates[STORE_KEEP]; /* (candidate_count) of a resume, newest first */
    size_t candidate_count;
    uint64_t loaded_number;
    uint8_t *loaded; /* the state of a checkpoint, until the engine takes it; NULL: origin */
    size_t loaded_bytes;

    /* upstream */
    uint64_t epoch, expected;   /* position of the next token */
    uint64_t up_number;         /* upstream was opened at this checkpoint's cursor; 0: at none's */
    uint32_t vocab;             /* of upstream's tokenizer */
    bool up_open;               /* `opened` came for this epoch */
    struct place accepted;      /* after the last message accepted */
    uint64_t skip;              /* tokens to pass over, they are in the state */
    uint64_t consumed, granted; /* source bytes since the open */
    bool ended;
    struct piece *head, *tail;

    /* the engine */
    struct engine_state *state;
    bool origin;                       /* token 0 is still to be read */
    unsigned jobs;                     /* in flight */
    struct place submitted;            /* after the last token submitted */
    uint64_t tokens_submitted, tokens; /* since the origin; tokens: collected */
    _Atomic uint64_t *counter;
    char *drifts; /* the warning that it got; NULL: none */

    /* records */
    struct analysis analysis;
    size_t analysis_bytes; /* of it, as counted in encode.analysis_bytes */
    uint64_t next_seq;
    struct records records;
    bool down_open, down_asked; /* asked: an open is not answered yet */
    bool done_records;
    uint64_t arrived_ms; /* of the tokens at hand */
    uint64_t probe_seq,
        probe_ms; /* a record on its way, and when its tokens came; 0: none is watched */

    /* checkpoints */
    struct snapshot snapshot;
    bool want_snapshot, stopping;
    unsigned hurry; /* checkpoints that upstream waits for */
    uint64_t snapshot_ms, snapshot_tokens, checkpoint_clock_ms;
    uint64_t safe_tokens;       /* of the newest checkpoint that is durable */
    uint64_t safe_number;       /* its number, where it was made by this run */
    struct jsonl_place durable; /* the newest token */
};

struct job {
    struct engine_job engine;
    struct stream *stream;
    struct piece *piece;
    uint32_t first, count;
    size_t text_at;
    uint64_t tokens_after;
    bool counts;      /* not the one that reads token 0 */
    struct job *next; /* free list */
    uint32_t tokens[JOB_TOKENS];
    float loss[JOB_TOKENS];
    float *hidden; /* (JOB_TOKENS, channels) where the analysis wants them, else NULL */
};

/* What the control socket asks. */
struct request {
    uint64_t question;
    Riverrun__Request *message;
    bool begun;
    /* savepoint, drop, branch */
    uint64_t after; /* begins when this checkpoint is durable, or no other comes */
    enum { POINT_WAITS, POINT_STORED, POINT_DONE } step;
    struct err outcome;
    struct request *next;
};

struct encode {
    const struct stage_env *env;
    struct store *store;
    struct engine *engine; /* opened when a stream first needs it */
    uint8_t model[ENGINE_FINGERPRINT_BYTES];
    uint8_t weights[ENGINE_FINGERPRINT_BYTES]; /* model without the initial state of a file */
    const char *weight_type;                   /* as asked, or as the store's streams were begun */
    char arithmetic[96];
    struct stream **streams; /* (stream_count) in the order of their announcement */
    size_t stream_count, stream_room, turn;
    size_t begun, opened; /* of streams: have been begun, do not wait for upstream to open them */
    struct stream *active[ACTIVE_MAX];
    size_t active_count;
    struct queue {
        struct stream *head, **end;
    } waiting[2]; /* to be active, oldest first; [1]: those that had much already */
    struct stream *oldest, *newest; /* those that rest with their state in memory */
    size_t states, snapshots;       /* in memory: of streams, copies on their way to the store */
    size_t analysis_bytes;          /* of streams that have their state in memory */
    uint64_t scan_ms;
    struct table by_id, by_name;
    struct stage_outbox up, down;
    struct job *free_jobs;
    struct drift drift;
    uint64_t epochs;     /* counter of opens */
    uint64_t in_flight;  /* tokens at the engine */
    uint64_t kept_bytes; /* of records not durable */
    uint64_t now_ms, clock_ms, begin_ms, stop_ms;
    uint64_t speed_ms, speed_tokens, idle_ms, tokens_per_s; /* measured */
    uint64_t checkpoints, checkpoint_us; /* committed; time in their code and blocked by them */
    bool announced, stopping, up_there, down_there;
    bool complete;    /* what was announced is all that there will be */
    bool drained;     /* upstream says that nothing more will come */
    bool ingest_gone; /* so tokenize says; for `status` */
    bool over;        /* the last requests are answered */
    struct latency commit_latency, record_latency;
    uint64_t notes;           /* at the store's writer */
    bool notes_again;         /* one found no room: all are written again with the commits */
    uint64_t points;          /* the same: what requests are to be answered for */
    struct err fatal;         /* ends the run when its code is set */
    struct err full;          /* a commit found the disk full: read tries it once more */
    uint64_t full_ms;         /* follow: when to try again what found no room; 0: nothing did */
    struct request *requests; /* oldest first */
};

static inline struct engine_options engine_options_of(const struct encode *e)
{
    const struct config *c = e->env->config;

    return (struct engine_options){.blas = c->blas,
                                   .isa = c->isa,
                                   .weights = e->weight_type,
                                   .threads = c->threads,
                                   .block_tokens = c->block_tokens,
                                   .initial_state = c->initial_state};
}

static inline struct analysis_options analysis_options_of(const struct encode *e)
{
    const struct config *c = e->env->config;

    return (struct analysis_options){.unit = c->unit,
                                     .parts = c->analyze,
                                     .alerts_per_million = c->alerts_per_million,
                                     .summary_lines = c->summary_lines,
                                     .summary_minutes = c->summary_minutes};
}

/* stream.c */
void stream_announce(struct encode *e, const Riverrun__Announce *announce);
void stream_begin(struct stream *s);
/* s has its turn: whatever it waited for can go on. */
void stream_turn(struct stream *s);
void stream_idle_again(struct stream *s);
struct stream *stream_find(struct encode *e, const char *name);
void stream_open_up(struct stream *s);
void stream_open_down(struct stream *s);
void stream_opened(struct stream *s, const Riverrun__Opened *opened);
void stream_sink_opened(struct stream *s, const Riverrun__SinkOpened *opened);
void stream_committed(struct stream *s, const struct snapshot *done);
void stream_fail(struct stream *s, const struct err *why);
void stream_set_note(struct stream *s, bool paused);
void stream_leave(struct stream *s, enum phase phase);
void stream_free(struct stream *s);
bool stream_is_over(const struct stream *s);
/* Announced, and the store knows nothing of it. */
bool stream_is_new(const struct stream *s);
const char *stream_phase_name(const struct stream *s);

/* restore.c: changed says what this run does otherwise and may ("" where nothing). restore_take loads
 * the checkpoint that emit chose by its n; false with err->code 0: emit has been asked again. */
/* --weights auto goes on as the store's streams were begun, so that a run is continued on any processor as it was.
 * Fails as the store does; a damaged checkpoint is passed over. */
enum err_code restore_weights(struct encode *e, struct err *err) MUST_CHECK;
enum err_code restore_find(struct stream *s, uint64_t below, struct err *err) MUST_CHECK;
enum err_code restore_load(struct stream *s, uint64_t number, char *changed, size_t room,
                           struct err *err) MUST_CHECK;
bool restore_take(struct stream *s, uint64_t n, struct err *err);
/* The loaded state into the engine's; nothing where the stream is at its origin. Fails: ERR_DAMAGED: it is none of
 * this model. */
enum err_code restore_into_engine(struct stream *s, struct err *err) MUST_CHECK;
/* What a branch began with. Fails: ERR_ABSENT: s is no branch, or it was dropped. */
enum err_code restore_origin(struct stream *s, char *changed, size_t room,
                             struct err *err) MUST_CHECK;
/* What checkpoint number says, without its state: enough to open upstream there. */
enum err_code restore_peek(struct stream *s, uint64_t number, char *changed, size_t room,
                           struct err *err) MUST_CHECK;
/* The state of the newest checkpoint again, for one that gave its own away at rest. */
enum err_code restore_state(struct stream *s, struct err *err) MUST_CHECK;

/* turns.c: turn_wanted when there is something to do for s; it then becomes active in its turn.
 * turn_over takes it from where it is: it leaves. turns_run hands out turns, turns_rest ends those of
 * streams with nothing to do. turn_room: may one more state or snapshot be held in memory? */
void turn_wanted(struct stream *s);
void turn_over(struct stream *s);
bool turns_run(struct encode *e);
void turn_given_up(struct stream *s);
void turns_rest(struct encode *e);
bool turn_snapshot_room(struct encode *e);
void turn_committed(struct stream *s, const struct place *place);
void turn_hurry(struct stream *s);
void turn_free(struct stream *s);
enum err_code turn_state_open(struct stream *s, struct err *err) MUST_CHECK;
void turn_state_close(struct stream *s);
/* The memory of s's analysis changed: it counts as states do. */
void turn_analysis_counted(struct stream *s);

/* schedule.c */
void schedule_accept(struct stream *s, struct msg **msg, const struct frame *f, struct err *err);
bool schedule_run(struct encode *e, const struct stage_out *out);
bool schedule_collect(struct encode *e);
/* At the very end: wait for what the engine has, and forget it. */
void schedule_abandon(struct encode *e);
void schedule_durable(struct stream *s, const Riverrun__Durable *durable);
void schedule_rewind(struct stream *s, uint64_t n);
void schedule_drop(struct stream *s);
void schedule_lineage(struct stream *s);

/* checkpoint.c */
void checkpoint_birth(struct stream *s);
bool checkpoint_due(const struct stream *s);
void checkpoint_attach(struct stream *s, struct job *job);
void checkpoint_captured(struct stream *s);
void checkpoint_commit(struct stream *s);
bool checkpoint_collect(struct encode *e);
void checkpoint_clear(struct encode *e, struct snapshot *snapshot);
/* Memory of a snapshot's state, counted; NULL is nothing. */
uint8_t *checkpoint_state_new(struct encode *e);
void checkpoint_state_free(struct encode *e, uint8_t *state);
enum err_code checkpoint_read(struct encode *e, uint64_t stream, uint64_t number,
                              struct store_checkpoint **values, Riverrun__Checkpoint **meta,
                              bool with_parts, struct err *err) MUST_CHECK;
void token_to(const struct jsonl_place *place, Riverrun__SinkToken *token);
void token_from(struct jsonl_place *place, const Riverrun__SinkToken *token);

enum err_code stream_find_id(struct stream *s, struct err *err) MUST_CHECK;
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);
void stream_stop(struct stream *s);

/* control.c */
void control_add(struct encode *e, const Riverrun__Request *request, uint64_t question);
bool control_answer(struct encode *e, const struct stage_out *out);
void control_drop(struct encode *e);
/* A batch came back: true where it was a request's. */
bool control_collected(struct encode *e, const void *user, const struct err *outcome);

#endif
