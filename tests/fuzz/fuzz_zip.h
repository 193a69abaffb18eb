/* tests/fuzz/fuzz_zip.h: a sound zip around what is fuzzed, since a random one is refused at its directory. */
#ifndef TESTS_FUZZ_FUZZ_ZIP_H
#define TESTS_FUZZ_FUZZ_ZIP_H

#include "stages/ingest/readers/readers.h"
#include "tests/fuzz/fuzz.h"
#include <archive.h>
#include <archive_entry.h>

/* Into (bytes) room; *used is set at the end. */
static inline struct archive *fuzz_zip_begin(void *room, size_t bytes, size_t *used)
{
    struct archive *zip = archive_write_new();

    require(zip && archive_write_set_format_zip(zip) == ARCHIVE_OK &&
            archive_write_zip_set_compression_store(zip) == ARCHIVE_OK &&
            archive_write_open_memory(zip, room, bytes, used) == ARCHIVE_OK);
    return zip;
}

static inline void fuzz_zip_add(struct archive *zip, const char *name, struct view content)
{
    struct archive_entry *entry = archive_entry_new();

    require(entry);
    archive_entry_set_pathname(entry, name);
    archive_entry_set_size(entry, (la_int64_t)content.bytes);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    require(archive_write_header(zip, entry) == ARCHIVE_OK);
    require(archive_write_data(zip, content.data, content.bytes) == (la_ssize_t)content.bytes);
    archive_entry_free(entry);
}

static inline void fuzz_zip_end(struct archive *zip)
{
    require(archive_write_close(zip) == ARCHIVE_OK);
    archive_write_free(zip);
}

/* What the readers make of a file of that name. */
static inline void fuzz_read(const uint8_t *data, size_t bytes, const char *name)
{
    struct reading reading = {.name = name};
    struct out *out = calloc(1, sizeof *out);
    char path[64];

    require(out);
    fuzz_file(data, bytes, &reading.file, path);
    out->fd = -1;
    require(!readers_run(&reading, out, NULL));
    fuzz_touch(out->text, out->bytes);
    free(out);
    close(reading.file);
}

#endif
