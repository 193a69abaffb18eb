/* boundaries: where the text turns to something else, by its words (cohesion.h).
 *
 * A place can only be judged with what follows it in hand, so a record tells of a stretch that lies behind: kind
 * "boundaries", the units that were decided, and in it a list of the places where something new begins. There is one
 * each time the window is full, and one for the rest of a document, before the document's own; none where nothing
 * was found. */
#include "stages/encode/analysis/analysis.h"
#include "stages/encode/analysis/cohesion.h"

#include <stdlib.h>

enum { VERSION = 1 };

struct boundaries {
    struct cohesion window;
    struct words words;        /* of the unit at hand */
    struct record_item *items; /* (item_count) of the last record */
    size_t item_count;
};

static void begin(void **self, const struct analysis_options *options)
{
    (void)options;
    *self = calloc(1, sizeof(struct boundaries));
    require(*self);
}

static void add_items(struct boundaries *b, const struct cohesion_cut *cuts, size_t count)
{
    free(b->items);
    b->items = calloc(count, sizeof *b->items);
    require(b->items);
    b->item_count = count;
    for (size_t i = 0; i < count; i++) {
        record_item_count(&b->items[i], "begin", b->window.unit[cuts[i].unit].begin);
        record_item_real(&b->items[i], "strength", cuts[i].bits);
    }
}

/* Cuts up to unit most are certain by now. True: *own tells of them. */
static bool decide(struct boundaries *b, uint32_t most, uint64_t end, struct record *own)
{
    struct cohesion_cut *cuts = malloc(COHESION_UNITS * sizeof *cuts);
    uint32_t done = most / 2;
    size_t count;

    require(cuts);
    count = cohesion_cuts(&b->window, cuts);
    while (count && cuts[count - 1].unit > most)
        count--;
    if (count) {
        uint32_t last = cuts[count - 1].unit;
        done = last > done ? last : done;
        own->kind = RECORD_BOUNDARIES;
        own->begin = b->window.unit[0].begin;
        own->end = most < b->window.units ? b->window.unit[last].begin : end;
        add_items(b, cuts, count);
        record_add_list(own, "boundaries", b->items, count);
    } else {
        done = most;
    }
    /* The open part keeps its beginning, but for a quarter of the window that goes in any case: what one decision costs
     * is shared by so many units. */
    cohesion_drop(&b->window, most < b->window.units ? done : b->window.units);
    while (cohesion_full(&b->window))
        cohesion_drop(&b->window, 1);
    free(cuts);
    return count > 0;
}

static bool unit(void *self, const struct analysis_unit *unit)
{
    struct boundaries *b = self;

    words_cut(unit->text, NULL, &b->words);
    cohesion_add(&b->window, unit->begin, &b->words);
    return cohesion_full(&b->window) && decide(b, (b->window.units + 1) / 2, unit->end, unit->own);
}

static bool last(void *self, struct record *own)
{
    struct boundaries *b = self;

    return decide(b, b->window.units, own->end, own);
}

static void save(const void *self, struct buffer *out)
{
    cohesion_save(&((const struct boundaries *)self)->window, out);
}

static bool load(void *self, struct reader *r)
{
    return cohesion_load(&((struct boundaries *)self)->window, r);
}

static size_t memory(const void *self)
{
    const struct boundaries *b = self;

    return sizeof *b + b->item_count * sizeof *b->items;
}

static void close_part(void **self)
{
    struct boundaries *b = *self;

    if (b)
        free(b->items);
    free(b);
    *self = NULL;
}

const struct analysis_part analysis_boundaries = {.version = VERSION,
                                                  .wants_text = true,
                                                  .bytes_max = COHESION_BYTES_MAX,
                                                  .begin = begin,
                                                  .unit = unit,
                                                  .last = last,
                                                  .save = save,
                                                  .load = load,
                                                  .memory = memory,
                                                  .close = close_part};
