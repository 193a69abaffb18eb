/* engine/formats/pickle.c: the machine that reads a pickle of weights.
 *
 * It has a stack, a memo (values kept under numbers) and pools of what values refer to: items of tuples, entries
 * of dictionaries, storages, tensors. A value is 16 bytes; what does not fit lies in a pool, whose members
 * are never changed (but a dictionary grows) and never let go before the end. An instruction adds a
 * bounded number of members, or moves values that other instructions have pushed, so all is linear
 * in the pickle. Lists are known, their contents dropped: no weight stands in one. */
#include "engine/formats/pickle.h"

#include <stdlib.h>
#include <string.h>

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

static enum err_code add(struct machine *m, struct pool *pool, const void *member)
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

static const struct value *item_of(const struct machine *m, struct value tuple, size_t index)
{
    return (const struct value *)m->items.data + tuple.number + index;
}

static struct view text_of(const struct machine *m, struct value string)
{
    return (struct view){m->pickle.data + string.number, string.count};
}

static bool text_is(const struct machine *m, struct value value, const char *text)
{
    return value.kind == KIND_STRING && value.count == strlen(text) &&
           !memcmp(m->pickle.data + value.number, text, value.count);
}

/* ---- The stack ---- */

static size_t place(const struct machine *m)
{
    return (size_t)(m->r.at - m->pickle.data);
}

static enum err_code push(struct machine *m, enum kind kind, size_t count, int64_t number)
{
    struct value value = {kind, (uint32_t)count, number};

    return add(m, &m->stack, &value);
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
                              place(m));
    return ERR_OK;
}

static enum err_code pop(struct machine *m, struct value *value)
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
                          place(m));
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
                              kind == KIND_LIST ? "list" : "dictionary", place(m));
    return ERR_OK;
}

/* ---- Instructions: plain values ---- */

static enum err_code push_string(struct machine *m, size_t bytes)
{
    const uint8_t *data = read_bytes(&m->r, bytes);

    return data ? push(m, KIND_STRING, bytes, data - m->pickle.data) : ERR_OK;
}

static enum err_code push_long(struct machine *m)
{
    size_t bytes = read_u8(&m->r);
    const uint8_t *data = read_bytes(&m->r, bytes);
    uint64_t number = bytes && data && data[bytes - 1] & 0x80 ? UINT64_MAX : 0;

    if (bytes > 8)
        return container_fail(m->c, m->err, "its pickle has an integer of %zu bytes, at byte %zu",
                              bytes, place(m));
    for (size_t i = data ? bytes : 0; i-- > 0;)
        number = number << 8 | data[i];
    return push(m, KIND_INTEGER, 0, (int64_t)number);
}

static enum err_code push_float(struct machine *m)
{
    read_bytes(&m->r, 8);
    return push(m, KIND_PLAIN, 0, 0);
}

static enum err_code push_dict(struct machine *m)
{
    struct dict dict = {0, 0};
    enum err_code code = add(m, &m->dicts, &dict);

    return code ? code : push(m, KIND_DICT, 0, (int64_t)m->dicts.count - 1);
}

static enum err_code check_protocol(struct machine *m)
{
    unsigned version = read_u8(&m->r);

    if (version < 2 || version > 5)
        return container_fail(m->c, m->err, "its pickle is of protocol %u, 2 to 5 are known",
                              version);
    return ERR_OK;
}

/* ---- Instructions: symbols ---- */

enum role { ROLE_DICT, ROLE_TENSOR, ROLE_PARAMETER, ROLE_SUBCLASS, ROLE_TYPE, ROLE_STORAGE };

