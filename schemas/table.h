/* schemas/table.h: a table from numbers to pointers, for streams by their number.
 *
 * Open addressing with linear probing, at most half full; 0 is no key. Lookups are all that is hot.
 * Iterate with table_next: keys in no stated order, so nothing that users see may depend on it. */
#ifndef SCHEMAS_TABLE_H
#define SCHEMAS_TABLE_H

#include "schemas/err.h"
#include <stddef.h>
#include <stdint.h>

struct table {
    uint64_t *keys;
    void **values;
    size_t room, count;
};

void *table_get(const struct table *t, uint64_t key);
/* Fails: ERR_MEMORY; the table is then as before. */
MUST_CHECK enum err_code table_set(struct table *t, uint64_t key, void *value, struct err *err);
void table_remove(struct table *t, uint64_t key);
/* The value at or behind slot *at, which moves past it; NULL at the end. Begin with *at = 0. */
void *table_next(const struct table *t, size_t *at);
void table_release(struct table *t);

#endif
