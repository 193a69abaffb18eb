/* engine/engine.h: one RWKV model, any number of streams that read through it.
 *
 * Use      engine_open; engine_state_open once per stream; then jobs: engine_submit, engine_collect.
 *          engine_run is both for one job, for programs that have a single stream.
 * Promise  What comes out for a token depends on the tokens of its stream before it, bit for bit,
 *          and on nothing else: not on how tokens were cut into jobs, nor on other streams, threads,
 *          rows or batches. kernels/ref.c is the definition of every sum (arithmetic f32-1).
 * Threads  One thread submits and collects; the engine has workers of its own. engine_info may be
 *          asked from anywhere.
 * Memory   Allocated by the opens. README.md says what each buffer costs. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "schemas/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;
struct engine_state;

enum { ENGINE_FINGERPRINT_BYTES = 16, ENGINE_THREADS_MAX = 64, ENGINE_BLOCK_MAX = 1024 };

struct engine_options {
    const char *blas; /* "auto", "own", "onednn", "openblas", "ref"; NULL is "auto" */
    const char *
        isa; /* "auto", "avx512", "avx512f", "avx2", "dotprod", "neon", "ref": highest level to use; NULL is "auto" */
    /* What matrices are multiplied as, whatever the file has: "f32", "bf16", "int8". NULL and "auto" are what the file
     * names as near enough to f32 (the metadata riverrun.weights, from who measured it), and "f32" where it names none
     * or blas has no other. An arithmetic each: bf16 takes half the memory and up to half the time, int8 a quarter. */
    const char *weights;
    unsigned threads;      /* workers, 1..ENGINE_THREADS_MAX; 0 is one per core; a model of L layers
                         uses L + 1 at most */
    uint32_t block_tokens; /* rows of one batch, 1..ENGINE_BLOCK_MAX; 0 is the default */
    /* Of the group norm, 0..1, part of the fingerprint. 0 is the model's own: 1e-5 for version 5 in
     * files of rwkv.cpp, 64e-5 elsewhere; version 4 has none. */
    float gn_eps;
    /* A file of blocks.N.att.time_state [heads][size][size], in any container: new streams begin with it, in the
     * place of zeros or of the model's own, and it is in the fingerprint. NULL: none. */
    const char *initial_state;
};

struct engine_info {
    unsigned version_major, version_minor; /* 4.0, 5.1, 5.2, 6.0, 7.0 */
    const char *container;                 /* "rwkv.cpp", "safetensors" */
    const char *dtype;                     /* of the matrices in the file: "F32", "F16", "BF16" */
    uint32_t layers, channels, heads, head_size, ffn_channels, vocab;
    uint64_t parameters;
    uint64_t flops_per_token; /* matrix products of the layers, 2 for a multiply-add */
    uint64_t flops_head;      /* the head, for one token */
    size_t state_bytes;       /* of a stream's state as bytes, see engine_state_save */
    size_t layer_state_bytes; /* of one layer in it; layers x this + 4 x channels is state_bytes */
    const char *arithmetic;   /* "f32-1", "bf16-1", "int8-1", or "f32-openblas-0.3.21-SkylakeX" */
    const char *blas, *isa;   /* what was chosen */
    unsigned threads;
    uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES]; /* of the model: tensors, version, epsilon */
};

/* Map a model file, check all of it, pack its matrices, start the workers.
 * Fails  ERR_MODEL: not a model, damaged, unknown tensors, not supported (the text says which);
 *        ERR_SOURCE: cannot be opened; ERR_MISMATCH: this blas or isa cannot be had here;
 *        ERR_USAGE: an option out of range or a name that is none; ERR_MEMORY, ERR_SYSTEM. */
MUST_CHECK enum err_code engine_open(struct engine **out, const char *path,
                                     const struct engine_options *options, struct err *err);
/* Jobs that were not collected are dropped; states may be closed before or after. */
void engine_close(struct engine **engine);

/* Lent until engine_close. */
const struct engine_info *engine_info(const struct engine *engine);

