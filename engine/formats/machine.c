/* engine/formats/machine.c: the instructions of a pickle. */
#include "engine/formats/machine.h"
#include "engine/formats/pickle.h"

#include <stdlib.h>

/* ---- Pools ---- */

static enum err_code reserve(struct machine *m, struct pool *pool, size_t count)
{
    size_t room = 2 * pool->room > 32 ? 2 * pool->room : 32;
    void *data;

    if (count <= pool->room)
        return ERR_OK;
    room = room > count ? room : count;
    if ((room - pool->room) * pool->each > m->budget)
        return container_fail(m->c, m->err,
                              "its pickle of %zu bytes unfolds to more than %d times its size",
                              m->pickle.bytes, PICKLE_MEMORY_FACTOR);
    data = realloc(pool->data, room * pool->each);
    if (!data)
        return err_set(m->err, ERR_MEMORY, 0, "model '%s': its pickle", m->c->path);
    m->budget -= (room - pool->room) * pool->each;
    memset((uint8_t *)data + pool->room * pool->each, 0, (room - pool->room) * pool->each);
    pool->data = data;
    pool->room = room;
    return ERR_OK;
}

enum err_code machine_add(struct machine *m, struct pool *pool, const void *member)
{
    enum err_code code = reserve(m, pool, pool->count + 1);

    if (!code)
        memcpy((uint8_t *)pool->data + pool->count++ * pool->each, member, pool->each);
    return code;
}

static struct value *stack_at(const struct machine *m, size_t index)
{
    return (struct value *)m->stack.data + index;
}

/* ---- The stack ---- */

enum err_code machine_push(struct machine *m, enum kind kind, size_t count, int64_t number)
{
    struct value value = {kind, (uint32_t)count, number};

    return machine_add(m, &m->stack, &value);
}

/* Are there count values on top, none of them a mark? */
static enum err_code need(struct machine *m, size_t count)
{
    bool there = m->stack.count >= count;

    for (size_t i = 1; i <= count && there; i++)
        there = stack_at(m, m->stack.count - i)->kind != KIND_MARK;
    if (!there)
        return container_fail(m->c, m->err,
                              "damaged: its pickle takes what is not on its stack, at byte %zu",
                              machine_place(m));
    return ERR_OK;
}

enum err_code machine_pop(struct machine *m, struct value *value)
{
    enum err_code code = need(m, 1);

    if (!code)
        *value = *stack_at(m, --m->stack.count);
    return code;
}

/* The values above the topmost mark, which goes away: they lie at *first, above the stack's new end. */
static enum err_code pop_to_mark(struct machine *m, size_t *first, size_t *count)
{
    for (size_t i = m->stack.count; i > 0; i--) {
        if (stack_at(m, i - 1)->kind != KIND_MARK)
            continue;
        *first = i;
        *count = m->stack.count - i;
        m->stack.count = i - 1;
        return ERR_OK;
    }
    return container_fail(m->c, m->err, "damaged: its pickle looks for a mark in vain, at byte %zu",
                          machine_place(m));
}

/* The value on top must be one of that kind: a list, a dictionary. */
static enum err_code top_is(struct machine *m, enum kind kind, struct value *top)
{
    enum err_code code = need(m, 1);

    if (code)
        return code;
    *top = *stack_at(m, m->stack.count - 1);
    if (top->kind != kind)
        return container_fail(m->c, m->err,
                              "damaged: its pickle adds to what is no %s, at byte %zu",
                              kind == KIND_LIST ? "list" : "dictionary", machine_place(m));
    return ERR_OK;
}

/* ---- Instructions: plain values ---- */

static enum err_code push_string(struct machine *m, size_t bytes)
{
    const uint8_t *data = read_bytes(&m->r, bytes);

    return data ? machine_push(m, KIND_STRING, bytes, data - m->pickle.data) : ERR_OK;
}

static enum err_code push_long(struct machine *m)
{
    size_t bytes = read_u8(&m->r);
    const uint8_t *data = read_bytes(&m->r, bytes);
    uint64_t number = bytes && data && data[bytes - 1] & 0x80 ? UINT64_MAX : 0;

