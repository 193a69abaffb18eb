/* engine/formats/pickle.c: what PyTorch says in a pickle of weights: symbols, storages, tensors, and the names of
 * tensors in the dictionary on top. */
#include "engine/formats/pickle.h"
#include "engine/formats/machine.h"

/* A name as printf's "%.*s" takes it. */
#define SHOWN(name) (int)((name).bytes < 60 ? (name).bytes : 60), (const char *)(name).data

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
    bool storage = line_is(module, "torch") && name.bytes > bytes &&
                   !memcmp(name.data + name.bytes - bytes, ending, bytes);

    if (storage)
        return container_fail(m->c, m->err,
                              "its pickle names '%.*s %.*s': of PyTorch's storages Float, Half, "
                              "BFloat16 and Double are read",
                              SHOWN(module), SHOWN(name));
    return container_fail(m->c, m->err,
                          "its pickle names '%.*s %.*s', which weights do not need: it may want to "
                          "run code and is refused",
                          SHOWN(module), SHOWN(name));
}

enum err_code pickle_symbol(struct machine *m)
{
    struct view module = read_line(m), name = {NULL, 0};

    if (!m->r.short_read)
        name = read_line(m);
    if (m->r.short_read)
        return ERR_OK;
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        if (line_is(module, symbols[i].module) && line_is(name, symbols[i].name))
            return machine_push(m, KIND_SYMBOL, 0, (int64_t)i);
    return refuse_symbol(m, module, name);
}

static bool has_role(struct value value, enum role role)
{
    return value.kind == KIND_SYMBOL && symbols[value.number].role == role;
}

/* ---- Instructions: storages and tensors ---- */

/* ("storage", TYPE, key, location, count) */
enum err_code pickle_storage(struct machine *m)
{
    struct value tuple, parts[5];
    struct storage storage;
    enum err_code code = machine_pop(m, &tuple);

    if (code)
        return code;
    if (tuple.kind == KIND_TUPLE && tuple.count == 5)
        memcpy(parts, machine_item(m, tuple, 0), sizeof parts);
    if (tuple.kind != KIND_TUPLE || tuple.count != 5 || !machine_text_is(m, parts[0], "storage") ||
        !has_role(parts[1], ROLE_STORAGE) || parts[2].kind != KIND_STRING ||
        parts[4].kind != KIND_INTEGER || parts[4].number < 0)
        return container_fail(m->c, m->err,
                              "damaged: its pickle refers to what is no storage, at byte %zu",
                              machine_place(m));
    storage = (struct storage){parts[2], (uint64_t)parts[4].number, symbols[parts[1].number].dtype};
    code = machine_add(m, &m->storages, &storage);
    return code ? code : machine_push(m, KIND_STORAGE, 0, (int64_t)m->storages.count - 1);
}

static enum err_code misuse(struct machine *m, const char *name)
{
    return container_fail(m->c, m->err, "damaged: its pickle misuses '%s', at byte %zu", name,
                          machine_place(m));
}

/* (storage, first, shape, stride, requires_grad, hooks) */
static enum err_code rebuild_tensor(struct machine *m, struct value arguments)
{
    struct value parts[4];
    struct rebuilt tensor;
    enum err_code code;

    if (arguments.count != 6)
        return misuse(m, "_rebuild_tensor_v2");
    memcpy(parts, machine_item(m, arguments, 0), sizeof parts);
    if (parts[0].kind != KIND_STORAGE || parts[1].kind != KIND_INTEGER ||
        parts[2].kind != KIND_TUPLE || parts[3].kind != KIND_TUPLE ||
        parts[2].count != parts[3].count)
        return misuse(m, "_rebuild_tensor_v2");
    tensor = (struct rebuilt){(size_t)parts[0].number, parts[1].number, parts[2], parts[3]};
    code = machine_add(m, &m->tensors, &tensor);
    return code ? code : machine_push(m, KIND_TENSOR, 0, (int64_t)m->tensors.count - 1);
}

/* (tensor, requires_grad, hooks) is the tensor. */
static enum err_code rebuild_parameter(struct machine *m, struct value arguments)
{
    if (arguments.count != 3 || machine_item(m, arguments, 0)->kind != KIND_TENSOR)
        return misuse(m, "_rebuild_parameter");
    return machine_add(m, &m->stack, machine_item(m, arguments, 0));
}

/* (rebuild, type, arguments, state) is what rebuild makes of the arguments. */
static enum err_code rebuild_subclass(struct machine *m, struct value arguments)
{
    struct value parts[3];

    if (arguments.count != 4)
        return misuse(m, "_rebuild_from_type_v2");
    memcpy(parts, machine_item(m, arguments, 0), sizeof parts);
    if (!has_role(parts[1], ROLE_TYPE) || parts[2].kind != KIND_TUPLE)
        return misuse(m, "_rebuild_from_type_v2");
    if (has_role(parts[0], ROLE_TENSOR))
        return rebuild_tensor(m, parts[2]);
    if (has_role(parts[0], ROLE_PARAMETER))
        return rebuild_parameter(m, parts[2]);
    return misuse(m, "_rebuild_from_type_v2");
}

enum err_code pickle_apply(struct machine *m)
{
    struct value symbol, arguments;
    enum err_code code = machine_pop(m, &arguments);

    if (!code)
        code = machine_pop(m, &symbol);
    if (code)
        return code;
    if (symbol.kind != KIND_SYMBOL || arguments.kind != KIND_TUPLE)
        return misuse(m, "REDUCE");
    switch (symbols[symbol.number].role) {
    case ROLE_DICT:
        return arguments.count ? misuse(m, "OrderedDict") : machine_push_dict(m);
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

/* ---- What it said ---- */

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
        const struct value *length = machine_item(m, rebuilt->shape, i);
        const struct value *stride = machine_item(m, rebuilt->stride, i);
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
        tensor.name = machine_text(m, entry->key);
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
    tensor.storage = machine_text(m, storage->key);
    tensor.storage_values = storage->values;
    tensor.dtype = storage->dtype;
    code = read_window(m, rebuilt, &tensor);
    return code ? code : machine_add(m, &m->listed, &tensor);
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
        if (machine_text_is(m, e->key, "state_dict") && e->value.kind == KIND_DICT)
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
    code = machine_run(&m, &top);
    if (!code)
        code = list_tensors(&m, top);
    if (!code) {
        *out = m.listed.data;
        *count = m.listed.count;
        m.listed.data = NULL; /* handed over */
    }
    machine_release(&m);
    return code;
}
