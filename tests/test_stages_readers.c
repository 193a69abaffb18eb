/* Readers by themselves: what a file is taken for, the text that is made of it, and a process that says anything
 * at all. */
#include "stages/ingest/readers/child.h"
#include "stages/ingest/readers/look.h"
#include "stages/ingest/readers/mbox.h"
#include "stages/ingest/readers/readers.h"
#include "tests/stages_help.h"

#include <fcntl.h>
#include <iconv.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct view words(const char *text)
{
    return (struct view){(const uint8_t *)text, strlen(text)};
}

#define FROM "From a@b Mon Jan  1 10:00:00 2024\n"

/* ---- What it is ---- */

static void look_goes_by_content_first(void **state)
{
    static const struct {
        const char *text, *name;
        enum look want;
    } cases[] = {{"", "a.txt", LOOK_UTF8},
                 {"plain", "a.txt", LOOK_UTF8},
                 {"plain", "a.html.gz", LOOK_HTML},
                 {"plain", "a.HTM", LOOK_HTML},
                 {"plain", "html", LOOK_UTF8},
                 {" \n<!-- a --> <!DOCTYPE HTML>", "a.txt", LOOK_HTML},
                 {"\xEF\xBB\xBF<?xml version='1.0'?><html>", NULL, LOOK_HTML},
                 {"<?xml version='1.0'?><svg>", NULL, LOOK_UTF8},
                 {"see <html>", NULL, LOOK_UTF8},
                 {"\x1F\x8B\x08", "a.txt", LOOK_PACKED},
                 {"BZh91AY&SY", "a.txt", LOOK_PACKED},
                 {"BZh is a word", "a.txt", LOOK_UTF8},
                 {"\xFD"
                  "7zXZ",
                  "a.txt", LOOK_OTHER},
                 {"\x28\xB5\x2F\xFD", NULL, LOOK_PACKED},
                 {"PK\003\004", "a.html", LOOK_ZIP},
                 {"%PDF-1.7", NULL, LOOK_PDF},
                 {"HTTP/1.1 200\r\n\r\n%PDF-1.7\n%\xE2\xE3\xCF\xD3", NULL, LOOK_PDF},
                 {"\xEF\xBB\xBF\r\n%PDF-1.7\n", NULL, LOOK_PDF},
                 {"text on %PDF-1.7", NULL, LOOK_UTF8},
                 {"\xFC"
                  "ber %PDF-1.7",
                  NULL, LOOK_OTHER},
                 {"\xFC\n%PDF-", NULL, LOOK_OTHER},
                 {"From a@b Mon Jan  1 10:00:00 2024\nSubject: c\n", "a", LOOK_MAIL},
                 {"From - Sat Feb 29 9:05 +0100 2020\n>From d\n", "a.html", LOOK_MAIL},
                 {"From a at b.org  Mon Jan  1 10:00:00 2024\r\nX: y\r\n", NULL, LOOK_MAIL},
                 {"From a@b Mon Jan  1 10:00:00 2024\n\nSubject: c\n", "a.mbox", LOOK_UTF8},
                 {"From a@b on Monday\nSubject: c\n", "a.mbox", LOOK_UTF8},
                 {"From a@b Monk Jan  1 10:00:00 2024\nSubject: c\n", "a.mbox", LOOK_UTF8},
                 {"From a@b Mon Jan  1 10:00:00 2024", "a.mbox", LOOK_UTF8},
                 {"Subject: c\n\ntext", "a.EML", LOOK_MAIL},
                 {"Subject: c\n\ntext", "a.txt", LOOK_UTF8},
                 {"\xEF\xBB\xBFSubject: c\n\ntext", "a.eml", LOOK_MAIL},
                 {"\xEF\xBB\xBF" FROM "Subject: c\n", "a", LOOK_MAIL},
                 {"No field\n", "a.eml", LOOK_UTF8},
                 {"caf\xE9", NULL, LOOK_OTHER},
                 {"caf\xC3\xA9 \xE9", NULL, LOOK_UTF8},
                 {"\xED\xA0\x80", NULL, LOOK_OTHER},
                 {"\xF4\x90\x80\x80", NULL, LOOK_OTHER},
                 {"caf\xC3\xA9 ends in a cut \xE2\x82", NULL, LOOK_UTF8},
                 {"\033$B%f\033(B", NULL, LOOK_OTHER},
                 {"\033[31mred", NULL, LOOK_UTF8}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (look_at(words(cases[i].text), cases[i].name) != cases[i].want)
            fail_msg("'%s' (%s) is taken for %d", cases[i].text, cases[i].name ? cases[i].name : "",
                     (int)look_at(words(cases[i].text), cases[i].name));
}

/* The way of eight bytes at a time finds what stands anywhere in them. */
static void look_sees_every_byte(void **state)
{
    uint8_t text[41];

    (void)state;
    for (size_t at = 0; at < sizeof text; at++) {
        memset(text, 'a', sizeof text);
        text[at] = 0xFF;
        assert_false(look_is_utf8((struct view){text, sizeof text}));
        memset(text, 0, sizeof text);
        text[at] = 'a';
        assert_false(look_is_utf8((struct view){text, sizeof text}));
    }
}

/* ---- Messages of an mbox ---- */

/* Bytes in pieces of at most so many. */
struct pieces {
    struct view left;
    size_t most;
};

static enum err_code give_piece(void *self, uint8_t *data, size_t room, size_t *got,
                                struct err *err)
{
    struct pieces *p = self;
    size_t bytes = p->left.bytes < p->most ? p->left.bytes : p->most;

    (void)err;
    *got = bytes < room ? bytes : room;
    memcpy(data, p->left.data, *got);
    p->left = (struct view){p->left.data + *got, p->left.bytes - *got};
    return ERR_OK;
}

/* Each as "number at offset|bytes|", in a buffer. */
static enum err_code note_message(void *self, const struct mbox_message *message, struct err *err)
{
    struct buffer *all = self;
    char head[60];

    (void)err;
    snprintf(head, sizeof head, "%d at %d%s|", (int)message->number, (int)message->at,
             message->too_long ? ", too long" : "");
    buffer_put(all, head, strlen(head));
    buffer_put(all, message->bytes.data, message->bytes.bytes);
    buffer_put(all, "|", 1);
    return ERR_OK;
}

/* However the file is cut, a message is what stands between its lines, and its offset is theirs. */
static void an_mbox_is_cut_at_its_lines(void **state)
{
    static const char first[] = "A: 1\n\n>From b\n>>From c\n >From d\nFrom e\n",
                      unescaped[] = "A: 1\n\nFrom b\n>From c\n >From d\nFrom e\n";
    char text[2000], want[2000], wide[700];
    size_t line = sizeof FROM - 1, second = line + sizeof first - 1, third = second + line;

    (void)state;
    memset(wide, 'w', sizeof wide);
    memcpy(wide + 100, FROM, sizeof FROM - 2); /* no line of its own */
    wide[699] = 0;
    snprintf(text, sizeof text, FROM "%s" FROM FROM "B: %s\n\n" FROM "no end", first, wide);
    snprintf(want, sizeof want, "1 at 0|%s|2 at %zu||3 at %zu|B: %s\n\n|4 at %zu|no end|",
             unescaped, second, third, wide, third + line + strlen(wide) + 5);
    for (size_t most = 1; most < 800; most += most < 60 ? 1 : 97) {
        struct pieces pieces = {words(text), most};
        struct pull in = {give_piece, &pieces};
        struct buffer all = buffer_of(4000);
        assert_int_equal(mbox_read(&in, false, note_message, &all, NULL), ERR_OK);
        assert_int_equal(all.bytes, strlen(want));
        assert_memory_equal(all.data, want, all.bytes);
        buffer_release(&all);
    }
}

static void a_message_by_itself_is_not_cut(void **state)
{
    struct pieces pieces = {words("A: 1\n\n>From b\n" FROM "c"), 7};
    struct pull in = {give_piece, &pieces};
    struct buffer all = buffer_of(400);
    static const char want[] = "1 at 0|A: 1\n\n>From b\n" FROM "c|";

    (void)state;
    assert_int_equal(mbox_read(&in, true, note_message, &all, NULL), ERR_OK);
    assert_int_equal(all.bytes, sizeof want - 1);
    assert_memory_equal(all.data, want, all.bytes);
    buffer_release(&all);
}

/* ---- Its text ---- */

struct said {
    char note[READER_WORDS_MAX + 1], warning[READER_WORDS_MAX + 1], fault[READER_WORDS_MAX + 1];
    uint8_t *text; /* with a NUL behind it */
    size_t bytes;
    bool end;
};

static int memory_file(const void *data, size_t bytes)
{
    int fd = memfd_create("file", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, bytes, 0), bytes);
    return fd;
}

