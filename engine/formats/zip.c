/* engine/formats/zip.c: the directory of a zip file, from its end.
 *
 *     member: local header | name | extra | data | data descriptor       for each
 *     directory: entry | name | extra | comment                          for each
 *     zip64 end record, zip64 locator                                    PyTorch writes them always
 *     end record | comment
 *
 * Sizes and places come from the directory alone: PyTorch leaves them 0 in local headers, which are read for
 * their length and their name only. A field of all ones means that its value stands elsewhere: in the
 * zip64 end record, or in an entry's extra field 1, which holds the fields concerned and no others, in
 * the order size, packed size, place. */
#include "engine/formats/zip.h"

#include <stdlib.h>
#include <string.h>

enum {
    END_SIGN = 0x06054B50,
    END_BYTES = 22,
    COMMENT_MAX = 0xFFFF,
    LOCATOR_SIGN = 0x07064B50,
    LOCATOR_BYTES = 20,
    RECORD_SIGN = 0x06064B50,
    RECORD_BYTES = 56,
    ENTRY_SIGN = 0x02014B50,
    ENTRY_BYTES = 46,
    LOCAL_SIGN = 0x04034B50,
    LOCAL_BYTES = 30,
    EXTRA_ZIP64 = 1,
    /* Encrypted, strongly encrypted, headers masked. */
    FLAGS_ENCRYPTED = 0x0001 | 0x0040 | 0x2000,
    NAME_SHOWN = 80,
};

static const uint32_t ELSEWHERE = 0xFFFFFFFF;

/* A name as printf's "%.*s" takes it. */
#define SHOWN(name) \
    (int)((name).bytes < NAME_SHOWN ? (name).bytes : NAME_SHOWN), (const char *)(name).data

struct directory {
    uint64_t count, offset, bytes;
    uint64_t limit; /* what follows it: members and directory lie below */
};

/* ---- The end of the file ---- */

/* A comment may hold anything, so only a record whose comment ends with the file counts. */
static const uint8_t *find_end(const struct container *c)
{
    size_t most = END_BYTES + COMMENT_MAX;
    size_t first = c->bytes > most ? c->bytes - most : 0;

    if (c->bytes < END_BYTES)
        return NULL;
    for (size_t at = c->bytes - END_BYTES + 1; at-- > first;) {
        const uint8_t *end = c->map + at;
        if (load_u32(end) == END_SIGN && load_u16(end + 20) == c->bytes - at - END_BYTES)
            return end;
    }
    return NULL;
}

static enum err_code read_record(const struct container *c, struct directory *d, struct err *err)
{
    const uint8_t *locator, *record;
    uint64_t place;

    if (d->limit < LOCATOR_BYTES)
        return container_fail(c, err, "truncated: its zip64 locator is missing");
    locator = c->map + d->limit - LOCATOR_BYTES;
    if (load_u32(locator) != LOCATOR_SIGN)
        return container_fail(c, err, "damaged: its zip64 locator is missing");
    place = load_u64(locator + 8);
    d->limit -= LOCATOR_BYTES;
    if (d->limit < RECORD_BYTES || place > d->limit - RECORD_BYTES)
        return container_fail(c, err, "damaged: its zip64 record lies outside the file, at %llu",
                              (unsigned long long)place);
    record = c->map + place;
    if (load_u32(record) != RECORD_SIGN)
        return container_fail(c, err, "damaged: there is no zip64 record at %llu",
                              (unsigned long long)place);
    d->limit = place;
    d->count = d->count == 0xFFFF ? load_u64(record + 32) : d->count;
    d->bytes = d->bytes == ELSEWHERE ? load_u64(record + 40) : d->bytes;
    d->offset = d->offset == ELSEWHERE ? load_u64(record + 48) : d->offset;
    return ERR_OK;
}

static enum err_code find_directory(const struct container *c, struct directory *d, struct err *err)
{
    const uint8_t *end = find_end(c);
    enum err_code code = ERR_OK;

