/* protocol.pml: how nothing is lost and nothing comes twice, for spin.
 *
 * One stream, read by the four stages as they are: all that a stage keeps in memory is lost when its process dies, only the
 * store, the output file and its sidecar outlive it. A step of a stage (a message accepted, a job done, a record sent) is one
 * atomic step here; between any two of them anything else may happen: other stages' steps, the store's writer, emit's syncer,
 * and what World does: processes die, links lose what is in flight, the machine crashes, an fsync fails.
 *
 * Names of phases, steps and messages are the code's; README.md has the table, the bounds and what is left out.
 *
 * The source has TOKENS tokens. Token k is read into a state only behind tokens 0 .. k-1, which is asserted, so that a state is
 * the number of its tokens. A record is made after every odd token, and two (or one) at the end; record n is written only as
 * line n, which is asserted, so that a file is the number of its lines. */

/* What is checked is told by the environment, so that one program checks all configurations. */
hidden byte TOKENS;        /* of the source */
hidden byte MESSAGE_MOST;  /* bytes of one BYTES message, tokens of one TOKENS message */
hidden byte WINDOW;        /* source bytes granted and not used */
hidden byte JOBS;          /* tokens at the engine */
hidden byte RECORD_WINDOW; /* records kept before no more tokens are taken */
hidden byte ROOM;          /* data messages in a link before there is no room */
hidden byte FAULTS;        /* processes that die, links that break, machine crashes, in all */
hidden byte DEATHS;        /* what World may do at each of them: bits */
#define DIE_INGEST 1
#define DIE_TOKENIZE 2
#define DIE_ENCODE 4
#define DIE_EMIT 8
#define LOSE_LINKS 16
#define CRASH_MACHINE 32
#define DAMAGE_VALUE 64
#define STOP_RUN 128
hidden byte PAUSES;
hidden byte FSYNC_FAILS;
hidden byte RESTARTS; /* runs with a higher generation (--restart) */
hidden byte MISTAKE;  /* which is made */
#define COMMIT_BEFORE_DURABLE 1
#define CURSOR_LATE 2
#define WATERMARK 3
#define NOT_WRITTEN_AGAIN 4
#define SKIP_FORGOTTEN 5

c_decl {
\#include <stdlib.h>
static int setting(const char *name, int otherwise)
{
    const char *value = getenv(name);

    return value ? atoi(value) : otherwise;
}
};

inline read_settings()
{
    c_code {
#ifdef TRACE
        trace_read();
#endif
        TOKENS = setting("TOKENS", 2); MESSAGE_MOST = setting("MESSAGE_MOST", 2); WINDOW = setting("WINDOW", 2);
        JOBS = setting("JOBS", 1); RECORD_WINDOW = setting("RECORD_WINDOW", 2); ROOM = setting("ROOM", 2);
        FAULTS = setting("FAULTS", 0); DEATHS = setting("DEATHS", 255); PAUSES = setting("PAUSES", 0);
        FSYNC_FAILS = setting("FSYNC_FAILS", 0); RESTARTS = setting("RESTARTS", 0); MISTAKE = setting("MISTAKE", 0);
    }
}

#ifndef STORE_KEEP
#define STORE_KEEP 2 /* checkpoints that the store keeps (the code: 3) */
#endif

#ifndef TRACE
#define MADE(k) (((k) + 1) / 2)               /* records that k tokens make */
#define ALL (MADE(TOKENS) + 2 - (TOKENS) % 2) /* with the last unit where one is open, and the document's */
#define CAPACITY 5
#else
#define MADE(k) ((k) / 2) /* of the text that is traced: lines of two bytes */
#define ALL (MADE(TOKENS) + 1)
#define CAPACITY 14
#endif
#define NONE 15

mtype = { PEER, LIST, ANNOUNCED, OPEN, OPENED, GRANT, CLOSE, KEEP, LOST, BYE, MSG_BYTES, MSG_TOKENS,
          SINK_OPEN, SINK_OPENED, SINK_LOST, SINK_CLOSE, MSG_RECORD, SYNC, DURABLE };

/* enum phase */
#define PHASE_START 0 /* the process is not there, or has not opened its store */
#define PHASE_ANNOUNCED 1
#define PHASE_NEW_SOURCE 2
#define PHASE_NEW_COMMIT 3
#define PHASE_SINK 4
#define PHASE_SOURCE 5
#define PHASE_RUNNING 6
#define PHASE_PAUSED 7
#define PHASE_FINISHED 8
#define PHASE_STOPPED 9

/* enum snapshot_step */
#define SNAPSHOT_NONE 0
#define SNAPSHOT_JOB 1
#define SNAPSHOT_SYNC 2
#define SNAPSHOT_COMMIT 3

/* With TRACE only what a trace of the code says can happen: a step with a name is taken where it is the next line of the
 * file TRACE, and all die where that says so. A search finds an error where the trace's end can be reached. */
#ifdef TRACE
#define DIED 0
byte trace_at; /* lines that happened; TRACE_BAD: something else did */
#define TRACE_BAD 255
hidden byte step_, n_, fits, over;
inline step(name_, at_)
{
    step_ = name_; n_ = at_;
    c_code { fits = trace_is(now.trace_at, step_, n_); over = now.trace_at + 1 == trace_count; }
    if
    :: fits ->
        trace_at++;
        assert(!over) /* the trace was replayed */
    :: else -> trace_at = TRACE_BAD; false
    fi
}
c_decl {
\#include <stdio.h>
enum { TRACE_MOST = 250 };
static int trace_count, trace_steps[TRACE_MOST + 6], trace_ns[TRACE_MOST + 6];
static int trace_is(int at, int step, int n)
{
    return trace_steps[at] == step && trace_ns[at] == n;
}
static void trace_read(void)
{
    FILE *file = fopen(getenv("TRACE"), "r");

    while (file && trace_count < TRACE_MOST && fscanf(file, "%d %d", &trace_steps[trace_count], &trace_ns[trace_count]) == 2)
        trace_count++;
    if (!trace_count || !feof(file))
        exit(2);
    fclose(file);
    for (int i = trace_count; i < TRACE_MOST + 6; i++)
        trace_steps[i] = -1; /* nothing comes behind the end */
}
};
#else
#define step(name, at) skip
#endif
#define store_epoch_raised 1
#define store_commit_end 2
#define ingest_opened 3
#define ingest_read 4
#define tokenize_opened 5
#define tokenize_tokens 6
#define encode_opened 7
#define encode_accepted 8
#define encode_submit 9
#define encode_captured 10
#define encode_sync 11
#define encode_durable 12
#define encode_committed 13
#define encode_sink_opened 14
#define emit_opened 15
#define emit_record 16
#define emit_fsync_end 17
#define emit_durable 18

