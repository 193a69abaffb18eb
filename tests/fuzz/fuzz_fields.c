/* JSON Lines: the first byte says which field, the rest is the file, read in one go and in pieces of seven bytes: both
 * say the same. */
#include "stages/ingest/readers/fields.h"
#include "tests/fuzz/fuzz.h"

static enum err_code read_by(const uint8_t *data, size_t bytes, size_t most, uint64_t *text)
{
    static const char *const fields[] = {"text", "a.b", "a", "..", "a.b.c.d"};
    struct fuzz_given given = {.data = data + 1, .bytes = bytes - 1, .most = most};
    const struct pull pull = {fuzz_give, &given};
    struct out *out = calloc(1, sizeof *out);
    enum err_code code;

    require(out);
    out->fd = -1;
    out->noted = true;
    code = fields_read(&pull, fields[data[0] % (sizeof fields / sizeof *fields)], out, NULL);
    fuzz_touch(out->text, out->bytes);
    *text = out->all;
    free(out);
    return code;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint64_t whole, pieces;

    if (!bytes)
        return 0;
    require(read_by(data, bytes, SIZE_MAX, &whole) == read_by(data, bytes, 7, &pieces));
    require(whole == pieces);
    return 0;
}
