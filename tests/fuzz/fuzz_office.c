/* The XML of a DOCX, or with an odd first byte of an ODT, in a zip that is sound. */
#include "tests/fuzz/fuzz_zip.h"

enum { ROOM = 256 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t room[ROOM];
    struct archive *zip;
    size_t used = 0;

    if (!bytes)
        return 0;
    zip = fuzz_zip_begin(room, ROOM, &used);
    fuzz_zip_add(zip, data[0] & 1 ? "content.xml" : "word/document.xml",
                 (struct view){data + 1, bytes - 1});
    fuzz_zip_add(zip, "META-INF/manifest.xml", (struct view){data, 1});
    fuzz_zip_end(zip);
    fuzz_read(room, used, "a");
    return 0;
}