/* ---- Links: a channel each way. PEER in a channel: the session before it is over. ---- */

chan i2t = [CAPACITY + 1] of { mtype, byte, byte, byte, byte, bit };             /* kind, epoch, position, count, cursor, end */
chan t2i = [CAPACITY + 5] of { mtype, byte, byte };                              /* kind, epoch, cursor or limit */
chan t2e = [CAPACITY + 3] of { mtype, byte, byte, byte, byte, byte, byte, bit }; /* kind, epoch, position, first, count, cursor (mark, skip), end */
chan e2t = [CAPACITY + 5] of { mtype, byte, byte, byte };                        /* kind, epoch, cursor (mark, skip) or limit */
chan e2m = [CAPACITY + 2] of { mtype, byte, byte, byte, byte, byte, bit };       /* kind, owner, generation, n or tokens, end or finished */
chan m2e = [CAPACITY + 1] of { mtype, byte, byte, byte, bit };                   /* kind, owner, generation, n, asked */

#define STALE_I t2i??[PEER, _, _]
#define STALE_T_UP i2t??[PEER, _, _, _, _, _]
#define STALE_T_DOWN e2t??[PEER, _, _, _]
#define STALE_E_UP t2e??[PEER, _, _, _, _, _, _, _]
#define STALE_E_DOWN m2e??[PEER, _, _, _, _]
#define STALE_M e2m??[PEER, _, _, _, _, _, _]

/* Said to a session that is over, a message goes nowhere. */
inline i_tells(kind_, v1, v2, v3, v4, v5)
{
    if
    :: STALE_I
    :: else -> assert(nfull(i2t)); i2t!kind_, v1, v2, v3, v4, v5
    fi
}
inline t_tells_up(kind_, v1, v2)
{
    if
    :: STALE_T_UP
    :: else -> assert(nfull(t2i)); t2i!kind_, v1, v2
    fi
}
inline t_tells(kind_, v1, v2, v3, v4, v5, v6, v7)
{
    if
    :: STALE_T_DOWN
    :: else -> assert(nfull(t2e)); t2e!kind_, v1, v2, v3, v4, v5, v6, v7
    fi
}
inline e_tells_up(kind_, v1, v2, v3)
{
    if
    :: STALE_E_UP
    :: else -> assert(nfull(e2t)); e2t!kind_, v1, v2, v3
    fi
}
inline e_tells_down(kind_, v1, v2, v3, v4)
{
    if
    :: STALE_E_DOWN
    :: else -> assert(nfull(e2m)); e2m!kind_, s.owner, s.generation, v1, v2, v3, v4
    fi
}
inline m_tells(kind_, v1, v2, v3, v4)
{
    if
    :: STALE_M
    :: else -> assert(nfull(m2e)); m2e!kind_, v1, v2, v3, v4
    fi
}

/* ---- What outlives a process ---- */

typedef checkpoint {
    byte mark, skips, used; /* the place: tokenize's cursor before a message, tokens used behind it */
    byte tokens;           /* read into the state */
    byte next_seq;
    byte token;            /* n of the sink token */
    byte generation;
    bool finished;
}
checkpoint store[STORE_KEEP]; /* newest first */
byte store_count;
byte owner_epoch;
bool note_paused;
inline store_copy(to, from)
{
    store[to].mark = store[from].mark; store[to].skips = store[from].skips; store[to].used = store[from].used;
    store[to].tokens = store[from].tokens; store[to].next_seq = store[from].next_seq; store[to].token = store[from].token;
    store[to].generation = store[from].generation; store[to].finished = store[from].finished
}
inline store_clear(at)
{
    store[at].mark = 0; store[at].skips = 0; store[at].used = 0; store[at].tokens = 0; store[at].next_seq = 0;
    store[at].token = 0; store[at].generation = 0; store[at].finished = 0
}
byte epochs; /* of opens: (owner epoch, counter), in their order */

typedef file {
    byte written; /* whole lines, in the page cache at least */
    byte synced;  /* of them on the disk, whatever happens */
    bool torn;    /* behind them a part of a line, or garbage */
    byte good;    /* of them on the disk, or still to be written there: an fsync that failed leaves pages that look clean */
    bool error;   /* the descriptor that is open is to hear of it */
}
file f;
bool sidecar;
byte sidecar_owner, sidecar_generation;
byte source_generation; /* of the source's text: each --restart reads another */
byte file_generation;   /* of the text that the file's lines are of */

byte faults, pauses, fsync_fails;
bool done;

/* ---- Ingest: a cursor leads back to any place ---- */

typedef ingest_memory { bool opened, done; byte epoch, offset, sent, limit; }
ingest_memory in;

inline ingest_forget() { in.opened = 0; in.done = 0; in.epoch = 0; in.offset = 0; in.sent = 0; in.limit = 0 }

/* ---- Tokenize ---- */

typedef tokenize_memory {
    bool open, marked, ended, told_end;
    byte epoch, skips, expected, sent;
    byte mark, pushed, next; /* newest cursor before the place; bytes that came; the place: the next token */
}
tokenize_memory t;

inline tokenize_forget()
{
    t.open = 0; t.marked = 0; t.ended = 0; t.told_end = 0; t.epoch = 0; t.skips = 0; t.expected = 0; t.sent = 0;
    t.mark = 0; t.pushed = 0; t.next = 0
}

/* ---- Encode ---- */

typedef piece { byte mark, skips, used, first, count, after_mark, after_skip; bool ours; }
#define QUEUE 4
typedef stream {
    byte phase, owner, generation;
    /* upstream */
    byte epoch, expected, mark, skip_cursor, skips, consumed, granted; /* mark, skip_cursor: accepted */
    bool up_open, ended;
    byte queued;
    /* the engine */
    byte tokens_submitted, tokens;
    byte at_mark, at_skip, at_used; /* submitted */
    /* records */
    byte next_seq, first, sent, durable;
    bool down_open, done_records;
    /* checkpoints */
    byte snapshot, snapshot_tokens;
    bool sync_sent, want_snapshot, want_pause, stopping;
    bool candidates; /* resumed: emit is to choose */
    bool finished;
    byte batch; /* at the store's writer: 0 nothing, 1 submitted, 2 durable, nobody was told */
    bool born, pause;
}
stream s;
piece queue[QUEUE];
checkpoint snap; /* the snapshot that is pending */

