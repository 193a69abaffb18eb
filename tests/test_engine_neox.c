/* tests/test_engine_neox.c: NeoX's byte-level BPE gives the ids of its authors' library, however the bytes
 * arrive; a vocabulary that is not right is refused with its place. */
#include "tests/tokenizer_help.h"

#include <utf8proc.h>

static const char *const neox_path = SHARED_DIR "/tokenizers/20B_tokenizer.json";
static bool have_neox;

static struct tokenizer *neox(bool specials)
{
    const struct tokenizer_options options = {.specials = specials};
    struct tokenizer *t = NULL;
    struct err err = {0};

    if (tokenizer_open(&t, neox_path, &options, &err))
        fail_msg("%s", err.text);
    return t;
}

static void neox_gives_the_librarys_ids(void **unused)
{
    static uint8_t text[TEXT_MAX];
    static uint32_t ids[3 * TEXT_MAX], again[3 * TEXT_MAX];
    json_t *root, *cases, *entry;
    struct tokenizer *t;
    uint64_t seed = 1;
    size_t i;

    (void)unused;
    if (!have_neox)
        skip();
    t = neox(true);
    root = json_load_file(SHARED_DIR "/vectors/tokenizers.json", 0, NULL);
    cases = json_object_get(root, "cases");
    assert_int_equal(json_array_size(cases), 269);
    json_array_foreach(cases, i, entry)
    {
        const json_t *want = json_object_get(entry, "neox");
        size_t bytes = unhex(json_string_value(json_object_get(entry, "hex")), text);
        size_t count = encode(t, text, bytes, ids);
        for (size_t k = 0; k < count && k < json_array_size(want); k++)
            if (ids[k] != json_integer_value(json_array_get(want, k)))
                fail_msg("case %zu: token %zu is %u", i, k, ids[k]);
        assert_int_equal(count, json_array_size(want));
        for (int round = 0; round < 5; round++) {
            assert_int_equal(encode_cut(t, text, bytes, again, 9, &seed), count);
            assert_memory_equal(again, ids, count * sizeof *ids);
        }
    }
    json_decref(root);
    tokenizer_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neox_gives_the_librarys_ids),
    };

    have_neox = access(neox_path, R_OK) == 0;
    if (!have_neox)
        printf("without %s: tests of NeoX are skipped\n", neox_path);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