/* A model file without an engine. */
enum { ENGINE_DTYPES_MAX = 16 };
struct engine_dtype {
    const char *name; /* "F32", "Q4_K" */
    uint64_t tensors, values, bytes;
};
struct engine_description {
    struct engine_info info; /* arithmetic, blas and isa are NULL, threads is 0 */
    uint64_t file_bytes;
    size_t tensors;
    struct engine_dtype dtypes[ENGINE_DTYPES_MAX]; /* of the tensors, those that occur */
    size_t dtype_count;
    float gn_eps;          /* 0: the version has no group norm */
    bool trained_state;    /* a stream begins with a state that was trained */
    const char *tokenizer; /* "in the file", "World", "NeoX", "bytes"; NULL: not known */
    const char *weights;   /* what "auto" multiplies it as */
};
/* Checks the container as engine_open does, packs nothing, starts nothing. The texts are never freed. Fails: as
 * engine_open. */
MUST_CHECK enum err_code engine_describe(const char *path, struct engine_description *out,
                                         struct err *err);

/* Write the model as safetensors with BlinkDL's names, shapes and orientation, whatever it is kept in. Matrices
 * become dtype ("f32", "f16", "bf16", rounded to nearest even), vectors become float32 unless they are dtype
 * already. Nothing grows with the file. The output appears whole or not at all.
 * Fails  as engine_open; ERR_USAGE: no such type, or output is the model itself; ERR_LIMIT: weights that are
 *        beyond f16, counted; ERR_SINK, ERR_FULL. */
struct engine_conversion {
    uint64_t tensors, bytes;
    uint64_t vanished;    /* weights that became 0 and were not */
    uint64_t not_finite;  /* weights that are NaN or infinite, kept as such */
    uint64_t decays;      /* that the file kept in the form of exp and that were made raw */
    uint64_t decays_near; /* of these: no raw float32 gives the same number; the metadata have it */
    bool vocabulary_left; /* the file has a vocabulary that is none, which was left out */
};
MUST_CHECK enum err_code engine_convert(const char *path, const char *output, const char *dtype,
                                        const char *weights, struct engine_conversion *out,
                                        struct err *err);

/* The fingerprint alone, and what it is a fingerprint of: checks the container as engine_open does,
 * packs nothing (so a matrix that is not finite goes unseen), starts nothing. arithmetic is not in it, and
 * the group norm's epsilon is the model's own. Fails: as engine_open. */
MUST_CHECK enum err_code engine_fingerprint(const char *path,
                                            uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES],
                                            struct err *err);

/* The same of the model with an initial state of its own file, as in engine_options; NULL: without. */
MUST_CHECK enum err_code engine_fingerprint_with(const char *path, const char *initial_state,
                                                 uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES],
                                                 struct err *err);

/* The name of the arithmetic that the model at path would have with options, without packing it: what
 * engine_info().arithmetic will be. Fails: as engine_open. */
MUST_CHECK enum err_code engine_arithmetic(const char *path, const struct engine_options *options,
                                           char *name, size_t name_bytes, struct err *err);

/* A stream's state, at its origin: before any token (or the model's trained initial state). */
MUST_CHECK enum err_code engine_state_open(struct engine *engine, struct engine_state **out,
                                           struct err *err);
/* The state must have no job in flight. */
void engine_state_close(struct engine_state **state);

/* The state as bytes, little-endian float32: for each layer in the order of spec section 7 (ffn_x,
 * att_x, then the recurrence), then ln_out of the last token (channels floats; zeros at the origin).
 * No job of this state may be in flight.
 * bytes  engine_info().state_bytes */
void engine_state_save(const struct engine_state *state, uint8_t *bytes);
/* The reverse. Fails: ERR_DAMAGED where a value is not finite; the state is then as before. */
MUST_CHECK enum err_code engine_state_load(struct engine_state *state, const uint8_t *bytes,
                                           struct err *err);

/* A run of tokens of one stream, and what is wanted of it. The caller owns job, tokens and the
 * places for results, and leaves them alone from submit to collect. */
struct engine_job {
    struct engine_state *state;
    const uint32_t *tokens; /* (count), each < vocab */
    size_t count;           /* 0 is allowed: a snapshot between two runs */
    float *loss;       /* (count) nats of each token given all before it in the stream; or NULL.
                               At the origin nothing precedes: feed token 0 without asking first. */
    float *logits;     /* (vocab) after the last token; or NULL */
    uint8_t *snapshot; /* (state_bytes) the state after the last token, each layer copied by the
                               worker that owns it as the marker passes; or NULL */
    void *user;        /* the caller's, untouched */
    float *hidden;     /* (count, channels) ln_out of each token; or NULL */
};