inline piece_clear(at)
{
    queue[at].mark = 0; queue[at].skips = 0; queue[at].used = 0; queue[at].first = 0; queue[at].count = 0;
    queue[at].after_mark = 0; queue[at].after_skip = 0; queue[at].ours = 0
}
inline piece_copy(to, from)
{
    queue[to].mark = queue[from].mark; queue[to].skips = queue[from].skips; queue[to].used = queue[from].used;
    queue[to].first = queue[from].first; queue[to].count = queue[from].count;
    queue[to].after_mark = queue[from].after_mark; queue[to].after_skip = queue[from].after_skip;
    queue[to].ours = queue[from].ours
}
inline pop_piece()
{
    s.at_mark = queue[0].after_mark; s.at_skip = queue[0].after_skip; s.at_used = (MISTAKE == SKIP_FORGOTTEN -> 0 : s.skips);
    piece_copy(0, 1); piece_copy(1, 2); piece_copy(2, 3); piece_clear(3);
    s.queued--
}
inline checkpoint_clear()
{
    snap.mark = 0; snap.skips = 0; snap.used = 0; snap.tokens = 0; snap.next_seq = 0; snap.token = 0; snap.generation = 0;
    snap.finished = 0; s.snapshot = SNAPSHOT_NONE; s.sync_sent = 0; s.born = 0; s.pause = 0
}
inline schedule_drop()
{
    piece_clear(0); piece_clear(1); piece_clear(2); piece_clear(3); s.queued = 0;
    s.first = 0; s.sent = 0; s.next_seq = 0; s.ended = 0; s.done_records = 0; s.skips = 0
}
/* All but the process: what a stream that begins has. */
inline stream_forget()
{
    schedule_drop(); checkpoint_clear();
    s.generation = 0; s.epoch = 0; s.expected = 0; s.mark = 0; s.skip_cursor = 0; s.consumed = 0; s.granted = 0; s.up_open = 0;
    s.tokens_submitted = 0; s.tokens = 0; s.at_mark = 0; s.at_skip = 0; s.at_used = 0; s.durable = 0; s.down_open = 0;
    s.snapshot_tokens = 0; s.want_snapshot = 0; s.want_pause = 0; s.stopping = 0; s.candidates = 0; s.finished = 0; s.batch = 0
}
inline stream_open_up()
{
    epochs++;
    s.epoch = epochs; s.expected = 0; s.consumed = 0; s.granted = 0; s.up_open = 0;
    queue[0].ours = 0; queue[1].ours = 0; queue[2].ours = 0; queue[3].ours = 0;
    e_tells_up(OPEN, s.epoch, s.mark, s.skip_cursor)
}
#if STORE_KEEP > 2
#define TOKEN_2 (store_count > 2 && store[2].generation == s.generation -> store[2].token : NONE)
#else
#define TOKEN_2 NONE
#endif
hidden byte x0, x1, x2, x3;
#define TOKEN_1 (store_count > 1 && store[1].generation == s.generation -> store[1].token : NONE)
inline stream_open_down()
{
    s.down_open = 0;
    if
    :: s.phase == PHASE_SINK && s.candidates ->
        x0 = store[0].token; x1 = TOKEN_1; x2 = TOKEN_2; x3 = store[0].finished;
        e_tells_down(SINK_OPEN, x0, x1, x2, x3)
    :: else -> e_tells_down(SINK_OPEN, s.durable, NONE, NONE, 0)
    fi
}
inline grant_now()
{
    if
    :: s.phase == PHASE_RUNNING && s.up_open && !s.stopping && !s.want_pause &&
       s.consumed + WINDOW >= s.granted + (WINDOW + 1) / 2 ->
        s.granted = s.consumed + WINDOW;
        e_tells_up(GRANT, s.epoch, s.granted, 0)
    :: else
    fi
}
inline checkpoint_commit()
{
    s.snapshot = SNAPSHOT_COMMIT; s.batch = 1
}
inline checkpoint_birth()
{
    s.born = 1; snap.mark = s.at_mark; snap.skips = s.at_skip; snap.used = s.at_used; snap.tokens = s.tokens;
    snap.next_seq = s.next_seq; snap.token = s.durable; snap.generation = s.generation;
    checkpoint_commit()
}
inline checkpoint_attach()
{
    s.snapshot = SNAPSHOT_JOB; snap.mark = s.at_mark; snap.skips = s.at_skip; snap.used = s.at_used;
    snap.tokens = s.tokens_submitted; snap.finished = s.done_records; snap.generation = s.generation;
    s.pause = s.want_pause && !s.done_records; s.want_snapshot = 0; s.snapshot_tokens = s.tokens_submitted
}
inline checkpoint_captured()
{
    snap.next_seq = s.next_seq; s.snapshot = SNAPSHOT_SYNC;
    step(encode_captured, snap.next_seq);
    if
    :: MISTAKE == COMMIT_BEFORE_DURABLE -> snap.token = s.next_seq; checkpoint_commit()
    :: else
    fi
}
inline begin_new()
{
    s.mark = 0; s.skip_cursor = 0; s.finished = 0; s.candidates = 0; s.phase = PHASE_NEW_SOURCE;
    stream_open_up()
}
inline restore_load(at)
{
    s.generation = store[at].generation; s.finished = store[at].finished;
    s.mark = store[at].mark; s.skip_cursor = store[at].skips; s.skips = store[at].used;
    s.at_mark = s.mark; s.at_skip = s.skip_cursor; s.at_used = s.skips;
    s.tokens = store[at].tokens; s.tokens_submitted = s.tokens; s.next_seq = store[at].next_seq;
    s.durable = store[at].token; s.first = s.next_seq; s.sent = s.next_seq
}
inline stream_begin()
{
    if
    :: note_paused -> s.phase = PHASE_PAUSED
    :: !note_paused && store_count == 0 -> s.generation = source_generation; begin_new()
    :: !note_paused && store_count > 0 && store[0].generation < source_generation -> /* --restart */
        s.generation = source_generation; begin_new()
    :: else ->
        restore_load(0);
        s.candidates = 1; s.phase = PHASE_SINK;
        stream_open_down()
    fi
}
inline stream_run()
{
    s.phase = PHASE_RUNNING; s.snapshot_tokens = s.tokens;
    grant_now()
}
/* PHASE_FINISHED, PHASE_STOPPED: the process says goodbye and ends. */
inline leave(phase_)
{
    e_tells_up(BYE, 0, 0, 0);
    e_tells_down(BYE, 0, 0, 0, 0);
    stream_forget();
    s.phase = phase_; s.owner = 0
}

/* ---- Emit ---- */