static const struct {
    const char *module, *name;
    enum role role;
    enum dtype dtype; /* of ROLE_STORAGE */
} symbols[] = {
    {"collections", "OrderedDict", ROLE_DICT, 0},
    {"torch._utils", "_rebuild_tensor_v2", ROLE_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", ROLE_PARAMETER, 0},
    {"torch._tensor", "_rebuild_from_type_v2", ROLE_SUBCLASS, 0},
    {"torch", "Tensor", ROLE_TYPE, 0},
    {"torch.nn.parameter", "Parameter", ROLE_TYPE, 0},
    {"torch", "FloatStorage", ROLE_STORAGE, DTYPE_F32},
    {"torch", "HalfStorage", ROLE_STORAGE, DTYPE_F16},
    {"torch", "BFloat16Storage", ROLE_STORAGE, DTYPE_BF16},
    {"torch", "DoubleStorage", ROLE_STORAGE, DTYPE_F64},
};

static struct view read_line(struct machine *m)
{
    size_t left = (size_t)(m->r.end - m->r.at);
    const uint8_t *end = left ? memchr(m->r.at, '\n', left) : NULL;
    struct view line = {m->r.at, end ? (size_t)(end - m->r.at) : 0};

    read_bytes(&m->r, end ? line.bytes + 1 : left + 1);
    return line;
}

static bool line_is(struct view line, const char *text)
{
    return line.bytes == strlen(text) && !memcmp(line.data, text, line.bytes);
}

static enum err_code refuse_symbol(struct machine *m, struct view module, struct view name)
{
    static const char ending[] = "Storage";
    size_t bytes = sizeof ending - 1;
    int shown[2] = {module.bytes < 60 ? (int)module.bytes : 60,
                    name.bytes < 60 ? (int)name.bytes : 60};
    bool storage = line_is(module, "torch") && name.bytes > bytes &&
                   !memcmp(name.data + name.bytes - bytes, ending, bytes);

    if (storage)
        return container_fail(m->c, m->err,
                              "its pickle names '%.*s %.*s': of PyTorch's storages Float, Half, "
                              "BFloat16 and Double are read",
                              shown[0], (const char *)module.data, shown[1],
                              (const char *)name.data);
    return container_fail(m->c, m->err,
                          "its pickle names '%.*s %.*s', which weights do not need: it may want to "
                          "run code and is refused",
                          shown[0], (const char *)module.data, shown[1], (const char *)name.data);
}

static enum err_code push_symbol(struct machine *m)
{
    struct view module = read_line(m), name = {NULL, 0};

    if (!m->r.short_read)
        name = read_line(m);
    if (m->r.short_read)
        return ERR_OK;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        if (line_is(module, symbols[i].module) && line_is(name, symbols[i].name))
            return push(m, KIND_SYMBOL, 0, (int64_t)i);
    return refuse_symbol(m, module, name);
}

static bool has_role(struct value value, enum role role)
{
    return value.kind == KIND_SYMBOL && symbols[value.number].role == role;
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
    return add(m, &m->stack, &memo[index]);
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
    return push(m, KIND_TUPLE, count, (int64_t)at);
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
    enum err_code code = pop(m, &value);

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
                              place(m));
    for (size_t i = first; i < first + count && !code; i += 2) {
        struct entry entry = {*stack_at(m, i), *stack_at(m, i + 1), 0};
        struct dict *dict = (struct dict *)m->dicts.data + top.number;
        code = add(m, &m->entries, &entry);
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
    enum err_code code = pop(m, &state);

    return code ? code : top_is(m, KIND_DICT, &top);
}

/* ---- Instructions: storages and tensors ---- */

/* ("storage", TYPE, key, location, count) */
static enum err_code push_storage(struct machine *m)
{
    struct value tuple, parts[5];
    struct storage storage;
    enum err_code code = pop(m, &tuple);

    if (code)
        return code;
    if (tuple.kind == KIND_TUPLE && tuple.count == 5)
        memcpy(parts, item_of(m, tuple, 0), sizeof parts);
    if (tuple.kind != KIND_TUPLE || tuple.count != 5 || !text_is(m, parts[0], "storage") ||
        !has_role(parts[1], ROLE_STORAGE) || parts[2].kind != KIND_STRING ||
        parts[4].kind != KIND_INTEGER || parts[4].number < 0)
        return container_fail(m->c, m->err,
                              "damaged: its pickle refers to what is no storage, at byte %zu",
                              place(m));
    storage = (struct storage){parts[2], (uint64_t)parts[4].number, symbols[parts[1].number].dtype};
    code = add(m, &m->storages, &storage);
    return code ? code : push(m, KIND_STORAGE, 0, (int64_t)m->storages.count - 1);
}

static enum err_code misuse(struct machine *m, const char *name)
{
    return container_fail(m->c, m->err, "damaged: its pickle misuses '%s', at byte %zu", name,
                          place(m));
}

/* (storage, first, shape, stride, requires_grad, hooks) */
static enum err_code rebuild_tensor(struct machine *m, struct value arguments)
{
    struct value parts[4];
    struct rebuilt tensor;
    enum err_code code;

    if (arguments.count != 6)
        return misuse(m, "_rebuild_tensor_v2");
    memcpy(parts, item_of(m, arguments, 0), sizeof parts);
    if (parts[0].kind != KIND_STORAGE || parts[1].kind != KIND_INTEGER ||
        parts[2].kind != KIND_TUPLE || parts[3].kind != KIND_TUPLE ||
        parts[2].count != parts[3].count)
        return misuse(m, "_rebuild_tensor_v2");
    tensor = (struct rebuilt){(size_t)parts[0].number, parts[1].number, parts[2], parts[3]};
    code = add(m, &m->tensors, &tensor);
    return code ? code : push(m, KIND_TENSOR, 0, (int64_t)m->tensors.count - 1);
}

/* (tensor, requires_grad, hooks) is the tensor. */
static enum err_code rebuild_parameter(struct machine *m, struct value arguments)
{
    if (arguments.count != 3 || item_of(m, arguments, 0)->kind != KIND_TENSOR)
        return misuse(m, "_rebuild_parameter");
    return add(m, &m->stack, item_of(m, arguments, 0));
}

/* (rebuild, type, arguments, state) is what rebuild makes of the arguments. */
static enum err_code rebuild_subclass(struct machine *m, struct value arguments)
{
    struct value parts[3];

    if (arguments.count != 4)
        return misuse(m, "_rebuild_from_type_v2");
    memcpy(parts, item_of(m, arguments, 0), sizeof parts);
    if (!has_role(parts[1], ROLE_TYPE) || parts[2].kind != KIND_TUPLE)
        return misuse(m, "_rebuild_from_type_v2");
    if (has_role(parts[0], ROLE_TENSOR))
        return rebuild_tensor(m, parts[2]);
    if (has_role(parts[0], ROLE_PARAMETER))
        return rebuild_parameter(m, parts[2]);
    return misuse(m, "_rebuild_from_type_v2");
}

static enum err_code apply(struct machine *m)
{
    struct value symbol, arguments;
    enum err_code code = pop(m, &arguments);

    if (!code)
        code = pop(m, &symbol);
    if (code)
        return code;
    if (symbol.kind != KIND_SYMBOL || arguments.kind != KIND_TUPLE)
        return misuse(m, "REDUCE");
    switch (symbols[symbol.number].role) {
    case ROLE_DICT:
        return arguments.count ? misuse(m, "OrderedDict") : push_dict(m);
    case ROLE_TENSOR:
        return rebuild_tensor(m, arguments);
    case ROLE_PARAMETER:
        return rebuild_parameter(m, arguments);
    case ROLE_SUBCLASS:
        return rebuild_subclass(m, arguments);
    default:
        return misuse(m, symbols[symbol.number].name);
    }
}

/* ---- The machine ---- */

static enum err_code step(struct machine *m, uint8_t instruction)
{
    switch (instruction) {
    case 0x80:
        return check_protocol(m);
    case '}':
        return push_dict(m);
    case ']':
        return push(m, KIND_LIST, 0, 0);
    case ')':
        return push(m, KIND_TUPLE, 0, 0);
    case '(':
        return push(m, KIND_MARK, 0, 0);
    case 'N':
    case 0x88:
    case 0x89:
        return push(m, KIND_PLAIN, 0, 0);
    case 'K':
        return push(m, KIND_INTEGER, 0, read_u8(&m->r));
    case 'M':
        return push(m, KIND_INTEGER, 0, read_u16(&m->r));
    case 'J':
        return push(m, KIND_INTEGER, 0, (int32_t)read_u32(&m->r));
    case 0x8A:
        return push_long(m);
    case 'G':
        return push_float(m);
    case 'X':
        return push_string(m, read_u32(&m->r));
    case 0x8C:
        return push_string(m, read_u8(&m->r));
    case 'c':
        return push_symbol(m);
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
        return push_storage(m);
    case 'R':
        return apply(m);
    case 'b':
        return drop_state(m);
    default:
        return container_fail(m->c, m->err,
                              "its pickle has instruction %02x at byte %zu, which files of weights "
                              "do not have",
                              instruction, place(m) - 1);
    }
}

/* Until STOP, which leaves one object. */
static enum err_code run(struct machine *m, struct value *top)
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
        code = pop(m, top);
    if (!code && (m->stack.count || !read_done(&m->r)))
        return container_fail(m->c, m->err, "damaged: something is left over in its pickle");
    return code;
}

