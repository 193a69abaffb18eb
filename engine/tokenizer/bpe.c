/* engine/tokenizer/bpe.c: a piece of text to ids.
 *
 * Neighbours are joined, the pair of the lowest rank first, the leftmost of equals, until no pair is in
 * the list. Symbols stand in a doubly linked list over the piece's bytes; a heap has (rank, place of
 * the left symbol) for every pair that can be joined. An entry that is out of date is known by its rank:
 * the pair that stands at its place now has another one, or none. Time n log n. */
#include "engine/tokenizer/neox.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

enum { NO_PLACE = UINT32_MAX };

enum err_code bpe_open(struct bpe *b, const struct neox *neox, struct err *err)
{
    *b = (struct bpe){.neox = neox};
    b->cache = calloc(BPE_CACHE_ENTRIES, sizeof *b->cache);
    b->symbols = malloc(NEOX_TEXT_MAX * sizeof *b->symbols);
    b->next = malloc(NEOX_TEXT_MAX * sizeof *b->next);
    b->before = malloc(NEOX_TEXT_MAX * sizeof *b->before);
    b->heap = malloc(2 * (size_t)NEOX_TEXT_MAX * sizeof *b->heap);
    if (!b->cache || !b->symbols || !b->next || !b->before || !b->heap) {
        bpe_close(b);
        return err_set(err, ERR_MEMORY, 0, "a reader of text");
    }
    return ERR_OK;
}

void bpe_close(struct bpe *b)
{
    free(b->cache);
    free(b->symbols);
    free(b->next);
    free(b->before);
    free(b->heap);
    *b = (struct bpe){.neox = NULL};
}

void pages_trim(void *block, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)block + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)block + bytes) & ~(page - 1);

    if (from < to) /* refused, the pages just stay */
        (void)madvise((void *)from, to - from, MADV_DONTNEED);
}

void bpe_trim(struct bpe *b, size_t bytes)
{
    pages_trim(b->symbols, bytes * sizeof *b->symbols);
    pages_trim(b->next, bytes * sizeof *b->next);
    pages_trim(b->before, bytes * sizeof *b->before);
    pages_trim(b->heap, 2 * bytes * sizeof *b->heap);
}

/* ---- The heap, smallest first ---- */

static void heap_push(struct bpe *b, uint64_t entry)
{
    size_t at = b->heap_count++;

    for (; at && b->heap[(at - 1) / 2] > entry; at = (at - 1) / 2)
        b->heap[at] = b->heap[(at - 1) / 2];
    b->heap[at] = entry;
}

static uint64_t heap_pop(struct bpe *b)
{
    uint64_t top = b->heap[0], last = b->heap[--b->heap_count];
    size_t at = 0, child;

    while ((child = 2 * at + 1) < b->heap_count) {
        if (child + 1 < b->heap_count && b->heap[child + 1] < b->heap[child])
            child++;
        if (b->heap[child] >= last)
            break;
        b->heap[at] = b->heap[child];
        at = child;
    }
    b->heap[at] = last;
    return top;
}

/* ---- Joining ---- */

/* What joins the symbol at place with the next one, or an entry whose left is TOKEN_NONE. */
static const struct merge *merge_at(const struct bpe *b, uint32_t place)
{
    static const struct merge none = {TOKEN_NONE, TOKEN_NONE, 0, 0};
    uint32_t next = b->next[place];

    return next == NO_PLACE ? &none : neox_merge(b->neox, b->symbols[place], b->symbols[next]);
}

static void offer(struct bpe *b, uint32_t place)
{
    const struct merge *m = merge_at(b, place);

    if (m->left != TOKEN_NONE)
        heap_push(b, (uint64_t)m->rank << 32 | place);
}

/* Join the symbol at place with the next one. A place that went has no symbol. */
static void join(struct bpe *b, uint32_t place, uint32_t id)
{
    uint32_t gone = b->next[place];

    b->symbols[place] = id;
    b->symbols[gone] = TOKEN_NONE;
    b->next[place] = b->next[gone];
    if (b->next[place] != NO_PLACE)
        b->before[b->next[place]] = place;
    offer(b, place);
    if (b->before[place] != NO_PLACE)
        offer(b, b->before[place]);
}

static size_t join_all(struct bpe *b, const uint8_t *text, uint32_t bytes, uint32_t *ids)
{
    size_t count = 0;

    b->heap_count = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        b->symbols[i] = b->neox->byte_ids[text[i]];
        require(b->symbols[i] != TOKEN_NONE);
        b->before[i] = i ? i - 1 : NO_PLACE;
        b->next[i] = i + 1 < bytes ? i + 1 : NO_PLACE;
    }
    for (uint32_t i = 0; i < bytes; i++)
        offer(b, i);
    while (b->heap_count) {
        uint64_t entry = heap_pop(b);
        uint32_t place = (uint32_t)entry;
        const struct merge *m;
        if (b->symbols[place] == TOKEN_NONE)
            continue;
        m = merge_at(b, place);
        if (m->left != TOKEN_NONE && m->rank == entry >> 32)
            join(b, place, m->id);
    }
    for (uint32_t i = 0; i != NO_PLACE; i = b->next[i])
        ids[count++] = b->symbols[i];
    return count;
}

size_t bpe_encode(struct bpe *b, const uint8_t *text, size_t bytes, uint32_t *ids)
{
    struct bpe_cached *c;
    size_t count;

    require(bytes > 0 && bytes <= NEOX_TEXT_MAX);
    if (bytes > BPE_CACHED_BYTES)
        return join_all(b, text, (uint32_t)bytes, ids);
    c = &b->cache[XXH3_64bits(text, bytes) % BPE_CACHE_ENTRIES];
    if (c->bytes == bytes && !memcmp(c->text, text, bytes)) {
        for (unsigned i = 0; i < c->count; i++)
            ids[i] = c->ids[i];
        return c->count;
    }
    count = join_all(b, text, (uint32_t)bytes, ids);
    if (count <= BPE_CACHED_IDS) {
        c->bytes = (uint8_t)bytes;
        c->count = (uint8_t)count;
        memcpy(c->text, text, bytes);
        memcpy(c->ids, ids, count * sizeof *ids);
    }
    return count;
}
