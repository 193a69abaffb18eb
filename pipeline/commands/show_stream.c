/* riverrun show: a stream on the terminal, coloured by how much it surprised; its summary; its key passages.
 *
 * Places come from the records, the text from the source. Where the source is no plain text (or is gone, or is another
 * by now) there is no such text, or it does not begin as the record says: then the record's own excerpt is shown, and
 * once is said why. */
#include "pipeline/commands/commands.h"
#include "pipeline/commands/target.h"
#include "schemas/control.h"
#include "schemas/record.h"
#include "stages/encode/analysis/sentences.h"
#include "stages/encode/points.h"
#include "stages/ingest/entries.h"
#include "stages/tokenize/text.h"

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
    bool guarded;  /* the text goes to a terminal */
    char *file;    /* where the text is, malloc'ed; NULL: none is known */
    bool made;     /* places are those of a text that is not the source's bytes */
    bool composed; /* records have the text in normal form C */
    bool differs;  /* a unit so far is not what was read */
    bool told;     /* why the text is not shown */
    int fd;        /* of file; -1: none */
    uint64_t shown;
};

static const char help[] =
    "usage: riverrun show STREAM [-o DIR] [--summary | --key] [options]\n\n"
    "The text of a stream as it was read, unit by unit, coloured by `surprise`: from pale yellow,\n"
    "somewhat above what is usual, to red, far above. Without a terminal, or with NO_COLOR set,\n"
    "it is plain. --summary prints its sentences that say most (of a log what happened, period by\n"
    "period), --key its key passages.\n\n"
    "Of a source that is no file of plain text, is gone or is another by now, units are shown by\n"
    "the first 160 bytes that records hold (… stands behind what is cut). Key passages of a\n"
    "source that changed are refused, of one that cannot be had are shown by one sentence each.\n";

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

static bool is_blank(char byte)
{
    return (uint8_t)byte <= ' ' || byte == 0x7F;
}

static size_t skip_blanks(const char *text, size_t bytes, size_t at)
{
    while (at < bytes && is_blank(text[at]))
        at++;
    return at;
}

/* Does text go on at *at as the record's excerpt does, blanks aside? *at moves behind it. */
static bool goes_on(const char *text, size_t bytes, size_t *at, const json_t *record)
{
    static const char no_text[] = "\xEF\xBF\xBD"; /* for a byte that is no UTF-8, or itself */
    const json_t *excerpt = json_object_get(record, "text");
    const char *said = json_string_value(excerpt);
    size_t length = json_string_length(excerpt), i = skip_blanks(said, length, 0);

    while (i < length && *at < bytes) {
        bool any = length - i >= 3 && !memcmp(said + i, no_text, 3);
        if (is_blank(said[i]) && is_blank(text[*at])) {
            i = skip_blanks(said, length, i);
            *at = skip_blanks(text, bytes, *at);
            continue;
        }
        if (any && (bytes - *at < 3 || memcmp(text + *at, no_text, 3) != 0))
            i += 2;
        else if (text[*at] != said[i])
            return false;
        i++;
        ++*at;
    }
    return i == length;
}

/* A unit of up to RECORD_TEXT_MAX bytes stands in its record whole. */
static bool begins_as(const char *text, size_t bytes, const json_t *record)
{
    size_t begin = skip_blanks(text, bytes, 0), at = begin;

    if (!goes_on(text, bytes, &at, record))
        return false;
    return bytes > RECORD_TEXT_MAX ? at > begin || at > RECORD_TEXT_MAX
                                   : skip_blanks(text, bytes, at) == bytes;
}

/* The bytes of the source that a record is of, and up to ahead more in *got, malloc'ed; NULL where they are not. */
static char *source_bytes(const struct show *s, const json_t *record, size_t ahead, size_t *bytes,
                          size_t *got)
{
    json_int_t begin = json_integer_value(json_object_get(record, "begin"));
    json_int_t end = json_integer_value(json_object_get(record, "end"));
    ssize_t count;
    char *text;

    if (s->fd < 0 || begin < 0 || end <= begin || end - begin > UNIT_BYTES_MAX)
        return NULL;
    *bytes = (size_t)(end - begin);
    text = malloc(*bytes + ahead);
    require(text);
    count = pread(s->fd, text, *bytes + ahead, begin);
    if (count < (ssize_t)*bytes) {
        free(text);
        return NULL;
    }
    *got = (size_t)count;
    return text;
}

