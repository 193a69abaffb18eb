/* An export: what was written is read, and nothing else is. */
#include "schemas/export.h"
#include "tests/stages_help.h"

#include <stdlib.h>
#include <xxhash.h>

static enum err_code put(void *user, const void *data, size_t bytes, struct err *err)
{
    (void)err;
    buffer_put(user, data, bytes);
    return ERR_OK;
}

static struct view text(const char *of)
{
    return (struct view){(const uint8_t *)of, strlen(of)};
}

static struct buffer make(void)
{
    const struct view pieces[] = {text("metadata"), text(""), text("a part of the state")};
    const struct exported e = {text("book"), text("here"), pieces, 3};
    struct buffer file = buffer_of(1 << 16);

    assert_int_equal(export_write(&e, put, &file, NULL), ERR_OK);
    assert_false(file.refused);
    return file;
}

static enum err_code take(struct buffer *file, struct err *err)
{
    struct view pieces[EXPORT_PIECES_MAX];
    struct exported e;

    return export_read((struct view){file->data, file->bytes}, pieces, &e, err);
}

static void what_was_written_is_read(void **state)
{
    struct view pieces[EXPORT_PIECES_MAX];
    struct buffer file = make();
    struct exported e;

    (void)state;
    assert_int_equal(export_read((struct view){file.data, file.bytes}, pieces, &e, NULL), ERR_OK);
    assert_int_equal(e.piece_count, 3);
    assert_int_equal(e.name.bytes, 4);
    assert_memory_equal(e.name.data, "book", 4);
    assert_memory_equal(e.point.data, "here", 4);
    assert_memory_equal(e.pieces[0].data, "metadata", 8);
    assert_int_equal(e.pieces[1].bytes, 0);
    assert_int_equal(e.pieces[2].bytes, 19);
    buffer_release(&file);
}

/* Each bit of the small file, and each length of it. */
static void what_is_damaged_is_refused_whole(void **state)
{
    struct buffer file = make();
    struct err err;
    size_t whole = file.bytes;

    (void)state;
    for (size_t at = 0; at < whole; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            enum err_code want = at < 8 ? ERR_INPUT : ERR_DAMAGED;
            file.data[at] ^= (uint8_t)(1u << bit);
            assert_int_equal(take(&file, &err), want);
            file.data[at] ^= (uint8_t)(1u << bit);
        }
    for (file.bytes = 0; file.bytes < whole; file.bytes++)
        assert_int_equal(take(&file, &err), file.bytes < 8 ? ERR_INPUT : ERR_DAMAGED);
    assert_int_equal(take(&file, &err), ERR_OK);
    buffer_u8(&file, 0);
    assert_int_equal(take(&file, &err), ERR_DAMAGED);
    buffer_release(&file);
}

static void a_damage_is_named_by_its_place(void **state)
{
    struct buffer file = make();
    struct err err;
    const struct {
        size_t at;
        const char *words;
    } places[] = {{9, "its version at byte 8"},
                  {12, "its head"},
                  {25, "its head"},
                  {45, "its metadata at byte 40"},
                  {file.bytes - 20, "part 1 of the state"},
                  {file.bytes - 1, "its end"}};

    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        file.data[places[i].at] ^= 16;
        assert_int_equal(take(&file, &err), ERR_DAMAGED);
        if (!strstr(err.text, places[i].words))
            fail_msg("'%s' is not in '%s'", places[i].words, err.text);
        file.data[places[i].at] ^= 16;
    }
    buffer_release(&file);
}

/* Whole, and of a version to come: told from damage by the checksum at the end. */
static void a_newer_version_is_told_from_damage(void **state)
{
    struct buffer file = make();
    struct err err;

    (void)state;
    store_u32(file.data + 8, EXPORT_VERSION + 1);
    assert_int_equal(take(&file, &err), ERR_DAMAGED);
    store_u64(file.data + file.bytes - 8, XXH3_64bits(file.data, file.bytes - 8));
    assert_int_equal(take(&file, &err), ERR_VERSION);
    buffer_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(what_is_damaged_is_refused_whole),
        cmocka_unit_test(a_damage_is_named_by_its_place),
        cmocka_unit_test(a_newer_version_is_told_from_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
