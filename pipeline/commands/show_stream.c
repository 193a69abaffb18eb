/* riverrun show: a stream on the terminal, coloured by how much it surprised; its summary; its key passages.
 *
 * Places come from the records, the text from the source. Where the source is no plain text (or is gone, or is another
 * by now) its bytes do not begin as the record says, and the record's own excerpt is shown. */
#include "pipeline/commands/commands.h"
#include "pipeline/commands/target.h"
#include "schemas/control.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { UNIT_BYTES_MAX = 1 << 20, SENTENCES_DEFAULT = 3 };
enum colour { COLOUR_AUTO, COLOUR_NEVER, COLOUR_ALWAYS };
enum depth { DEPTH_NONE, DEPTH_256, DEPTH_TRUE };

struct show {
    struct target target;
    const char *source; /* file to take the text from */
    uint64_t sentences;
    int colour;
    bool summary, key;
    enum depth depth;
    bool guarded; /* the text goes to a terminal */
    bool checked; /* the source is the one that was read */
    int fd;       /* of the source; -1: none */
    uint64_t shown;
};

static const char help[] =
    "usage: riverrun show STREAM [-o DIR] [--summary | --key] [options]\n\n"
    "The text of a stream as it was read, unit by unit, coloured by `surprise`: from pale yellow,\n"
    "somewhat above what is usual, to red, far above. Without a terminal, or with NO_COLOR set,\n"
    "it is plain. --summary prints its sentences that say most (of a log what happened, period by\n"
    "period), --key its key passages.\n";

/* ---- Colours ---- */

static enum depth depth_of(const struct show *s)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM"), *more = getenv("COLORTERM");

    if (s->colour == COLOUR_NEVER)
        return DEPTH_NONE;
    if (s->colour == COLOUR_AUTO &&
        (!isatty(STDOUT_FILENO) || (no && *no) || (term && strcmp(term, "dumb") == 0)))
        return DEPTH_NONE;
    return more && (!strcmp(more, "truecolor") || !strcmp(more, "24bit")) ? DEPTH_TRUE : DEPTH_256;
}

/* Deviations above the usual: nothing up to 1, red from 6 on. True: a colour was begun. */
static bool begin_colour(const struct show *s, double surprise)
{
    static const int steps[] = {229, 222, 215, 209, 203, 196};
    double share = (surprise - 1) / 5;
    int at;

    if (s->depth == DEPTH_NONE || !(share > 0))
        return false;
    share = share < 1 ? share : 1;
    at = (int)(share * 5);
    if (s->depth == DEPTH_TRUE)
        printf("\033[38;2;255;%d;%dm", (int)(240 - 200 * share), (int)(150 - 120 * share));
    else
        printf("\033[38;5;%dm", steps[at]);
    return true;
}

/* What could move a terminal's cursor or worse is not passed on to one. */
static void put_text(const struct show *s, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)text[i];
        bool control = (byte < ' ' && byte != '\n' && byte != '\t') || byte == 0x7F ||
                       (byte == 0xC2 && i + 1 < bytes && (uint8_t)text[i + 1] >= 0x80 &&
                        (uint8_t)text[i + 1] < 0xA0);
        if (!control || !s->guarded)
            putchar(byte);
        else if (byte != '\r')
            putchar('?');
        i += control && byte == 0xC2;
    }
}

/* ---- Text ---- */

static bool begins_as(const char *text, size_t bytes, const json_t *record)
{
    const char *excerpt = json_string_value(json_object_get(record, "text"));
    size_t at = 0, length = excerpt ? strlen(excerpt) : 0;

    while (at < bytes && strchr(" \t\r\n\v\f", text[at]))
        at++;
    for (size_t i = 0; i < length; i++, at++)
        if ((uint8_t)excerpt[i] == 0xEF && i + 2 < length && (uint8_t)excerpt[i + 1] == 0xBF)
            i += 2; /* a byte that is no UTF-8 */
        else if (at >= bytes || text[at] != excerpt[i])
            return false;
    return true;
}

/* Bytes of the source into malloc'ed *out, or 0 where they are not there as the record says. */
static size_t source_text(const struct show *s, const json_t *record, bool compare, char **out)
{
    json_int_t begin = json_integer_value(json_object_get(record, "begin"));
    json_int_t end = json_integer_value(json_object_get(record, "end"));
    size_t bytes = end > begin && end - begin <= UNIT_BYTES_MAX ? (size_t)(end - begin) : 0;

    if (s->fd < 0 || begin < 0 || !bytes)
        return 0;
    *out = malloc(bytes);
    if (!*out || pread(s->fd, *out, bytes, begin) != (ssize_t)bytes ||
        (compare && !begins_as(*out, bytes, record))) {
        free(*out);
        *out = NULL;
        return 0;
    }
    return bytes;
}

