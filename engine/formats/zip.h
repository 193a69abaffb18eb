/* engine/formats/zip.h: the directory of a zip file whose members are stored as they are.
 *
 * Memory  nothing is unpacked or copied: names and data are lent from the container's map; the table takes
 *         sizeof(struct zip_member) for each member, at most ZIP_MEMBERS_MAX of them.
 * Hostile a member is taken only where header, data and directory lie inside the file, no two members
 *         share a byte or a name, and the local header agrees with the directory about the name. Checksums
 *         are not looked at: that would read the whole file, and PyTorch may leave them out. */
#ifndef ENGINE_FORMATS_ZIP_H
#define ENGINE_FORMATS_ZIP_H

#include "engine/formats/formats.h"
#include "schemas/bytes.h"

/* A model has a member for each tensor and a handful of others. */
enum { ZIP_MEMBERS_MAX = TENSORS_MAX + 256, ZIP_NAME_MAX = 512 };

struct zip_member {
    struct view name, data;
    const uint8_t *begin; /* its local header */
};

struct zip {
    struct zip_member *members; /* sorted by name */
    size_t count;
};

/* Read the directory at the end of c's map, zip64 or not. Release with zip_release, after a failure too.
 * Fails  ERR_MODEL: truncated, damaged, a member that is packed, encrypted, twice, outside, or on top of
 *        another: the text names it; ERR_MEMORY. */
MUST_CHECK enum err_code zip_read(struct zip *zip, const struct container *c, struct err *err);
void zip_release(struct zip *zip);

/* The member of that name, or NULL. */
const struct zip_member *zip_find(const struct zip *zip, struct view name);

#endif
