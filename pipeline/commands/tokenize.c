/* riverrun tokenize: the ids of a text, as `read` would give them to a model. */
#include "pipeline/commands/commands.h"

#include "stages/ingest/readers/look.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024 };

struct tokenize_run {
    const char *path, *vocab, *model;
    bool specials, json;
    struct tokenizer *tokenizer;
    struct tokenizer_reader *reader;
    int fd;
    uint8_t *data; /* (hold_max + READ_BYTES) what was read and is not in tokens */
    size_t bytes;
    uint64_t source_bytes, tokens, repaired, forced;
};

/* Where NUL bytes stand between documents, as `train` takes them, it is text that `read` would not take. */
static bool is_text_but_for_nuls(uint8_t *data, size_t bytes)
{
    size_t count = 0;

    for (size_t i = 0; i < bytes; i++)
        if (!data[i]) {
            data[i] = '\n';
            count++;
        }
    return count < bytes / 16 && look_is_utf8((struct view){data, bytes});
}

void warn_of_other_than_text(const char *path)
{
    static const char *const kinds[] = {[LOOK_ZIP] = "a zip archive, or a document that is one",
                                        [LOOK_PDF] = "PDF",
                                        [LOOK_MAIL] = "mail",
                                        [LOOK_HTML] = "HTML",
                                        [LOOK_OTHER] = "no text in UTF-8"};
    uint8_t *data;
    size_t bytes;
    enum look look = look_at_file(path, &data, &bytes);
    const struct view begin = {data, bytes};
    const char *kind;

    kind = look == LOOK_PACKED    ? look_packing(begin)
           : look == LOOK_ARCHIVE ? look_archive(begin)
                                  : kinds[look];
    if (look != LOOK_UTF8 && !(look == LOOK_OTHER && is_text_but_for_nuls(data, bytes)))
        fprintf(
            stderr,
            "riverrun: warning: '%s' is %s, and its bytes are read as they are: unpack or convert "
            "it, unless that is meant (`read` alone does that by itself)\n",
            path, kind);
    free(data);
}

static enum err_code open_all(struct tokenize_run *r, struct err *err)
{
    const struct tokenizer_options options = {.specials = r->specials};
    enum err_code code;

    if (r->vocab)
        code = tokenizer_open(&r->tokenizer, r->vocab, &options, err);
    else if (r->model && (code = find_model(&r->model, err)))
        return code;
    else if (r->model)
        code = tokenizer_open_model(&r->tokenizer, r->model, err);
    else
        code = tokenizer_open_bytes(&r->tokenizer, err);
    if (!code)
        code = tokenizer_reader_open(&r->reader, r->tokenizer, err);
    if (code)
        return code;
    r->data = malloc(tokenizer_hold_max(r->tokenizer) + READ_BYTES);
    if (!r->data)
        return err_set(err, ERR_MEMORY, 0, "text of '%s'", r->path);
    r->fd = strcmp(r->path, "-") ? open(r->path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    if (r->fd < 0)
        return err_set(err, ERR_SOURCE, errno, "open '%s'", r->path);
    if (r->fd != STDIN_FILENO)
        warn_of_other_than_text(r->path);
    return ERR_OK;
}

static void close_all(struct tokenize_run *r)
{
    if (r->fd > STDIN_FILENO)
        close(r->fd);
    free(r->data);
    tokenizer_reader_close(&r->reader);
    tokenizer_close(&r->tokenizer);
}

static void print_piece(struct tokenize_run *r, const struct tokenizer_piece *piece)
{
    for (size_t i = 0; i < piece->count; i++) {
        if (!r->json)
            printf("%u\n", piece->tokens[i].id);
        else
            printf("%s%u", r->tokens + i ? ", " : "", piece->tokens[i].id);
    }
    r->tokens += piece->count;
    r->repaired += piece->repaired;
    r->forced += piece->forced;
}

/* All pieces that are decided; the rest moves to the front. */
static void take_pieces(struct tokenize_run *r, bool end)
{
    struct tokenizer_piece piece;
    size_t at = 0, length;

    while ((length = tokenizer_next(r->reader, r->data + at, r->bytes - at, end, &piece)) > 0) {
        print_piece(r, &piece);
        at += length;
    }
    memmove(r->data, r->data + at, r->bytes - at);
    r->bytes -= at;
}

static enum err_code read_all(struct tokenize_run *r, struct err *err)
{
    ssize_t got;

