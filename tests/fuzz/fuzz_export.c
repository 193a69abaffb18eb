/* Exports: the file as it is; and, since no mutation passes a checksum, with the checksums made to fit, so that
 * lengths and counts are tried as well; and what is in it, written again, is the same file. */
#include "schemas/export.h"
#include "tests/fuzz/fuzz.h"

#include <xxhash.h>

static enum err_code put(void *user, const void *data, size_t bytes, struct err *err)
{
    (void)err;
    buffer_put(user, data, bytes);
    return ERR_OK;
}

/* Put what the checksums should be where the head's and pieces' lengths say that they stand. */
static void mend(uint8_t *file, size_t bytes)
{
    size_t at = EXPORT_HEAD_BYTES;
    uint64_t length;

    if (bytes < EXPORT_HEAD_BYTES + 16)
        return;
    length = (uint64_t)load_u32(file + 16) + load_u32(file + 20);
    for (uint32_t i = 0;; i++) {
        if (length > bytes - at || bytes - at - length < 8)
            break;
        store_u64(file + at + length, i ? XXH3_64bits_withSeed(file + at, (size_t)length, i)
                                        : XXH3_64bits(file, at + (size_t)length));
        at += (size_t)length + 8;
        if (i == load_u32(file + 12) || bytes - at < 8)
            break;
        length = load_u64(file + at);
        at += 8;
    }
    store_u64(file + bytes - 8, XXH3_64bits(file, bytes - 8));
}

static void read_it(const uint8_t *data, size_t bytes)
{
    struct view pieces[EXPORT_PIECES_MAX];
    struct buffer again = buffer_of(SIZE_MAX);
    struct exported e;
    struct err err;

    if (export_read((struct view){data, bytes}, pieces, &e, &err))
        return;
    fuzz_touch(e.name.data, e.name.bytes);
    fuzz_touch(e.point.data, e.point.bytes);
    for (size_t i = 0; i < e.piece_count; i++)
        fuzz_touch(e.pieces[i].data, e.pieces[i].bytes);
    require(!export_write(&e, put, &again, &err));
    require(again.bytes == bytes && !memcmp(again.data, data, bytes));
    buffer_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes + 1);

    require(copy);
    read_it(data, bytes);
    memcpy(copy, data, bytes);
    mend(copy, bytes);
    read_it(copy, bytes);
    free(copy);
    return 0;
}
