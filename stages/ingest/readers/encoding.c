/* Which encoding a text is in, and the way out of it.
 *
 * What is said beats what is guessed: --encoding, a byte order mark, then UTF-8 that holds (look.h), then what
 * a mail's header says, what XML or HTML says of itself, then the zeros of UTF-16 and UTF-32 without a mark, and last
 * uchardet, which knows languages. Nobody is believed unseen: the beginning is decoded, and where more than one
 * character in a hundred is none, or a control character, the file is refused with the option that decides it. So a
 * picture is no text, and no text is read in the wrong alphabet without a word.
 *
 * Names as the web reads them (WHATWG): what calls itself Latin-1 is Windows-1252, and so on; but what the user
 * says is taken as it is said. */
#include "stages/ingest/readers/encoding.h"

#include <ctype.h>
#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <uchardet.h>

enum {
    CHUNK_BYTES = 64 * 1024,
    TEXT_BYTES = 64 * 1024, /* made of a chunk at a time */
    STRANGE_MOST = 100,     /* one character in so many */
    PARITY = 10 /* zeros at odd and even places differ by so much: two bytes a character */
};

struct encoding {
    struct pull in;
    char name[ENCODING_NAME_MAX];
    iconv_t table;    /* (iconv_t)-1: UTF-8, as it is */
    const char *said; /* by a mail's header, or NULL */
    size_t unit;      /* bytes of what is passed over where there is no character */
    bool end;         /* of in */
    bool flushed;     /* iconv keeps nothing back any more */
    uint64_t replaced;
    uint8_t *sample; /* (sample_bytes) the beginning; NULL once it was passed on */
    size_t sample_bytes, sample_at;
    size_t held; /* in chunk, not decoded yet */
    size_t made, given;
    uint8_t chunk[CHUNK_BYTES];
    uint8_t text[TEXT_BYTES];
};

/* ---- From bytes to UTF-8 ---- */

static size_t unit_of(const char *name)
{
    const bool two =
        strcasestr(name, "UTF-16") || strcasestr(name, "UCS-2") || !strcasecmp(name, "UNICODE");

    return two ? 2 : strcasestr(name, "UTF-32") || strcasestr(name, "UCS-4") ? 4 : 1;
}

/* Decode [*from, *from + *left) to [*to, *to + *room), replacing what is no character; stops where the last one
 * is cut or the room is full. */
static void decode(struct encoding *e, char **from, size_t *left, char **to, size_t *room)
{
    static const char strange[] = "\xEF\xBF\xBD";

    while (*left && *room >= 16) {
        size_t pass;
        if (iconv(e->table, from, left, to, room) != (size_t)-1 || errno == EINVAL)
            return;
        if (errno != EILSEQ || *room < sizeof strange)
            return;
        pass = e->unit < *left ? e->unit : *left;
        *from += pass;
        *left -= pass;
        memcpy(*to, strange, sizeof strange - 1);
        *to += sizeof strange - 1;
        *room -= sizeof strange - 1;
        e->replaced++;
    }
}

/* What is left at the end is a character that was cut: one U+FFFD. */
static void decode_last(struct encoding *e, char **to, size_t *room)
{
    if (e->held && *room >= 3) {
        memcpy(*to, "\xEF\xBF\xBD", 3);
        *to += 3;
        *room -= 3;
        e->held = 0;
        e->replaced++;
    }
    (void)iconv(e->table, NULL, NULL, to, room);
    e->flushed = true;
}

/* The beginning again, then the rest. */
static enum err_code read_raw(struct encoding *e, uint8_t *data, size_t room, size_t *got,
                              struct err *err)
{
    if (!e->sample)
        return e->in.read(e->in.self, data, room, got, err);
    *got = e->sample_bytes - e->sample_at < room ? e->sample_bytes - e->sample_at : room;
    memcpy(data, e->sample + e->sample_at, *got);
    e->sample_at += *got;
    if (e->sample_at < e->sample_bytes)
        return ERR_OK;
    free(e->sample);
    e->sample = NULL;
    return *got ? ERR_OK : e->in.read(e->in.self, data, room, got, err);
}

