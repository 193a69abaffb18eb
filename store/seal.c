#include "store/seal.h"

#include "store/store.h"
#include <xxhash.h>

_Static_assert(SEAL_BYTES_MAX == 4 + 8 + 8 * STORE_PARTS_MAX, "room for every part's checksum");

static const uint32_t sealed_bit = UINT32_C(1) << 31;

uint64_t seal_name(struct view name)
{
    return XXH3_64bits(name.data, name.bytes);
}

bool seal_read(struct view payload, struct seal *seal)
{
    struct reader r = reader_of(payload.data, payload.bytes);
    uint32_t count = read_u32(&r);

    *seal = (struct seal){.sealed = count & sealed_bit, .parts = count & ~sealed_bit};
    if (r.short_read || seal->parts > STORE_PARTS_MAX)
        return false;
    if (seal->sealed) {
        seal->name = read_u64(&r);
        seal->checksums = read_bytes(&r, 8 * seal->parts);
    }
    seal->meta = (struct view){r.at, (size_t)(r.end - r.at)};
    return !r.short_read;
}

size_t seal_write(uint8_t out[SEAL_BYTES_MAX], struct view name, const uint64_t *checksums,
                  size_t parts)
{
    store_u32(out, (uint32_t)parts | sealed_bit);
    store_u64(out + 4, seal_name(name));
    for (size_t i = 0; i < parts; i++)
        store_u64(out + 12 + 8 * i, checksums[i]);
    return 12 + 8 * parts;
}

uint64_t seal_checksum(const struct seal *seal, size_t part)
{
    return load_u64(seal->checksums + 8 * part);
}