static void take_frames(struct said *said, int fd)
{
    uint8_t head[READER_HEAD_BYTES];

    *said = (struct said){.text = calloc(1, 1 << 20)};
    assert_non_null(said->text);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    while (read(fd, head, sizeof head) == sizeof head) {
        size_t bytes = load_u32(head + 1);
        char *words_of = head[0] == READER_NOTE      ? said->note
                         : head[0] == READER_WARNING ? said->warning
                                                     : said->fault;
        assert_false(said->end);
        assert_true(head[0] == READER_TEXT || bytes <= READER_WORDS_MAX);
        assert_true(said->bytes + bytes < 1 << 20);
        assert_int_equal(
            read(fd, head[0] == READER_TEXT ? (char *)said->text + said->bytes : words_of, bytes),
            bytes);
        said->bytes += head[0] == READER_TEXT ? bytes : 0;
        said->end = head[0] == READER_END;
    }
}

static void read_bytes_of(struct said *said, const void *data, size_t bytes, const char *name,
                          const char *encoding)
{
    struct reading reading = {memory_file(data, bytes), name, encoding, NULL};
    struct out *out = calloc(1, sizeof *out);
    struct err err;

    assert_non_null(out);
    out->fd = memory_file("", 0);
    assert_int_equal(readers_run(&reading, out, &err), ERR_OK);
    take_frames(said, out->fd);
    close(reading.file);
    close(out->fd);
    free(out);
}

