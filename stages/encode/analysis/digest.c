/* The end, in turn: every sentence in the pool is weighed by the counts of the whole document; then the best is
 * taken again and again, where what it repeats of those before it counts less; so the first of the list are a
 * summary of any length.
 *
 * Phrases are one to three words in a row of the pool's text that say something, by how often they stand together;
 * passages are the units that hold most of the best sentences. */
#include "stages/encode/analysis/digest.h"
#include "stages/encode/analysis/usual.h"

#include <math.h>
#include <stdlib.h>

enum {
    COUNT_LEAST = 10, /* of a word, before its clusters tell */
    LONG = 2000,      /* sentences: here clusters are half of what a word is worth */
    WORDS_LEAST = 4,  /* of a sentence in the pool */
    EARLY = 15,       /* sentences: a third of what being first adds is left there */
    PASSAGE_MAX = 4096,
    PASSAGE_SENTENCES = 3,
    PHRASE_WORDS = 3,
    PHRASE_BYTES = 96
};

static const double SAYS_NOTHING = 1, SAYS_MOST = 6; /* nats a word */
static const double CONTENT = 4;                     /* nats: a word that has something to say */
static const double REPEATED = 0.2;                  /* off, where all of it was said before */
static const double THE_SAME = 0.8;                  /* of words of content: said already */
static const double PAIRED = 0.6;

struct digest_record {
    struct record_item sentences[DIGEST_SENTENCES];
    struct record_item phrases[DIGEST_PHRASES];
    struct record_item passages[DIGEST_PASSAGES];
};

/* ---- What words say ---- */

static double mean_nats(const struct word_count *one)
{
    return one->nats / one->count;
}

static double says(const struct word_count *one)
{
    double nats = mean_nats(one);

    return nats <= SAYS_NOTHING ? 0 : (nats < SAYS_MOST ? nats : SAYS_MOST) - SAYS_NOTHING;
}

static bool is_content(const struct digest *d, uint32_t key)
{
    const struct word_count *one = word_counts_get(&d->words, key);

    return one && mean_nats(one) >= CONTENT;
}

/* 0.1 of a word that is spread evenly, 1 of one that comes in clusters. */
static double topical(const struct digest *d, const struct word_count *one)
{
    double share = one->count < COUNT_LEAST ? 1 : 2 * (word_count_clusters(one, d->count) - 1.2);

    return share < 0.1 ? 0.1 : share < 1 ? share : 1;
}

/* Of one word in a sentence: what it says, for each other sentence that has it. The longer a document is, the more of
 * them share words of grammar alone. */
static double worth_of(const struct digest *d, uint32_t key)
{
    const struct word_count *one = word_counts_get(&d->words, key);
    double grammar = (double)LONG / (double)(LONG + d->count);

    return one ? says(one) * (one->count - 1) * (grammar + (1 - grammar) * topical(d, one)) : 0;
}

/* Leaves each word once; a sentence has few. */
static void make_distinct(struct words *words)
{
    size_t kept = 0;

    for (size_t i = 0; i < words->count; i++) {
        size_t k = 0;
        while (k < kept && words->list[k].key != words->list[i].key)
            k++;
        if (k == kept)
            words->list[kept++] = words->list[i];
    }
    words->count = kept;
}

/* 2 for the first sentence, and 1 far behind: nearly 1 + e^-x. */
static double early(uint64_t ordinal)
{
    double x = (double)ordinal / EARLY;

    return 1 + 1 / (1 + x + x * x / 2);
}

/* words: each once; length: how many there were. */
static double score_of(const struct digest *d, const struct words *words, size_t length,
                       uint64_t ordinal)
{
    double sum = 0;

    for (size_t i = 0; i < words->count; i++)
        sum += worth_of(d, words->list[i].key);
    return sum / (usual_log2((double)length) + 3) * early(ordinal);
}

/* ---- The pool ---- */

/* Its words into scratch: at the end they were cut before, since they are asked for some forty times there. */
static void words_of(struct digest *d, const struct pooled *p)
{
    if (!p->list) {
        words_cut((struct view){p->text, p->bytes}, NULL, &d->scratch);
        return;
    }
    d->scratch.count = p->words;
    memcpy(d->scratch.list, p->list, p->words * sizeof *p->list);
}

