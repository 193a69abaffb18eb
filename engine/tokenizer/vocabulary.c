/* engine/tokenizer/vocabulary.c: see the header.
 *
 * The trie is first built with sibling lists, from the tokens in lexical order; then its nodes are laid
 * into the double array, those with most children first. Nodes with one child come last and fill the
 * holes, so that the array ends up nearly dense: 116,079 nodes of World take 1.6 MB, which stay in the
 * second-level cache. */
#include "engine/tokenizer/vocabulary.h"
#include "schemas/bytes.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { BYTES = 256 };

static enum err_code no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, 0, "a vocabulary");
}

/* ---- Adding ---- */

static bool grow_ids(struct tokenizer *t, uint32_t id)
{
    size_t room = t->id_room ? t->id_room : 1024;
    uint32_t *offsets;
    uint16_t *lengths;

    while (room <= id)
        room *= 2;
    offsets = realloc(t->offsets, room * sizeof *offsets);
    if (offsets)
        t->offsets = offsets;
    lengths = offsets ? realloc(t->lengths, room * sizeof *lengths) : NULL;
    if (!lengths)
        return false;
    t->lengths = lengths;
    memset(offsets + t->id_room, 0, (room - t->id_room) * sizeof *offsets);
    memset(lengths + t->id_room, 0, (room - t->id_room) * sizeof *lengths);
    t->id_room = room;
    return true;
}

static bool grow_text(struct tokenizer *t)
{
    size_t room = t->text_room ? 2 * t->text_room : 1 << 16;
    uint8_t *text = realloc(t->text, room);

    if (!text)
        return false;
    t->text = text;
    t->text_room = room;
    return true;
}

enum err_code vocabulary_add(struct tokenizer *t, uint32_t id, const uint8_t *bytes, size_t count,
                             struct err *err)
{
    if (count == 0 || count > t->token_max)
        return err_set(err, ERR_INPUT, 0, "a token of %zu bytes, 1 to %zu are allowed", count,
                       t->token_max);
    if (id >= TOKEN_IDS_MAX)
        return err_set(err, ERR_INPUT, 0, "id %u, below %d are allowed", id, TOKEN_IDS_MAX);
    if (id < t->id_room && t->lengths[id])
        return err_set(err, ERR_INPUT, 0, "id %u is there already", id);
    if ((id >= t->id_room && !grow_ids(t, id)) ||
        (t->text_room - t->text_bytes < count && !grow_text(t)))
        return no_memory(err);
    memcpy(t->text + t->text_bytes, bytes, count);
    t->offsets[id] = (uint32_t)t->text_bytes;
    t->lengths[id] = (uint16_t)count;
    t->text_bytes += count;
    if (id >= t->vocab)
        t->vocab = id + 1;
    return ERR_OK;
}

/* ---- The trie with sibling lists ---- */

struct node {
    uint32_t first_child, next, children, id;
    uint32_t slot; /* once laid out */
    uint8_t byte;
};

struct trie {
    struct node *nodes; /* 0 is the root; a parent comes before its children */
    size_t count;
};

/* The child by byte of a node whose last child, the only one it can be, is `last`. */
static uint32_t add_child(struct trie *trie, uint32_t parent, uint32_t last, uint8_t byte)
{
    struct node *node = &trie->nodes[trie->count];

    *node = (struct node){.id = TOKEN_NONE, .byte = byte};
    if (last)
        trie->nodes[last].next = (uint32_t)trie->count;
    else
        trie->nodes[parent].first_child = (uint32_t)trie->count;
    trie->nodes[parent].children++;
    return (uint32_t)trie->count++;
}

struct entry {
    const uint8_t *bytes;
    uint32_t id;
    uint16_t length;
};

static int by_bytes(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->length < y->length ? x->length : y->length);

    return order ? order : (int)x->length - (int)y->length;
}

/* Tokens in lexical order share their path with the one before; path[d] is the node at depth d. */
static enum err_code build_trie(struct trie *trie, const struct entry *entries, size_t count,
                                struct err *err)
{
    uint32_t path[WORLD_TOKEN_MAX + 1] = {0};
    size_t depth = 0;

    trie->nodes[0] = (struct node){.id = TOKEN_NONE};
    trie->count = 1;
    for (size_t i = 0; i < count; i++) {
        const struct entry *e = &entries[i];
        size_t common = 0;
        while (common < depth && common < e->length &&
               entries[i - 1].bytes[common] == e->bytes[common])
            common++;
        if (common == e->length)
            return err_set(err, ERR_INPUT, 0, "ids %u and %u are the same token", entries[i - 1].id,
                           e->id);
        for (size_t d = common; d < e->length; d++)
            path[d + 1] =
                add_child(trie, path[d], d == common && d < depth ? path[d + 1] : 0, e->bytes[d]);
        depth = e->length;
        trie->nodes[path[depth]].id = e->id;
    }
    if (trie->nodes[0].children != BYTES)
        return err_set(err, ERR_INPUT, 0, "only %u of 256 single bytes begin a token",
                       trie->nodes[0].children);
    for (uint32_t n = trie->nodes[0].first_child; n; n = trie->nodes[n].next)
        if (trie->nodes[n].id == TOKEN_NONE)
            return err_set(err, ERR_INPUT, 0, "byte 0x%02x is no token", trie->nodes[n].byte);
    return ERR_OK;
}