/* ---- What it said ---- */

/* The name of an entry, as printf's "%.*s" takes it. */
#define SHOWN(name) (int)((name).bytes < 60 ? (name).bytes : 60), (const char *)(name).data

static enum err_code read_window(struct machine *m, const struct rebuilt *rebuilt,
                                 struct pickle_tensor *tensor)
{
    const struct container *c = m->c;

    tensor->rank = rebuilt->shape.count;
    if (tensor->rank > TENSOR_RANK_MAX)
        return container_fail(c, m->err, "tensor '%.*s' has %u axes", SHOWN(tensor->name),
                              tensor->rank);
    if (rebuilt->first < 0)
        return container_fail(c, m->err, "tensor '%.*s' begins in front of its storage",
                              SHOWN(tensor->name));
    tensor->first = (uint64_t)rebuilt->first;
    for (unsigned i = 0; i < tensor->rank; i++) {
        const struct value *length = item_of(m, rebuilt->shape, i);
        const struct value *stride = item_of(m, rebuilt->stride, i);
        if (length->kind != KIND_INTEGER || length->number < 0)
            return container_fail(c, m->err, "tensor '%.*s' has an impossible shape",
                                  SHOWN(tensor->name));
        if (stride->kind != KIND_INTEGER || stride->number < 0)
            return container_fail(c, m->err, "tensor '%.*s' has a negative stride",
                                  SHOWN(tensor->name));
        tensor->shape[i] = (uint64_t)length->number;
        tensor->stride[i] = (uint64_t)stride->number;
    }
    if (tensor->rank == 0) {
        tensor->rank = 1;
        tensor->shape[0] = tensor->stride[0] = 1;
    }
    return ERR_OK;
}

