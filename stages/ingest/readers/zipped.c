#include "stages/ingest/readers/zipped.h"

#include "stages/ingest/readers/confine.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCK_BYTES = 64 * 1024 };

struct zipped {
    int file;
    struct view held; /* instead of file; without data: none */
    struct archive *archive;
    char **names; /* (count), in the zip's order */
    size_t count;
    size_t next; /* the entry that the archive comes to */
};

static enum err_code fail(const struct zipped *z, struct err *err)
{
    const char *why = z->archive ? archive_error_string(z->archive) : NULL;

    return err_set(err, ERR_SOURCE, 0, "the zip cannot be read: %s", why ? why : "it is damaged");
}

static enum err_code begin(struct zipped *z, struct err *err)
{
    if (z->archive)
        archive_read_free(z->archive);
    z->next = 0;
    z->archive = archive_read_new();
    if (!z->archive || archive_read_support_format_zip(z->archive) != ARCHIVE_OK)
        return fail(z, err);
    if (z->held.data
            ? archive_read_open_memory(z->archive, z->held.data, z->held.bytes) != ARCHIVE_OK
            : lseek(z->file, 0, SEEK_SET) < 0 ||
                  archive_read_open_fd(z->archive, z->file, BLOCK_BYTES) != ARCHIVE_OK)
        return fail(z, err);
    return ERR_OK;
}

static enum err_code add_name(struct zipped *z, const char *name, struct err *err)
{
    char **names = z->names;

    if (z->count == ZIP_FILES_MAX)
        return err_set(err, ERR_LIMIT, 0, "the zip has more than %d files", ZIP_FILES_MAX);
    if (!(z->count & (z->count + 1))) /* room doubles */
        names = realloc(names, (2 * z->count + 2) * sizeof *names);
    if (!names)
        return err_set(err, ERR_MEMORY, 0, "names in a zip");
    z->names = names;
    names[z->count] = strdup(name ? name : "");
    return names[z->count++] ? ERR_OK : err_set(err, ERR_MEMORY, 0, "names in a zip");
}

static enum err_code list(struct zipped *z, struct err *err)
{
    struct archive_entry *entry;
    enum err_code code = begin(z, err);
    int rc = ARCHIVE_OK;

    while (!code && (rc = archive_read_next_header(z->archive, &entry)) != ARCHIVE_EOF) {
        const char *name = archive_entry_pathname_utf8(entry);
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
            return fail(z, err);
        code = add_name(z, name ? name : archive_entry_pathname(entry), err);
    }
    return code ? code : begin(z, err);
}

static enum err_code open_any(struct zipped **out, int file, struct view held, struct err *err)
{
    struct zipped *z = calloc(1, sizeof *z);
    enum err_code code;

    if (!z)
        return err_set(err, ERR_MEMORY, 0, "a zip");
    z->file = file;
    z->held = held;
    code = list(z, err);
    if (code)
        zipped_close(&z);
    else
        *out = z;
    return code;
}

enum err_code zipped_open(struct zipped **out, int file, struct err *err)
{
    return open_any(out, file, (struct view){NULL, 0}, err);
}

enum err_code zipped_open_held(struct zipped **out, struct view zip, struct err *err)
{
    return open_any(out, -1, zip, err);
}

void zipped_close(struct zipped **zip)
{
    struct zipped *z = *zip;

    if (!z)
        return;
    if (z->archive)
        archive_read_free(z->archive);
    for (size_t i = 0; i < z->count; i++)
        free(z->names[i]);
    free(z->names);
    free(z);
    *zip = NULL;
}

static size_t place_of(const struct zipped *z, const char *name)
{
    size_t at = 0;

    while (at < z->count && strcmp(z->names[at], name) != 0)
        at++;
    return at;
}

bool zipped_has(const struct zipped *z, const char *name)
{
    return place_of(z, name) < z->count;
}

static enum err_code read_entry(void *self, uint8_t *data, size_t room, size_t *got,
                                struct err *err)
{
    struct zipped *z = self;
    la_ssize_t count = archive_read_data(z->archive, data, room);

    if (count < 0) {
        z->next = z->count; /* it may be of no more use: the next one is found from the beginning */
        return fail(z, err);
    }
    *got = (size_t)count;
    confine_got_on();
    return ERR_OK;
}

enum err_code zipped_find(struct zipped *z, const char *name, struct pull *in, struct err *err)
{
    size_t place = place_of(z, name);
    struct archive_entry *entry;
    enum err_code code = ERR_OK;

    if (place == z->count)
        return err_set(err, ERR_ABSENT, 0, "the zip has no '%s'", name);
    if (place < z->next)
        code = begin(z, err);
    while (!code && z->next <= place) {
        int rc = archive_read_next_header(z->archive, &entry);
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
            return fail(z, err);
        z->next++;
    }
    *in = (struct pull){read_entry, z};
    return code;
}