static void cut_all(struct digest *d)
{
    for (size_t i = 0; i < d->pooled; i++) {
        struct pooled *p = &d->pool[i];
        words_of(d, p);
        p->words = d->scratch.count;
        p->list = calloc(p->words + 1, sizeof *p->list);
        require(p->list);
        memcpy(p->list, d->scratch.list, p->words * sizeof *p->list);
    }
}

static void forget_cuts(struct digest *d)
{
    for (size_t i = 0; i < d->pooled; i++) {
        free(d->pool[i].list);
        d->pool[i].list = NULL;
    }
}

static void weigh(struct digest *d, struct pooled *p)
{
    size_t length;

    words_of(d, p);
    length = d->scratch.count;
    make_distinct(&d->scratch);
    p->score = score_of(d, &d->scratch, length, p->ordinal);
}

/* The best first; of equals the earlier. */
static int better(const void *a, const void *b)
{
    const struct pooled *x = a, *y = b;

    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->ordinal > y->ordinal) - (x->ordinal < y->ordinal);
}

static int earlier(const void *a, const void *b)
{
    const struct pooled *x = a, *y = b;

    return (x->ordinal > y->ordinal) - (x->ordinal < y->ordinal);
}

static void weigh_all(struct digest *d)
{
    for (size_t i = 0; i < d->pooled; i++)
        weigh(d, &d->pool[i]);
    qsort(d->pool, d->pooled, sizeof d->pool[0], better);
}

/* A quarter goes. What is left stands in the order of the text, so that it is the same however it was reached. */
static void make_room(struct digest *d)
{
    weigh_all(d);
    while (d->pooled > POOLED - POOLED / 4)
        free(d->pool[--d->pooled].text);
    d->floor = d->pool[d->pooled - 1].score / (double)d->count;
    qsort(d->pool, d->pooled, sizeof d->pool[0], earlier);
}

/* White space and controls become one space each run; what is left is never longer. */
static uint16_t fold(struct view text, uint8_t *out)
{
    size_t bytes = 0;

    for (size_t i = 0; i < text.bytes; i++) {
        bool blank = text.data[i] <= ' ' || text.data[i] == 0x7F;
        if (blank && (bytes == 0 || out[bytes - 1] == ' '))
            continue;
        out[bytes++] = blank ? ' ' : text.data[i];
    }
    return (uint16_t)bytes;
}

static void hold(struct digest *d, const struct sentence *s)
{
    struct pooled *p;
    bool ended = s->begin < d->unit_end;

    if (d->pooled == POOLED)
        make_room(d);
    p = &d->pool[d->pooled++];
    *p = (struct pooled){.begin = s->begin,
                         .end = s->end,
                         .unit_begin = ended ? d->unit_begin : d->unit_end,
                         .unit_end = ended ? d->unit_end : 0,
                         .ordinal = d->count - 1,
                         .text = malloc(s->text.bytes)};
    require(p->text);
    p->bytes = fold(s->text, p->text);
}

/* ---- Counting ---- */

static bool is_one_gap(struct view text, size_t from, size_t to)
{
    return to == from || (to == from + 1 && (text.data[from] <= ' ' || text.data[from] == '-'));
}

static bool adjoin(struct view text, const struct word *a, const struct word *b)
{
    return is_one_gap(text, (size_t)a->at + a->bytes, b->at);
}

static uint32_t pair_key(uint32_t a, uint32_t b)
{
    return (uint32_t)(((a * 0x9E3779B97F4A7C15U + b) * 0xD6E8FEB86659FD93U) >> 32);
}

static void count_pairs(struct digest *d, struct view text)
{
    const struct words *w = &d->scratch;

    for (size_t i = 0; i + 1 < w->count; i++)
        if (adjoin(text, &w->list[i], &w->list[i + 1]) && is_content(d, w->list[i].key) &&
            is_content(d, w->list[i + 1].key))
            word_counts_add(&d->pairs, pair_key(w->list[i].key, w->list[i + 1].key), 0, d->count);
}

static void take(struct digest *d, const struct sentence *s)
{
    struct words *w = &d->scratch;
    size_t length;

    words_cut(s->text, s->nats, w);
    length = w->count;
    d->count++;
    count_pairs(d, s->text);
    make_distinct(w);
    for (size_t i = 0; i < w->count; i++)
        word_counts_add(&d->words, w->list[i].key, w->list[i].nats, d->count);
    if (length >= WORDS_LEAST &&
        score_of(d, w, length, d->count - 1) >= d->floor * (double)d->count)
        hold(d, s);
}