static enum err_code list_entry(struct machine *m, const struct entry *entry)
{
    struct pickle_tensor tensor = {.name = {NULL, 0}};
    const struct rebuilt *rebuilt;
    const struct storage *storage;
    bool named = entry->key.kind == KIND_STRING;
    enum err_code code;

    if (named)
        tensor.name = text_of(m, entry->key);
    if (entry->value.kind != KIND_TENSOR) {
        if (tensor.name.bytes && tensor.name.data[0] == '_')
            return container_fail(m->c, m->err,
                                  "it has '%.*s', which is no tensor: a file converted for another "
                                  "program, take the original",
                                  SHOWN(tensor.name));
        return ERR_OK;
    }
    if (!named)
        return container_fail(m->c, m->err, "a tensor has a key that is no string");
    rebuilt = (const struct rebuilt *)m->tensors.data + entry->value.number;
    storage = (const struct storage *)m->storages.data + rebuilt->storage;
    tensor.storage = text_of(m, storage->key);
    tensor.storage_values = storage->values;
    tensor.dtype = storage->dtype;
    code = read_window(m, rebuilt, &tensor);
    return code ? code : add(m, &m->listed, &tensor);
}

static const struct entry *entry_at(const struct machine *m, uint32_t index)
{
    return index ? (const struct entry *)m->entries.data + index - 1 : NULL;
}

static enum err_code list_tensors(struct machine *m, struct value top)
{
    const struct dict *dicts = m->dicts.data;
    struct value weights = top;
    enum err_code code = ERR_OK;

    if (top.kind != KIND_DICT)
        return container_fail(m->c, m->err, "its pickle is no dictionary of tensors");
    for (const struct entry *e = entry_at(m, dicts[top.number].first); e; e = entry_at(m, e->next))
        if (text_is(m, e->key, "state_dict") && e->value.kind == KIND_DICT)
            weights = e->value;
    for (const struct entry *e = entry_at(m, dicts[weights.number].first); e && !code;
         e = entry_at(m, e->next))
        code = list_entry(m, e);
    return code;
}

enum err_code pickle_read(struct pickle_tensor **out, size_t *count, struct view pickle,
                          const struct container *c, struct err *err)
{
    struct machine m = {
        .c = c,
        .err = err,
        .pickle = pickle,
        .r = reader_of(pickle.data, pickle.bytes),
        .budget = PICKLE_MEMORY_LEAST + pickle.bytes * PICKLE_MEMORY_FACTOR,
        .stack.each = sizeof(struct value),
        .memo.each = sizeof(struct value),
        .items.each = sizeof(struct value),
        .entries.each = sizeof(struct entry),
        .dicts.each = sizeof(struct dict),
        .storages.each = sizeof(struct storage),
        .tensors.each = sizeof(struct rebuilt),
        .listed.each = sizeof(struct pickle_tensor),
    };
    struct value top = {0};
    enum err_code code;

    if (pickle.bytes > PICKLE_BYTES_MAX)
        return container_fail(c, err, "its pickle has %zu bytes, at most %d are read", pickle.bytes,
                              PICKLE_BYTES_MAX);
    code = run(&m, &top);
    if (!code)
        code = list_tensors(&m, top);
    free(m.stack.data);
    free(m.memo.data);
    free(m.items.data);
    free(m.entries.data);
    free(m.dicts.data);
    free(m.storages.data);
    free(m.tensors.data);
    if (code) {
        free(m.listed.data);
        return code;
    }
    *out = m.listed.data;
    *count = m.listed.count;
    return ERR_OK;
}
