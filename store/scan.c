#include "store/scan.h"

#include "store/page.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    KIND_MAX = 63, /* kinds of keys that a later version may have are read as well */
    BIG_BYTES_MAX = (1 << 30) + 64 /* of a value: a part and its checksum */
};

void scan_read(int fd, uint64_t offset, uint8_t *into, size_t bytes)
{
    size_t done = 0;

    while (done < bytes) {
        ssize_t got = pread(fd, into + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    memset(into + done, 0, bytes - done);
}

enum err_code scan_open(struct scan *scan, int fd, uint64_t file_bytes, size_t page_bytes,
                        struct err *err)
{
    *scan = (struct scan){.fd = fd, .file_bytes = file_bytes, .page_bytes = page_bytes};
    scan->page = malloc(page_bytes);
    return scan->page ? ERR_OK : err_set(err, ERR_MEMORY, 0, "a page of %zu bytes", page_bytes);
}

void scan_close(struct scan *scan)
{
    free(scan->page);
    free(scan->run);
    *scan = (struct scan){.fd = -1};
}

/* The bytes of a value, lent until the next; NULL where there is no memory. */
static const uint8_t *value_bytes(struct scan *scan, const struct node *node,
                                  const struct scan_value *value)
{
    uint8_t *run;

    if (!node->big)
        return node->value.data;
    if (value->bytes > scan->run_room) {
        run = realloc(scan->run, value->bytes);
        if (!run)
            return NULL;
        scan->run = run;
        scan->run_room = value->bytes;
    }
    scan_read(scan->fd, value->at, scan->run, value->bytes);
    return scan->run;
}

/* Where the value of a node lies; false where it cannot be one. */
static bool place_value(const struct scan *scan, uint64_t number, const struct node *node,
                        struct scan_value *value)
{
    uint64_t first = number * scan->page_bytes;

    *value = (struct scan_value){.key = node->key, .bytes = node->value_bytes};
    if (!node->key.bytes || !node->key.data[0] || node->key.data[0] > KIND_MAX ||
        value->bytes < CHECKSUM_BYTES || value->bytes > BIG_BYTES_MAX)
        return false;
    if (!node->big) {
        value->at = first + node->at + NODE_HEADER + node->key.bytes;
        return true;
    }
    if (node->run >= scan->file_bytes / scan->page_bytes)
        return false;
    value->at = node->run * scan->page_bytes + PAGE_HEADER;
    if (value->bytes > scan->file_bytes - value->at)
        return false;
    uint8_t head[PAGE_HEADER];
    scan_read(scan->fd, node->run * scan->page_bytes, head, sizeof head);
    value->torn_run = load_u64(head) != node->run || !(load_u16(head + 10) & PAGE_OVERFLOW) ||
                      load_u32(head + 12) != page_run(node->value_bytes, scan->page_bytes);
    return true;
}

bool scan_page(struct scan *scan, uint64_t number, scan_want_fn *want, scan_fn *each, void *user,
               bool *short_memory)
{
    scan_read(scan->fd, number * scan->page_bytes, scan->page, scan->page_bytes);
    size_t lower = load_u16(scan->page + 12), end = scan->page_bytes;
    struct scan_value value;
    struct node node;

    *short_memory = false;
    if (lower > PAGE_HEADER && lower <= end && !(lower & 1))
        end = lower;
    for (unsigned i = 0; PAGE_HEADER + 2 * (size_t)i < end; i++) {
        if (page_node(scan->page, scan->page_bytes, i, true, &node) ||
            !place_value(scan, number, &node, &value) || !want(user, &value))
            continue;
        const uint8_t *bytes = value_bytes(scan, &node, &value);
        *short_memory = !bytes;
        if (!bytes)
            return false;
        size_t payload = value.bytes - CHECKSUM_BYTES;
        value.checksum = load_u64(bytes + payload);
        value.good = value.checksum == key_checksum(value.key, bytes, payload);
        if (!each(user, &value))
            return false;
    }
    return true;
}
