/* summary: of paragraphs and sections what a document says, at its end (digest.h); of lines and entries what
 * happened, period by period (window.h). */
#include "stages/encode/analysis/analysis.h"
#include "stages/encode/analysis/digest.h"
#include "stages/encode/analysis/window.h"

#include <stdlib.h>

enum { VERSION = 4 };

struct summary {
    struct digest *digest; /* one of the two is there */
    struct window *window;
};

static void begin(void **self, const struct analysis_options *options)
{
    struct summary *s = calloc(1, sizeof *s);

    require(s);
    if (!unit_is_of_lines(options->unit)) {
        s->digest = calloc(1, sizeof *s->digest);
        require(s->digest);
    } else {
        s->window = calloc(1, sizeof *s->window);
        require(s->window);
        s->window->lines = options->summary_lines;
        s->window->minutes = options->summary_minutes;
    }
    *self = s;
}

static void token(void *self, double nats, struct view text, uint64_t at, uint32_t source_bytes)
{
    struct summary *s = self;

    if (s->digest)
        digest_token(s->digest, nats, text, at, source_bytes);
}

static void alone(void *self)
{
    struct summary *s = self;

    if (s->digest)
        digest_cut(s->digest);
}

static bool unit(void *self, const struct analysis_unit *unit)
{
    struct summary *s = self;

    if (s->digest)
        digest_unit(s->digest, unit->begin, unit->end);
    return s->window && window_line(s->window, unit->text, unit->record, unit->own);
}

static bool last(void *self, struct record *own)
{
    struct summary *s = self;

    return s->digest ? digest_end(s->digest, own) : window_end(s->window, own);
}

static void save(const void *self, struct buffer *out)
{
    const struct summary *s = self;

    buffer_u8(out, s->digest != NULL);
    if (s->digest)
        digest_save(s->digest, out);
    else
        window_save(s->window, out);
}

static bool load(void *self, struct reader *r)
{
    struct summary *s = self;

    return read_u8(r) == (s->digest != NULL) &&
           (s->digest ? digest_load(s->digest, r) : window_load(s->window, r));
}

static size_t memory(const void *self)
{
    const struct summary *s = self;

    return sizeof *s + (s->digest ? digest_memory(s->digest) : sizeof *s->window);
}

static void close_part(void **self)
{
    struct summary *s = *self;

    if (s && s->digest)
        digest_release(s->digest);
    if (s)
        free(s->digest);
    if (s)
        free(s->window);
    free(s);
    *self = NULL;
}

const struct analysis_part analysis_summary = {.version = VERSION,
                                               .wants_text = true,
                                               .bytes_max = 1 + DIGEST_BYTES_MAX,
                                               .begin = begin,
                                               .token = token,
                                               .alone = alone,
                                               .unit = unit,
                                               .last = last,
                                               .save = save,
                                               .load = load,
                                               .memory = memory,
                                               .close = close_part};