    if (!end)
        return container_fail(c, err,
                              "truncated: a .pth file is a zip, which ends with its directory, "
                              "and this one does not: fetch it again");
    d->limit = (uint64_t)(end - c->map);
    d->count = load_u16(end + 10);
    d->bytes = load_u32(end + 12);
    d->offset = load_u32(end + 16);
    if (d->count == 0xFFFF || d->bytes == ELSEWHERE || d->offset == ELSEWHERE)
        code = read_record(c, d, err);
    if (code)
        return code;
    if (d->offset > d->limit || d->bytes > d->limit - d->offset)
        return container_fail(c, err,
                              "damaged: its directory lies outside the file, %llu bytes at %llu",
                              (unsigned long long)d->bytes, (unsigned long long)d->offset);
    if (d->count > ZIP_MEMBERS_MAX || d->count > d->bytes / ENTRY_BYTES)
        return container_fail(c, err, "damaged: its directory of %llu bytes claims %llu members",
                              (unsigned long long)d->bytes, (unsigned long long)d->count);
    return ERR_OK;
}

/* ---- An entry ---- */

struct sizes {
    uint64_t real, packed, place;
};

/* Take a field from the extra field if it is all ones. */
static void take_large(struct reader *extra, uint64_t *field)
{
    if (*field == ELSEWHERE)
        *field = read_u64(extra);
}

static bool read_sizes(const uint8_t *entry, struct view extra, struct sizes *sizes)
{
    struct reader all = reader_of(extra.data, extra.bytes), large = reader_of(NULL, 0);

    while (all.at < all.end && !all.short_read) {
        uint16_t kind = read_u16(&all), bytes = read_u16(&all);
        const uint8_t *data = read_bytes(&all, bytes);
        if (kind == EXTRA_ZIP64 && data)
            large = reader_of(data, bytes);
    }
    sizes->packed = load_u32(entry + 20);
    sizes->real = load_u32(entry + 24);
    sizes->place = load_u32(entry + 42);
    take_large(&large, &sizes->real);
    take_large(&large, &sizes->packed);
    take_large(&large, &sizes->place);
    return !all.short_read && !large.short_read;
}

/* From the place of its local header to where its data lies. */
static enum err_code find_data(const struct container *c, const struct directory *d,
                               const struct sizes *sizes, struct zip_member *member,
                               struct err *err)
{
    uint64_t room = d->offset, name_bytes, header;
    const uint8_t *local;

    if (room < LOCAL_BYTES || sizes->place > room - LOCAL_BYTES)
        return container_fail(c, err, "member '%.*s' lies outside the file, at %llu",
                              SHOWN(member->name), (unsigned long long)sizes->place);
    local = c->map + sizes->place;
    name_bytes = load_u16(local + 26);
    header = LOCAL_BYTES + name_bytes + load_u16(local + 28);
    room -= sizes->place;
    if (load_u32(local) != LOCAL_SIGN || header > room || name_bytes != member->name.bytes ||
        memcmp(local + LOCAL_BYTES, member->name.data, name_bytes))
        return container_fail(c, err, "damaged: at %llu should be the header of member '%.*s'",
                              (unsigned long long)sizes->place, SHOWN(member->name));
    if (sizes->real > room - header)
        return container_fail(
            c, err, "member '%.*s' lies outside the file: %llu bytes from %llu on",
            SHOWN(member->name), (unsigned long long)sizes->real, (unsigned long long)sizes->place);
    member->begin = local;
    member->data.data = local + header;
    member->data.bytes = sizes->real;
    return ERR_OK;
}

static enum err_code read_entry(const struct container *c, const struct directory *d,
                                struct reader *r, size_t index, struct zip_member *member,
                                struct err *err)
{
    const uint8_t *entry = read_bytes(r, ENTRY_BYTES);
    struct sizes sizes = {0};
    struct view extra;

