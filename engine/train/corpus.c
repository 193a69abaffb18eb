#include "engine/train/corpus.h"
#include "engine/train/net.h"
#include "engine/train/random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { SPANS_MAX = 1 << 26, COUNTED_BYTES = 8 << 20 };

struct span {
    const uint8_t *data;
    uint32_t bytes; /* a longer document is cut, limit or not */
    uint16_t file;
    bool whole; /* its end is its document's */
};

struct corpus {
    struct corpus_options options;
    struct tokenizer_reader *reader;
    struct corpus_file *files;
    struct view *maps;
    struct span *spans;
    size_t span_count, span_room;
    uint64_t bytes, fingerprint;
    uint32_t *order; /* of the epoch: places in spans */
    size_t order_count;
    uint64_t epoch; /* which one order is of */
};

/* ---- Opening. ---- */

static enum err_code map_file(struct view *out, const char *path, struct err *err)
{
    enum err_code code = ERR_OK;
    struct stat st;
    void *map;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_set(err, ERR_SOURCE, errno, "open '%s'", path);
    if (fstat(fd, &st)) {
        code = err_set(err, ERR_SOURCE, errno, "read '%s'", path);
    } else if (!S_ISREG(st.st_mode)) {
        code = err_set(err, ERR_SOURCE, 0, "'%s' is no regular file", path);
    } else if (st.st_size > 0) {
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
            code = err_set(err, ERR_SOURCE, errno, "map '%s'", path);
        else
            *out = (struct view){map, (size_t)st.st_size};
    }
    close(fd);
    return code;
}

static enum err_code add_span(struct corpus *corpus, struct span span, struct err *err)
{
    if (corpus->span_count == corpus->span_room) {
        size_t room = corpus->span_room ? 2 * corpus->span_room : 256;
        struct span *spans;
        if (room > SPANS_MAX)
            return err_set(err, ERR_LIMIT, 0, "more than %d documents", SPANS_MAX);
        spans = realloc(corpus->spans, room * sizeof *spans);
        if (!spans)
            return err_set(err, ERR_MEMORY, 0, "%zu documents", room);
        corpus->spans = spans;
        corpus->span_room = room;
    }
    corpus->spans[corpus->span_count++] = span;
    corpus->bytes += span.bytes;
    return ERR_OK;
}

/* Cut at the last line end of each limit's worth, or where there is none anywhere. */
static enum err_code add_document(struct corpus *corpus, size_t file, const uint8_t *data,
                                  size_t bytes, struct err *err)
{
    uint64_t limit = corpus->options.span_bytes, most = corpus->options.document_bytes;
    bool whole = !most || bytes <= most;
    enum err_code code = ERR_OK;

    if (!limit || limit > UINT32_MAX)
        limit = UINT32_MAX;
    if (!whole)
        bytes = (size_t)most;
    while (bytes && !code) {
        size_t take = bytes;
        if (take > limit) {
            const uint8_t *line = memrchr(data, '\n', (size_t)limit);
            take = line ? (size_t)(line - data) + 1 : (size_t)limit;
        }
        code = add_span(corpus,
                        (struct span){data, (uint32_t)take, (uint16_t)file, whole && take == bytes},
                        err);
        data += take;
        bytes -= take;
    }
    return code;
}

static enum err_code add_file(struct corpus *corpus, size_t file, struct err *err)
{
    struct view text = corpus->maps[file];
    const uint8_t *at = text.data, *end = at + text.bytes;
    enum err_code code = ERR_OK;

    while (!code && at && at < end) {
        const uint8_t *stop = memchr(at, 0, (size_t)(end - at));
        size_t bytes = (size_t)((stop ? stop : end) - at);
        code = add_document(corpus, file, at, bytes, err);
        at += bytes + 1;
    }
    return code;
}

static void fingerprint_file(struct corpus *corpus, size_t file)
{
    const struct corpus_file *f = &corpus->files[file];
    const struct view *map = &corpus->maps[file];
    uint64_t parts[4] = {corpus->fingerprint, map->bytes,
                         map->bytes ? XXH3_64bits(map->data, map->bytes) : 0, 0};

    memcpy(&parts[3], &f->weight, sizeof f->weight);
    corpus->fingerprint = XXH3_64bits(parts, sizeof parts);
}

/* Below it an epoch in which a span is read would be looked for too long. */
static bool weight_is_fit(double weight)
{
    return weight == 0 || (weight >= 0.001 && weight <= 100);
}