/* text, which is UTF-8, written in encoding; malloc'ed. */
static uint8_t *in_encoding(const char *text, const char *encoding, size_t *bytes)
{
    iconv_t table = iconv_open(encoding, "UTF-8");
    size_t left = strlen(text), room = 4 * left + 16;
    char *data = malloc(room), *to = data, *from = strdup(text), *at = from;

    assert_true(table != (iconv_t)-1 && data && from);
    assert_int_equal(iconv(table, &at, &left, &to, &room), 0);
    iconv_close(table);
    free(from);
    *bytes = (size_t)(to - data);
    return (uint8_t *)data;
}

/* Larger than what is decoded at once, so that characters are cut by its edges. */
static char *repeated(const char *text, size_t times)
{
    char *all = malloc(strlen(text) * times + 1), *to = all;

    assert_non_null(all);
    for (size_t i = 0; i < times; i++)
        to = stpcpy(to, text);
    return all;
}

/* Tolstoy: a guess of the language wants some words. */
#define russian                                                                                    \
    "\xD0\x92\xD1\x81\xD0\xB5 "                                                                    \
    "\xD1\x81\xD1\x87\xD0\xB0\xD1\x81\xD1\x82\xD0\xBB\xD0\xB8\xD0\xB2\xD1\x8B\xD0\xB5 "            \
    "\xD1\x81\xD0\xB5\xD0\xBC\xD1\x8C\xD0\xB8 \xD0\xBF\xD0\xBE\xD1\x85\xD0\xBE\xD0\xB6\xD0\xB8 "   \
    "\xD0\xB4\xD1\x80\xD1\x83\xD0\xB3 \xD0\xBD\xD0\xB0 \xD0\xB4\xD1\x80\xD1\x83\xD0\xB3\xD0\xB0, " \
    "\xD0\xBA\xD0\xB0\xD0\xB6\xD0\xB4\xD0\xB0\xD1\x8F "                                            \
    "\xD0\xBD\xD0\xB5\xD1\x81\xD1\x87\xD0\xB0\xD1\x81\xD1\x82\xD0\xBB\xD0\xB8\xD0\xB2\xD0\xB0\xD1" \
    "\x8F \xD1\x81\xD0\xB5\xD0\xBC\xD1\x8C\xD1\x8F "                                               \
    "\xD0\xBD\xD0\xB5\xD1\x81\xD1\x87\xD0\xB0\xD1\x81\xD1\x82\xD0\xBB\xD0\xB8\xD0\xB2\xD0\xB0 "    \
    "\xD0\xBF\xD0\xBE-\xD1\x81\xD0\xB2\xD0\xBE\xD0\xB5\xD0\xBC\xD1\x83. \xD0\x92\xD1\x81\xD1\x91 " \
    "\xD1\x81\xD0\xBC\xD0\xB5\xD1\x88\xD0\xB0\xD0\xBB\xD0\xBE\xD1\x81\xD1\x8C \xD0\xB2 "           \
    "\xD0\xB4\xD0\xBE\xD0\xBC\xD0\xB5 "                                                            \
    "\xD0\x9E\xD0\xB1\xD0\xBB\xD0\xBE\xD0\xBD\xD1\x81\xD0\xBA\xD0\xB8\xD1\x85.\n"