static enum err_code make_text(struct encoding *e, struct err *err)
{
    char *to = (char *)e->text, *from = (char *)e->chunk;
    size_t room = sizeof e->text, got = 0, before;
    enum err_code code = ERR_OK;

    e->made = e->given = 0;
    if (!e->end && e->held < sizeof e->chunk)
        code = read_raw(e, e->chunk + e->held, sizeof e->chunk - e->held, &got, err);
    if (code)
        return code;
    e->end = e->end || (e->held < sizeof e->chunk && got == 0);
    e->held += got;
    before = e->held;
    decode(e, &from, &e->held, &to, &room);
    memmove(e->chunk, from, e->held);
    if (e->end && e->held == before)
        decode_last(e, &to, &room);
    e->made = sizeof e->text - room;
    return ERR_OK;
}

static enum err_code read_text(void *self, uint8_t *data, size_t room, size_t *got, struct err *err)
{
    struct encoding *e = self;
    enum err_code code = ERR_OK;

    if (e->table == (iconv_t)-1)
        return read_raw(e, data, room, got, err);
    while (!code && e->given == e->made && !e->flushed)
        code = make_text(e, err);
    if (code)
        return code;
    *got = e->made - e->given < room ? e->made - e->given : room;
    memcpy(data, e->text + e->given, *got);
    e->given += *got;
    return ERR_OK;
}

/* ---- Which it is ---- */

/* As the web has agreed to read these names, where they are not what they say. */
static const char *web_name(const char *name)
{
    static const char *const others[][2] = {{"ISO-8859-1", "WINDOWS-1252"},
                                            {"ISO_8859-1", "WINDOWS-1252"},
                                            {"LATIN1", "WINDOWS-1252"},
                                            {"ASCII", "WINDOWS-1252"},
                                            {"US-ASCII", "WINDOWS-1252"},
                                            {"ISO-8859-9", "WINDOWS-1254"},
                                            {"ISO-8859-11", "WINDOWS-874"},
                                            {"TIS-620", "WINDOWS-874"},
                                            {"GB2312", "GB18030"},
                                            {"GBK", "GB18030"},
                                            {"SHIFT_JIS", "CP932"},
                                            {"SHIFT-JIS", "CP932"},
                                            {"EUC-KR", "UHC"},
                                            {"KS_C_5601-1987", "UHC"}};

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcasecmp(name, others[i][0]))
            return others[i][1];
    return name;
}

static void set_name(struct encoding *e, const char *name)
{
    snprintf(e->name, sizeof e->name, "%s", name);
    for (char *at = e->name; *at; at++)
        *at = (char)toupper((unsigned char)*at);
    e->unit = unit_of(e->name);
}

static bool open_table(struct encoding *e, const char *name)
{
    /* To iconv "" is the locale's, and its options stand behind a slash. */
    if (!*name || strlen(name) >= sizeof e->name || strchr(name, '/'))
        return false;
    set_name(e, name);
    if (!strcmp(e->name, "UTF-8") || !strcmp(e->name, "UTF8"))
        return true;
    e->table = iconv_open("UTF-8", e->name);
    return e->table != (iconv_t)-1;
}

static void close_table(struct encoding *e)
{
    if (e->table != (iconv_t)-1)
        iconv_close(e->table);
    e->table = (iconv_t)-1;
    e->name[0] = 0;
}

/* How many of text's characters are none, or controls that no text has. */
static void judge(struct view text, size_t *characters, size_t *strange)
{
    for (size_t i = 0; i < text.bytes; i++) {
        uint8_t byte = text.data[i], next = i + 1 < text.bytes ? text.data[i + 1] : 0;
        bool control = byte == 0x7F || (byte < 0x20 && !strchr("\t\n\v\f\r\033", byte)) || !byte;
        *characters += (byte & 0xC0) != 0x80;
        *strange += control || (byte == 0xC2 && next >= 0x80 && next < 0xA0);
    }
}