    if (bytes > 8)
        return container_fail(m->c, m->err, "its pickle has an integer of %zu bytes, at byte %zu",
                              bytes, machine_place(m));
    for (size_t i = data ? bytes : 0; i-- > 0;)
        number = number << 8 | data[i];
    return machine_push(m, KIND_INTEGER, 0, (int64_t)number);
}

static enum err_code push_float(struct machine *m)
{
    read_bytes(&m->r, 8);
    return machine_push(m, KIND_PLAIN, 0, 0);
}

enum err_code machine_push_dict(struct machine *m)
{
    struct dict dict = {0, 0};
    enum err_code code = machine_add(m, &m->dicts, &dict);

    return code ? code : machine_push(m, KIND_DICT, 0, (int64_t)m->dicts.count - 1);
}

static enum err_code check_protocol(struct machine *m)
{
    unsigned version = read_u8(&m->r);

    if (version < 2 || version > 5)
        return container_fail(m->c, m->err, "its pickle is of protocol %u, 2 to 5 are known",
                              version);
    return ERR_OK;
}

/* ---- Instructions: memo, tuples, lists, dictionaries ---- */

static enum err_code keep(struct machine *m, size_t index)
{
    enum err_code code = need(m, 1);

    if (m->r.short_read || code)
        return code;
    /* Numbers are given out in turn, one for at least one instruction; only a liar skips any. */
    if (index >= m->pickle.bytes)
        return container_fail(m->c, m->err, "damaged: its pickle of %zu bytes keeps a value as %zu",
                              m->pickle.bytes, index);
    code = reserve(m, &m->memo, index + 1);
    if (code)
        return code;
    ((struct value *)m->memo.data)[index] = *stack_at(m, m->stack.count - 1);
    m->memo.count = m->memo.count > index ? m->memo.count : index + 1;
    return ERR_OK;
}

static enum err_code recall(struct machine *m, size_t index)
{
    const struct value *memo = m->memo.data;

    if (m->r.short_read)
        return ERR_OK;
    if (index >= m->memo.count || memo[index].kind == KIND_UNSET)
        return container_fail(m->c, m->err, "damaged: its pickle recalls value %zu, never kept",
                              index);
    return machine_add(m, &m->stack, &memo[index]);
}

/* Make a tuple of count values that lie at `first` of the stack, above its end by now. */
static enum err_code make_tuple(struct machine *m, size_t first, size_t count)
{
    size_t at = m->items.count;
    enum err_code code = reserve(m, &m->items, at + count);

    if (code)
        return code;
    if (count)
        memcpy((struct value *)m->items.data + at, stack_at(m, first),
               count * sizeof(struct value));
    m->items.count += count;
    return machine_push(m, KIND_TUPLE, count, (int64_t)at);
}

static enum err_code tuple_of(struct machine *m, size_t count)
{
    enum err_code code = need(m, count);

    if (code)
        return code;
    m->stack.count -= count;
    return make_tuple(m, m->stack.count, count);
}

static enum err_code tuple_to_mark(struct machine *m)
{
    size_t first = 0, count = 0;
    enum err_code code = pop_to_mark(m, &first, &count);

    return code ? code : make_tuple(m, first, count);
}

static enum err_code append(struct machine *m)
{
    struct value value, list;
    enum err_code code = machine_pop(m, &value);

    return code ? code : top_is(m, KIND_LIST, &list);
}

static enum err_code append_to_mark(struct machine *m)
{
    size_t first = 0, count = 0;
    struct value list;
    enum err_code code = pop_to_mark(m, &first, &count);

    return code ? code : top_is(m, KIND_LIST, &list);
}

/* Pairs that lie at `first` of the stack, above its end by now, into the dictionary on top. */
static enum err_code set_pairs(struct machine *m, size_t first, size_t count)
{
    struct value top = {0};
    enum err_code code = top_is(m, KIND_DICT, &top);

