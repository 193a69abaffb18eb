/* engine/formats/rwkvcpp.c: the .bin files of rwkv.cpp, versions 100 and 101.
 *
 *     i32 magic 0x67676D66 | version | vocab | channels | layers | data type
 *     then until the end:  i32 dims 1..3 | name length | type | ne[dims], fastest axis first | name | data
 *
 * Nothing is padded: data sits at odd addresses. Version 100 differs in its quantised types only,
 * whose layout is dead. */
#include "engine/formats/formats.h"
#include "schemas/bytes.h"

enum { DIMS_MAX = 3, VERSION_OLD = 100, VERSION_NEW = 101 };

/* rwkv.cpp's numbers, which are not those of GGUF. */
static const struct {
    uint32_t number;
    enum dtype dtype;
} types[] = {{0, DTYPE_F32},   {1, DTYPE_F16},  {2, DTYPE_Q4_0}, {3, DTYPE_Q4_1},
             {7, DTYPE_Q5_0},  {8, DTYPE_Q5_1}, {9, DTYPE_Q8_0}, {13, DTYPE_Q4_K},
             {14, DTYPE_Q5_K}, {15, DTYPE_Q6_K}};

static bool dtype_of(uint32_t number, enum dtype *out)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].number == number) {
            *out = types[i].dtype;
            return true;
        }
    }
    return false;
}

static size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

static enum err_code truncated(const struct container *c, const struct reader *r, struct err *err)
{
    return container_fail(c, err,
                          "truncated: the file ends inside the header of tensor %zu, at %zu",
                          c->count, c->bytes - left(r));
}

static enum err_code read_tensor(struct container *c, struct reader *r, uint32_t version,
                                 struct err *err)
{
    uint32_t rank = read_u32(r), name_bytes = read_u32(r), number = read_u32(r);
    uint64_t shape[DIMS_MAX] = {0};
    struct tensor *tensor = NULL;
    const uint8_t *name;
    enum dtype dtype;
    enum err_code code;

    if (r->short_read)
        return truncated(c, r, err);
    if (rank < 1 || rank > DIMS_MAX)
        return container_fail(c, err, "tensor %zu says it has %u axes", c->count, rank);
    if (!dtype_of(number, &dtype))
        return container_fail(c, err, "tensor %zu is of unknown type %u", c->count, number);
    for (uint32_t i = 0; i < rank; i++)
        shape[rank - 1 - i] = read_u32(r);
    if (name_bytes > TENSOR_NAME_MAX)
        return container_fail(c, err, "tensor %zu says its name is %u bytes long", c->count,
                              name_bytes);
    name = read_bytes(r, name_bytes);
    if (r->short_read)
        return truncated(c, r, err);
    code = container_add(c, (const char *)name, name_bytes, dtype, rank, shape, &tensor, err);
    if (code)
        return code;
    if (version == VERSION_OLD && dtypes[dtype].items > 1)
        return container_fail(c, err, "tensor '%s' is %s of file version 100, a dead format",
                              tensor->name, dtypes[dtype].name);
    if (tensor->bytes > left(r))
        return container_fail(c, err, "truncated: tensor '%s' needs %llu bytes, %zu are left",
                              tensor->name, (unsigned long long)tensor->bytes, left(r));
    tensor->data = read_bytes(r, tensor->bytes);
    return ERR_OK;
}

enum err_code rwkvcpp_read(struct container *c, struct err *err)
{
    struct reader r = reader_of(c->map, c->bytes);
    uint32_t version, type;
    enum dtype dtype;
    enum err_code code = ERR_OK;

    read_u32(&r);
    version = read_u32(&r);
    c->stated_vocab = read_u32(&r);
    c->stated_channels = read_u32(&r);
    c->stated_layers = read_u32(&r);
    type = read_u32(&r);
    if (r.short_read)
        return container_fail(c, err, "truncated: %zu bytes, the header alone has 24", c->bytes);
    if (version != VERSION_OLD && version != VERSION_NEW)
        return container_fail(c, err, "rwkv.cpp file version %u, 100 and 101 are known", version);
    if (!dtype_of(type, &dtype))
        return container_fail(c, err, "the header names an unknown data type %u", type);
    if (!c->stated_vocab || !c->stated_channels || !c->stated_layers)
        return container_fail(c, err, "the header says 0 tokens, channels or layers");
    c->converted = true;
    while (!code && left(&r))
        code = read_tensor(c, &r, version, err);
    return code;
}