enum err_code corpus_open(struct corpus **out, const struct corpus_options *options,
                          struct err *err)
{
    struct corpus *corpus = calloc(1, sizeof *corpus);
    const size_t count = options->file_count;
    size_t before;
    bool used = false;
    enum err_code code = ERR_OK;

    if (!corpus)
        return err_set(err, ERR_MEMORY, 0, "training text");
    corpus->options = *options;
    corpus->epoch = UINT64_MAX;
    corpus->files = calloc(count + 1, sizeof *corpus->files);
    corpus->maps = calloc(count + 1, sizeof *corpus->maps);
    if (!corpus->files || !corpus->maps) {
        corpus_close(&corpus);
        return err_set(err, ERR_MEMORY, 0, "training text");
    }
    if (count > CORPUS_FILES_MAX)
        code = err_set(err, ERR_LIMIT, 0,
                       "%zu files of at most %d; join some (a NUL byte separates documents)", count,
                       CORPUS_FILES_MAX);
    if (!code && options->tokenizer)
        code = tokenizer_reader_open(&corpus->reader, options->tokenizer, err);
    for (size_t i = 0; !code && i < count; i++) {
        corpus->files[i] = options->files[i];
        if (!weight_is_fit(options->files[i].weight))
            code = err_set(err, ERR_USAGE, 0, "'%s': a weight is 0, or from 0.001 to 100",
                           options->files[i].path);
        before = corpus->span_count;
        if (!code)
            code = map_file(&corpus->maps[i], options->files[i].path, err);
        if (!code)
            code = add_file(corpus, i, err);
        used = used || (corpus->span_count > before && options->files[i].weight > 0);
        if (!code)
            fingerprint_file(corpus, i);
    }
    if (!code && !corpus->span_count)
        code = err_set(err, ERR_INPUT, 0, "there is no text in %s",
                       count ? options->files[0].path : "no file");
    /* Epochs without end would be looked through for a span. */
    if (!code && options->shuffle && !used)
        code = err_set(err, ERR_USAGE, 0,
                       "every file that has text has weight 0: nothing would be read");
    if (code)
        corpus_close(&corpus);
    else
        *out = corpus;
    return code;
}

void corpus_close(struct corpus **corpus)
{
    struct corpus *c = *corpus;

    if (!c)
        return;
    for (size_t i = 0; c->maps && i < c->options.file_count; i++)
        if (c->maps[i].bytes)
            munmap((void *)(uintptr_t)c->maps[i].data, c->maps[i].bytes);
    tokenizer_reader_close(&c->reader);
    free(c->maps);
    free(c->files);
    free(c->spans);
    free(c->order);
    free(c);
    *corpus = NULL;
}

uint64_t corpus_bytes(const struct corpus *corpus)
{
    return corpus->bytes;
}

static uint64_t span_tokens(struct corpus *corpus, const struct span *span)
{
    struct tokenizer_piece piece;
    uint64_t tokens = 1; /* 0, which it begins with */

    for (size_t at = 0; at < span->bytes;) {
        at += tokenizer_next(corpus->reader, span->data + at, span->bytes - at, true, &piece);
        tokens += piece.count;
    }
    return tokens;
}

/* Every so many-th span is counted, and the weights of all. */
uint64_t corpus_tokens(struct corpus *corpus)
{
    const size_t stride = (size_t)(1 + corpus->bytes / COUNTED_BYTES);
    double counted = 0, bytes = 0, weighted = 0;

    for (size_t i = 0; i < corpus->span_count; i++) {
        const struct span *span = &corpus->spans[i];
        weighted += corpus->files[span->file].weight * span->bytes;
        if (i % stride == 0) {
            counted += (double)span_tokens(corpus, span);
            bytes += span->bytes;
        }
    }
    return bytes > 0 ? (uint64_t)(weighted * counted / bytes) : 0;
}

uint64_t corpus_fingerprint(const struct corpus *corpus)
{
    return corpus->fingerprint;
}

bool corpus_span(const struct corpus *corpus, size_t index, struct view *text, double *weight)
{
    if (index >= corpus->span_count)
        return false;
    *text = (struct view){corpus->spans[index].data, corpus->spans[index].bytes};
    *weight = corpus->files[corpus->spans[index].file].weight;
    return true;
}

/* ---- The order of spans. ---- */

/* How often a span is read in an epoch. */
static size_t copies_of(const struct corpus *corpus, uint64_t epoch, size_t span)
{
    double weight = corpus->files[corpus->spans[span].file].weight;
    uint64_t seed = random_mix(corpus->options.seed ^ random_mix(epoch)) ^ span;
    size_t copies = (size_t)weight;

    if (!corpus->options.shuffle)
        return 1;
    return copies + (random_unit(&seed) < weight - (double)copies);
}