/* Of a unit; NULL where the source does not begin there as its record says. */
static char *unit_text(const struct show *s, const json_t *record, size_t *bytes)
{
    size_t got;
    char *text = source_bytes(s, record, 0, bytes, &got);

    if (text && begins_as(text, *bytes, record))
        return text;
    free(text);
    *bytes = 0;
    return NULL;
}

/* Of a key passage; NULL where the sentence that its record gives does not begin in it. */
static char *passage_text(const struct show *s, const json_t *passage, size_t *bytes)
{
    size_t got;
    char *text = source_bytes(s, passage, SENTENCE_MAX, bytes, &got);

    for (size_t begin = 0; text && begin < *bytes; begin++) {
        size_t at = begin;
        if (goes_on(text, got, &at, passage))
            return text;
    }
    free(text);
    *bytes = 0;
    return NULL;
}

/* Once: why it is not the text that is shown. */
static void say_why(struct show *s)
{
    if (s->told)
        return;
    s->told = true;
    if (s->file)
        fprintf(stderr, "riverrun: '%s' %s", s->file,
                s->fd < 0 ? "cannot be read" : "is not what was read");
    else
        fprintf(stderr, "riverrun: the source is %s",
                s->made ? "no file of plain text" : "not known");
    if (s->key)
        fputs(": of a key passage the sentence is shown that its record holds\n", stderr);
    else
        fprintf(stderr, ": units are shown by the first %d bytes that records hold\n",
                RECORD_TEXT_MAX);
}

/* As far as can be told: far less than there is room for was not cut, white space stands around it. */
static bool is_cut(const json_t *record)
{
    json_int_t bytes = json_integer_value(json_object_get(record, "end")) -
                       json_integer_value(json_object_get(record, "begin"));

    return bytes > RECORD_TEXT_MAX &&
           2 * json_string_length(json_object_get(record, "text")) > RECORD_TEXT_MAX;
}

static void show_excerpt(struct show *s, const json_t *record, const char *excerpt)
{
    bool cut = is_cut(record);

    if (cut || s->source)
        say_why(s);
    put_text(s, excerpt, strlen(excerpt));
    fputs(cut ? "…" : "", stdout);
    fputs(strcmp(json_string_value(json_object_get(record, "kind")), "line") ? "\n\n" : "\n",
          stdout);
}

static void show_unit(struct show *s, const json_t *record)
{
    const json_t *surprise = json_object_get(record, "surprise");
    const char *excerpt = json_string_value(json_object_get(record, "text"));
    size_t bytes;
    char *text = unit_text(s, record, &bytes);
    bool coloured = begin_colour(s, json_number_value(surprise));

    if (text)
        put_text(s, text, bytes);
    else if (excerpt)
        show_excerpt(s, record, excerpt);
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

/* The text of a key passage; NULL where it is not there as it was read. Fails: ERR_CHANGED: something else is. */
static enum err_code find_passage(const struct show *s, const json_t *passage, char **text,
                                  size_t *bytes, struct err *err)
{
    *text = s->differs ? NULL : passage_text(s, passage, bytes);
    if (*text || s->fd < 0 || s->composed)
        return ERR_OK;
    return err_set(err, ERR_CHANGED, 0,
                   "'%s' is not what was read, up to byte %lld: give that with --source FILE",
                   s->file, (long long)json_integer_value(json_object_get(passage, "end")));
}

static enum err_code show_key(struct show *s, const json_t *record, struct err *err)
{
    const json_t *list = json_object_get(record, "passages");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *passage = json_array_get(list, i);
        size_t bytes = 0;
        char *text;
        enum err_code code = find_passage(s, passage, &text, &bytes, err);
        if (code)
            return code;
        printf("%sbytes %lld to %lld\n", i ? "\n" : "",
               (long long)json_integer_value(json_object_get(passage, "begin")),
               (long long)json_integer_value(json_object_get(passage, "end")));
        while (bytes && strchr(" \t\r\n", text[bytes - 1]))
            bytes--;
        if (text) {
            put_text(s, text, bytes);
        } else {
            say_why(s);
            put_string(s, passage, "text");
        }
        putchar('\n');
        free(text);
    }
    return ERR_OK;
}