static void take_all(struct digest *d, bool over)
{
    struct sentence sentence;

    while (sentences_next(&d->sentences, over, &sentence))
        take(d, &sentence);
}

void digest_token(struct digest *d, double nats, struct view text, uint64_t begin,
                  uint32_t source_bytes)
{
    float each = text.bytes ? (float)(nats / (double)text.bytes) : 0;

    for (size_t at = 0; at < text.bytes;) {
        at += sentences_add(&d->sentences, text, each, begin, source_bytes, at);
        take_all(d, false);
    }
}

void digest_cut(struct digest *d)
{
    take_all(d, true);
}

void digest_unit(struct digest *d, uint64_t begin, uint64_t end)
{
    d->units++;
    d->unit_begin = begin;
    d->unit_end = end;
    /* What lies behind end is the heading that a section ended before. */
    for (size_t i = 0; i < d->pooled; i++)
        if (!d->pool[i].unit_end && d->pool[i].begin < end) {
            d->pool[i].unit_begin = begin;
            d->pool[i].unit_end = end;
        }
}

/* ---- The summary ---- */

/* Share of what a sentence's words (each once) are worth that was said; *same: it says nothing else. */
static double repeats(const struct digest *d, const struct words *words,
                      const struct word_counts *said, bool *same)
{
    double sum = 0, again = 0;
    unsigned content = 0, content_again = 0, words_again = 0;

    for (size_t i = 0; i < words->count; i++) {
        uint32_t key = words->list[i].key;
        double worth = worth_of(d, key);
        bool was = word_counts_get(said, key) != NULL, is = is_content(d, key);
        sum += worth;
        again += was ? worth : 0;
        content += is;
        content_again += is && was;
        words_again += was;
    }
    *same = content ? content_again > THE_SAME * content : words_again == words->count;
    return sum > 0 ? again / sum : 1;
}

/* The next of the pool behind the first chosen, or NULL: all that is left was said. */
static struct pooled *next_best(struct digest *d, size_t chosen, const struct word_counts *said)
{
    struct pooled *best = NULL;
    double most = -1;

    for (size_t i = chosen; i < d->pooled; i++) {
        struct pooled *p = &d->pool[i];
        double again;
        bool same;
        words_of(d, p);
        make_distinct(&d->scratch);
        again = repeats(d, &d->scratch, said, &same);
        if ((chosen && same) || p->score * (1 - REPEATED * again) <= most)
            continue;
        most = p->score * (1 - REPEATED * again);
        best = p;
    }
    return best;
}

static void say(struct digest *d, const struct pooled *p, struct word_counts *said)
{
    words_of(d, p);
    for (size_t i = 0; i < d->scratch.count; i++)
        word_counts_add(said, d->scratch.list[i].key, 0, 1);
}

/* The chosen ones come to the front of the pool, in the order of their choice. Returns how many. */
static size_t choose(struct digest *d)
{
    struct word_counts *said = calloc(1, sizeof *said);
    size_t chosen = 0;
    struct pooled *p;

    require(said);
    while (chosen < DIGEST_SENTENCES && (p = next_best(d, chosen, said))) {
        struct pooled best = *p;
        memmove(&d->pool[chosen + 1], &d->pool[chosen],
                (size_t)(p - &d->pool[chosen]) * sizeof best);
        d->pool[chosen++] = best;
        say(d, &best, said);
    }
    free(said);
    return chosen;
}

static void put_place(struct record_item *item, uint64_t begin, uint64_t end, struct view text)
{
    item->field_count = 0;
    record_item_count(item, "begin", begin);
    record_item_count(item, "end", end);
    record_item_text(item, "text", text);
}

/* ---- Phrases ---- */

struct phrase {
    uint32_t keys[PHRASE_WORDS];
    size_t words;
    double score;
    uint32_t count;
    struct view text;
};

/* Four letters, or a capital where no sentence begins: so much for short words of grammar that a small model does not
 * foresee. */
static bool may_name(struct view text, const struct word *word)
{
    uint8_t first = text.data[word->at];

    return word->bytes > 3 || first >= 0x80 || (word->at && first >= 'A' && first <= 'Z');
}

