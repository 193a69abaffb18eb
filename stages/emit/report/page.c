#include "stages/emit/report/page.h"
#include "schemas/utf8.h"

#include "stages/emit/report/svg.h"
#include <math.h>

/* ---- Text ---- */

/* What would turn the direction of what follows it: embeddings, overrides, isolates, and their ends. */
static bool turns_direction(utf8proc_int32_t point)
{
    return (point >= 0x202A && point <= 0x202E) || (point >= 0x2066 && point <= 0x2069);
}

static void put_control(FILE *out, utf8proc_int32_t point)
{
    utf8proc_uint8_t picture[4];
    utf8proc_int32_t shown = point == 0x7F ? 0x2421 : 0x2400 + point;

    if (point == '\n' || point == '\t' || point == '\r')
        fputc(point == '\r' ? ' ' : point, out);
    else
        fwrite(picture, 1, (size_t)utf8proc_encode_char(shown, picture), out);
}

static void put_point(FILE *out, utf8proc_int32_t point, struct view bytes)
{
    if (point < 0 || (point >= 0x80 && point < 0xA0) || turns_direction(point) ||
        (point & 0xFFFE) == 0xFFFE)
        fputs("\xEF\xBF\xBD", out);
    else if (point < 0x20 || point == 0x7F)
        put_control(out, point);
    else if (point == '<')
        fputs("&lt;", out);
    else if (point == '>')
        fputs("&gt;", out);
    else if (point == '&')
        fputs("&amp;", out);
    else if (point == '"')
        fputs("&quot;", out);
    else
        fwrite(bytes.data, 1, bytes.bytes, out);
}

void page_text(FILE *out, struct view text)
{
    for (size_t at = 0; at < text.bytes;) {
        utf8proc_int32_t point;
        size_t bytes = utf8_next(text, at, &point);
        put_point(out, point, (struct view){text.data + at, bytes});
        at += bytes;
    }
}

void page_words(FILE *out, const char *text)
{
    page_text(out, (struct view){(const uint8_t *)text, strlen(text)});
}

/* ---- Numbers ---- */

const char *page_grouped(uint64_t count, char text[PAGE_NUMBER_BYTES])
{
    char plain[24];
    int digits = snprintf(plain, sizeof plain, "%llu", (unsigned long long)count), at = 0;

    for (int i = 0; i < digits; i++) {
        if (i && (digits - i) % 3 == 0)
            text[at++] = ',';
        text[at++] = plain[i];
    }
    text[at] = 0;
    return text;
}

void page_count(FILE *out, uint64_t count)
{
    char text[PAGE_NUMBER_BYTES];

    fputs(page_grouped(count, text), out);
}

const char *page_plural(const char *noun)
{
    static const char *const known[][2] = {{"paragraph", "paragraphs"}, {"line", "lines"},
                                           {"entry", "entries"},        {"byte", "bytes"},
                                           {"token", "tokens"},         {"document", "documents"},
                                           {"record", "records"},       {"section", "sections"},
                                           {"heading", "headings"},     {"alert", "alerts"}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(noun, known[i][0]))
            return known[i][1];
    return noun;
}

void page_counted(FILE *out, uint64_t count, const char *noun)
{
    page_count(out, count);
    fprintf(out, " %s", count == 1 ? noun : page_plural(noun));
}

const char *page_short(double value, char text[PAGE_NUMBER_BYTES])
{
    static const char *const units[] = {"", "k", "M", "G", "T"};
    size_t unit = 0;

    while (fabs(value) >= 1000 && unit < 4) {
        value /= 1000;
        unit++;
    }
    snprintf(text, PAGE_NUMBER_BYTES, "%.3g%s", value, units[unit]);
    return text;
}

/* ---- The frame ---- */

