/* tests/test_engine_cuts.c: the ids of a text do not depend on how its bytes arrive, shown on the books and
 * on unicode/, for World and NeoX; and text comes back: byte for byte from World, in normal form C from
 * NeoX. */
#include "tests/tokenizer_help.h"

#include <dirent.h>
#include <utf8proc.h>

enum { CUTS = 1000000, CUT_MOST = 24, FILES_MAX = 64 };

static const char *const vocabularies[] = {SHARED_DIR "/tokenizers/rwkv_vocab_v20230424.txt",
                                           SHARED_DIR "/tokenizers/20B_tokenizer.json"};
static const char *const folders[] = {SHARED_DIR "/data/unicode", SHARED_DIR "/data/unicode/made",
                                      SHARED_DIR "/data/unicode/udhr", SHARED_DIR "/data/books"};
static char *files[FILES_MAX];
static size_t file_count;

static bool is_text(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && (!strcmp(dot, ".txt") || !strcmp(dot, ".bin"));
}

static void find_files(void)
{
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        DIR *folder = opendir(folders[i]);
        struct dirent *entry;
        while (folder && (entry = readdir(folder)))
            if (is_text(entry->d_name)) {
                assert_true(file_count < FILES_MAX);
                assert_true(asprintf(&files[file_count++], "%s/%s", folders[i], entry->d_name) > 0);
            }
        if (folder)
            closedir(folder);
    }
}

/* A text as it arrives: what is not there yet is garbage. */
struct arrival {
    const uint8_t *source;
    uint8_t *data;
    size_t bytes, there;
    uint64_t seed, cuts;
};

static void arrive(struct arrival *a)
{
    size_t count = 1 + next_random(&a->seed) % CUT_MOST;

    if (count > a->bytes - a->there)
        count = a->bytes - a->there;
    memcpy(a->data + a->there, a->source + a->there, count);
    a->there += count;
    a->cuts++;
}

struct ids {
    uint32_t *ids;
    size_t count;
    uint64_t repaired, forced;
};

/* The ids of what arrives until at most `bytes`, with the end there. */
static struct ids read_arriving(const struct tokenizer *t, struct arrival *a)
{
    struct ids out = {malloc((3 * a->bytes + 1) * sizeof *out.ids), 0, 0, 0};
    struct tokenizer_reader *reader = text_reader(t);
    struct tokenizer_piece piece;
    size_t at = 0;

    assert_non_null(out.ids);
    while (at < a->bytes) {
        size_t length =
            tokenizer_next(reader, a->data + at, a->there - at, a->there == a->bytes, &piece);
        if (length == 0) {
            assert_true(a->there < a->bytes && a->there - at <= tokenizer_hold_max(t));
            arrive(a);
            continue;
        }
        out.count += take(t, &piece, length, out.ids + out.count);
        out.repaired += piece.repaired;
        out.forced += piece.forced;
        at += length;
    }
    tokenizer_reader_close(&reader);
    return out;
}

/* Returns how many cuts there were. */
static uint64_t cut_text(const struct tokenizer *t, const uint8_t *text, size_t bytes,
                         uint64_t seed)
{
    struct arrival whole = {text, (uint8_t *)(uintptr_t)text, bytes, bytes, 0, 0},
                   cut = {text, malloc(bytes + 1), bytes, 0, seed, 0};
    struct ids want = read_arriving(t, &whole), got;

    assert_non_null(cut.data);
    memset(cut.data, 0xA5, bytes);
    got = read_arriving(t, &cut);
    assert_int_equal(got.count, want.count);
    assert_int_equal(got.repaired, want.repaired);
    assert_int_equal(got.forced, want.forced);
    assert_memory_equal(got.ids, want.ids, want.count * sizeof *want.ids);
    free(cut.data);
    free(got.ids);
    free(want.ids);
    return cut.cuts;
}

static void a_million_cuts_give_the_ids_of_the_uncut_text(void **unused)
{
    (void)unused;
    for (size_t v = 0; v < 2; v++) {
        struct tokenizer *t = NULL;
        struct err err = {0};
        uint64_t cuts = 0, seed = 1 + v;
        if (tokenizer_open(&t, vocabularies[v], NULL, &err))
            fail_msg("%s", err.text);
        while (cuts < CUTS)
            for (size_t i = 0; i < file_count; i++) {
                size_t bytes, from, most = (size_t)CUTS * CUT_MOST / 2 / file_count;
                uint8_t *text = file_read(files[i], &bytes);
                from = bytes > most ? next_random(&seed) % (bytes - most) : 0;
                cuts += cut_text(t, text + from, bytes - from < most ? bytes - from : most, ++seed);
                free(text);
            }
        printf("%s: %llu cuts of %zu files\n", tokenizer_name(t), (unsigned long long)cuts,
               file_count);
        tokenizer_close(&t);
    }
}

/* All text of the pieces of a text. */
static struct buffer decoded(const struct tokenizer *t, const uint8_t *text, size_t bytes,
                             uint64_t *repaired)
{
    struct buffer out = buffer_of(SIZE_MAX / 2);
    struct tokenizer_reader *reader = text_reader(t);
    struct tokenizer_piece piece;

    *repaired = 0;
    for (size_t at = 0, length; at < bytes; at += length) {
        length = tokenizer_next(reader, text + at, bytes - at, true, &piece);
        assert_true(length > 0);
        for (size_t i = 0; i < piece.count; i++) {
            size_t of_token;
            const uint8_t *of = tokenizer_text(t, piece.tokens[i].id, &of_token);
            buffer_put(&out, of, of_token);
        }
        *repaired += piece.repaired;
    }
    tokenizer_reader_close(&reader);
    assert_false(out.refused);
    return out;
}

static void text_comes_back(void **unused)
{
    size_t normalized = 0;

    (void)unused;
    for (size_t v = 0; v < 2; v++) {
        struct tokenizer *t = NULL;
        struct err err = {0};
        if (tokenizer_open(&t, vocabularies[v], NULL, &err))
            fail_msg("%s", err.text);
        for (size_t i = 0; i < file_count; i++) {
            size_t bytes;
            uint64_t repaired;
            uint8_t *text = file_read(files[i], &bytes), *nfc = NULL;
            struct buffer back = decoded(t, text, bytes, &repaired);
            if (v == 0) {
                assert_int_equal(back.bytes, bytes);
                assert_memory_equal(back.data, text, bytes);
            } else if (repaired == 0 && !memchr(text, 0, bytes)) {
                nfc = utf8proc_NFC(text);
                assert_non_null(nfc);
                assert_int_equal(back.bytes, strlen((char *)nfc));
                assert_memory_equal(back.data, nfc, back.bytes);
                normalized++;
            }
            free(nfc);
            free(text);
            buffer_release(&back);
        }
        tokenizer_close(&t);
    }
    assert_true(normalized > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_cuts_give_the_ids_of_the_uncut_text),
        cmocka_unit_test(text_comes_back),
    };

    find_files();
    if (file_count == 0 || access(vocabularies[0], R_OK) || access(vocabularies[1], R_OK)) {
        printf("skipped: %s or %s is not there\n", SHARED_DIR "/tokenizers", SHARED_DIR "/data");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