/* A run of so many words at list[i], or a score of 0. */
static struct phrase phrase_at(const struct digest *d, struct view text, size_t i, size_t words)
{
    const struct word *list = d->scratch.list;
    struct phrase p = {.words = words, .count = UINT32_MAX};
    uint32_t most = 0;
    double sum = 0;

    for (size_t k = 0; k < words; k++) {
        const struct word_count *one = word_counts_get(&d->words, list[i + k].key);
        const struct word_count *pair = NULL;
        if (!one || mean_nats(one) < CONTENT || !may_name(text, &list[i + k]))
            return p;
        p.keys[k] = one->key;
        sum += says(one) * topical(d, one);
        if (words == 1)
            p.count = one->count;
        if (k) {
            pair = word_counts_get(&d->pairs, pair_key(p.keys[k - 1], p.keys[k]));
            if (!pair || !adjoin(text, &list[i + k - 1], &list[i + k]))
                return p;
            p.count = pair->count < p.count ? pair->count : p.count;
            most = pair->count > most ? pair->count : most;
        }
    }
    p.text = (struct view){text.data + list[i].at,
                           (size_t)list[i + words - 1].at + list[i + words - 1].bytes - list[i].at};
    if (p.count > 1 && p.text.bytes <= PHRASE_BYTES && (double)p.count >= PAIRED * (double)most)
        p.score = sum * (p.count - 1);
    return p;
}

static bool has_all(const struct phrase *p, const struct phrase *of)
{
    for (size_t i = 0; i < of->words; i++) {
        size_t k = 0;
        while (k < p->words && p->keys[k] != of->keys[i])
            k++;
        if (k == p->words)
            return false;
    }
    return true;
}

static bool is_said(const struct phrase *p, const struct phrase *chosen, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (has_all(p, &chosen[i]) || has_all(&chosen[i], p))
            return true;
    return false;
}

static bool next_phrase(struct digest *d, struct phrase *chosen, size_t count)
{
    struct phrase best = {.score = 0};

    for (size_t s = 0; s < d->pooled; s++) {
        struct view text = {d->pool[s].text, d->pool[s].bytes};
        words_of(d, &d->pool[s]);
        for (size_t i = 0; i < d->scratch.count; i++)
            for (size_t n = 1; n <= PHRASE_WORDS && i + n <= d->scratch.count; n++) {
                struct phrase p = phrase_at(d, text, i, n);
                if (p.score > best.score && !is_said(&p, chosen, count))
                    best = p;
            }
    }
    chosen[count] = best;
    return best.score > 0;
}

static size_t find_phrases(struct digest *d, struct record_item *items)
{
    struct phrase chosen[DIGEST_PHRASES];
    size_t count = 0;

    while (count < DIGEST_PHRASES && next_phrase(d, chosen, count)) {
        items[count].field_count = 0;
        record_item_text(&items[count], "text", chosen[count].text);
        record_item_count(&items[count], "count", chosen[count].count);
        count++;
    }
    return count;
}

/* ---- Passages ---- */

/* The best sentences of the unit that the one at place begins in; -1 where an earlier one stood for it. */
static double unit_score(const struct digest *d, size_t place)
{
    double sum = 0;
    size_t found = 0;

    for (size_t i = 0; i < d->pooled && found < PASSAGE_SENTENCES; i++) {
        if (d->pool[i].unit_begin != d->pool[place].unit_begin)
            continue;
        if (i < place && !found)
            return -1;
        sum += d->pool[i].score / early(d->pool[i].ordinal);
        found++;
    }
    return sum;
}

/* Before choose: the pool has the best first. */
static size_t find_passages(const struct digest *d, struct record_item *items)
{
    size_t wanted = d->units / 5 < DIGEST_PASSAGES ? (size_t)(d->units / 5) : DIGEST_PASSAGES;
    double before = INFINITY, score;
    size_t count = 0;

    while (count < wanted) {
        const struct pooled *best = NULL;
        double most = 0;
        for (size_t i = 0; i < d->pooled; i++) {
            score = unit_score(d, i);
            if (score > most && score < before) {
                most = score;
                best = &d->pool[i];
            }
        }
        if (!best)
            break;
        bool whole = best->unit_end - best->unit_begin <= PASSAGE_MAX;
        put_place(&items[count++], whole ? best->unit_begin : best->begin,
                  whole ? best->unit_end : best->end, (struct view){best->text, best->bytes});
        before = most;
    }
    return count;
}