/* Queue job behind all that were submitted before; several of one state may be in flight. Work begins
 * at once; jobs that wait together share products as rows of one ragged batch. Its state is one of this engine's, and
 * while it is in flight that is not closed, saved or loaded: who does so is told of a bug, and ended.
 * Fails  ERR_INPUT: a token out of range, loss, or logits without a token, asked of a state that
 *        has read nothing: not queued;
 *        ERR_LIMIT: engine_room() is 0. */
MUST_CHECK enum err_code engine_submit(struct engine *engine, struct engine_job *job,
                                       struct err *err);
/* How many more jobs can be submitted now. */
size_t engine_room(const struct engine *engine);
/* The oldest job if it is done, else NULL; with wait, block until it is (NULL only when none is in
 * flight). Jobs come back in the order of their submission. */
struct engine_job *engine_collect(struct engine *engine, bool wait);
/* Readable (poll) from when a job is done until engine_collect has returned NULL. */
int engine_descriptor(const struct engine *engine);

/* Rows of a block from now on: at least 64 (with fewer a core waits for the weights), at most what the engine was
 * opened with. A caller who never has more than n tokens in flight fills all workers evenly with blocks of n / (threads
 * + 1): one for each, and one that waits. What is computed does not depend on it. */
void engine_set_block(struct engine *engine, uint64_t rows);

/* Submit one job and wait for it. No other may be in flight. */
MUST_CHECK enum err_code engine_run(struct engine *engine, struct engine_job *job, struct err *err);

/* Matrix products done since open, for tests and bench: it grows with blocks, not with streams. */
uint64_t engine_products(const struct engine *engine);

/* ---- Sampling: the next token from logits, the same for the same seed on every machine. ----
 *
 * In this order, as RWKV's own programs do it:
 *     penalty      a token that was chosen before loses presence + frequency x count; the counts are
 *                  multiplied with decay at every choice, then the chosen token's grows by 1
 *     probability  softmax of what is left, at temperature 1
 *     top_p        the fewest most likely tokens that together have at least top_p
 *     top_k        no more than so many of them; of equals, the smaller ids
 *     temperature  each to the power of 1 / temperature; then one by lot */

struct sampler;

struct sampler_options {
    double temperature;         /* 0: always the most likely, of equals the smallest id */
    double top_p;               /* 0 and 1: all */
    uint32_t top_k;             /* 0: all */
    double presence, frequency; /* 0: no penalty */
    double decay; /* of frequency; 1: nothing is forgotten, 0: all but the last; 0.996 is usual */
    uint64_t seed;
};

/* Fails: ERR_USAGE: an option out of range; ERR_MEMORY. Memory: 21 bytes a token of the vocabulary. */
MUST_CHECK enum err_code sampler_open(struct sampler **out, uint32_t vocab,
                                      const struct sampler_options *options, struct err *err);
void sampler_close(struct sampler **sampler);
/* logits  (vocab) not changed; -infinity forbids a token
 * Fails   ERR_INPUT: NaN, +infinity, or nothing but -infinity among them; nothing was chosen or counted */
MUST_CHECK enum err_code sampler_next(struct sampler *sampler, const float *logits, uint32_t *token,
                                      struct err *err);

/* ---- Tokenizers: ids are a function of the text alone, never of how its bytes arrived. ----
 *
 * A tokenizer is read-only once open and shared freely; a reader goes through one text with it, piece by
 * piece. A piece is what can be read alone: one token of World and of bytes; of NeoX a segment, the text
 * between two places where it may be cut whatever follows (spec/tokenizers.md section 2.3), mostly a
 * word. A text can be gone on with from (where a piece begins, tokens of it to skip). */

struct tokenizer;
struct tokenizer_reader;

struct tokenizer_options {
    /* NeoX: `<|endoftext|>` in a text is that token. Off, which is not what the library does, it is
     * ordinary text: no document can pretend that it ends. */
    bool specials;
};