/* Does the beginning make sense? It is decoded by the table, which then is as new. */
static bool makes_sense(struct encoding *e)
{
    char *from = (char *)e->sample + e->sample_at;
    size_t left = e->sample_bytes - e->sample_at, characters = 0, strange = 0, before = left + 1;

    while (left && left < before) {
        char *to = (char *)e->text;
        size_t room = sizeof e->text;
        before = left;
        decode(e, &from, &left, &to, &room);
        judge((struct view){e->text, sizeof e->text - room}, &characters, &strange);
    }
    strange += (size_t)e->replaced;
    e->replaced = 0;
    (void)iconv(e->table, NULL, NULL, NULL, NULL);
    return strange <= characters / STRANGE_MOST + 1;
}

static bool try(struct encoding *e, const char *name)
{
    if (name[0] && open_table(e, name) && (e->table == (iconv_t)-1 || makes_sense(e)))
        return true;
    close_table(e);
    return false;
}

/* The first `open`, an element's beginning, that has it says word="name" or word=name; "" where none does. */
static void element_says(struct view sample, const char *open, const char *word,
                         char name[ENCODING_NAME_MAX])
{
    const char *at = (const char *)sample.data, *found = NULL;
    const char *end = at + (sample.bytes < 4096 ? sample.bytes : 4096);
    size_t bytes = 0;

    for (bool inside = false; at < end && !found; at++) {
        const char *mark = inside ? word : open, *behind = at + strlen(mark);
        bool here = behind < end && !strncasecmp(at, mark, strlen(mark));
        while (here && inside && behind < end && isspace((unsigned char)*behind))
            behind++;
        if (here && inside && behind < end && *behind == '=')
            found = behind + 1;
        inside = inside ? *at != '>' : here;
    }
    while (found && found < end && strchr("\"' ", *found))
        found++;
    while (found && found + bytes < end && bytes + 1 < ENCODING_NAME_MAX &&
           (isalnum((unsigned char)found[bytes]) || strchr("-_:.", found[bytes]))) {
        name[bytes] = found[bytes];
        bytes++;
    }
    name[bytes] = 0;
}

/* One of 8-bit units at that: a name of wider ones could not be read where it stands. */
static bool declares(struct encoding *e, struct view sample, const char *open, const char *word)
{
    char name[ENCODING_NAME_MAX];

    element_says(sample, open, word, name);
    return strcasecmp(name, "UTF-8") && unit_of(web_name(name)) == 1 && try(e, web_name(name));
}

/* What an XML declaration says, or else HTML's <meta> in what begins as markup does: any text may quote one. */
static bool markup_tells(struct encoding *e, struct view sample)
{
    const bool xml = sample.bytes > 5 && !memcmp(sample.data, "<?xml", 5);
    size_t at = 0;

    while (at < sample.bytes && isspace(sample.data[at]))
        at++;
    return (xml && declares(e, sample, "<?xml", "encoding")) ||
           ((xml || (at + 1 < sample.bytes && sample.data[at] == '<' &&
                     (isalpha(sample.data[at + 1]) || sample.data[at + 1] == '!'))) &&
            declares(e, sample, "<meta", "charset"));
}

static const char *zeros_tell(struct view sample)
{
    size_t zeros[4] = {0}, letters[2] = {0}, others = 0, even, odd;

    for (size_t i = 0; i < sample.bytes; i++) {
        zeros[i % 4] += sample.data[i] == 0;
        letters[i % 2] += sample.data[i] >= 'A' && sample.data[i] <= 'z';
        others += sample.data[i] >= 0x80;
    }
    even = zeros[0] + zeros[2];
    odd = zeros[1] + zeros[3];
    if (even + odd <= sample.bytes / 16)
        return "";
    if (zeros[3] > sample.bytes / 5 && zeros[2] > sample.bytes / 5)
        return "UTF-32LE";
    if (zeros[0] > sample.bytes / 5 && zeros[1] > sample.bytes / 5)
        return "UTF-32BE";
    /* ASCII that zeros divide: letters stand where UTF-16 has the number of an alphabet. */
    if (!others && letters[odd > even] > (odd > even ? odd : even))
        return "";
    return odd > PARITY * even ? "UTF-16LE" : even > PARITY * odd ? "UTF-16BE" : "";
}