/* An epoch may be empty, where weights are small; the next one is then asked. A refused allocation stops
 * the program: epochs differ by a few places, and the first was had. */
static void order_epoch(struct corpus *corpus, uint64_t epoch)
{
    uint64_t seed = random_mix(corpus->options.seed + 1) ^ random_mix(epoch);
    size_t count = 0;

    if (corpus->epoch == epoch)
        return;
    for (size_t i = 0; i < corpus->span_count; i++)
        count += copies_of(corpus, epoch, i);
    free(corpus->order);
    corpus->order = malloc((count + 1) * sizeof *corpus->order);
    require(corpus->order);
    corpus->order_count = 0;
    for (size_t i = 0; i < corpus->span_count; i++)
        for (size_t copies = copies_of(corpus, epoch, i); copies; copies--)
            corpus->order[corpus->order_count++] = (uint32_t)i;
    for (size_t i = count; corpus->options.shuffle && i > 1; i--) {
        size_t other = (size_t)random_below(&seed, i);
        uint32_t swap = corpus->order[i - 1];
        corpus->order[i - 1] = corpus->order[other];
        corpus->order[other] = swap;
    }
    corpus->epoch = epoch;
}

/* False where, without shuffle, all spans were given out. */
static bool next_span(struct corpus *corpus, struct corpus_place *place, uint64_t *span)
{
    order_epoch(corpus, place->epoch);
    while (place->next >= corpus->order_count) {
        if (!corpus->options.shuffle)
            return false;
        place->epoch++;
        place->next = 0;
        order_epoch(corpus, place->epoch);
    }
    *span = corpus->order[place->next++];
    return true;
}

/* ---- Tokens. ---- */

void corpus_begin(struct corpus_cursor *cursor)
{
    *cursor = (struct corpus_cursor){.span = UINT64_MAX};
}

/* Move to the next token; *target is what a model is to say for it. */
static void advance(struct corpus *corpus, struct corpus_place *place, struct corpus_cursor *cursor,
                    uint32_t *target, uint64_t *text)
{
    const struct span *span = &corpus->spans[cursor->span];
    struct tokenizer_piece piece;

    if (cursor->at < span->bytes) {
        size_t length = tokenizer_next(corpus->reader, span->data + cursor->at,
                                       span->bytes - (size_t)cursor->at, true, &piece);
        const struct tokenizer_token *token = &piece.tokens[cursor->skip];
        require(length && cursor->skip < piece.count);
        cursor->pending = *target = token->id;
        if (text)
            *text += token->source_bytes;
        if (++cursor->skip == piece.count) {
            cursor->at += length;
            cursor->skip = 0;
        }
        return;
    }
    *target = span->whole ? 0 : NET_NO_TARGET;
    cursor->pending = 0;
    cursor->at = 0;
    cursor->ended = !next_span(corpus, place, &cursor->span);
}

void corpus_draw(struct corpus *corpus, struct corpus_place *place, struct corpus_cursor *cursor,
                 size_t tokens, uint32_t *input, uint32_t *target, uint64_t *text)
{
    if (cursor->span == UINT64_MAX && !cursor->ended) {
        cursor->pending = 0;
        cursor->at = 0;
        cursor->ended = !next_span(corpus, place, &cursor->span);
    }
    for (size_t i = 0; i < tokens; i++) {
        input[i] = cursor->pending;
        target[i] = NET_NO_TARGET;
        if (!cursor->ended)
            advance(corpus, place, cursor, &target[i], text);
    }
}

bool corpus_cursor_fits(const struct corpus *corpus, const struct corpus_cursor *cursor)
{
    struct tokenizer_piece piece = {.count = 1};
    const struct span *span;

    if (cursor->span == UINT64_MAX)
        return true;
    if (cursor->span >= corpus->span_count)
        return false;
    span = &corpus->spans[cursor->span];
    if (cursor->at > span->bytes || cursor->pending >= tokenizer_vocab(corpus->options.tokenizer))
        return false;
    if (cursor->at < span->bytes)
        tokenizer_next(corpus->reader, span->data + cursor->at, span->bytes - (size_t)cursor->at,
                       true, &piece);
    return cursor->skip < piece.count;
}

bool corpus_place_fits(struct corpus *corpus, const struct corpus_place *place)
{
    order_epoch(corpus, place->epoch);
    return place->next <= corpus->order_count;
}
