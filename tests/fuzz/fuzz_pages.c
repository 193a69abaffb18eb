/* What pdftotext could say of a PDF, cut by form feeds into pages, in pieces of any size: places where text begins, and
 * no byte of the text lost but blanks at the beginning of pages, and form feeds. The program itself is poppler's, and
 * runs in a process of its own. */
#include "stages/ingest/readers/pdf.h"
#include "tests/fuzz/fuzz.h"

static size_t count_text(const uint8_t *data, size_t bytes, uint64_t *pages)
{
    bool begun = false;
    size_t count = 0;

    *pages = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] == '\f') {
            begun = false;
        } else if (begun ||
                   (data[i] != ' ' && data[i] != '\n' && data[i] != '\t' && data[i] != '\r')) {
            *pages += !begun;
            begun = true;
            count++;
        }
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_given given = {.data = data + 1, .bytes = bytes - 1, .most = 1};
    const struct pull text = {fuzz_give, &given};
    struct out *out = bytes ? calloc(1, sizeof *out) : NULL;
    uint64_t pages, want;

    if (!bytes)
        return 0;
    require(out);
    given.most += data[0];
    out->fd = -1;
    out->noted = true;
    require(!pdf_pages(&text, out, &pages, NULL));
    require(out->all == count_text(data + 1, bytes - 1, &want) && pages == want);
    free(out);
    return 0;
}