static void uchardet_tells(struct view sample, char name[ENCODING_NAME_MAX])
{
    uchardet_t detector = uchardet_new();

    name[0] = 0;
    if (!detector)
        return;
    if (!uchardet_handle_data(detector, (const char *)sample.data, sample.bytes)) {
        uchardet_data_end(detector);
        snprintf(name, ENCODING_NAME_MAX, "%s", uchardet_get_charset(detector));
    }
    uchardet_delete(detector);
}

static bool guess(struct encoding *e, struct view sample)
{
    char name[ENCODING_NAME_MAX];

    if (e->said && strcasecmp(e->said, "UTF-8") && try(e, web_name(e->said)))
        return true;
    if (markup_tells(e, sample) || try(e, zeros_tell(sample)))
        return true;
    uchardet_tells(sample, name);
    if (strcasecmp(name, "UTF-8") && try(e, web_name(name)))
        return true;
    return look_may_be_utf8(sample) && try(e, "UTF-8");
}

static enum err_code choose(struct encoding *e, const char *asked, struct err *err)
{
    struct view sample = {e->sample, e->sample_bytes};
    size_t mark_bytes = 0;
    const char *mark = look_mark(sample, &mark_bytes);
    bool utf8 = look_is_utf8(sample) && !(e->said && !strcasecmp(e->said, "UTF-7"));

    if (asked) {
        if (!open_table(e, asked))
            return encoding_check(asked, err);
        e->sample_at = mark && !strcmp(mark, e->name) && e->unit > 1 ? mark_bytes : 0;
        return ERR_OK;
    }
    if (mark && !utf8) {
        e->sample_at = mark_bytes;
        if (try(e, mark))
            return ERR_OK;
        e->sample_at = 0;
    }
    if (utf8 ? try(e, "UTF-8") : guess(e, sample))
        return ERR_OK;
    return err_set(err, ERR_SOURCE, 0,
                   "is no text in any encoding that can be told; if it is text, say which with "
                   "--encoding NAME");
}

static enum err_code begin(struct encoding **out, const struct pull *in, const char *asked,
                           const char *said, struct pull *text, struct err *err)
{
    struct encoding *e = calloc(1, sizeof *e);
    enum err_code code;

    if (!e)
        return err_set(err, ERR_MEMORY, 0, "a reader");
    e->in = *in;
    e->said = said;
    e->table = (iconv_t)-1;
    e->sample = malloc(LOOK_BYTES);
    code = e->sample ? pull_full(in, e->sample, LOOK_BYTES, &e->sample_bytes, err)
                     : err_set(err, ERR_MEMORY, 0, "a reader");
    if (!code)
        code = choose(e, asked, err);
    if (code) {
        encoding_close(&e);
        return code;
    }
    e->said = NULL; /* lent for the call */
    *text = (struct pull){read_text, e};
    *out = e;
    return ERR_OK;
}

enum err_code encoding_open(struct encoding **out, const struct pull *in, const char *asked,
                            struct pull *text, struct err *err)
{
    return begin(out, in, asked, NULL, text, err);
}

enum err_code encoding_open_said(struct encoding **out, const struct pull *in, const char *said,
                                 struct pull *text, struct err *err)
{
    return begin(out, in, NULL, said, text, err);
}

enum err_code encoding_check(const char *asked, struct err *err)
{
    const bool named = *asked && !strchr(asked, '/');
    iconv_t table = named ? iconv_open("UTF-8", asked) : (iconv_t)-1;

    if (table == (iconv_t)-1)
        return err_set(err, ERR_USAGE, 0, "--encoding '%s': `iconv -l` names those that are known",
                       asked);
    iconv_close(table);
    return ERR_OK;
}

const char *encoding_name(const struct encoding *e)
{
    return e->name;
}

struct view encoding_beginning(const struct encoding *e)
{
    return (struct view){e->sample, e->sample_bytes};
}

uint64_t encoding_replaced(const struct encoding *e)
{
    return e->replaced;
}

void encoding_close(struct encoding **e)
{
    if (!*e)
        return;
    if ((*e)->table != (iconv_t)-1)
        iconv_close((*e)->table);
    free((*e)->sample);
    free(*e);
    *e = NULL;
}