static void show_unit(struct show *s, const json_t *record)
{
    const json_t *surprise = json_object_get(record, "surprise");
    const char *excerpt = json_string_value(json_object_get(record, "text"));
    char *text = NULL;
    size_t bytes = source_text(s, record, true, &text);
    bool coloured = begin_colour(s, json_number_value(surprise));

    if (bytes) {
        put_text(s, text, bytes);
    } else if (excerpt) {
        put_text(s, excerpt, strlen(excerpt));
        fputs(strcmp(json_string_value(json_object_get(record, "kind")), "line") ? "\n\n" : "\n",
              stdout);
    }
    if (coloured)
        fputs("\033[0m", stdout);
    free(text);
}

/* ---- Summaries ---- */

static int by_begin(const void *a, const void *b)
{
    json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "begin"));
    json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "begin"));

    return (x > y) - (x < y);
}

static void put_string(const struct show *s, const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    if (text)
        put_text(s, text, strlen(text));
}

/* As many of its sentences as are asked for, in the order of the text, and what it is about. */
static void show_sentences(const struct show *s, const json_t *record)
{
    const json_t *list = json_object_get(record, "sentences");
    const json_t *phrases = json_object_get(record, "phrases");
    size_t count = json_array_size(list) < s->sentences ? json_array_size(list) : s->sentences;
    json_t **sorted = calloc(count + 1, sizeof *sorted);

    require(sorted);
    for (size_t i = 0; i < count; i++)
        sorted[i] = json_array_get(list, i);
    qsort(sorted, count, sizeof *sorted, by_begin);
    for (size_t i = 0; i < count; i++) {
        put_string(s, sorted[i], "text");
        putchar('\n');
    }
    for (size_t i = 0; i < json_array_size(phrases); i++) {
        fputs(i ? ", " : "\nabout: ", stdout);
        put_string(s, json_array_get(phrases, i), "text");
    }
    if (json_array_size(phrases))
        putchar('\n');
    free(sorted);
}

static void show_period(const struct show *s, const json_t *record)
{
    const json_t *novel = json_object_get(record, "novel");

    put_string(s, record, "from");
    fputs(json_object_get(record, "from") ? " to " : "", stdout);
    put_string(s, record, "to");
    printf("%s%lld lines, %lld new templates\n", json_object_get(record, "from") ? ": " : "",
           (long long)json_integer_value(json_object_get(record, "lines")),
           (long long)json_integer_value(json_object_get(record, "new_templates")));
    for (size_t i = 0; i < json_array_size(novel); i++) {
        const json_t *line = json_array_get(novel, i);
        printf("  %5.1f bits  ", json_number_value(json_object_get(line, "novelty")));
        put_string(s, line, "text");
        putchar('\n');
    }
}

static void show_key(struct show *s, const json_t *record)
{
    const json_t *list = json_object_get(record, "passages");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *passage = json_array_get(list, i);
        char *text = NULL;
        size_t bytes = source_text(s, passage, false, &text);
        printf("%sbytes %lld to %lld\n", i ? "\n" : "",
               (long long)json_integer_value(json_object_get(passage, "begin")),
               (long long)json_integer_value(json_object_get(passage, "end")));
        while (bytes && strchr(" \t\r\n", text[bytes - 1]))
            bytes--;
        if (bytes)
            put_text(s, text, bytes);
        else
            put_string(s, passage, "text");
        putchar('\n');
        free(text);
    }
}

/* ---- Records ---- */

static bool is_wanted(const struct show *s, const json_t *record, const char *kind)
{
    bool summary = strcmp(kind, "summary") == 0;

    if (s->summary)
        return summary;
    if (s->key)
        return summary && json_object_get(record, "passages");
    return json_object_get(record, "tokens") && strcmp(kind, "document") != 0;
}

