/* The forms are those of the books that people have: Project Gutenberg's, Standard Ebooks', and their like in French,
 * German, Italian, Spanish, Russian, Chinese. A word that heads a chapter ("Part") heads prose too ("Part of it"), so a
 * number must follow it and nothing but a title in its own sentence behind that; in capitals the line alone is
 * enough. tests/test_e2e_readers.py counts what is found in real books against the places of their chapters. */
#include "stages/encode/analysis/headings.h"

#include <ctype.h>
#include <strings.h>

enum {
    LINE_MOST = 120,
    LINES_MOST = 3,
    LEVEL_OF_PARTS = 2,
    LEVEL_OF_CHAPTERS = 3,
    LEVEL_OF_NUMBERS = 4
};

static const char separator[] = " / ";

/* ---- Lines ---- */

/* The next line of *rest without its end, white space at both ends taken off. */
static struct view next_line(struct view *rest)
{
    const uint8_t *end = rest->bytes ? memchr(rest->data, '\n', rest->bytes) : NULL;
    struct view line = {rest->data, end ? (size_t)(end - rest->data) : rest->bytes};

    *rest = end ? (struct view){end + 1, rest->bytes - line.bytes - 1} : (struct view){NULL, 0};
    while (line.bytes && isspace(line.data[0])) {
        line.data++;
        line.bytes--;
    }
    while (line.bytes && isspace(line.data[line.bytes - 1]))
        line.bytes--;
    return line;
}

/* The lines up to the first blank one, LINES_MOST + 1 at most. *ended: there is a blank one. */
static size_t take_lines(struct view text, struct view lines[LINES_MOST + 1], bool *ended)
{
    static const uint8_t mark[] = {0xEF, 0xBB, 0xBF}; /* a file's byte order mark is no word */
    size_t count = 0;

    *ended = false;
    if (text.bytes >= sizeof mark && !memcmp(text.data, mark, sizeof mark))
        text = (struct view){text.data + sizeof mark, text.bytes - sizeof mark};
    while (text.bytes && count <= LINES_MOST) {
        struct view line = next_line(&text);
        if (!line.bytes && count) {
            *ended = true;
            break;
        }
        if (line.bytes)
            lines[count++] = line;
    }
    return count;
}

static bool is_rule(struct view line, char of)
{
    for (size_t i = 0; i < line.bytes; i++)
        if (line.data[i] != (uint8_t)of)
            return false;
    return line.bytes >= 3;
}

/* How many '#' head a line of Markdown; 0: none do. */
static uint8_t hashes(struct view line)
{
    size_t count = 0;

    while (count < line.bytes && line.data[count] == '#')
        count++;
    return count >= 1 && count <= PLACE_LEVEL_MAX && count + 1 < line.bytes &&
                   (line.data[count] == ' ' || line.data[count] == '\t')
               ? (uint8_t)count
               : 0;
}

/* ---- Words and numbers ---- */

/* Take word off the front where it stands there as a word, in any case of ASCII letters. */
static bool take_word(struct view *at, const char *word)
{
    size_t bytes = strlen(word);

    if (at->bytes < bytes || strncasecmp((const char *)at->data, word, bytes) != 0 ||
        (at->bytes > bytes && (isalnum(at->data[bytes]) || at->data[bytes] >= 0xC0)))
        return false;
    *at = (struct view){at->data + bytes, at->bytes - bytes};
    return true;
}

static bool take_one_of(struct view *at, const char *const *words)
{
    for (; *words; words++)
        if (take_word(at, *words))
            return true;
    return false;
}

static void pass_blanks(struct view *at)
{
    while (at->bytes && (at->data[0] == ' ' || at->data[0] == '\t')) {
        at->data++;
        at->bytes--;
    }
}

/* I to CCCXCIX, capitals alone or in any case. */
static bool take_roman(struct view *at, bool capitals)
{
    static const char *const ones[] = {"VIII", "VII", "III", "IV", "VI", "IX", "II", "V", "I"};
    static const char *const tens[] = {"LXX"
                                       "X",
                                       "LXX",
                                       "XX"
                                       "X",
                                       "XL",
                                       "LX",
                                       "XC",
                                       "XX",
                                       "L",
                                       "X"};
    static const char *const hundreds[] = {"CCC", "CC", "C"};
    static const struct {
        const char *const *forms;
        size_t count;
    } places[] = {{hundreds, 3}, {tens, 9}, {ones, 9}};
    struct view rest = *at;

    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (size_t k = 0; k < places[i].count; k++) {
            const char *form = places[i].forms[k];
            size_t bytes = strlen(form);
            if (rest.bytes >= bytes &&
                (capitals ? !memcmp(rest.data, form, bytes)
                          : !strncasecmp((const char *)rest.data, form, bytes))) {
                rest = (struct view){rest.data + bytes, rest.bytes - bytes};
                break;
            }
        }
    if (rest.data == at->data || (rest.bytes && (isalnum(rest.data[0]) || rest.data[0] >= 0xC0)))
        return false;
    *at = rest;
    return true;
}

