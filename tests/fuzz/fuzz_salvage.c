/* The reader of damaged store files: survey, scan, and the choice of what a new file gets. The first byte says
 * whether values get checksums that fit, so that what lies behind those is reached too; the rest is the file. */
#include "store/salvage.h"
#include "tests/fuzz/fuzz.h"

#include <unistd.h>

enum { PAGE = 512, FILE_MAX = 16 * PAGE };

/* Give the values of whatever looks like a leaf the checksum of its key. */
static void fit_checksums(uint8_t *file, size_t bytes)
{
    for (size_t page = 0; page + PAGE <= bytes; page += PAGE) {
        size_t lower = load_u16(file + page + 12);
        struct node node;
        for (unsigned i = 0; PAGE_HEADER + 2 * (size_t)i < lower && lower <= PAGE; i++) {
            if (page_node(file + page, PAGE, i, true, &node))
                continue;
            uint64_t at =
                node.big ? node.run * PAGE + PAGE_HEADER : (uint64_t)(node.value.data - file);
            if (node.value_bytes < 8 || node.run > bytes / PAGE || at > bytes ||
                node.value_bytes > bytes - at)
                continue;
            uint8_t *value = file + at;
            size_t payload = node.value_bytes - 8;
            store_u64(value + payload, key_checksum(node.key, value, payload));
        }
    }
}

static void said(void *user, const char *line)
{
    (void)user;
    fuzz_touch(line, strlen(line));
}

static void lost(void *user, const struct store_loss *loss)
{
    (void)user;
    fuzz_touch(loss->name, strlen(loss->name));
    fuzz_touch(loss->lost_meta.data, loss->lost_meta.bytes);
    fuzz_touch(loss->kept_meta.data, loss->kept_meta.bytes);
}

/* What is chosen ascends and passes its checksum. */
static void check_chosen(const struct salvage *s)
{
    for (size_t i = 0; i < s->chosen.count; i++) {
        const struct copy *copy = s->chosen.at[i];
        uint8_t *value = malloc(copy->bytes);
        size_t payload = copy->bytes - CHECKSUM_BYTES;
        require(value && copy_read(s, copy, value, payload) == payload);
        require(key_checksum(copy_key(copy), value, payload) == copy->checksum);
        require(i == 0 || copies_order(&s->chosen.at[i - 1], &s->chosen.at[i]) < 0);
        free(value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const char *const names[] = {"a", "stream"};
    static const struct store_seen seen = {{1}, 7};
    struct store_repair_options options = {
        .seen = &seen, .seen_count = 1, .names = names, .name_count = 2, .say = said, .lose = lost};
    uint8_t file[FILE_MAX];
    struct salvage salvage;
    struct err err;
    char path[64];
    int fd;

    if (bytes < 1 || bytes - 1 > sizeof file)
        return 0;
    memcpy(file, data + 1, bytes - 1);
    if (data[0] & 1)
        fit_checksums(file, bytes - 1);
    options.journal = data[0] & 2;
    fuzz_file(file, bytes - 1, &fd, path);
    if (!salvage_gather(&salvage, fd, path, &err) &&
        !salvage_choose(&salvage, &options, path, &err))
        check_chosen(&salvage);
    salvage_release(&salvage);
    close(fd);
    return 0;
}