    do {
        got = read(r->fd, r->data + r->bytes, READ_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_set(err, ERR_SOURCE, errno, "read '%s'", r->path);
        r->bytes += (size_t)got;
        r->source_bytes += (size_t)got;
        take_pieces(r, got == 0);
    } while (got && !ferror(stdout));
    return ERR_OK;
}

static enum err_code print_all(struct tokenize_run *r, struct err *err)
{
    enum err_code code;

    if (r->json)
        printf("{\"tokenizer\": \"%s\", \"fingerprint\": \"%016llx\", \"ids\": [",
               tokenizer_name(r->tokenizer),
               (unsigned long long)tokenizer_fingerprint(r->tokenizer));
    code = read_all(r, err);
    if (!code && r->json)
        printf("], \"bytes\": %llu, \"tokens\": %llu, \"repaired\": %llu, \"forced_cuts\": %llu}\n",
               (unsigned long long)r->source_bytes, (unsigned long long)r->tokens,
               (unsigned long long)r->repaired, (unsigned long long)r->forced);
    return code;
}

static void report(const struct tokenize_run *r)
{
    if (r->repaired)
        fprintf(stderr, "riverrun: '%s' is not UTF-8: %llu ill-formed pieces were read as U+FFFD\n",
                r->path, (unsigned long long)r->repaired);
    if (r->forced)
        fprintf(stderr,
                "riverrun: '%s' was cut %llu times for length alone, after %d characters: ids may "
                "differ there from those of the whole\n",
                r->path, (unsigned long long)r->forced, TOKENIZER_SEGMENT_MAX);
}

static void print_help(const struct option *options)
{
    puts("usage: riverrun tokenize FILE [--vocab FILE | --model FILE] [--json]\n"
         "\n"
         "The ids of a text, one a line; of standard input for -. Memory does not grow with the "
         "text.\n"
         "Text for NeoX is read as `read` does: repaired where it is not UTF-8, in normal form C, "
         "and\n"
         "`<|endoftext|>` in it is ordinary text unless --special-tokens is given (the library "
         "that made\n"
         "the file takes it for the token).\n");
    options_print(options);
}

enum err_code command_tokenize(char **arguments, size_t count, struct err *err)
{
    struct tokenize_run r = {.fd = -1};
    const struct option options[] = {
        {"vocab", 0, OPTION_PATH, &r.vocab, 0, 0, "FILE",
         "World's text or NeoX's JSON (default: bytes)"},
        {"model", 'm', OPTION_PATH, &r.model, 0, 0, "FILE", "the vocabulary in this model's file"},
        {"special-tokens", 0, OPTION_FLAG, &r.specials, 0, 0, NULL,
         "NeoX: `<|endoftext|>` in the text is that token"},
        {"json", 0, OPTION_FLAG, &r.json, 0, 0, NULL, "one JSON object, with counts"},
        {.name = NULL}};
    bool help;
    enum err_code code = options_parse(options, arguments, &count, &help, err);

    if (code)
        return code;
    if (help) {
        print_help(options);
        return ERR_OK;
    }
    if (count != 1 || (r.vocab && r.model))
        return err_set(err, ERR_USAGE, 0,
                       "tokenize needs one file, or -, and at most one of --vocab and --model");
    r.path = arguments[0];
    code = open_all(&r, err);
    if (!code)
        code = print_all(&r, err);
    if (!code)
        report(&r);
    close_all(&r);
    return code;
}
