/* Archives: the first byte says whether the rest is one as it stands, under what name, or is what a sound tar holds: a
 * file under one name, and behind a byte 0xFF another. */
#include "stages/ingest/readers/readers.h"
#include "tests/fuzz/fuzz_zip.h"

enum { ROOM = 256 * 1024 };

static size_t make_tar(struct view rest, void *room)
{
    static const char *const names[] = {"a.txt", "b.md", "c/d.html", ".git/e"};
    struct archive *tar = archive_write_new();
    size_t used = 0;

    require(tar && archive_write_set_format_ustar(tar) == ARCHIVE_OK &&
            archive_write_open_memory(tar, room, ROOM, &used) == ARCHIVE_OK);
    for (size_t i = 0; i < 4 && rest.bytes; i++) {
        const uint8_t *end = memchr(rest.data, 0xFF, rest.bytes);
        struct view one = {rest.data, end ? (size_t)(end - rest.data) : rest.bytes};
        size_t taken = one.bytes + (end != NULL);
        fuzz_zip_add(tar, names[i], one);
        rest = (struct view){rest.data + taken, rest.bytes - taken};
    }
    fuzz_zip_end(tar);
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t room[ROOM];
    struct view rest = {data + 1, bytes - 1};

    if (!bytes || memmem(data, bytes, "%PDF-", 5)) /* another program's */
        return 0;
    if (data[0] % 2)
        fuzz_read(rest.data, rest.bytes, "a.tar");
    else
        fuzz_read(room, make_tar(rest, room), "a.tar");
    return 0;
}