static const char style[] =
    ":root{color-scheme:light dark;--paper:#fffefb;--ink:#1f2328;--soft:#59636e;--hair:#d8dadd;"
    "--first:#0550ae;--second:#bc4c00;--tint:#fff1e0;--on:#ffffff}"
    "@media (prefers-color-scheme:dark){:root{--paper:#0d1117;--ink:#e6edf3;--soft:#9198a1;"
    "--hair:#30363d;--first:#79c0ff;--second:#ffa657;--tint:#2a1c0c;--on:#0d1117}}"
    "*{box-sizing:border-box}"
    "html{-webkit-text-size-adjust:100%;text-size-adjust:100%}"
    "body{margin:0;background:var(--paper);color:var(--ink);"
    "font:1rem/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',sans-serif;"
    "overflow-wrap:anywhere}"
    "header,main,footer{max-width:54rem;margin:0 auto;padding:0 1.25rem}"
    "header{padding-top:3.5rem}footer{padding-top:3rem;padding-bottom:4rem;color:var(--soft);font-"
    "size:.875rem}"
    "h1,h2,h3{line-height:1.2;font-weight:650;text-wrap:balance}"
    "h1{font-size:clamp(1.6rem,5vw,2.4rem);margin:.2rem 0 .8rem;letter-spacing:-.015em}"
    "h2{font-size:1.4rem;margin:0 0 .3rem;letter-spacing:-.01em}"
    "h3{font-size:1rem;margin:2.2rem 0 .8rem}"
    "p{margin:0 0 1em;max-width:40rem}"
    ".kicker,.soft{color:var(--soft)}.kicker{margin:0;font-size:.875rem}"
    ".lede{font-size:1.2rem;line-height:1.5}"
    "a{color:var(--first);text-underline-offset:.15em;text-decoration-thickness:.06em}"
    "a:focus-visible,summary:focus-visible,[tabindex]:focus-visible{outline:3px solid "
    "var(--first);outline-offset:2px;border-radius:3px}"
    "strong,b{font-weight:650}"
    "main>section{padding-top:3.5rem}main>section+section{margin-top:3.5rem;"
    "border-top:1px solid var(--hair)}"
    ".name{font-size:.8125rem;color:var(--soft);margin-bottom:1rem}"
    /* the picture */
    "figure{margin:1.6rem 0 0}figcaption{font-size:.875rem;color:var(--soft);max-width:40rem;"
    "margin-top:.9rem}"
    ".over{margin:0 0 .6rem;font-size:.75rem;color:var(--soft)}"
    ".plot{position:relative;height:21rem;margin-left:2.25rem}.plot "
    "svg{position:absolute;inset:0;width:100%;"
    "height:100%;overflow:visible}"
    ".plot path,.plot line{vector-effect:non-scaling-stroke;fill:none}"
    ".chapters{stroke:var(--soft);stroke-width:1;opacity:.5;fill:none;vector-effect:non-scaling-"
    "stroke}"
    ".usual{fill:var(--first);opacity:.11}.middle{stroke:var(--first);stroke-width:1;"
    "stroke-dasharray:2 4}"
    ".each{stroke:var(--first);stroke-width:1;opacity:.45}.run{stroke:var(--first);"
    "stroke-width:2.25;stroke-linejoin:round}"
    ".dots{stroke:var(--second);stroke-width:4.5;stroke-linecap:round;opacity:.5}"
    ".turns{stroke:var(--ink);stroke-width:1.5;opacity:.7}.map "
    "svg{display:block;width:min(100%,30rem);background:var(--paper);outline:1px solid var(--soft)}"
    ".alike{fill:var(--first)}.self{stroke:var(--second);stroke-width:.2}"
    ".leads{stroke:var(--second);stroke-width:1;opacity:.7}.tips{stroke:var(--second);"
    "stroke-width:7;stroke-linecap:round}"
    ".low .leads,.leads.low{stroke:var(--first)}.tips.low{stroke:var(--first)}"
    ".plot.flat{height:9rem}.bars{stroke:var(--first);stroke-width:2;opacity:.6}"
    "th.code,td.code{font:.8125rem/1.4 ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans "
    "Mono',monospace}"
    "td.code,th.line{text-align:left}td.code{overflow-wrap:anywhere;min-width:16rem}"
    ".change{stroke:var(--ink);stroke-width:1;stroke-dasharray:6 3}"
    ".plot .y,.x span{position:absolute;font-size:.75rem;line-height:1;color:var(--soft);"
    "font-variant-numeric:tabular-nums;white-space:nowrap}"
    ".plot .y{right:100%;margin-right:.5rem;transform:translateY(-50%)}"
    ".x{position:relative;height:2.4rem;margin:.4rem 0 0 2.25rem}.x "
    "span{transform:translateX(-50%)}"
    ".x span:first-child{transform:none}.x span.last{transform:translateX(-100%)}"
    ".x .of{left:50%;top:1.25rem}"
    ".mark{display:inline-flex;align-items:center;justify-content:center;width:1.5rem;"
    "height:1.5rem;border-radius:50%;background:var(--second);color:var(--on);"
    "font:600 .8125rem/1 "
    "system-ui,sans-serif;text-decoration:none;font-variant-numeric:tabular-nums}"
    ".mark.low{background:var(--paper);color:var(--first);box-shadow:inset 0 0 0 1.5px "
    "var(--first)}"
    ".plot .mark{position:absolute;transform:translate(-50%,-50%)}"
    ".mark:target,.mark:hover{outline:3px solid var(--ink);outline-offset:2px}"
    /* passages */
    "ol.passages{list-style:none;margin:0;padding:0}"
    ".passages>li{display:grid;grid-template-columns:1.5rem 1fr;column-gap:.9rem;"
    "padding:.75rem .6rem;margin:0 -.6rem;border-radius:6px;scroll-margin-top:1rem}"
    ".passages>li:target{background:var(--tint)}"
    ".passages blockquote{margin:0;max-width:42rem;unicode-bidi:isolate;overflow:clip;"
    "font-family:ui-serif,'Iowan Old Style',Charter,Georgia,'Times New Roman',serif;"
    "font-size:1.0625rem;line-height:1.5}"
    ".passages.code blockquote{font:.875rem/1.55 ui-monospace,'SF Mono',Menlo,Consolas,"
    "'DejaVu Sans Mono',monospace;white-space:pre-wrap}"
    ".facts{grid-column:2;margin:.25rem 0 0;font-size:.875rem;color:var(--soft);"
    "font-variant-numeric:tabular-nums}.facts b{color:var(--ink)}"
    /* tables */
    ".scroll{overflow-x:auto;max-width:100%}"
    "table{border-collapse:collapse;font-size:.9375rem;font-variant-numeric:tabular-nums;"
    "line-height:1.35;overflow-wrap:normal}"
    "caption{text-align:left;color:var(--soft);font-size:.875rem;padding-bottom:.5rem}"
    "th,td{padding:.45rem 0 .45rem 1.4rem;text-align:right;vertical-align:baseline;"
    "border-bottom:1px solid var(--hair)}"
    "th:first-child,td:first-child{text-align:left;padding-left:0}"
    "thead th{font-weight:500;color:var(--soft);font-size:.8125rem;vertical-align:bottom}"
    "tbody th{font-weight:400;overflow-wrap:anywhere;min-width:9rem;unicode-bidi:isolate}"
    "details{margin-top:2rem}summary{cursor:pointer;color:var(--soft);font-size:.875rem}"
    "details>*+*{margin-top:.8rem}.back{margin:1.5rem 0 0;font-size:.875rem}"
    "@media (max-width:40rem){header{padding-top:2rem}.plot{height:17rem}"
    "main>section{padding-top:2.5rem}main>section+section{margin-top:2.5rem}"
    "th,td{padding-left:.9rem}"
    /* the line of a period stands below what is counted of it */
    ".periods,.periods thead,.periods tbody{display:block}"
    ".periods tr{display:grid;grid-template-columns:1fr 4rem 6rem;border-bottom:1px solid "
    "var(--hair)}.periods th,.periods td{border:0}"
    ".periods td.code,.periods th.line{grid-column:1/-1;padding-left:0;padding-top:0}}"
    "@media print{:root{--paper:#fff;--ink:#000;--soft:#444;--hair:#bbb;--first:#0550ae;"
    "--second:#bc4c00;--tint:#fff;--on:#fff}body{font-size:10.5pt}"
    "*{print-color-adjust:exact;-webkit-print-color-adjust:exact}"
    "header{padding-top:0}header,main,footer{max-width:none;padding:0}"
    "main>section{break-before:auto}li,figure,tr,h2,h3{break-inside:avoid}"
    ".back,summary{display:none}h2,h3{break-after:avoid}.plot{height:8cm}a{color:inherit;text-"
    "decoration:none}"
    ".plot .mark,.mark{color:#fff}.mark.low{color:#0550ae}}";

void page_begin(FILE *out, struct view title)
{
    fputs(PAGE_BEGIN
          "\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
          out);
    page_text(out, title);
    fprintf(out, "%sriverrun report</title>\n<style>\n", title.bytes ? " – " : "");
    svg_colours(out);
    fputs(style, out);
    fputs("\n</style>\n</head>\n<body>\n", out);
}

void page_end(FILE *out)
{
    fputs("</body>\n</html>\n", out);
}
