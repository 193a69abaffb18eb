/* engine/formats/machine.h: a stack machine for pickles, private to pickle.c and machine.c.
 *
 * It has a stack, a memo (values kept under numbers) and pools of what values refer to: items of tuples, entries of
 * dictionaries, storages, tensors. A value is 16 bytes; what does not fit lies in a pool, whose members are never
 * changed (but a dictionary grows) and never let go before the end. An instruction adds a bounded number of
 * members, or moves values that other instructions have pushed, so all is linear in the pickle. Lists are
 * known, their contents dropped: no weight stands in one.
 *
 * machine.c knows pickles, pickle.c what PyTorch says in them. */
#ifndef ENGINE_FORMATS_MACHINE_H
#define ENGINE_FORMATS_MACHINE_H

#include "engine/formats/formats.h"
#include "schemas/bytes.h"

enum kind {
    KIND_UNSET, /* a place of the memo that nothing was kept in */
    KIND_MARK,
    KIND_PLAIN,   /* None, True, False, a float: nothing here asks for their value */
    KIND_INTEGER, /* number */
    KIND_STRING,  /* count bytes of the pickle from number on */
    KIND_SYMBOL,  /* symbols[number] */
    KIND_TUPLE,   /* count items from number on */
    KIND_LIST,
    KIND_DICT,    /* dicts[number] */
    KIND_STORAGE, /* storages[number] */
    KIND_TENSOR   /* tensors[number] */
};

struct value {
    uint32_t kind, count;
    int64_t number;
};

struct entry {
    struct value key, value;
    uint32_t next; /* index + 1 */
};

struct dict {
    uint32_t first, last; /* entries: index + 1, 0 where it is empty */
};

struct storage {
    struct value key;
    uint64_t values;
    enum dtype dtype;
};

struct rebuilt {
    size_t storage;
    int64_t first;
    struct value shape, stride; /* tuples */
};

struct pool {
    void *data;
    size_t count, room, each; /* each: bytes of a member */
};

struct machine {
    const struct container *c;
    struct err *err;
    struct view pickle;
    struct reader r;
    size_t budget; /* bytes that pools may still take */
    struct pool stack, memo, items, entries, dicts, storages, tensors, listed;
};

static inline const struct value *machine_item(const struct machine *m, struct value tuple,
                                               size_t index)
{
    return (const struct value *)m->items.data + tuple.number + index;
}

static inline struct view machine_text(const struct machine *m, struct value string)
{
    return (struct view){m->pickle.data + string.number, string.count};
}

static inline bool machine_text_is(const struct machine *m, struct value value, const char *text)
{
    return value.kind == KIND_STRING && value.count == strlen(text) &&
           !memcmp(m->pickle.data + value.number, text, value.count);
}

static inline size_t machine_place(const struct machine *m)
{
    return (size_t)(m->r.at - m->pickle.data);
}

/* Append *member. Fails: ERR_MODEL: the budget is spent; ERR_MEMORY. */
MUST_CHECK enum err_code machine_add(struct machine *m, struct pool *pool, const void *member);
MUST_CHECK enum err_code machine_push(struct machine *m, enum kind kind, size_t count,
                                      int64_t number);
MUST_CHECK enum err_code machine_push_dict(struct machine *m);
/* Fails: ERR_MODEL: the stack is empty or there is a mark on top. */
MUST_CHECK enum err_code machine_pop(struct machine *m, struct value *value);

/* From the first instruction to STOP, which leaves one object. */
MUST_CHECK enum err_code machine_run(struct machine *m, struct value *top);
void machine_release(struct machine *m);

/* ---- In pickle.c: instructions that speak of PyTorch ---- */

/* GLOBAL: read two lines, push the symbol that they name. */
MUST_CHECK enum err_code pickle_symbol(struct machine *m);
/* BINPERSID: pop what names a storage, push it. */
MUST_CHECK enum err_code pickle_storage(struct machine *m);
/* REDUCE: pop arguments and symbol, push what the symbol makes of them. */
MUST_CHECK enum err_code pickle_apply(struct machine *m);

#endif