typedef emit_memory {
    bool open, comparing;
    byte owner, generation, n, durable, opens, handed; /* handed: n of the last task */
}
emit_memory m;
chan todo = [5] of { byte, byte, bit };      /* open, n, asked */
chan synced = [5] of { byte, byte, bit, bit }; /* open, n, asked, failed */

inline sink_drop() { f.error = 0; m.open = 0; m.comparing = 0; m.owner = 0; m.generation = 0; m.n = 0; m.durable = 0; m.handed = 0 }

/* ==== The stages ==== */

#define I_ROOM (len(i2t) < ROOM)
#define T_ROOM (len(t2e) < ROOM)
#define E_ROOM (len(e2m) < ROOM)


hidden mtype kind;
hidden byte a, b, c, d, e, g;
hidden byte last;

active proctype ingest()
{
end:
    do
    :: atomic {
           t2i?PEER, _, _ -> printf("ingest: a new session with tokenize\n"); ingest_forget()
       }
    :: atomic { /* what was said in a session that is over may come, or not */
           STALE_I && !t2i?[PEER, _, _] ->
           do
           :: !t2i?[PEER, _, _] -> t2i?kind, _, _
           :: else -> break
           od
       }
    :: atomic {
           t2i?LIST, _, _ -> i_tells(ANNOUNCED, 0, 0, 0, 0, 0)
       }
    :: atomic {
           t2i?OPEN, a, b ->
           printf("ingest: open %d at byte %d\n", a, b);
           ingest_forget();
           in.opened = 1; in.epoch = a; in.offset = b;
           i_tells(OPENED, in.epoch, 0, 0, in.offset, 0);
           step(ingest_opened, 0)
       }
    :: atomic {
           t2i?GRANT, a, b ->
           if
           :: in.opened && in.epoch == a && b > in.limit -> in.limit = b
           :: else
           fi
       }
    :: atomic {
           t2i?CLOSE, a, _ ->
           if
           :: in.opened && in.epoch == a -> ingest_forget()
           :: else
           fi
       }
    :: atomic {
           t2i?BYE, _, _ -> ingest_forget()
       }
    :: atomic { /* read_one */
           in.opened && !in.done && in.sent < in.limit && in.offset < TOKENS && I_ROOM ->
           a = 1;
           do
           :: a < MESSAGE_MOST && in.sent + a < in.limit && in.offset + a < TOKENS -> a++
           :: break
           od;
           printf("ingest: sends bytes %d up to %d\n", in.offset, in.offset + a);
           i_tells(MSG_BYTES, in.epoch, in.sent, a, in.offset + a, 0);
           in.sent = in.sent + a; in.offset = in.offset + a;
           step(ingest_read, 0)
       }
    :: atomic { /* the end comes by itself */
           in.opened && !in.done && in.sent < in.limit && in.offset == TOKENS && I_ROOM ->
           printf("ingest: sends the end\n");
           i_tells(MSG_BYTES, in.epoch, in.sent, 0, in.offset, 1);
           in.done = 1;
           step(ingest_read, 0)
       }
    od
}

active proctype tokenize()
{
end:
    do
    /* from above */
    :: atomic {
           i2t?PEER, _, _, _, _, _ ->
           printf("tokenize: a new session with ingest\n");
           tokenize_forget();
           t_tells(LOST, 0, 0, 0, 0, 0, 0, 0)
       }
    :: atomic {
           STALE_T_UP && !i2t?[PEER, _, _, _, _, _] ->
           do
           :: !i2t?[PEER, _, _, _, _, _] -> i2t?kind, _, _, _, _, _
           :: else -> break
           od
       }
    :: atomic {
           i2t?ANNOUNCED, _, _, _, _, _ -> t_tells(ANNOUNCED, 0, 0, 0, 0, 0, 0, 0)
       }
    :: atomic { /* pass_opened: with units to skip the first place is the open's own */
           i2t?OPENED, a, _, _, b, _ ->
           if
           :: t.open && t.epoch == a ->
               t.marked = 1; t.mark = b; t.pushed = b; t.next = b + t.skips;
               t_tells(OPENED, a, 0, 0, 0, b, t.skips, 0);
               step(tokenize_opened, 0)
           :: else
           fi
       }
    :: atomic { /* accept_bytes */
           i2t?MSG_BYTES, a, b, c, d, last ->
           if
           :: t.open && t.epoch == a ->
               assert(b == t.expected && !t.ended && t.marked);
               t.pushed = d; t.expected = t.expected + c; t.ended = last
           :: else
           fi
       }
    /* from below */
    :: atomic {
           e2t?PEER, _, _, _ -> printf("tokenize: a new session with encode\n"); tokenize_forget()
       }
    :: atomic {
           STALE_T_DOWN && !e2t?[PEER, _, _, _] ->
           do
           :: !e2t?[PEER, _, _, _] -> e2t?kind, _, _, _
           :: else -> break
           od
       }
    :: atomic {
           e2t?LIST, _, _, _ -> t_tells_up(LIST, 0, 0)
       }
    :: atomic {
           e2t?OPEN, a, b, c ->
           tokenize_forget();
           t.open = 1; t.epoch = a; t.skips = c;
           t_tells_up(OPEN, a, b)
       }
    :: atomic { /* grants are raised by what is passed over */
           e2t?GRANT, a, b, _ ->
           if
           :: t.open && t.epoch == a -> t_tells_up(GRANT, a, b + t.skips)
           :: else -> t_tells_up(GRANT, a, b)
           fi
       }
    :: atomic {
           e2t?CLOSE, a, _, _ ->
           if
           :: t.open && t.epoch == a -> tokenize_forget()
           :: else
           fi;
           t_tells_up(CLOSE, a, 0)
       }
    :: atomic {
           e2t?BYE, _, _, _ ->
           tokenize_forget();
           t_tells_up(BYE, 0, 0)
       }
    :: atomic { /* make_tokens: as many as there are, or fewer */
           t.open && t.marked && !t.told_end && T_ROOM &&
           (t.next < t.pushed || (t.ended && t.next == t.pushed)) ->
           a = 0;
           do
           :: a < MESSAGE_MOST && t.next + a < t.pushed -> a++
           :: a > 0 || t.next == t.pushed -> break
           od;
           b = t.next; /* the first */
           t.next = t.next + a;
           if
           :: t.next == t.pushed -> t.mark = t.pushed
           :: else
           fi;
           t.told_end = t.ended && t.next == t.pushed;
           printf("tokenize: sends tokens %d up to %d, cursor %d + %d\n", b, b + a, t.mark, t.next - t.mark);
           t_tells(MSG_TOKENS, t.epoch, t.sent, b, a, t.mark, t.next - t.mark, t.told_end);
           t.sent = t.sent + a;
           step(tokenize_tokens, t.sent)
       }
    od
}