/* bytes: the 256 single bytes, id = value. */
MUST_CHECK enum err_code tokenizer_open_bytes(struct tokenizer **out, struct err *err);
/* A vocabulary file: World's text (LF or CRLF) or NeoX's 20B_tokenizer.json, told apart by content.
 * options may be NULL.
 * Fails   ERR_SOURCE; ERR_INPUT with the line or the entry; ERR_MEMORY
 * Memory  while a JSON file is read, some 10 times its size; for one that was made to be bad 100 times,
 *         of at most 8 MiB */
MUST_CHECK enum err_code tokenizer_open(struct tokenizer **out, const char *path,
                                        const struct tokenizer_options *options, struct err *err);
/* The vocabulary that travels in a model file. The same tokens have the same fingerprint as in a file of
 * their own.
 * Fails  ERR_ABSENT: the file has none; ERR_INPUT with the token; as engine_fingerprint otherwise */
MUST_CHECK enum err_code tokenizer_open_model(struct tokenizer **out, const char *path,
                                              struct err *err);
/* A vocabulary of the file `vocab`, for the model in a file: is it the one that this carries? One that carries none,
 * or none that can be read, takes any.
 * Fails  ERR_MISMATCH, naming both */
MUST_CHECK enum err_code tokenizer_check_model(const struct tokenizer *tokenizer, const char *vocab,
                                               const char *path, struct err *err);
/* Readers first. */
void tokenizer_close(struct tokenizer **tokenizer);

const char *tokenizer_name(const struct tokenizer *tokenizer); /* "bytes", "world", "neox" */
uint32_t tokenizer_vocab(const struct tokenizer *tokenizer);   /* largest id + 1 */
/* Of all that ids depend on but utf8proc's version of Unicode. */
uint64_t tokenizer_fingerprint(const struct tokenizer *tokenizer);

/* The bytes of a token, lent until close; *bytes 0 for an id that stands for none. */
const uint8_t *tokenizer_text(const struct tokenizer *tokenizer, uint32_t id, size_t *bytes);

/* NeoX: a segment of so many characters is cut there, whatever it holds. */
enum { TOKENIZER_SEGMENT_MAX = 65536 };
/* The most bytes that can wait undecided: 0 for bytes, 127 for World, 262,147 for NeoX (a longest segment,
 * and a character not yet whole). */
size_t tokenizer_hold_max(const struct tokenizer *tokenizer);

/* source_bytes is 0 where a stretch that NFC or repair changed ends in a later token: its bytes count with
 * the token that holds its end. text_bytes is as tokenizer_text gives it. */
struct tokenizer_token {
    uint32_t id, source_bytes, text_bytes;
};

struct tokenizer_piece {
    const struct tokenizer_token *tokens; /* (count), count >= 1 */
    size_t count;
    const uint8_t *text; /* of all tokens: the source itself, or what NFC and repair made of it */
    uint32_t repaired;   /* ill-formed pieces that became U+FFFD */
    bool forced;         /* ended by TOKENIZER_SEGMENT_MAX alone */
};

/* Threads  one user at a time
 * Memory   NeoX: 0.5 MiB, and some 50 bytes for each byte of the segment at hand, which makes 42 MiB for text
 *          that was made to be bad; beyond 16 KiB of text it is given back with the next. Others: nothing.
 * Fails    ERR_MEMORY */
MUST_CHECK enum err_code tokenizer_reader_open(struct tokenizer_reader **out,
                                               const struct tokenizer *tokenizer, struct err *err);
void tokenizer_reader_close(struct tokenizer_reader **reader);

/* The next piece, at data: returns how many bytes of data it stands for and sets *piece. Returns 0 when it
 * cannot be told before more bytes are there; with end (nothing follows data) it always can, for
 * bytes > 0. After a 0 the reader remembers how far it has looked: the next call must be for the same
 * place, with at least these bytes, or come after tokenizer_reader_forget.
 * Memory  *piece is lent until the next call; of a piece of one token the text may lie in data. */
size_t tokenizer_next(struct tokenizer_reader *reader, const uint8_t *data, size_t bytes, bool end,
                      struct tokenizer_piece *piece);
void tokenizer_reader_forget(struct tokenizer_reader *reader);

#endif
