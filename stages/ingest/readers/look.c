/* How one knows. Signatures are as in the formats' own papers: gzip RFC 1952, bzip2 "BZh", xz and zstd their
 * magic, zip "PK\3\4", PDF "%PDF-".
 *
 * UTF-8. Text in another encoding is hardly ever UTF-8 by chance: a byte over 0x7F that is alone, as in the
 * 8-bit ones, is not, and of the two-byte characters of Chinese and Japanese few are. Damaged UTF-8, on the
 * other side, has many whole characters for each broken one. So a text is UTF-8 where it has at least as many
 * characters of several bytes as bytes that are none. Three things pass for it that are not: UTF-16 and UTF-32
 * without a mark, known by their zeros, and ISO-2022, known by its escapes. */
#include "stages/ingest/readers/look.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HTML_BYTES = 4096,
    PDF_BYTES = 1024,
    ZEROS_MOST = 16, /* one byte in so many */
    RARE = 1000,
    /* Of bytes by chance 3 in 100 begin a character and 45 are broken, 1 to 14; of GB2312 1 to 11. */
    WHOLE_FOR_BROKEN = 5
};

struct counts {
    size_t characters; /* of several bytes */
    size_t broken;     /* bytes of none */
    size_t zeros;
};

const char *look_packing(struct view bytes)
{
    static const struct {
        const char *name;
        uint8_t bytes[6];
        size_t count;
    } marks[] = {{"gzip", {0x1F, 0x8B}, 2},
                 {"xz", {0xFD, '7', 'z', 'X', 'Z', 0}, 6},
                 {"zstd", {0x28, 0xB5, 0x2F, 0xFD}, 4}};

    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (bytes.bytes >= marks[i].count && !memcmp(bytes.data, marks[i].bytes, marks[i].count))
            return marks[i].name;
    /* A text may begin with BZh too: bzip2 goes on with a digit, and pi or its root. */
    if (bytes.bytes >= 6 && !memcmp(bytes.data, "BZh", 3) && isdigit(bytes.data[3]) &&
        (!memcmp(bytes.data + 4, "1A", 2) || !memcmp(bytes.data + 4, "\x17\x72", 2)))
        return "bzip2";
    return NULL;
}

const char *look_refused(struct view bytes)
{
    static const struct {
        const char *mark, *why;
        size_t count;
    } marks[] = {{"{\\rtf", "is RTF: make DOCX of it, as with `soffice --convert-to docx`", 5},
                 {"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1",
                  "is an old Office's file: make DOCX of it, as with `soffice --convert-to docx`",
                  8},
                 {"\x5D\0\0", "is packed by lzma: unpack it, as with `unlzma`", 3}};

    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (bytes.bytes >= marks[i].count && !memcmp(bytes.data, marks[i].mark, marks[i].count))
            return marks[i].why;
    if (bytes.bytes >= 4 && (bytes.data[0] & 0xF0) == 0x50 &&
        !memcmp(bytes.data + 1, "\x2A\x4D\x18", 3))
        return "begins with a frame that zstd and lz4 skip: unpack it first, as with `unzstd`";
    return NULL;
}

const char *look_archive(struct view bytes)
{
    static const struct {
        const char *name, *mark;
        size_t at, count;
    } marks[] = {{"tar", "ustar", 257, 5},      {"7z", "7z\xBC\xAF\x27\x1C", 0, 6},
                 {"RAR", "Rar!\x1A\x07", 0, 6}, {"cpio", "070701", 0, 6},
                 {"cpio", "070702", 0, 6},      {"cpio", "070707", 0, 6}};

    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (bytes.bytes >= marks[i].at + marks[i].count &&
            !memcmp(bytes.data + marks[i].at, marks[i].mark, marks[i].count))
            return marks[i].name;
    return NULL;
}

const char *look_mark(struct view bytes, size_t *mark_bytes)
{
    static const struct {
        const char *name;
        uint8_t bytes[4];
        size_t count;
    } marks[] = {{"UTF-32LE", {0xFF, 0xFE, 0, 0}, 4},
                 {"UTF-32BE", {0, 0, 0xFE, 0xFF}, 4},
                 {"UTF-8", {0xEF, 0xBB, 0xBF}, 3},
                 {"UTF-16LE", {0xFF, 0xFE}, 2},
                 {"UTF-16BE", {0xFE, 0xFF}, 2}};

    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (bytes.bytes >= marks[i].count && !memcmp(bytes.data, marks[i].bytes, marks[i].count)) {
            *mark_bytes = marks[i].count;
            return marks[i].name;
        }
    return NULL;
}