#define QUIET (s.stopping || s.want_pause)
#define OVER (s.phase >= PHASE_PAUSED)
#define HERE (s.phase != PHASE_START && s.phase != PHASE_FINISHED && s.phase != PHASE_STOPPED)

inline ask_again()
{
    s.up_open = 0;
    if
    :: s.phase == PHASE_ANNOUNCED -> e_tells_up(LIST, 0, 0, 0)
    :: s.phase == PHASE_NEW_SOURCE || s.phase == PHASE_SOURCE || (s.phase == PHASE_RUNNING && !s.ended) -> stream_open_up()
    :: else
    fi
}

inline schedule_accept()
{
    assert(b == s.expected && !s.ended && s.phase == PHASE_RUNNING && s.queued < QUEUE);
    queue[s.queued].mark = s.mark; queue[s.queued].skips = s.skip_cursor;
    queue[s.queued].first = c; queue[s.queued].count = d;
    queue[s.queued].after_mark = e; queue[s.queued].after_skip = g;
    queue[s.queued].ours = 1;
    if
    :: MISTAKE == CURSOR_LATE -> queue[s.queued].mark = e; queue[s.queued].skips = g
    :: else
    fi;
    s.expected = s.expected + d; s.ended = last; s.mark = e; s.skip_cursor = g;
    queue[s.queued].used = (s.skips < d -> s.skips : d);
    s.consumed = s.consumed + queue[s.queued].used;
    s.skips = s.skips - queue[s.queued].used;
    s.queued++;
    if
    :: s.queued == 1 && queue[0].used == queue[0].count -> pop_piece()
    :: else
    fi
}

inline submit_token()
{
    assert(queue[0].first + queue[0].used == s.tokens_submitted); /* a state is the tokens before its place */
    queue[0].used++; s.tokens_submitted++;
    s.consumed = s.consumed + queue[0].ours;
    s.at_mark = queue[0].mark; s.at_skip = queue[0].skips; s.at_used = queue[0].used;
    do
    :: s.queued > 0 && queue[0].used == queue[0].count -> pop_piece()
    :: else -> break
    od
}

inline schedule_rewind(n_)
{
    assert(s.first <= n_ && n_ <= s.next_seq);
    s.first = n_; s.sent = n_; s.sync_sent = 0; s.down_open = 1
}

inline restore_take(n_)
{
    if
    :: store[0].token == n_ -> restore_load(0)
    :: store[0].token != n_ && TOKEN_1 == n_ -> restore_load(1)
#if STORE_KEEP > 2
    :: store[0].token != n_ && TOKEN_1 != n_ && TOKEN_2 == n_ -> restore_load(2)
#endif
    fi
}

inline stream_pause_leave()
{
    e_tells_up(CLOSE, s.epoch, 0, 0);
    e_tells_down(SINK_CLOSE, 0, 0, 0, 0);
    stream_forget();
    s.phase = PHASE_PAUSED
}

inline finished_leave()
{
    assert(f.written == ALL && f.synced == ALL && !f.torn);
    leave(PHASE_FINISHED);
    done = 1
}

#define CAN_SUBMIT (s.phase == PHASE_RUNNING && s.queued > 0 && queue[0].used < queue[0].count && !QUIET && \
    s.tokens_submitted - s.tokens < JOBS && s.next_seq - s.first < RECORD_WINDOW)
#define SYNC_DUE (s.snapshot == SNAPSHOT_SYNC && !s.sync_sent && s.sent == snap.next_seq)