/* ---- Records ---- */

static bool is_unit(const json_t *record, const char *kind)
{
    return json_object_get(record, "tokens") && strcmp(kind, "document") != 0;
}

static bool is_wanted(const struct show *s, const json_t *record, const char *kind)
{
    bool summary = strcmp(kind, "summary") == 0;

    if (s->summary)
        return summary;
    if (s->key)
        return summary && json_object_get(record, "passages");
    return is_unit(record, kind);
}

/* Key passages are only taken from a source whose units up to them are as their records say. */
static void check_unit(struct show *s, const json_t *record)
{
    json_int_t bytes = json_integer_value(json_object_get(record, "end")) -
                       json_integer_value(json_object_get(record, "begin"));
    size_t got;

    if (s->fd < 0 || bytes <= 0 || bytes > UNIT_BYTES_MAX)
        return;
    char *text = unit_text(s, record, &got);
    s->differs = s->differs || !text;
    free(text);
}

static enum err_code show_record(struct show *s, const json_t *record, const char *line,
                                 struct err *err)
{
    const char *kind = json_string_value(json_object_get(record, "kind"));

    if (!kind)
        return ERR_OK;
    if (s->key && is_unit(record, kind))
        check_unit(s, record);
    if (!is_wanted(s, record, kind))
        return ERR_OK;
    s->shown++;
    if (s->target.json)
        fputs(line, stdout);
    else if (s->key)
        return show_key(s, record, err);
    else if (s->summary && json_object_get(record, "lines"))
        show_period(s, record);
    else if (s->summary)
        show_sentences(s, record);
    else
        show_unit(s, record);
    return ERR_OK;
}

static enum err_code show_file(struct show *s, const char *stream, struct err *err)
{
    char *path = NULL, *line = NULL;
    size_t room = 0, number = 0;
    enum err_code code = ERR_OK;
    FILE *file;

    require(asprintf(&path, "%s/%s.jsonl", s->target.output, stream) >= 0);
    file = fopen(path, "re");
    if (!file) {
        int cause = errno;
        free(path);
        if (cause != ENOENT)
            return err_set(err, ERR_SYSTEM, cause, "read the records of stream '%s' in '%s'",
                           stream, s->target.output);
        if (access(s->target.output, F_OK))
            return err_set(err, ERR_ABSENT, 0,
                           "there is no folder '%s': say with -o where the job's output is",
                           s->target.output);
        return err_set(err, ERR_ABSENT, 0,
                       "stream '%s' has no records in '%s': `riverrun status` names the streams",
                       stream, s->target.output);
    }
    for (ssize_t bytes; !code && (bytes = getline(&line, &room, file)) > 0 && !ferror(stdout);) {
        json_t *record = json_loadb(line, (size_t)bytes, JSON_ALLOW_NUL, NULL);
        number++;
        if (record)
            code = show_record(s, record, line, err);
        else if (line[bytes - 1] == '\n') /* a kill cuts off the last line alone */
            code = err_set(err, ERR_SINK, 0,
                           "'%s', line %zu: is no record; put the file back, or begin again with "
                           "--restart",
                           path, number);
        json_decref(record);
    }
    if (!code && ferror(file))
        code = err_set(err, ERR_SINK, errno, "read '%s'", path);
    free(line);
    free(path);
    fclose(file);
    if (!code && s->shown == 0 && s->summary)
        return err_set(
            err, ERR_ABSENT, 0,
            "stream '%s' has no summary: it comes at the end of a document that has a "
            "sentence of four words, of a log after --summary-lines, and from `--analyze "
            "summary`",
            stream);
    if (!code && s->shown == 0 && s->key)
        return err_set(err, ERR_ABSENT, 0,
                       "stream '%s' has no key passages: they come at the end of a document that "
                       "is not read by line, and from `--analyze summary`",
                       stream);
    return code;
}

