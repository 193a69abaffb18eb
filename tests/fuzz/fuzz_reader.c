/* Any bytes as a file, under a name that is HTML's or not, in an encoding that is said or not: unpacked, out of its
 * encoding, out of its markup. */
#include "stages/ingest/readers/readers.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const encodings[] = {NULL,     "UTF-16", "ISO-2022-JP", "CP1258",
                                            "EUC-TW", "UTF-7",  "BIG5-HKSCS",  "UTF-8"};
    struct reading reading = {.name = NULL};
    struct out *out;
    char path[64];

    if (!bytes || memmem(data, bytes, "%PDF-", 5)) /* that would start a program each time */
        return 0;
    fuzz_file(data + 1, bytes - 1, &reading.file, path);
    reading.name = data[0] & 8 ? "a.html" : "a.txt";
    reading.encoding = encodings[data[0] % 8];
    out = calloc(1, sizeof *out);
    require(out);
    out->fd = -1; /* frames go nowhere */
    require(!readers_run(&reading, out, NULL));
    fuzz_touch(out->text, out->bytes);
    free(out);
    close(reading.file);
    return 0;
}