/* Passages are only taken from a source whose first unit is as its record says. */
static void check_source(struct show *s, const json_t *record)
{
    char *text = NULL;

    s->checked = true;
    if (!source_text(s, record, true, &text) && s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
    free(text);
}

static void show_record(struct show *s, const json_t *record, const char *line)
{
    const char *kind = json_string_value(json_object_get(record, "kind"));

    if (s->key && !s->checked && json_object_get(record, "tokens"))
        check_source(s, record);
    if (!kind || !is_wanted(s, record, kind))
        return;
    s->shown++;
    if (s->target.json)
        fputs(line, stdout);
    else if (s->key)
        show_key(s, record);
    else if (s->summary && json_object_get(record, "lines"))
        show_period(s, record);
    else if (s->summary)
        show_sentences(s, record);
    else
        show_unit(s, record);
}

static enum err_code show_file(struct show *s, const char *stream, struct err *err)
{
    char *path = NULL, *line = NULL;
    size_t room = 0;
    FILE *file;

    require(asprintf(&path, "%s/%s.jsonl", s->target.output, stream) >= 0);
    file = fopen(path, "re");
    if (!file) {
        free(path);
        return err_set(err, ERR_ABSENT, errno,
                       "stream '%s' has no records in '%s': `riverrun status` names the streams",
                       stream, s->target.output);
    }
    for (ssize_t bytes; (bytes = getline(&line, &room, file)) > 0 && !ferror(stdout);) {
        json_t *record = json_loadb(line, (size_t)bytes, JSON_ALLOW_NUL, NULL);
        if (record) /* a line that a kill cut is none */
            show_record(s, record, line);
        json_decref(record);
    }
    free(line);
    free(path);
    fclose(file);
    if (s->shown == 0 && (s->summary || s->key))
        return err_set(err, ERR_ABSENT, 0,
                       "stream '%s' has no %s: it comes at the end of a document, of a log after "
                       "--summary-lines, and from `--analyze summary`",
                       stream, s->key ? "key passages" : "summary");
    return ERR_OK;
}

/* The file that the stream was read from, as the store has it; malloc'ed, NULL where it is not known. */
static char *source_of(struct show *s, const char *stream)
{
    struct buffer bytes = buffer_of(1 << 20);
    struct store *store = NULL;
    Riverrun__Note *note = NULL;
    char *source = NULL;
    uint64_t id;
    bool owned;

    if (!target_end(&s->target, NULL) && !target_look(&s->target, &store, &owned, NULL) &&
        !store_find(store, stream, &id, NULL) && !store_note(store, id, &bytes, NULL))
        note = riverrun__note__unpack(NULL, bytes.bytes, bytes.data);
    if (note) {
        source = strdup(note->source);
        riverrun__note__free_unpacked(note, NULL);
    }
    buffer_release(&bytes);
    store_close(&store);
    return source;
}

enum err_code command_show(char **arguments, size_t count, struct err *err)
{
    struct show s = {.sentences = SENTENCES_DEFAULT, .fd = -1};
    struct option options[TARGET_OPTIONS + 6];
    size_t at = target_options(&s.target, false, options);
    char *source = NULL;
    bool asked;
    enum err_code code;

    options[at++] =
        (struct option){"summary", 0, OPTION_FLAG, &s.summary, 0, 0, NULL, "its summary"};
    options[at++] = (struct option){"key", 0, OPTION_FLAG, &s.key, 0, 0, NULL, "its key passages"};
    options[at++] =
        (struct option){"sentences", 0,  OPTION_COUNT, &s.sentences,
                        1,           32, "N",          "of a summary (default: 3, at most 32)"};
    options[at++] =
        (struct option){"source", 0, OPTION_TEXT, &s.source,
                        0,        0, "FILE",      "the text (default: the file that was read)"};
    options[at++] = (struct option){"color", 0, OPTION_CHOICE,       &s.colour,
                                    0,       0, "auto|never|always", "(default: on a terminal)"};
    options[at] = (struct option){.name = NULL};
    code = options_parse(options, arguments, &count, &asked, err);
    if (!code && asked) {
        puts(help);
        options_print(options);
        return ERR_OK;
    }
    if (!code && (count != 1 || (s.summary && s.key)))
        code =
            err_set(err, ERR_USAGE, 0, "show needs one stream, and --summary or --key or neither");
    if (code)
        return code;
    source = s.source ? strdup(s.source) : source_of(&s, arguments[0]);
    s.fd = source ? open(source, O_RDONLY | O_CLOEXEC) : -1;
    if (s.source && s.fd < 0)
        code = err_set(err, ERR_SOURCE, errno, "source '%s'", s.source);
    s.depth = depth_of(&s);
    s.guarded = s.depth != DEPTH_NONE || isatty(STDOUT_FILENO);
    if (!code)
        code = show_file(&s, arguments[0], err);
    if (s.fd >= 0)
        close(s.fd);
    free(source);
    target_release(&s.target);
    return code;
}
