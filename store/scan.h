/* store/scan.h: the values that a file still holds, page by page, whatever its trees say.
 *
 * A page is read for what looks like nodes of a leaf, even where its header is damaged: a value whose
 * checksum fits its key is what was once written under that key, wherever it stands. */
#ifndef STORE_SCAN_H
#define STORE_SCAN_H

#include "store/keys.h"

struct scan {
    int fd;
    uint64_t file_bytes;
    size_t page_bytes;
    uint8_t *page, *run;
    size_t run_room;
};

struct scan_value {
    struct view key;
    uint64_t at, bytes; /* where in the file, and of how many bytes, the checksum included */
    uint64_t checksum;
    bool good;     /* the checksum fits */
    bool torn_run; /* the head of its run of pages is not what it should be */
};

/* Called for each value. A value that is not good may be anything. False ends the scan. */
typedef bool scan_fn(void *user, const struct scan_value *value);
/* Whether a value is worth reading; asked before its bytes are. */
typedef bool scan_want_fn(void *user, const struct scan_value *value);

/* Fails: ERR_MEMORY. */
MUST_CHECK enum err_code scan_open(struct scan *scan, int fd, uint64_t file_bytes,
                                   size_t page_bytes, struct err *err);
void scan_close(struct scan *scan);
/* False when value refused or memory was short (then *short_memory). */
bool scan_page(struct scan *scan, uint64_t number, scan_want_fn *want, scan_fn *value, void *user,
               bool *short_memory);

/* As many bytes as can be read there; what cannot is zeros. */
void scan_read(int fd, uint64_t offset, uint8_t *into, size_t bytes);

#endif