static bool take_number(struct view *at)
{
    static const char *const words[] = {"one",
                                        "two",
                                        "three",
                                        "four",
                                        "five",
                                        "six",
                                        "seven",
                                        "eight",
                                        "nine",
                                        "ten",
                                        "eleven",
                                        "twelve",
                                        "thirteen",
                                        "fourteen",
                                        "fifteen",
                                        "sixteen",
                                        "seventeen",
                                        "eighteen",
                                        "nineteen",
                                        "twenty",
                                        "thirty",
                                        "forty",
                                        "fifty",
                                        "first",
                                        "second",
                                        "third",
                                        "fourth",
                                        "fifth",
                                        "sixth",
                                        "seventh",
                                        "eighth",
                                        "ninth",
                                        "tenth",
                                        "last",
                                        "the first",
                                        "the second",
                                        "the third",
                                        "premier",
                                        "primo",
                                        "primero",
                                        "premi\xC3\xA8re",
                                        "PREMI\xC3\x88RE",
                                        "prima",
                                        "primera",
                                        NULL};
    size_t digits = 0;

    pass_blanks(at);
    while (digits < at->bytes && isdigit(at->data[digits]))
        digits++;
    if (digits) {
        *at = (struct view){at->data + digits, at->bytes - digits};
        return digits <= 4;
    }
    return take_roman(at, false) || take_one_of(at, words);
}

/* A title of its own, or nothing, and no sentence that goes on. */
static bool ends_or_titles(struct view at)
{
    static const char *const marks[] = {".", ":", "-", "\xE2\x80\x94", "\xE2\x80\x93", "]", NULL};

    pass_blanks(&at);
    for (const char *const *mark = marks; *mark; mark++)
        if (at.bytes >= strlen(*mark) && !memcmp(at.data, *mark, strlen(*mark)))
            return true;
    return at.bytes == 0;
}

/* Letters, none of them a small one that is ASCII. */
static bool in_capitals(struct view line)
{
    size_t capitals = 0;

    for (size_t i = 0; i < line.bytes; i++) {
        if (islower(line.data[i]))
            return false;
        capitals += isupper(line.data[i]) != 0;
    }
    return capitals > 0;
}

/* ---- Forms ---- */

struct keyword {
    const char *word;
    uint8_t level;
};

/* With a number behind them. */
static const struct keyword keywords[] = {{"volume", 1},
                                          {"tome", 1},
                                          {"book", 1},
                                          {"livre", 1},
                                          {"buch", 1},
                                          {"libro", 1},
                                          {"act", 1},
                                          {"part", 2},
                                          {"partie", 2},
                                          {"teil", 2},
                                          {"parte", 2},
                                          {"scene", 2},
                                          {"chapter", 3},
                                          {"letter", 3},
                                          {"canto", 3},
                                          {"stave", 3},
                                          {"adventure", 3},
                                          {"appendix", 3},
                                          {"chapitre", 3},
                                          {"kapitel", 3},
                                          {"capitolo", 3},
                                          {"capitulo", 3},
                                          {"cap\xC3\xADtulo", 3},
                                          {"CAP\xC3\x8DTULO", 3}};

/* Of letters beyond ASCII, as they are written; a word or two may follow. */
static const struct keyword others[] = {
    {"\xD0\xA7\xD0\xB0\xD1\x81\xD1\x82\xD1\x8C", 2},         /* Chast' */
    {"\xD0\xA7\xD0\x90\xD0\xA1\xD0\xA2\xD0\xAC", 2},         /* CHAST' */
    {"\xD0\x93\xD0\xBB\xD0\xB0\xD0\xB2\xD0\xB0", 3},         /* Glava */
    {"\xD0\x93\xD0\x9B\xD0\x90\xD0\x92\xD0\x90", 3},         /* GLAVA */
    {"\xD0\xAD\xD0\xBF\xD0\xB8\xD0\xBB\xD0\xBE\xD0\xB3", 2}, /* Epilog */
    {"\xD0\xAD\xD0\x9F\xD0\x98\xD0\x9B\xD0\x9E\xD0\x93", 2}, /* EPILOG */
};