static void every_encoding_gives_the_text(void **state)
{
    static const struct {
        const char *encoding, *note, *text;
    } cases[] = {
        {"UTF-8", "UTF-8", "h\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x8C\x8A one and two\n"},
        {"UTF-16", "UTF-16LE", "h\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x8C\x8A one and two\n"},
        {"UTF-16LE", "UTF-16LE", "h\xC3\xA9 one and two and three\n"},
        {"UTF-16BE", "UTF-16BE", "h\xC3\xA9 one and two and three\n"},
        {"UTF-16LE", "UTF-16LE", russian},
        {"UTF-16BE", "UTF-16BE", russian},
        {"UTF-32", "UTF-32LE", "h\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x8C\x8A one and two\n"},
        {"UTF-32LE", "UTF-32LE", "h\xC3\xA9 one\n"},
        {"UTF-32BE", "UTF-32BE", "h\xC3\xA9 one\n"},
        {"KOI8-R", "KOI8-R", russian},
        {"WINDOWS-1251", "WINDOWS-1251", russian},
        {"SHIFT_JIS", "CP932",
         "\xE5\xB7\x9D\xE3\x81\xAE\xE6\xB5\x81\xE3\x82\x8C\xE3\x81\xA7\xE3\x81\x99\xE3\x80\x82\n"},
        {"EUC-JP", "EUC-JP",
         "\xE5\xB7\x9D\xE3\x81\xAE\xE6\xB5\x81\xE3\x82\x8C\xE3\x81\xA7\xE3\x81\x99\xE3\x80\x82\n"},
        {"ISO-2022-JP", "ISO-2022-JP",
         "\xE5\xB7\x9D\xE3\x81\xAE\xE6\xB5\x81\xE3\x82\x8C\xE3\x81\xA7\xE3\x81\x99\xE3\x80\x82\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct said said;
        char *text = repeated(cases[i].text, 4001);
        size_t bytes;
        uint8_t *data = in_encoding(text, cases[i].encoding, &bytes);
        read_bytes_of(&said, data, bytes, NULL, NULL);
        if (strcmp(said.note, cases[i].note) || !said.end || strcmp((char *)said.text, text))
            fail_msg("%s: '%s' '%s' %zu bytes of %zu", cases[i].encoding, said.note, said.fault,
                     said.bytes, strlen(text));
        free(said.text);
        free(data);
        free(text);
    }
}

/* Few words, of which nobody could guess the encoding. */
static void markup_says_its_encoding(void **state)
{
    static const struct {
        const char *page, *name, *note;
    } cases[] = {
        {"<?xml version='1.0' encoding='iso-8859-2'?><html><p>k\xF4\xF2", NULL, "HTML, ISO-8859-2"},
        {"<?xml version=\"1.0\" encoding = \"KOI8-R\"?><a>\xC1", NULL, "KOI8-R"},
        {"<head><meta http-equiv=a content='b; charset=iso-8859-2'><p>\xF4", "a.html",
         "HTML, ISO-8859-2"},
        {"<html><!-- charset=x --><a charset=koi8-r><META name=charset CHARSET = 'iso-8859-2'>\xF4",
         NULL, "HTML, ISO-8859-2"},
        {"<?xml version='1.0'?><html><meta charset=koi8-r>\xC1", NULL, "HTML, KOI8-R"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct said said;
        read_bytes_of(&said, cases[i].page, strlen(cases[i].page), cases[i].name, NULL);
        assert_string_equal(said.note, cases[i].note);
        free(said.text);
    }
}

static void what_is_no_character_is_counted(void **state)
{
    static const char data[] = "\x8D one \x8D two";
    struct said said;

    (void)state;
    read_bytes_of(&said, data, sizeof data - 1, NULL, "WINDOWS-1252");
    assert_string_equal(said.text, "\xEF\xBF\xBD one \xEF\xBF\xBD two");
    assert_non_null(strstr(said.warning, "2 places are no characters of WINDOWS-1252"));
    free(said.text);
    read_bytes_of(&said, "o\0n\0e", 5, NULL, "UTF-16LE"); /* the last one is cut */
    assert_string_equal(said.text, "on\xEF\xBF\xBD");
    assert_non_null(strstr(said.warning, "1 places"));
    free(said.text);
}

/* Fields and records that zeros divide, at odd places all of them, are no UTF-16. */
static void zeros_between_words_say_nothing(void **state)
{
    static const char line[12] = {'h', 'e', 'l', 'l', 'o', 0, 'w', 'o', 'r', 'l', 'd', '\n'};
    struct said said;
    char text[40 * sizeof line];

    (void)state;
    for (size_t i = 0; i < sizeof text; i += sizeof line)
        memcpy(text + i, line, sizeof line);
    read_bytes_of(&said, text, sizeof text, NULL, NULL);
    assert_non_null(strstr(said.fault, "is no text in any encoding that can be told"));
    free(said.text);
}

static void no_text_is_refused_in_words(void **state)
{
    uint8_t noise[20000];
    uint64_t seed = 3;
    struct said said;
    static const uint8_t zip[] = {'P', 'K', 3, 4}, gzip[] = {0x1F, 0x8B, 8, 0};

    (void)state;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)(random_next(&seed) >> 17);
    read_bytes_of(&said, noise, sizeof noise, NULL, NULL);
    assert_non_null(strstr(said.fault, "--encoding"));
    assert_false(said.end || said.note[0] || said.bytes);
    free(said.text);
    memcpy(noise, zip, sizeof zip);
    read_bytes_of(&said, noise, sizeof noise, NULL, NULL);
    assert_true(said.fault[0] && !said.end);
    free(said.text);
    memcpy(noise, gzip, sizeof gzip);
    read_bytes_of(&said, noise, sizeof noise, NULL, NULL);
    assert_true(said.fault[0] && !said.end);
    free(said.text);
}

static void html_becomes_paragraphs(void **state)
{
    static const struct {
        const char *html, *text;
    } cases[] = {
        {"", ""},
        {"<p>  \n </p>", ""},
        {"<p>a<p>b</p>c", "a\n\nb\n\nc\n"},
        {"<p>a<p>&nbsp;</p><h1>&nbsp; \xE2\x80\x8B</h1><p>b&nbsp;</p>", "a\n\nb\xC2\xA0\n"},
        {"<p>&nbsp; &nbsp;a&nbsp;b", "\xC2\xA0\xC2\xA0"
                                     "a\xC2\xA0"
                                     "b\n"},
        {"<title> A\n B </title><body>c", "A B\n\nc\n"},
        {"a<br>b<br/>c", "a\nb\nc\n"},
        {"a<br> <br/>b<br>&nbsp;<br><br>c", "a\n\nb\n\nc\n"},
        {"<table><tr><td>a<br></td></tr><tr><td><br>b</td></tr></table>", "a\nb\n"},
        {"a <i>b</i>c<!-- d -->e", "a bce\n"},
        {"<script>if (a < b) '</p>'</script>a<style>b</style>", "a\n"},
        {"<div><div>a</div></div><div>b</div>", "a\n\nb\n"},
        {"<pre>a\n  b\n\n c</pre>d  e", "a\n  b\n\n c\n\nd e\n"},
        {"&lt;p&gt; &eacute; &#x4E2D;", "<p> \xC3\xA9 \xE4\xB8\xAD\n"},
        {"&#147;a&#148;&#x96;&#129;&nbsp;&#x99;&#131;",
         "\xE2\x80\x9C"
         "a\xE2\x80\x9D\xE2\x80\x93\xC2\x81\xC2\xA0\xE2\x84\xA2\xC6\x92\n"},
        {"<table><tr><td>1<td>2<tr><td>3<td>4</table>", "1\t2\n3\t4\n"},
        {"<ruby>a<rp>(</rp><rt>b</rt><rp>)</rp></ruby>c", "ac\n"},
        {"<svg><text>a</text><svg>b</svg>c</svg>d", "d\n"},
        {"<p>never closed <b>at all", "never closed at all\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct said said;
        read_bytes_of(&said, cases[i].html, strlen(cases[i].html), "a.html", NULL);
        if (strcmp((char *)said.text, cases[i].text) || !said.end)
            fail_msg("%s: '%s' instead of '%s'", cases[i].html, (char *)said.text, cases[i].text);
        free(said.text);
    }
}

/* Wherever libxml2's buffer cuts them. */
static void marks_of_word_and_xml_are_no_text(void **state)
{
    (void)state;
    for (size_t before = 3900; before < 4010; before++) {
        char page[4200], want[4200], *to = page;
        struct said said;
        to += sprintf(to, "<p>");
        memset(to, 'x', before);
        sprintf(to + before,
                "<![if !mso]>a<![endif]>b<!--[if mso]>no<![endif]--><![CDATA[c]]>d]]>");
        memset(want, 'x', before);
        sprintf(want + before, "abcd]]>\n");
        read_bytes_of(&said, page, strlen(page), "a.html", NULL);
        assert_string_equal(said.text, want);
        free(said.text);
    }
}

/* ---- Its process ---- */

/* A program that says what `script` does; all that it gives, to the end or the fault. */
static enum err_code hear(void **state, const char *script, char *text, size_t room,
                          struct err *err)
{
    struct child *child;
    struct child_options options = {.program = in_folder(state, "program"), .file = "FILE"};
    size_t bytes = 0, got;
    bool end = false, ran;
    enum err_code code;

    put_file(options.program, script, strlen(script));
    assert_int_equal(chmod(options.program, 0700), 0);
    options.fd = memory_file("x", 1);
    assert_int_equal(child_start(&child, &options, err), ERR_OK);
    do {
        struct pollfd ready = {child_descriptor(child), POLLIN, 0};
        assert_int_equal(poll(&ready, 1, 60000), 1);
        code = child_read(child, (uint8_t *)text + bytes, room - bytes - 1, &got, &end, &ran, err);
        bytes += code ? 0 : got;
    } while (!code && !end);
    text[bytes] = 0;
    child_stop(&child);
    close(options.fd);
    return code;
}

static void a_process_is_heard(void **state)
{
    char text[100];
    struct err err;

    assert_int_equal(hear(state,
                          "#!/bin/sh\nprintf '\\1\\2\\0\\0\\0ab\\2\\3\\0\\0\\0one\\2\\3\\0'\n"
                          "printf '\\0\\0two\\5\\0\\0\\0\\0'\n",
                          text, sizeof text, &err),
                     ERR_OK);
    assert_string_equal(text, "onetwo");
}

static void a_process_that_says_anything_is_refused(void **state)
{
    static const struct {
        const char *script, *words;
    } cases[] = {{"exit 0", "ended with status 0"},
                 {"exit 7", "ended with status 7"},
                 {"kill -SEGV $$", "signal 11"},
                 {"kill -XCPU $$", "too long"},
                 {"printf '\\2\\1\\0\\0\\0a'", "no frame"},    /* text before the note */
                 {"printf '\\5\\0\\0\\0\\0'", "no frame"},     /* an end before it */
                 {"printf '\\11\\0\\0\\0\\0'", "no frame"},    /* no kind */
                 {"printf '\\1\\377\\377\\0\\0'", "no frame"}, /* too many words */
                 {"printf '\\1\\1\\0\\0\\0a\\1\\1\\0\\0\\0a'", "no frame"}, /* a second note */
                 {"printf '\\1\\1\\0\\0\\0a\\2\\1\\0\\1\\1'", "no frame"},  /* too much text */
                 {"printf '\\1\\2\\0\\0\\0a\\0'", "no frame"},              /* a zero among words */
                 {"printf '\\1\\1\\0\\0\\0a\\2\\5\\0\\0\\0ab'", "ended with status 0"},
                 {"printf '\\4\\4\\0\\0\\0why\\n'", "FILE': why?"},
                 {"printf '\\4\\0\\0\\0\\0'", "FILE': "}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char script[200], text[100];
        struct err err;
        snprintf(script, sizeof script, "#!/bin/sh\n%s\n", cases[i].script);
        if (hear(state, script, text, sizeof text, &err) != ERR_SOURCE ||
            !strstr(err.text, cases[i].words))
            fail_msg("%s: %s", cases[i].script, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(look_goes_by_content_first),
        cmocka_unit_test(look_sees_every_byte),
        cmocka_unit_test(an_mbox_is_cut_at_its_lines),
        cmocka_unit_test(a_message_by_itself_is_not_cut),
        cmocka_unit_test(every_encoding_gives_the_text),
        cmocka_unit_test(markup_says_its_encoding),
        cmocka_unit_test(what_is_no_character_is_counted),
        cmocka_unit_test(zeros_between_words_say_nothing),
        cmocka_unit_test(no_text_is_refused_in_words),
        cmocka_unit_test(html_becomes_paragraphs),
        cmocka_unit_test(marks_of_word_and_xml_are_no_text),
        STAGE_TEST(a_process_is_heard),
        STAGE_TEST(a_process_that_says_anything_is_refused),
    };

    return tests_result(cmocka_run_group_tests(tests, NULL, NULL));
}