active proctype encode()
{
end:
    do
    :: atomic { /* store_open */
           s.phase == PHASE_START && !done ->
           owner_epoch++;
           printf("encode: a process takes the store, owner epoch %d\n", owner_epoch);
           s.owner = owner_epoch; s.phase = PHASE_ANNOUNCED;
           step(store_epoch_raised, owner_epoch)
       }
    /* from above */
    :: atomic {
           HERE && t2e?[PEER, _, _, _, _, _, _, _] -> t2e?PEER, _, _, _, _, _, _, _;
           printf("encode: a new session with tokenize\n");
           ask_again()
       }
    :: atomic {
           HERE && STALE_E_UP && !t2e?[PEER, _, _, _, _, _, _, _] ->
           do
           :: !t2e?[PEER, _, _, _, _, _, _, _] -> t2e?kind, _, _, _, _, _, _, _
           :: else -> break
           od
       }
    :: atomic {
           HERE && t2e?[LOST, _, _, _, _, _, _, _] -> t2e?LOST, _, _, _, _, _, _, _;
           printf("encode: lost, opened again\n");
           ask_again()
       }
    :: atomic {
           HERE && t2e?[ANNOUNCED, _, _, _, _, _, _, _] -> t2e?ANNOUNCED, _, _, _, _, _, _, _;
           if
           :: s.phase == PHASE_ANNOUNCED -> stream_begin()
           :: else
           fi
       }
    :: atomic {
           HERE && t2e?[OPENED, _, _, _, _, _, _, _] -> t2e?OPENED, a, _, _, _, b, c, _;
           if
           :: a == s.epoch && a != 0 ->
               printf("encode: opened, of epoch %d\n", a);
               s.up_open = 1;
               step(encode_opened, 0);
               if
               :: s.phase == PHASE_NEW_SOURCE -> /* born */
                   s.mark = b; s.skip_cursor = 0; s.skips = 0;
                   s.at_mark = b; s.at_skip = 0; s.at_used = 0; s.tokens = 0; s.tokens_submitted = 0;
                   s.next_seq = 0; s.first = 0; s.sent = 0; s.durable = 0;
                   s.phase = PHASE_NEW_COMMIT;
                   checkpoint_birth()
               :: s.phase == PHASE_SOURCE && s.finished -> finished_leave()
               :: s.phase == PHASE_SOURCE && !s.finished -> stream_run()
               :: else -> grant_now()
               fi
           :: else
           fi
       }
    :: atomic {
           HERE && t2e?[MSG_TOKENS, _, _, _, _, _, _, _] -> t2e?MSG_TOKENS, a, b, c, d, e, g, last;
           if
           :: a == s.epoch && a != 0 && !OVER ->
               printf("encode: accepts tokens %d up to %d\n", c, c + d);
               schedule_accept(); grant_now();
               step(encode_accepted, s.expected)
           :: else
           fi
       }
    /* from below */
    :: atomic {
           HERE && m2e?[PEER, _, _, _, _] -> m2e?PEER, _, _, _, _;
           printf("encode: a new session with emit\n");
           s.down_open = 0;
           if
           :: s.phase == PHASE_SOURCE -> s.phase = PHASE_SINK; s.epoch = 0
           :: else
           fi;
           if
           :: s.phase == PHASE_SINK || s.phase == PHASE_RUNNING -> stream_open_down()
           :: else
           fi
       }
    :: atomic {
           HERE && STALE_E_DOWN && !m2e?[PEER, _, _, _, _] ->
           do
           :: !m2e?[PEER, _, _, _, _] -> m2e?kind, _, _, _, _
           :: else -> break
           od
       }
    :: atomic {
           HERE && m2e?[SINK_OPENED, _, _, _, _] -> m2e?SINK_OPENED, a, b, c, _;
           if
           :: a != s.owner || b != s.generation
           :: a == s.owner && b == s.generation && s.phase == PHASE_RUNNING ->
               step(encode_sink_opened, c);
               printf("encode: sink_opened at %d, records are sent from there again\n", c);
               schedule_rewind(c)
           :: a == s.owner && b == s.generation && s.phase == PHASE_SINK ->
               step(encode_sink_opened, c);
               printf("encode: sink_opened, the checkpoint of %d records is taken\n", c);
               if
               :: s.candidates -> restore_take(c)
               :: else
               fi;
               s.candidates = 0; s.down_open = 1;
               if
               :: s.up_open -> stream_run()
               :: else -> s.phase = PHASE_SOURCE; stream_open_up()
               fi
           :: else
           fi
       }
    :: atomic {
           HERE && m2e?[DURABLE, _, _, _, _] -> m2e?DURABLE, a, b, c, last;
           if
           :: a == s.owner && b == s.generation && !OVER && s.down_open && s.first <= c && c <= s.sent ->
               printf("encode: durable %d\n", c);
               s.durable = c; s.first = c;
               step(encode_durable, c);
               if
               :: last && s.snapshot == SNAPSHOT_SYNC && s.sync_sent && snap.next_seq == c ->
                   snap.token = c;
                   checkpoint_commit()
               :: else
               fi
           :: else
           fi
       }
    :: atomic {
           HERE && m2e?[SINK_LOST, _, _, _, _] -> m2e?SINK_LOST, a, _, _, _;
           if
           :: a == s.owner && !OVER -> printf("encode: sink_lost, opened again\n"); stream_open_down()
           :: else
           fi
       }
    /* jobs */
    :: atomic {
           CAN_SUBMIT ->
           printf("encode: submits token %d\n", s.tokens_submitted);
           submit_token(); grant_now();
           step(encode_submit, s.tokens_submitted)
       }
    :: atomic {
           CAN_SUBMIT && s.snapshot == SNAPSHOT_NONE ->
           printf("encode: submits token %d, with a marker\n", s.tokens_submitted);
           submit_token(); checkpoint_attach(); grant_now();
           step(encode_submit, s.tokens_submitted)
       }
#ifdef TRACE
    :: atomic { /* of a job of several tokens one that is not the last */
           CAN_SUBMIT -> submit_token(); grant_now()
       }
    :: atomic { /* the job that reads token 0, or a marker by itself */
           s.phase == PHASE_RUNNING && (s.tokens_submitted == 0 || s.want_snapshot) -> step(encode_submit, s.tokens_submitted)
       }
#endif
    :: atomic {
           s.phase == PHASE_RUNNING && s.tokens < s.tokens_submitted ->
           printf("encode: collects token %d\n", s.tokens);
           s.tokens++;
           s.next_seq = s.next_seq + MADE(s.tokens) - MADE(s.tokens - 1);
           if
           :: s.snapshot == SNAPSHOT_JOB && s.tokens == snap.tokens -> checkpoint_captured()
           :: else
           fi
       }
    :: atomic { /* finish */
           s.phase == PHASE_RUNNING && s.ended && s.queued == 0 && s.tokens == s.tokens_submitted && !s.done_records &&
           s.snapshot == SNAPSHOT_NONE ->
           assert(s.tokens == TOKENS);
           printf("encode: all is read, %d records\n", ALL);
           s.next_seq = ALL; s.done_records = 1; s.want_snapshot = 1
       }
    :: atomic { /* submit_marker, and its results */
           s.phase == PHASE_RUNNING && s.want_snapshot && s.snapshot == SNAPSHOT_NONE && (QUIET || s.done_records) &&
           s.tokens == s.tokens_submitted ->
           printf("encode: a marker by itself\n");
           checkpoint_attach();
           checkpoint_captured()
       }
    /* records, and `sync n` exactly behind record n - 1 */
    :: atomic {
           s.phase == PHASE_RUNNING && s.down_open && SYNC_DUE ->
           printf("encode: sync %d\n", snap.next_seq);
           e_tells_down(SYNC, snap.next_seq, 0, 0, 0);
           s.sync_sent = 1;
           step(encode_sync, snap.next_seq)
       }
    :: atomic {
           s.phase == PHASE_RUNNING && s.down_open && !SYNC_DUE && s.sent < s.next_seq && E_ROOM ->
           printf("encode: sends record %d\n", s.sent);
           e_tells_down(MSG_RECORD, s.sent, 0, 0, s.done_records && s.sent + 1 == s.next_seq);
           s.sent++
       }
    /* the store's answer */
    :: atomic {
           s.batch == 2 ->
           step(encode_committed, snap.next_seq);
           printf("encode: hears that its checkpoint is durable\n");
           s.batch = 0;
           if
           :: s.born && s.phase == PHASE_NEW_COMMIT ->
               checkpoint_clear();
               s.phase = PHASE_SINK;
               stream_open_down()
           :: !s.born && snap.finished -> finished_leave()
           :: !s.born && !snap.finished && s.pause -> stream_pause_leave()
           :: else -> checkpoint_clear()
           fi
       }
    /* asked to stop: what is pending first, then one more */
    :: atomic {
           s.stopping && !OVER && s.phase != PHASE_START &&
           (s.phase == PHASE_RUNNING ->
               s.snapshot == SNAPSHOT_NONE && !s.want_snapshot && s.tokens == s.tokens_submitted :
               s.snapshot != SNAPSHOT_COMMIT) ->
           printf("encode: stopped\n");
           leave(PHASE_STOPPED)
       }
    od
}