/* ---- Laying it out ---- */

struct layout {
    struct slot *slots;
    size_t room, used; /* used: behind the last slot taken */
};

static bool fits(const struct layout *layout, const struct trie *trie, uint32_t node, uint32_t base)
{
    for (uint32_t n = trie->nodes[node].first_child; n; n = trie->nodes[n].next)
        if (layout->slots[base + trie->nodes[n].byte].parent != SLOT_NONE)
            return false;
    return true;
}

static bool reserve(struct layout *layout, size_t room)
{
    struct slot *slots;

    if (room <= layout->room)
        return true;
    room = 2 * room;
    slots = realloc(layout->slots, room * sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = layout->room; i < room; i++)
        slots[i] = (struct slot){0, SLOT_NONE, TOKEN_NONE};
    layout->slots = slots;
    layout->room = room;
    return true;
}

/* Place the children of node at the first base from *from on. The root's slot is 0; bases are 1 or
 * more. parent is the node's number until all is placed. */
static bool place(struct layout *layout, struct trie *trie, uint32_t node, uint32_t *from)
{
    uint32_t base = *from;

    for (;; base++) {
        if (!reserve(layout, (size_t)base + 2 * BYTES))
            return false;
        if (fits(layout, trie, node, base))
            break;
    }
    for (uint32_t n = trie->nodes[node].first_child; n; n = trie->nodes[n].next) {
        uint32_t slot = base + trie->nodes[n].byte;
        layout->slots[slot].parent = node;
        layout->slots[slot].id = trie->nodes[n].id;
        trie->nodes[n].slot = slot;
        if (slot >= layout->used)
            layout->used = slot + 1;
    }
    /* A node's own slot may not be known yet: keep the base in children until all are placed. */
    trie->nodes[node].children = base;
    *from = base;
    return true;
}

/* Nodes with k children, for k from most to fewest; each kind searches on from its last base. */
static bool place_all(struct layout *layout, struct trie *trie, uint8_t *wide)
{
    for (size_t i = 0; i < trie->count; i++)
        wide[i] = (uint8_t)(trie->nodes[i].children - (trie->nodes[i].children == BYTES));
    for (int kind = BYTES - 1; kind >= 1; kind--) {
        uint32_t from = 1;
        for (uint32_t i = 0; i < trie->count; i++)
            if (wide[i] == kind && !place(layout, trie, i, &from))
                return false;
    }
    return true;
}

static bool lay_out(struct tokenizer *t, struct trie *trie)
{
    struct layout layout = {0};
    uint8_t *wide = malloc(trie->count);
    bool done = wide && reserve(&layout, trie->count + BYTES) && layout.slots;

    if (done) {
        layout.slots[0].parent = 0;
        done = place_all(&layout, trie, wide);
    }
    free(wide);
    if (!done) {
        free(layout.slots);
        return false;
    }
    for (size_t i = 0; i < trie->count; i++)
        layout.slots[trie->nodes[i].slot].base = trie->nodes[i].children;
    for (size_t i = 1; i < layout.room; i++)
        if (layout.slots[i].parent != SLOT_NONE)
            layout.slots[i].parent = trie->nodes[layout.slots[i].parent].slot;
    /* A node may be asked for any byte: 256 slots behind the last base. */
    t->slots = realloc(layout.slots, (layout.used + BYTES) * sizeof *t->slots);
    if (!t->slots)
        t->slots = layout.slots;
    return true;
}

/* ---- Finishing ---- */

enum err_code vocabulary_fingerprint(struct tokenizer *t, struct err *err)
{
    XXH3_state_t *state = XXH3_createState();
    uint8_t head[8];

    if (!state)
        return no_memory(err);
    XXH3_64bits_reset(state);
    for (uint32_t id = 0; id < t->vocab; id++) {
        if (!t->lengths[id])
            continue;
        store_u32(head, id);
        store_u32(head + 4, t->lengths[id]);
        XXH3_64bits_update(state, head, sizeof head);
        XXH3_64bits_update(state, t->text + t->offsets[id], t->lengths[id]);
    }
    t->fingerprint = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return ERR_OK;
}

enum err_code vocabulary_finish(struct tokenizer *t, struct err *err)
{
    struct entry *entries = malloc((t->vocab + 1) * sizeof *entries);
    struct trie trie = {malloc((t->text_bytes + 1) * sizeof *trie.nodes), 0};
    size_t count = 0;
    enum err_code code;

    if (!entries || !trie.nodes) {
        code = no_memory(err);
        goto done;
    }
    for (uint32_t id = 0; id < t->vocab; id++)
        if (t->lengths[id])
            entries[count++] = (struct entry){t->text + t->offsets[id], id, t->lengths[id]};
    qsort(entries, count, sizeof *entries, by_bytes);
    code = build_trie(&trie, entries, count, err);
    if (!code && !lay_out(t, &trie))
        code = no_memory(err);
    if (!code)
        code = vocabulary_fingerprint(t, err);
done:
    free(entries);
    free(trie.nodes);
    return code;
}