bool digest_end(struct digest *d, struct record *own)
{
    struct digest_record *r;
    size_t count, passages, phrases;

    take_all(d, true);
    if (!d->pooled)
        return false;
    if (!d->record)
        d->record = malloc(sizeof *d->record);
    r = d->record;
    require(r);
    cut_all(d);
    weigh_all(d);
    passages = find_passages(d, r->passages);
    phrases = find_phrases(d, r->phrases);
    count = choose(d);
    forget_cuts(d);
    for (size_t i = 0; i < count; i++)
        put_place(&r->sentences[i], d->pool[i].begin, d->pool[i].end,
                  (struct view){d->pool[i].text, d->pool[i].bytes});
    own->kind = RECORD_SUMMARY;
    own->text = record_excerpt((struct view){d->pool[0].text, d->pool[0].bytes}, true);
    record_add_count(own, "sentence_count", d->count);
    record_add_list(own, "sentences", r->sentences, count);
    record_add_list(own, "phrases", r->phrases, phrases);
    record_add_list(own, "passages", r->passages, passages);
    return true;
}

/* ---- Bytes ---- */

void digest_save(const struct digest *d, struct buffer *out)
{
    buffer_u64(out, d->count);
    buffer_u64(out, d->units);
    buffer_u64(out, d->unit_begin);
    buffer_u64(out, d->unit_end);
    buffer_f64(out, d->floor);
    sentences_save(&d->sentences, out);
    word_counts_save(&d->words, out);
    word_counts_save(&d->pairs, out);
    buffer_u16(out, (uint16_t)d->pooled);
    for (size_t i = 0; i < d->pooled; i++) {
        const struct pooled *p = &d->pool[i];
        buffer_u64(out, p->begin);
        buffer_u64(out, p->end - p->begin);
        buffer_u64(out, p->unit_end);
        buffer_u64(out, p->unit_begin);
        buffer_u64(out, p->ordinal);
        buffer_u16(out, p->bytes);
        buffer_put(out, p->text, p->bytes);
    }
}

static bool load_pooled(struct digest *d, struct reader *r)
{
    struct pooled *p = &d->pool[d->pooled];
    const uint8_t *text;

    *p = (struct pooled){.begin = read_u64(r)};
    p->end = p->begin + read_u64(r);
    p->unit_end = read_u64(r);
    p->unit_begin = read_u64(r);
    p->ordinal = read_u64(r);
    p->bytes = read_u16(r);
    text = p->bytes <= SENTENCE_MAX ? read_bytes(r, p->bytes) : NULL;
    if (!text || !p->bytes || p->end < p->begin || p->ordinal >= d->count ||
        (p->unit_end && p->unit_begin > p->unit_end))
        return false;
    p->text = malloc(p->bytes);
    require(p->text);
    memcpy(p->text, text, p->bytes);
    d->pooled++;
    return true;
}

bool digest_load(struct digest *d, struct reader *r)
{
    uint16_t pooled;

    d->count = read_u64(r);
    d->units = read_u64(r);
    d->unit_begin = read_u64(r);
    d->unit_end = read_u64(r);
    d->floor = read_f64(r);
    if (!(d->floor >= 0) || !isfinite(d->floor) || !sentences_load(&d->sentences, r) ||
        !word_counts_load(&d->words, r) || !word_counts_load(&d->pairs, r))
        return false;
    pooled = read_u16(r);
    if (pooled > POOLED)
        return false;
    for (unsigned i = 0; i < pooled; i++)
        if (!load_pooled(d, r))
            return false;
    return !r->short_read;
}

size_t digest_memory(const struct digest *d)
{
    size_t bytes = sizeof *d + (d->record ? sizeof *d->record : 0);

    for (size_t i = 0; i < d->pooled; i++)
        bytes += d->pool[i].bytes;
    return bytes;
}

void digest_release(struct digest *d)
{
    for (size_t i = 0; i < d->pooled; i++)
        free(d->pool[i].text);
    d->pooled = 0;
    free(d->record);
    d->record = NULL;
}
