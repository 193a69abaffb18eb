/* An EPUB whose zip is sound, so that what is in it is reached: the input is the package document and, behind a byte
 * 0xFF each, the container, a chapter and a chapter's name. What is not there stands as a good EPUB has it. */
#include "tests/fuzz/fuzz_zip.h"

enum { ROOM = 256 * 1024 };

/* What stands before the next 0xFF, which is passed; usual where there is nothing. */
static struct view part(struct view *rest, const char *usual)
{
    const uint8_t *end = rest->bytes ? memchr(rest->data, 0xFF, rest->bytes) : NULL;
    struct view one = {rest->data, end ? (size_t)(end - rest->data) : rest->bytes};

    *rest = end ? (struct view){end + 1, rest->bytes - one.bytes - 1} : (struct view){NULL, 0};
    return one.bytes ? one : (struct view){(const uint8_t *)usual, strlen(usual)};
}

static size_t make_zip(struct view rest, void *room)
{
    struct archive *zip;
    size_t used = 0;
    struct view package = part(&rest, "");
    struct view container = part(
        &rest,
        "<container><rootfiles><rootfile full-path=\"OPS/book.opf\"/></rootfiles></container>");
    struct view chapter = part(&rest, "<p>text"), name = part(&rest, "OPS/a.xhtml");
    char path[100];

    snprintf(path, sizeof path, "%.*s", (int)(name.bytes < 99 ? name.bytes : 99),
             (const char *)name.data);
    zip = fuzz_zip_begin(room, ROOM, &used);
    fuzz_zip_add(zip, "META-INF/container.xml", container);
    fuzz_zip_add(zip, "OPS/book.opf", package);
    if (path[0])
        fuzz_zip_add(zip, path, chapter);
    fuzz_zip_end(zip);
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t room[ROOM];

    fuzz_read(room, make_zip((struct view){data, bytes}, room), "a.epub");
    return 0;
}