/* What the newest checkpoint says of the text; what has none has no records. */
static void look_at_text(struct show *s, struct store *store, uint64_t id)
{
    const struct point newest = {.id = id};
    struct store_checkpoint *values = NULL;
    Riverrun__Checkpoint *meta = NULL;
    struct view cursor;
    struct err err;

    if (point_read(store, &newest, false, &values, &meta, &err))
        return;
    cursor = (struct view){meta->cursor.data, meta->cursor.len};
    s->made = s->made || meta->fingerprints->reader[0] ||
              (!text_upstream(cursor, &cursor, &err) && entries_cursor_is_spooled(cursor));
    s->composed = strcmp(meta->fingerprints->normalize, "none") != 0;
    riverrun__checkpoint__free_unpacked(meta, NULL);
    store_checkpoint_free(&values);
}

/* Where the text of stream is, as the store has it, unless --source says so; and its own name, if it has another. */
static enum err_code find_text(struct show *s, char **stream, struct err *err)
{
    struct buffer bytes = buffer_of(1 << 20);
    struct store *store = NULL;
    Riverrun__Note *note = NULL;
    uint64_t id;
    bool owned;
    enum err_code code = ERR_OK;

    if (!target_end(&s->target, NULL) && !target_look(&s->target, &store, &owned, NULL)) {
        code = target_names(&s->target, store, stream, 1, err);
        if (!code && !store_find(store, *stream, &id, NULL) && !store_note(store, id, &bytes, NULL))
            note = riverrun__note__unpack(NULL, bytes.bytes, bytes.data);
    }
    if (note) {
        s->made = strcmp(note->source, "-") == 0;
        look_at_text(s, store, id);
    }
    if (s->source || (note && !s->made))
        s->file = strdup(s->source ? s->source : note->source);
    if (note)
        riverrun__note__free_unpacked(note, NULL);
    buffer_release(&bytes);
    store_close(&store);
    return code;
}

enum err_code command_show(char **arguments, size_t count, struct err *err)
{
    struct show s = {.fd = -1};
    struct option options[TARGET_OPTIONS + 6];
    size_t at = target_options(&s.target, false, options);
    bool asked;
    enum err_code code;

    options[at++] =
        (struct option){"summary", 0, OPTION_FLAG, &s.summary, 0, 0, NULL, "its summary"};
    options[at++] = (struct option){"key", 0, OPTION_FLAG, &s.key, 0, 0, NULL, "its key passages"};
    options[at++] =
        (struct option){"sentences", 0,  OPTION_COUNT, &s.sentences,
                        1,           32, "N",          "of a summary (default: 3, at most 32)"};
    options[at++] =
        (struct option){"source", 0, OPTION_PATH, &s.source,
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
    if (!code && s.sentences && (!s.summary || s.target.json))
        code =
            err_set(err, ERR_USAGE, 0,
                    "--sentences is of --summary without --json: the record has up to 32 of them");
    if (code)
        return code;
    s.sentences = s.sentences ? s.sentences : SENTENCES_DEFAULT;
    code = find_text(&s, &arguments[0], err);
    s.fd = s.file ? open(s.file, O_RDONLY | O_CLOEXEC) : -1;
    if (!code && s.source && s.fd < 0)
        code = err_set(err, ERR_SOURCE, errno, "source '%s'", s.source);
    s.depth = depth_of(&s);
    s.guarded = s.depth != DEPTH_NONE || isatty(STDOUT_FILENO);
    if (!code)
        code = show_file(&s, arguments[0], err);
    if (s.fd >= 0)
        close(s.fd);
    free(s.file);
    target_release(&s.target);
    return code;
}