/* A batch is there whole or not at all. */
inline store_commit()
{
    assert(snap.mark + snap.skips + snap.used == snap.tokens);                  /* the place is the state's */
    assert(snap.next_seq == (snap.finished -> ALL : MADE(snap.tokens)));       /* and so is the number */
    assert(snap.token == snap.next_seq);
    assert(snap.token <= f.synced);                                            /* no record is claimed that is not durable */
    if
    :: store_count < STORE_KEEP -> store_count++
    :: else
    fi;
#if STORE_KEEP > 2
    store_copy(2, 1);
#endif
    store_copy(1, 0);
    store[0].mark = snap.mark; store[0].skips = snap.skips; store[0].used = snap.used; store[0].tokens = snap.tokens;
    store[0].next_seq = snap.next_seq; store[0].token = snap.token; store[0].generation = snap.generation;
    store[0].finished = snap.finished;
    note_paused = s.pause
}

active proctype writer()
{
end:
    do
    :: atomic {
           s.batch == 1 ->
           printf("store: commits: cursor %d + %d, %d tokens used behind it, %d tokens read, %d records; %d are durable\n", snap.mark, snap.skips,
                  snap.used, snap.tokens, snap.next_seq, f.synced);
           store_commit();
           s.batch = 2;
           step(store_commit_end, 0)
       }
    od
}

/* What came breaks the protocol: the link begins anew. */
inline gap()
{
    printf("emit: a gap, %d came where %d was due, the link begins anew\n", c, m.n);
    do
    :: nempty(e2m) && !e2m?[PEER, _, _, _, _, _, _] -> e2m?kind, _, _, _, _, _, _
    :: empty(e2m) || e2m?[PEER, _, _, _, _, _, _] -> break
    od;
    if
    :: empty(e2m) -> e2m!PEER, 0, 0, 0, 0, 0, 0; m2e!PEER, 0, 0, 0, 0
    :: nempty(e2m)
    fi
}

active proctype emit()
{
end:
    do
    :: atomic {
           e2m?PEER, _, _, _, _, _, _ -> printf("emit: a new session with encode\n"); sink_drop()
       }
    :: atomic {
           STALE_M && !e2m?[PEER, _, _, _, _, _, _] ->
           do
           :: !e2m?[PEER, _, _, _, _, _, _] -> e2m?kind, _, _, _, _, _, _
           :: else -> break
           od
       }
    :: atomic { /* accept_open, jsonl_open */
           e2m?SINK_OPEN, a, b, c, d, e, last ->
           printf("emit: sink_open at %d, the file has %d lines, %d of them durable\n", c, f.written, f.synced);
           sink_drop();
           if
           :: sidecar && sidecar_generation < b && c <= f.written -> /* another text: cut, not compared */
               f.written = c; f.synced = c; f.good = c; f.torn = 0; file_generation = b
           :: else
           fi;
           file_generation = (sidecar -> file_generation : b);
           sidecar = 1; sidecar_owner = a; sidecar_generation = b;
           m.open = 1; m.owner = a; m.generation = b; m.comparing = 1; m.opens++;
           assert(c <= f.written && !(last && f.written > c)); /* else an older one, or it was edited */
           m.n = c;
           m.comparing = MISTAKE != WATERMARK;
           m.durable = m.n; m.handed = m.n;
           assert(m.n <= f.synced);
           m_tells(SINK_OPENED, m.owner, m.generation, m.n, 0);
           step(emit_opened, m.n)
       }
    :: atomic { /* accept_record, jsonl_write */
           e2m?MSG_RECORD, a, b, c, _, _, last ->
           if
           :: m.open && m.owner == a && m.generation == b && c != m.n -> gap()
           :: m.open && m.owner == a && m.generation == b && c == m.n ->
               assert(file_generation == m.generation);
               if
               :: m.comparing && m.n < f.written -> /* the same: the line is that of record n; written again */
                   printf("emit: record %d is what the file has\n", m.n);
                   assert(!(last && m.n + 1 < f.written));
                   f.good = (f.good == m.n && MISTAKE != NOT_WRITTEN_AGAIN -> m.n + 1 : f.good)
               :: else ->
                   printf("emit: writes record %d as line %d\n", m.n, f.written);
                   m.comparing = 0; f.torn = 0;
                   assert(m.n == f.written); /* record n is line n: no record is there twice, none is left out */
                   f.good = (f.good == f.written -> f.written + 1 : f.good);
                   f.written++
               fi;
               m.n++;
               step(emit_record, m.n)
           :: else
           fi
       }
    :: atomic {
           e2m?SYNC, a, b, c, _, _, _ ->
           if
           :: m.open && m.owner == a && m.generation == b && c != m.n -> gap()
           :: m.open && m.owner == a && m.generation == b && c == m.n ->
               assert(nfull(todo));
               todo!m.opens, m.n, 1;
               m.handed = m.n
           :: else
           fi
       }
    :: atomic {
           e2m?SINK_CLOSE, a, _, _, _, _, _ ->
           if
           :: m.open && m.owner == a -> sink_drop()
           :: else
           fi
       }
    :: atomic {
           e2m?BYE, _, _, _, _, _, _ -> sink_drop()
       }
    :: atomic { /* half a window waits, or a second has passed */
           m.open && m.n > m.handed && empty(todo) && empty(synced) ->
           todo!m.opens, m.n, 0;
           m.handed = m.n
       }
    :: atomic { /* collect */
           synced?a, b, last, d ->
           if
           :: m.open && m.opens == a && d -> /* after_failed_sync */
               printf("emit: the sync failed, cut to %d lines, sink_lost\n", m.durable);
               assert(m.durable <= f.synced);
               f.written = m.durable; f.synced = m.durable; f.good = m.durable; f.torn = 0;
               m_tells(SINK_LOST, m.owner, 0, 0, 0);
               sink_drop()
           :: m.open && m.opens == a && !d ->
               printf("emit: durable %d\n", b);
               assert(b <= f.synced); /* `durable` is said of nothing that is not */
               m.durable = b;
               m_tells(DURABLE, m.owner, m.generation, b, last);
               step(emit_durable, b)
           :: else
           fi
       }
    od
}

active proctype syncer()
{
end:
    do
    :: atomic {
           nempty(todo) && !(f.error && todo?[eval(m.opens), _, _]) ->
           todo?a, b, last;
           f.synced = f.good;
           printf("syncer: fsync, %d of %d lines are on the disk\n", f.synced, f.written);
           synced!a, b, last, 0;
           step(emit_fsync_end, b)
       }
    :: atomic {
           nempty(todo) && (fsync_fails < FSYNC_FAILS || (f.error && todo?[eval(m.opens), _, _])) ->
           todo?a, b, last;
           fsync_fails = fsync_fails + !(f.error && a == m.opens);
           printf("syncer: fsync FAILS, %d of %d lines are on the disk\n", f.synced, f.written);
           f.good = f.synced;
           f.error = m.open && a != m.opens; /* each descriptor that is open hears of it once */
           synced!a, b, last, 1
       }
    od
}

