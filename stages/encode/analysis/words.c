#include "stages/encode/analysis/words.h"
#include "schemas/utf8.h"

#include <math.h>
#include <xxhash.h>

/* Written without spaces between words. */
static bool stands_alone(utf8proc_int32_t point)
{
    return (point >= 0x3040 && point < 0x3100) || (point >= 0x3400 && point < 0xA000) ||
           (point >= 0xF900 && point < 0xFB00) || (point >= 0x20000 && point < 0x32000);
}

static bool is_letter(utf8proc_int32_t point)
{
    if (point < 0)
        return false;
    switch (utf8proc_category(point)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return true;
    default:
        return false;
    }
}

static bool is_apostrophe(utf8proc_int32_t point)
{
    return point == '\'' || point == 0x2019;
}

/* A word as it is read. */
struct growing {
    uint8_t key[4 * WORD_LETTERS];
    size_t key_bytes, letters;
};

static void add_letter(struct growing *g, utf8proc_int32_t point)
{
    if (g->letters < WORD_LETTERS)
        g->key_bytes +=
            (size_t)utf8proc_encode_char(utf8proc_tolower(point), g->key + g->key_bytes);
    g->letters++;
}

/* Bytes of the word that begins at text[at], whose first character is a letter. */
static size_t word_bytes(struct view text, size_t at, struct growing *g)
{
    utf8proc_int32_t point, next;
    size_t end = at + utf8_next(text, at, &point);

    add_letter(g, point);
    if (stands_alone(point))
        return end - at;
    while (end < text.bytes) {
        size_t bytes = utf8_next(text, end, &point), joined = 0;
        if (is_apostrophe(point) && end + bytes < text.bytes) {
            joined = bytes;
            bytes += utf8_next(text, end + joined, &next);
            point = next;
        }
        if (!is_letter(point) || stands_alone(point))
            break;
        add_letter(g, point);
        end += bytes;
    }
    return end - at;
}

void words_cut(struct view text, const float *nats, struct words *out)
{
    size_t at = 0;

    text.bytes = text.bytes < UINT16_MAX ? text.bytes : UINT16_MAX;
    out->count = 0;
    while (at < text.bytes && out->count < WORDS_MAX) {
        struct growing g = {.letters = 0};
        utf8proc_int32_t point;
        struct word *word;
        size_t bytes = utf8_next(text, at, &point);
        if (!is_letter(point)) {
            at += bytes;
            continue;
        }
        bytes = word_bytes(text, at, &g);
        word = &out->list[out->count++];
        *word = (struct word){.key = (uint32_t)XXH3_64bits(g.key, g.key_bytes),
                              .at = (uint16_t)at,
                              .bytes = (uint16_t)bytes};
        for (size_t i = 0; nats && i < bytes; i++)
            word->nats += (double)nats[at + i];
        at += bytes;
    }
}

/* ---- Counts ---- */

static size_t slot_of(const struct word_counts *w, uint32_t key)
{
    size_t slot = key % WORDS_SLOTS;

    while (w->slots[slot] && w->list[w->slots[slot] - 1].key != key)
        slot = (slot + 1) % WORDS_SLOTS;
    return slot;
}

const struct word_count *word_counts_get(const struct word_counts *w, uint32_t key)
{
    uint16_t place = w->slots[slot_of(w, key)];

    return place ? &w->list[place - 1] : NULL;
}

/* The lowest count whose going, with all below it, makes room for a quarter. */
static uint32_t lowest(const struct word_counts *w)
{
    uint32_t floor = 0, gone = 0;

    while (gone < WORDS_KEPT / 4) {
        floor++;
        gone = 0;
        for (size_t i = 0; i < w->used; i++)
            gone += w->list[i].count <= floor;
    }
    return floor;
}

static void append(struct word_counts *w, const struct word_count *one)
{
    size_t slot = slot_of(w, one->key);

    w->list[w->used++] = *one;
    w->slots[slot] = (uint16_t)w->used;
}

static void forget(struct word_counts *w)
{
    uint32_t floor = lowest(w), was = w->used;

    memset(w->slots, 0, sizeof w->slots);
    w->used = 0;
    for (size_t i = 0; i < was; i++) {
        struct word_count one = w->list[i];
        if (one.count > floor)
            append(w, &one);
    }
}

void word_counts_add(struct word_counts *w, uint32_t key, double nats, uint64_t place)
{
    uint16_t at = w->slots[slot_of(w, key)];
    struct word_count *one = &w->list[at ? at - 1 : 0];
    double gap = (double)(place - (at ? one->last : 0));

    if (!at) {
        if (w->used == WORDS_KEPT)
            forget(w);
        append(w, &(struct word_count){.key = key});
        one = &w->list[w->used - 1];
    }
    one->count++;
    one->last = place;
    one->nats += nats;
    one->squares += gap * gap;
}

double word_count_clusters(const struct word_count *one, uint64_t places)
{
    double rest = (double)(places + 1 - one->last), gaps = (double)one->count + 1;
    double mean = (double)(places + 1) / gaps;
    double variance = (one->squares + rest * rest) / gaps - mean * mean;
    double chance = 1 - (double)one->count / (double)(places + 1);

    return variance > 0 ? sqrt(variance / (chance > 0.05 ? chance : 0.05)) / mean : 0;
}

void word_counts_save(const struct word_counts *w, struct buffer *out)
{
    buffer_u16(out, (uint16_t)w->used);
    for (size_t i = 0; i < w->used; i++) {
        buffer_u32(out, w->list[i].key);
        buffer_u32(out, w->list[i].count);
        buffer_u64(out, w->list[i].last);
        buffer_f64(out, w->list[i].nats);
        buffer_f64(out, w->list[i].squares);
    }
}

bool word_counts_load(struct word_counts *w, struct reader *r)
{
    uint16_t used = read_u16(r);

    if (used > WORDS_KEPT)
        return false;
    for (unsigned i = 0; i < used; i++) {
        struct word_count one;
        one.key = read_u32(r);
        one.count = read_u32(r);
        one.last = read_u64(r);
        one.nats = read_f64(r);
        one.squares = read_f64(r);
        if (!one.count || !isfinite(one.nats) || !isfinite(one.squares) ||
            word_counts_get(w, one.key))
            return false;
        append(w, &one);
    }
    return !r->short_read;
}