    if (!entry || load_u32(entry) != ENTRY_SIGN)
        return container_fail(c, err, "damaged: entry %zu of its directory is none", index);
    member->name.bytes = load_u16(entry + 28);
    member->name.data = read_bytes(r, member->name.bytes);
    extra.bytes = load_u16(entry + 30);
    extra.data = read_bytes(r, extra.bytes);
    read_bytes(r, load_u16(entry + 32));
    if (r->short_read)
        return container_fail(c, err, "damaged: entry %zu leaves the directory", index);
    if (member->name.bytes < 1 || member->name.bytes > ZIP_NAME_MAX)
        return container_fail(c, err, "member %zu has a name of %zu bytes", index,
                              member->name.bytes);
    if (load_u16(entry + 8) & FLAGS_ENCRYPTED)
        return container_fail(c, err, "member '%.*s' is encrypted", SHOWN(member->name));
    if (load_u16(entry + 10) != 0)
        return container_fail(c, err,
                              "member '%.*s' is packed (method %u): PyTorch stores members as "
                              "they are, save it again with torch.save",
                              SHOWN(member->name), load_u16(entry + 10));
    if (!read_sizes(entry, extra, &sizes))
        return container_fail(c, err, "damaged: member '%.*s' has half an extra field",
                              SHOWN(member->name));
    if (sizes.packed != sizes.real)
        return container_fail(c, err, "damaged: member '%.*s' is stored, but has two sizes",
                              SHOWN(member->name));
    return find_data(c, d, &sizes, member, err);
}

/* ---- All of them ---- */

static int by_place(const void *a, const void *b)
{
    const struct zip_member *x = a, *y = b;

    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static int compare_names(struct view a, struct view b)
{
    int order = memcmp(a.data, b.data, a.bytes < b.bytes ? a.bytes : b.bytes);

    return order ? order : a.bytes < b.bytes ? -1 : a.bytes > b.bytes;
}

static int by_name(const void *a, const void *b)
{
    return compare_names(((const struct zip_member *)a)->name,
                         ((const struct zip_member *)b)->name);
}

/* Leaves them sorted by name. */
static enum err_code check_members(const struct zip *zip, const struct container *c,
                                   struct err *err)
{
    struct zip_member *m = zip->members;

    qsort(m, zip->count, sizeof *m, by_name);
    for (size_t i = 1; i < zip->count; i++)
        if (by_name(&m[i - 1], &m[i]) == 0)
            return container_fail(c, err, "member '%.*s' is there twice", SHOWN(m[i].name));
    qsort(m, zip->count, sizeof *m, by_place);
    for (size_t i = 1; i < zip->count; i++)
        if (m[i - 1].data.data + m[i - 1].data.bytes > m[i].begin)
            return container_fail(c, err, "members '%.*s' and '%.*s' overlap", SHOWN(m[i - 1].name),
                                  SHOWN(m[i].name));
    qsort(m, zip->count, sizeof *m, by_name);
    return ERR_OK;
}

enum err_code zip_read(struct zip *zip, const struct container *c, struct err *err)
{
    struct directory d = {0};
    struct reader r;
    enum err_code code;

    *zip = (struct zip){NULL, 0};
    code = find_directory(c, &d, err);
    if (code)
        return code;
    if (d.count == 0)
        return container_fail(c, err, "its directory is empty");
    zip->members = calloc(d.count, sizeof *zip->members);
    if (!zip->members)
        return err_set(err, ERR_MEMORY, 0, "model '%s': its directory", c->path);
    r = reader_of(c->map + d.offset, d.bytes);
    for (; zip->count < d.count && !code; zip->count++)
        code = read_entry(c, &d, &r, zip->count, &zip->members[zip->count], err);
    if (code)
        return code;
    if (!read_done(&r))
        return container_fail(c, err, "damaged: its directory has more than %zu entries",
                              zip->count);
    return check_members(zip, c, err);
}

void zip_release(struct zip *zip)
{
    free(zip->members);
    *zip = (struct zip){NULL, 0};
}

const struct zip_member *zip_find(const struct zip *zip, struct view name)
{
    struct zip_member key = {.name = name};

    return bsearch(&key, zip->members, zip->count, sizeof key, by_name);
}