/* Alone: what stands before chapters, which may have numbers alone, and what stands behind them. */
static const char *const front[] = {
    "preface",        "prologue",       "introduction", "foreword", "dedication", "introduzione",
    "pr\303\251face", "PR\303\211FACE", "prologo",      "vorwort",  "einleitung", NULL};
static const char *const back[] = {"afterword", "conclusion", "postscript", "appendix",
                                   "epilogo",   "nachwort",   NULL};
static const char *const epilogue[] = {"epilogue", "epilog", NULL};

static uint8_t keyword_level(struct view line)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        struct view at = line, word = {line.data, strlen(keywords[i].word)};
        if (!take_word(&at, keywords[i].word))
            continue;
        if (!isupper(line.data[0]))
            return 0;
        if (take_number(&at) && (ends_or_titles(at) || in_capitals(word)))
            return keywords[i].level;
        return 0;
    }
    return 0;
}

static uint8_t other_level(struct view line)
{
    size_t words = 1;

    for (size_t i = 0; i < line.bytes; i++)
        words += line.data[i] == ' ';
    if (words > 3 || (line.bytes && strchr("!?;,", line.data[line.bytes - 1])))
        return 0;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct view at = line;
        if (take_word(&at, others[i].word))
            return others[i].level;
    }
    return 0;
}

/* "Preface", "Conclusion.", "First Epilogue - 1813". */
static uint8_t alone_level(struct view line)
{
    static const struct {
        const char *const *words;
        uint8_t level;
    } kinds[] = {{front, LEVEL_OF_NUMBERS}, {back, LEVEL_OF_CHAPTERS}, {epilogue, LEVEL_OF_PARTS}};
    struct view at = line;

    (void)take_number(&at);
    pass_blanks(&at);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (take_one_of(&at, kinds[i].words))
            return isupper(line.data[0]) && ends_or_titles(at) &&
                           !(at.bytes > 1 && at.data[0] == '.')
                       ? kinds[i].level
                       : 0;
    return 0;
}

/* "IV", "IV.", "IV - A title", "IV. A TITLE". */
static bool is_number(struct view line)
{
    struct view at = line;

    if (!take_roman(&at, true))
        return false;
    if (!at.bytes || (at.bytes == 1 && at.data[0] == '.'))
        return true;
    if (at.data[0] == '.')
        return in_capitals(line);
    return ends_or_titles(at) && at.data[0] == ' ';
}

/* The Chinese "chapter the so-many-th": its first character, some for the number, and a counter of chapters. */
static uint8_t chinese_level(struct view line)
{
    static const struct keyword counters[] = {{"\xE5\x9B\x9E", 2},
                                              {"\xE7\xAB\xA0", 2},
                                              {"\xE7\xAF\x80", 4},
                                              {"\xE5\x8D\xB7", 1},
                                              {"\xE9\x83\xA8", 2}};

    if (line.bytes < 9 || memcmp(line.data, "\xE7\xAC\xAC", 3) != 0)
        return 0;
    for (size_t at = 6; at + 3 <= line.bytes && at <= 21; at += 3)
        for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
            if (!memcmp(line.data + at, counters[i].word, 3))
                return at + 3 == line.bytes || line.data[at + 3] == ' ' ||
                               (line.bytes - at >= 6 &&
                                !memcmp(line.data + at + 3, "\xE3\x80\x80", 3))
                           ? counters[i].level
                           : 0;
    return 0;
}

static uint8_t chapter_level(struct view line)
{
    uint8_t level = keyword_level(line);

    if (!level)
        level = other_level(line);
    if (!level)
        level = chinese_level(line);
    if (!level)
        level = alone_level(line);
    return !level && is_number(line) ? LEVEL_OF_NUMBERS : level;
}

uint8_t heading_level(struct view text, bool whole, bool markdown)
{
    struct view lines[LINES_MOST + 1];
    bool ended;
    size_t count = take_lines(text, lines, &ended);

    if (!count || (!ended && !whole && count < 2))
        return 0;
    if (markdown && hashes(lines[0]))
        return hashes(lines[0]);
    if (count > LINES_MOST || (!ended && !whole) || lines[0].bytes > LINE_MOST)
        return 0;
    if (count == 2 && (is_rule(lines[1], '=') || is_rule(lines[1], '-')))
        return lines[1].data[0] == '=' ? 1 : 2;
    if (count == LINES_MOST || lines[count - 1].bytes > LINE_MOST)
        return 0;
    return chapter_level(lines[0]);
}