/* Bytes of the character at `at`: 0 where it is none; more than are there where it is cut. */
static size_t character_bytes(const uint8_t *at, size_t left)
{
    uint8_t lead = at[0];
    size_t bytes = lead < 0x80                   ? 1
                   : lead >= 0xC2 && lead < 0xE0 ? 2
                   : lead >= 0xE0 && lead < 0xF0 ? 3
                   : lead >= 0xF0 && lead < 0xF5 ? 4
                                                 : 0;
    uint8_t least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;

    if (bytes > 1 && left > 1 && (at[1] < least || at[1] > most))
        return 0;
    for (size_t i = 2; i < bytes && i < left; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return bytes;
}

/* How many of eight bytes are ASCII from the front: all or, where one is not or is zero, none. */
static bool is_plain_word(const uint8_t *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof word);
    return !((word | (word - 0x0101010101010101ULL)) & 0x8080808080808080ULL);
}

static struct counts count(struct view bytes)
{
    struct counts c = {0};

    for (size_t at = 0; at < bytes.bytes;) {
        size_t left = bytes.bytes - at, one;
        if (left >= 8 && is_plain_word(bytes.data + at)) {
            at += 8;
            continue;
        }
        one = character_bytes(bytes.data + at, left);
        if (one > left) { /* cut by the end of what is looked at, or of the file */
            c.broken += bytes.bytes < LOOK_BYTES;
            break;
        }
        c.zeros += bytes.data[at] == 0;
        c.characters += one > 1;
        c.broken += one == 0;
        at += one ? one : 1;
    }
    return c;
}

/* ISO-2022's escapes to sets of two-byte characters; those of terminals are others. */
static bool has_shifts(struct view bytes)
{
    const uint8_t *at = bytes.data, *end = at + bytes.bytes;

    while (end - at >= 3 && (at = memchr(at, '\033', (size_t)(end - at - 2)))) {
        if (at[1] == '$' && strchr("B@)", at[2]) && at[2])
            return true;
        at++;
    }
    return false;
}

bool look_may_be_utf8(struct view bytes)
{
    struct counts c = count(bytes);

    return c.zeros <= bytes.bytes / RARE &&
           (c.broken <= bytes.bytes / RARE || c.broken <= WHOLE_FOR_BROKEN * c.characters);
}

bool look_is_utf8(struct view bytes)
{
    struct counts c;
    size_t mark;
    const char *marked = look_mark(bytes, &mark);

    if (marked)
        return !strcmp(marked, "UTF-8");
    if (has_shifts(bytes))
        return false;
    c = count(bytes);
    return c.broken <= c.characters && c.zeros <= bytes.bytes / ZEROS_MOST;
}

static bool begins(struct view at, const char *word)
{
    return at.bytes >= strlen(word) && !strncasecmp((const char *)at.data, word, strlen(word));
}

static struct view behind(struct view at, size_t bytes)
{
    return (struct view){at.data + bytes, at.bytes - bytes};
}

struct view look_behind_mark(struct view text)
{
    return begins(text, "\xEF\xBB\xBF") ? behind(text, 3) : text;
}

/* Behind white space, and whatever begins with `open` and ends with `close`. */
static struct view pass(struct view at, const char *open, const char *close)
{
    const uint8_t *end;

    while (at.bytes) {
        if (isspace(at.data[0])) {
            at = behind(at, 1);
            continue;
        }
        if (!begins(at, open))
            break;
        end = memmem(at.data, at.bytes, close, strlen(close));
        if (!end)
            break;
        at = behind(at, (size_t)(end - at.data) + strlen(close));
    }
    return at;
}

bool look_is_html(struct view bytes)
{
    if (bytes.bytes > HTML_BYTES)
        bytes.bytes = HTML_BYTES;
    bytes = pass(look_behind_mark(bytes), "<?xml", "?>");
    bytes = pass(bytes, "<!--", "-->");
    return begins(bytes, "<!doctype html") || begins(bytes, "<html");
}

static bool ends(const char *name, size_t bytes, const char *ending)
{
    size_t more = strlen(ending);

    return bytes > more && !strncasecmp(name + bytes - more, ending, more);
}

/* One of endings (NULL ends them) stands at the end of name, or before what a compressor adds. */
static bool names_one_of(const char *name, const char *const *endings)
{
    static const char *const packed[] = {".gz", ".bz2", ".xz", ".zst"};
    size_t bytes = name ? strlen(name) : 0;

    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
        if (ends(name, bytes, packed[i])) {
            bytes -= strlen(packed[i]);
            break;
        }
    for (; *endings; endings++)
        if (ends(name, bytes, *endings))
            return true;
    return false;
}

bool look_names_html(const char *name)
{
    static const char *const endings[] = {".html", ".htm", ".xhtml", NULL};

    return names_one_of(name, endings);
}