    if (!code && count % 2)
        code = container_fail(m->c, m->err, "damaged: its pickle has a key without value, at %zu",
                              machine_place(m));
    for (size_t i = first; i < first + count && !code; i += 2) {
        struct entry entry = {*stack_at(m, i), *stack_at(m, i + 1), 0};
        struct dict *dict = (struct dict *)m->dicts.data + top.number;
        code = machine_add(m, &m->entries, &entry);
        if (code)
            break;
        if (dict->last)
            ((struct entry *)m->entries.data)[dict->last - 1].next = (uint32_t)m->entries.count;
        else
            dict->first = (uint32_t)m->entries.count;
        dict->last = (uint32_t)m->entries.count;
    }
    return code;
}

static enum err_code set_item(struct machine *m)
{
    enum err_code code = need(m, 2);

    if (code)
        return code;
    m->stack.count -= 2;
    return set_pairs(m, m->stack.count, 2);
}

static enum err_code set_to_mark(struct machine *m)
{
    size_t first = 0, count = 0;
    enum err_code code = pop_to_mark(m, &first, &count);

    return code ? code : set_pairs(m, first, count);
}

/* The attributes of an object: `_metadata` of a state dict, of no use here. */
static enum err_code drop_state(struct machine *m)
{
    struct value state, top;
    enum err_code code = machine_pop(m, &state);

    return code ? code : top_is(m, KIND_DICT, &top);
}

/* ---- The machine ---- */

static enum err_code step(struct machine *m, uint8_t instruction)
{
    switch (instruction) {
    case 0x80:
        return check_protocol(m);
    case '}':
        return machine_push_dict(m);
    case ']':
        return machine_push(m, KIND_LIST, 0, 0);
    case ')':
        return machine_push(m, KIND_TUPLE, 0, 0);
    case '(':
        return machine_push(m, KIND_MARK, 0, 0);
    case 'N':
    case 0x88:
    case 0x89:
        return machine_push(m, KIND_PLAIN, 0, 0);
    case 'K':
        return machine_push(m, KIND_INTEGER, 0, read_u8(&m->r));
    case 'M':
        return machine_push(m, KIND_INTEGER, 0, read_u16(&m->r));
    case 'J':
        return machine_push(m, KIND_INTEGER, 0, (int32_t)read_u32(&m->r));
    case 0x8A:
        return push_long(m);
    case 'G':
        return push_float(m);
    case 'X':
        return push_string(m, read_u32(&m->r));
    case 0x8C:
        return push_string(m, read_u8(&m->r));
    case 'c':
        return pickle_symbol(m);
    case 'q':
        return keep(m, read_u8(&m->r));
    case 'r':
        return keep(m, read_u32(&m->r));
    case 'h':
        return recall(m, read_u8(&m->r));
    case 'j':
        return recall(m, read_u32(&m->r));
    case 0x85:
    case 0x86:
    case 0x87:
        return tuple_of(m, instruction - 0x84);
    case 't':
        return tuple_to_mark(m);
    case 'a':
        return append(m);
    case 'e':
        return append_to_mark(m);
    case 's':
        return set_item(m);
    case 'u':
        return set_to_mark(m);
    case 'Q':
        return pickle_storage(m);
    case 'R':
        return pickle_apply(m);
    case 'b':
        return drop_state(m);
    default:
        return container_fail(m->c, m->err,
                              "its pickle has instruction %02x at byte %zu, which files of weights "
                              "do not have",
                              instruction, machine_place(m) - 1);
    }
}

/* Until STOP, which leaves one object. */
enum err_code machine_run(struct machine *m, struct value *top)
{
    enum err_code code = ERR_OK;
    uint8_t instruction = 0;

    while (!code && !m->r.short_read && instruction != '.') {
        instruction = read_u8(&m->r);
        if (!m->r.short_read && instruction != '.')
            code = step(m, instruction);
    }
    if (m->r.short_read)
        return container_fail(m->c, m->err, "truncated: its pickle of %zu bytes does not stop",
                              m->pickle.bytes);
    if (!code)
        code = machine_pop(m, top);
    if (!code && (m->stack.count || !read_done(&m->r)))
        return container_fail(m->c, m->err, "damaged: something is left over in its pickle");
    return code;
}

void machine_release(struct machine *m)
{
    struct pool *pools[] = {&m->stack, &m->memo,     &m->items,   &m->entries,
                            &m->dicts, &m->storages, &m->tensors, &m->listed};

    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++)
        free(pools[i]->data);
}