/* ---- The path ---- */

/* What a heading says, its lines joined by blanks, without its marks; at most HEADING_WORDS_MAX bytes. */
static size_t heading_words(struct view text, uint8_t words[HEADING_WORDS_MAX])
{
    struct view lines[LINES_MOST + 1];
    bool ended;
    size_t count = take_lines(text, lines, &ended), bytes = 0;
    uint8_t marks = count ? hashes(lines[0]) : 0;

    if (marks) {
        lines[0] = (struct view){lines[0].data + marks, lines[0].bytes - marks};
        pass_blanks(&lines[0]);
        count = 1;
        while (lines[0].bytes && strchr("# ", lines[0].data[lines[0].bytes - 1]))
            lines[0].bytes--;
    }
    if (count == 2 && (is_rule(lines[1], '=') || is_rule(lines[1], '-')))
        count = 1;
    for (size_t i = 0; i < count && bytes < HEADING_WORDS_MAX; i++) {
        size_t room = HEADING_WORDS_MAX - bytes;
        if (i) {
            words[bytes++] = ' ';
            room--;
        }
        if (lines[i].bytes < room)
            room = lines[i].bytes;
        while (room < lines[i].bytes && room && (lines[i].data[room] & 0xC0) == 0x80)
            room--; /* not inside a character */
        memcpy(words + bytes, lines[i].data, room);
        bytes += room;
        if (room < lines[i].bytes)
            break;
    }
    while (bytes && words[bytes - 1] == ' ')
        bytes--;
    return bytes;
}

struct view heading_path_text(const struct heading_path *path)
{
    return (struct view){path->text, path->count ? path->end[path->count - 1] : 0};
}

/* The highest one is left out, where all together are too long. */
static void drop_first(struct heading_path *path)
{
    size_t gone = path->count > 1 ? path->end[0] + strlen(separator) : path->end[0];
    size_t all = heading_path_text(path).bytes;

    memmove(path->text, path->text + gone, all - gone);
    for (uint8_t i = 1; i < path->count; i++) {
        path->level[i - 1] = path->level[i];
        path->end[i - 1] = (uint8_t)(path->end[i] - gone);
    }
    path->count--;
}

void heading_path_enter(struct heading_path *path, uint8_t level, struct view text)
{
    uint8_t words[HEADING_WORDS_MAX];
    size_t bytes = heading_words(text, words), at;

    if (!bytes)
        return;
    while (path->count && path->level[path->count - 1] >= level)
        path->count--;
    while (path->count &&
           heading_path_text(path).bytes + strlen(separator) + bytes > HEADING_PATH_MAX)
        drop_first(path);
    at = heading_path_text(path).bytes;
    if (path->count) {
        memcpy(path->text + at, separator, strlen(separator));
        at += strlen(separator);
    }
    memcpy(path->text + at, words, bytes);
    path->level[path->count] = level;
    path->end[path->count] = (uint8_t)(at + bytes);
    path->count++;
}

void heading_path_save(const struct heading_path *path, struct buffer *out)
{
    struct view text = heading_path_text(path);

    buffer_u8(out, path->count);
    for (uint8_t i = 0; i < path->count; i++) {
        buffer_u8(out, path->level[i]);
        buffer_u8(out, path->end[i]);
    }
    buffer_put(out, text.data, text.bytes);
}

bool heading_path_load(struct heading_path *path, struct reader *r)
{
    struct heading_path got = {.count = read_u8(r)};
    const uint8_t *text;

    if (got.count > PLACE_LEVEL_MAX)
        return false;
    for (uint8_t i = 0; i < got.count; i++) {
        size_t before = i ? got.end[i - 1] + strlen(separator) : 0;
        got.level[i] = read_u8(r);
        got.end[i] = read_u8(r);
        if (got.level[i] < 1 || got.level[i] > PLACE_LEVEL_MAX || got.end[i] <= before ||
            got.end[i] > HEADING_PATH_MAX || (i && got.level[i] <= got.level[i - 1]))
            return false;
    }
    text = read_bytes(r, heading_path_text(&got).bytes);
    if (!text)
        return false;
    memcpy(got.text, text, heading_path_text(&got).bytes);
    *path = got;
    return true;
}