bool look_names_markdown(const char *name)
{
    static const char *const endings[] = {".md", ".markdown", ".mkd", NULL};

    return names_one_of(name, endings);
}

/* One of words, which have three letters each. */
static bool is_word_of(const char *words, const char *word)
{
    const char *at = strlen(word) == 3 ? strstr(words, word) : NULL;

    return at && (at - words) % 3 == 0;
}

/* "Mon Jan  1 00:00:00 2024", as far as the minutes: some write the time zone before the year, some behind it. */
static bool is_date(const char *at)
{
    char day[4], month[4];
    int date, hour, minute;

    return sscanf(at, "%3s %3s %2d %2d:%2d", day, month, &date, &hour, &minute) == 5 &&
           is_word_of("MonTueWedThuFriSatSun", day) &&
           is_word_of("JanFebMarAprMayJunJulAugSepOctNovDec", month);
}

bool look_is_from_line(struct view line)
{
    char text[LOOK_FROM_BYTES + 1];

    if (line.bytes < 5 || line.bytes > LOOK_FROM_BYTES || line.data[line.bytes - 1] != '\n' ||
        memcmp(line.data, "From ", 5) != 0)
        return false;
    memcpy(text, line.data, line.bytes);
    text[line.bytes] = 0;
    for (const char *at = strchr(text + 5, ' '); at; at = strchr(at + 1, ' '))
        if (is_date(at + 1))
            return true;
    return false;
}

/* "Subject: ...", as every message begins with one. */
static bool begins_with_field(struct view bytes)
{
    size_t at = 0;

    while (at < bytes.bytes && bytes.data[at] > ' ' && bytes.data[at] < 0x7F &&
           bytes.data[at] != ':')
        at++;
    return at && at < bytes.bytes && bytes.data[at] == ':';
}

bool look_is_mail(struct view bytes, const char *name)
{
    static const char *const endings[] = {".eml", NULL};
    const uint8_t *end;
    size_t first;

    bytes = look_behind_mark(bytes);
    end = bytes.bytes ? memchr(bytes.data, '\n', bytes.bytes) : NULL;
    first = end ? (size_t)(end - bytes.data) + 1 : 0;
    if (look_is_from_line((struct view){bytes.data, first}))
        return begins_with_field(behind(bytes, first)) || begins(behind(bytes, first), ">From ");
    return names_one_of(name, endings) && begins_with_field(bytes);
}

static struct view behind_blanks(struct view bytes)
{
    bytes = look_behind_mark(bytes);
    while (bytes.bytes && isspace(bytes.data[0]))
        bytes = behind(bytes, 1);
    return bytes;
}

/* Something may stand before a PDF (ISO 32000-1, annex H.3.4.1), as what sent it says, and then a line begins. Text may
 * be about them. */
static bool is_pdf_behind(struct view bytes)
{
    const uint8_t *end = bytes.data + (bytes.bytes < PDF_BYTES ? bytes.bytes : PDF_BYTES), *at;

    for (at = bytes.data; at < end && (at = memmem(at, (size_t)(end - at), "%PDF-", 5)); at++)
        if (at + 5 < end && isdigit(at[5]) &&
            (at == bytes.data || at[-1] == '\n' || at[-1] == '\r'))
            return true;
    return false;
}

enum look look_at(struct view bytes, const char *name)
{
    if (look_packing(bytes))
        return LOOK_PACKED;
    if (begins(bytes, "PK\003\004"))
        return LOOK_ZIP;
    if (look_archive(bytes))
        return LOOK_ARCHIVE;
    if (begins(behind_blanks(bytes), "%PDF-"))
        return LOOK_PDF;
    if (look_refused(bytes))
        return LOOK_OTHER;
    if (look_is_mail(bytes, name))
        return LOOK_MAIL;
    if (look_is_html(bytes) || look_names_html(name))
        return LOOK_HTML;
    if (look_is_utf8(bytes))
        return LOOK_UTF8;
    return is_pdf_behind(bytes) ? LOOK_PDF : LOOK_OTHER;
}

enum look look_at_file(const char *path, uint8_t **data, size_t *bytes)
{
    enum look look = LOOK_UTF8;
    ssize_t got = 0;
    struct stat st;
    int fd = -1;

    *data = NULL;
    if (!stat(path, &st) && S_ISREG(st.st_mode)) /* who waits to write to a pipe would be let in */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size) {
        size_t most = st.st_size < LOOK_BYTES ? (size_t)st.st_size : LOOK_BYTES;
        *data = malloc(most);
        if (*data)
            got = pread(fd, *data, most, 0);
        if (got > 0)
            look = look_at((struct view){*data, (size_t)got}, path);
    }
    *bytes = got > 0 ? (size_t)got : 0;
    if (fd >= 0)
        close(fd);
    return look;
}