/* ==== World ==== */

inline empty_i2t() { do :: i2t?kind, _, _, _, _, _ :: empty(i2t) -> break od }
inline empty_t2i() { do :: t2i?kind, _, _ :: empty(t2i) -> break od }
inline empty_t2e() { do :: t2e?kind, _, _, _, _, _, _, _ :: empty(t2e) -> break od }
inline empty_e2t() { do :: e2t?kind, _, _, _ :: empty(e2t) -> break od }
inline empty_e2m() { do :: e2m?kind, _, _, _, _, _, _ :: empty(e2m) -> break od }
inline empty_m2e() { do :: m2e?kind, _, _, _, _ :: empty(m2e) -> break od }
inline peer_i2t() { i2t!PEER, 0, 0, 0, 0, 0 }
inline peer_t2i() { t2i!PEER, 0, 0 }
inline peer_t2e() { t2e!PEER, 0, 0, 0, 0, 0, 0, 0 }
inline peer_e2t() { e2t!PEER, 0, 0, 0 }
inline peer_e2m() { e2m!PEER, 0, 0, 0, 0, 0, 0 }
inline peer_m2e() { m2e!PEER, 0, 0, 0, 0 }

inline die_ingest() { ingest_forget(); empty_t2i(); peer_t2i() }
inline die_tokenize() { tokenize_forget(); empty_i2t(); peer_i2t(); empty_e2t(); peer_e2t() }
inline die_encode()
{
    stream_forget(); s.phase = PHASE_START; s.owner = 0;
    empty_t2e(); peer_t2e(); empty_m2e(); peer_m2e()
}
inline die_emit()
{
    if
    :: m.open && !m.comparing && f.written < ALL -> f.torn = 1
    :: true
    fi;
    sink_drop(); m.opens = 0;
    empty_e2m(); peer_e2m();
    do :: todo?_, _, _ :: empty(todo) -> break od;
    do :: synced?_, _, _, _ :: empty(synced) -> break od
}
inline all_die() { die_ingest(); die_tokenize(); die_encode(); die_emit() }

#define MAY(death) (faults < FAULTS && !done && ((DEATHS) & death))

inline all_begin() { peer_i2t(); peer_t2i(); peer_t2e(); peer_e2t(); peer_e2m(); peer_m2e(); source_generation = 1 }

active proctype World()
{
    atomic { read_settings(); all_begin() }
    do
    :: atomic { MAY(DIE_INGEST) -> printf("World: ingest DIES\n"); die_ingest(); peer_i2t(); faults++ }
    :: atomic { MAY(DIE_TOKENIZE) -> printf("World: tokenize DIES\n"); die_tokenize(); peer_t2i(); peer_t2e(); faults++ }
    :: atomic { MAY(DIE_ENCODE) && s.phase != PHASE_START -> printf("World: encode DIES\n"); die_encode(); peer_e2t(); peer_e2m(); faults++ }
    :: atomic { MAY(DIE_EMIT) -> printf("World: emit DIES\n"); die_emit(); peer_m2e(); faults++ }
    :: atomic { MAY(LOSE_LINKS) && !STALE_T_UP && !STALE_I -> printf("World: the link of ingest and tokenize BREAKS\n"); peer_i2t(); peer_t2i(); faults++ }
    :: atomic { MAY(LOSE_LINKS) && !STALE_T_DOWN && !STALE_E_UP -> printf("World: the link of tokenize and encode BREAKS\n"); peer_t2e(); peer_e2t(); faults++ }
    :: atomic { MAY(LOSE_LINKS) && !STALE_M && !STALE_E_DOWN -> printf("World: the link of encode and emit BREAKS\n"); peer_e2m(); peer_m2e(); faults++ }
    :: atomic { /* the files fall back, each by itself, to what was synced or anything beyond it that was written */
           MAY(CRASH_MACHINE) ->
           all_die();
           do
           :: f.written > f.synced -> f.written--
           :: break
           od;
           printf("World: the machine CRASHES, %d lines are left\n", f.written);
           f.synced = f.written; f.good = f.written; /* what is there after the crash is on the disk */
           if
           :: f.written < ALL && file_generation > 0 -> f.torn = 1
           :: f.torn = 0
           fi;
           faults++
       }
    :: atomic { /* the newest checkpoint's value cannot be read any more: the one before it */
           MAY(DAMAGE_VALUE) && store_count > 1 && s.phase != PHASE_START ->
           printf("World: encode DIES and the newest checkpoint is DAMAGED\n");
           die_encode(); peer_e2t(); peer_e2m();
           store_copy(0, 1);
#if STORE_KEEP > 2
           store_copy(1, 2);
#endif
           store_count--; store_clear(store_count);
           faults++
       }
    :: atomic { /* SIGTERM; the run is begun again by the last line */
           MAY(STOP_RUN) && HERE && s.phase != PHASE_ANNOUNCED && s.phase != PHASE_PAUSED && !s.stopping ->
           printf("World: STOP\n");
           s.stopping = 1;
           s.want_snapshot = s.want_snapshot || (s.phase == PHASE_RUNNING && s.tokens_submitted != s.snapshot_tokens);
           faults++
       }
    :: atomic {
           s.phase == PHASE_STOPPED ->
           printf("World: the run is begun again\n");
           all_die()
       }
    :: atomic { /* --restart, of another text */
           source_generation <= RESTARTS && !done && s.phase != PHASE_START ->
           printf("World: all is killed, another text, --restart\n");
           all_die();
           source_generation++
       }
    :: atomic {
           pauses < PAUSES && !done && s.phase > PHASE_ANNOUNCED && s.phase < PHASE_PAUSED && !s.want_pause ->
           printf("World: pause\n");
           s.want_pause = 1; s.want_snapshot = 1;
           pauses++
       }
    :: atomic { /* resume */
           s.phase == PHASE_PAUSED ->
           printf("World: resume\n");
           note_paused = 0;
           stream_begin()
       }
#ifdef TRACE
    :: atomic { /* kill -9; what was done and had no time to write its line may be there */
           c_expr { trace_steps[now.trace_at] == DIED } ->
           if
           :: s.batch == 1 -> store_commit()
           :: s.phase == PHASE_START -> owner_epoch++
           :: true
           fi;
           do
           :: m.open && !m.comparing && f.written < s.next_seq -> f.written++; f.good++
           :: break
           od;
           all_die();
           done = 0;
           step(DIED, 0)
       }
#endif
#ifndef TRACE
    :: done -> break
#endif
    od
}
