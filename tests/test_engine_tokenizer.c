/* tests/test_engine_tokenizer.c: ids as the authors' tokenizers give them, however the bytes arrive. */
#include "engine/formats/formats.h"
#include "engine/tokenizer/vocabulary.h"
#include "tests/tokenizer_help.h"

static const char *const world_path = SHARED_DIR "/tokenizers/rwkv_vocab_v20230424.txt";
static bool have_world;

static struct tokenizer *world(void)
{
    struct tokenizer *t = NULL;
    struct err err = {0};

    if (tokenizer_open(&t, world_path, NULL, &err))
        fail_msg("%s", err.text);
    return t;
}

static void assert_decodes(const struct tokenizer *t, const uint32_t *ids, size_t count,
                           const uint8_t *data, size_t bytes)
{
    size_t at = 0;

    for (size_t i = 0; i < count; i++) {
        size_t length;
        const uint8_t *text = tokenizer_text(t, ids[i], &length);
        assert_true(length > 0 && length <= bytes - at);
        assert_memory_equal(text, data + at, length);
        at += length;
    }
    assert_int_equal(at, bytes);
}

static void world_gives_the_authors_ids(void **unused)
{
    static uint8_t text[TEXT_MAX];
    static uint32_t ids[TEXT_MAX], again[TEXT_MAX];
    json_t *root, *cases;
    struct tokenizer *t;
    uint64_t seed = 1;
    size_t i;
    json_t *entry;

    (void)unused;
    if (!have_world)
        skip();
    t = world();
    root = json_load_file(SHARED_DIR "/vectors/tokenizers.json", 0, NULL);
    cases = json_object_get(root, "cases");
    assert_true(json_array_size(cases) > 200);
    json_array_foreach(cases, i, entry)
    {
        const json_t *want = json_object_get(entry, "world");
        size_t bytes = unhex(json_string_value(json_object_get(entry, "hex")), text);
        size_t count = encode(t, text, bytes, ids);
        assert_int_equal(count, json_array_size(want));
        for (size_t k = 0; k < count; k++)
            assert_int_equal(ids[k], json_integer_value(json_array_get(want, k)));
        assert_decodes(t, ids, count, text, bytes);
        for (int round = 0; round < 3; round++) {
            assert_int_equal(encode_cut(t, text, bytes, again, 9, &seed), count);
            assert_memory_equal(again, ids, count * sizeof *ids);
        }
    }
    json_decref(root);
    tokenizer_close(&t);
}

/* Bytes of every kind: noise, pieces of tokens, runs. */
static size_t make_text(const struct tokenizer *t, uint8_t *text, uint64_t *seed)
{
    size_t bytes = 0;

    while (bytes < 600) {
        uint32_t kind = next_random(seed) % 3, length = 1 + next_random(seed) % 20;
        size_t token_bytes;
        const uint8_t *token =
            tokenizer_text(t, next_random(seed) % tokenizer_vocab(t), &token_bytes);
        if (kind == 0) {
            for (uint32_t i = 0; i < length; i++)
                text[bytes++] = (uint8_t)next_random(seed);
        } else if (kind == 1) {
            memset(text + bytes, " \n.a"[next_random(seed) % 4], 7 * length);
            bytes += 7 * length;
        } else {
            memcpy(text + bytes, token, token_bytes);
            bytes += token_bytes;
        }
    }
    return bytes;
}

static void world_does_not_depend_on_cuts(void **unused)
{
    uint8_t text[1024];
    uint32_t ids[1024], again[1024];
    struct tokenizer *t;
    uint64_t seed = 2;

    (void)unused;
    if (!have_world)
        skip();
    t = world();
    for (int round = 0; round < 2000; round++) {
        size_t bytes = make_text(t, text, &seed);
        size_t count = encode(t, text, bytes, ids);
        assert_decodes(t, ids, count, text, bytes);
        assert_int_equal(encode_cut(t, text, bytes, again, 9, &seed), count);
        assert_memory_equal(again, ids, count * sizeof *ids);
    }
    tokenizer_close(&t);
}

static void world_holds_back_at_most_the_stated_bytes(void **unused)
{
    uint8_t spaces[128];
    struct tokenizer *t;
    struct tokenizer_reader *reader;
    struct tokenizer_piece piece;
    size_t bytes, hold;

    (void)unused;
    if (!have_world)
        skip();
    t = world();
    reader = text_reader(t);
    hold = tokenizer_hold_max(t);
    assert_int_equal(hold, sizeof spaces - 1);
    memset(spaces, ' ', sizeof spaces);
    assert_int_equal(tokenizer_next(reader, spaces, hold, false, &piece), 0);
    assert_int_equal(tokenizer_next(reader, spaces, sizeof spaces, false, &piece), sizeof spaces);
    assert_int_equal(piece.count, 1);
    assert_int_equal(piece.tokens[0].id, 65529);
    assert_int_equal(tokenizer_vocab(t), 65530);
    tokenizer_text(t, 0, &bytes);
    assert_int_equal(bytes, 0);
    tokenizer_text(t, 65535, &bytes);
    assert_int_equal(bytes, 0);
    tokenizer_reader_close(&reader);
    tokenizer_close(&t);
}

static void world_with_carriage_returns_is_the_same(void **unused)
{
    char path[] = "/tmp/riverrun-vocab-XXXXXX";
    struct tokenizer *t, *other = NULL;
    size_t bytes, out = 0;
    uint8_t *data, *crlf;
    struct err err = {0};

    (void)unused;
    if (!have_world)
        skip();
    t = world();
    data = file_read(world_path, &bytes);
    crlf = malloc(2 * bytes);
    assert_non_null(crlf);
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] == '\n')
            crlf[out++] = '\r';
        crlf[out++] = data[i];
    }
    assert_int_equal(out, 1159262);
    close(mkstemp(path));
    file_write(path, crlf, out);
    if (tokenizer_open(&other, path, NULL, &err))
        fail_msg("%s", err.text);
    assert_true(tokenizer_fingerprint(t) == tokenizer_fingerprint(other));
    unlink(path);
    free(crlf);
    free(data);
    tokenizer_close(&other);
    tokenizer_close(&t);
}

/* ---- Vocabularies made here: the 256 bytes, then lines of the test. ---- */

static void write_vocabulary(const char *path, const char *lines, unsigned left_out)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    for (unsigned i = 0; i < 256; i++)
        if (i != left_out)
            fprintf(file, "%u b'\\x%02x' 1\n", i + 1, i);
    fputs(lines, file);
    assert_int_equal(fclose(file), 0);
}

static enum err_code open_lines(struct tokenizer **out, const char *lines, unsigned left_out,
                                struct err *err)
{
    char path[] = "/tmp/riverrun-vocab-XXXXXX";
    enum err_code code;

    close(mkstemp(path));
    write_vocabulary(path, lines, left_out);
    code = tokenizer_open(out, path, NULL, err);
    unlink(path);
    return code;
}

static void vocabulary_reads_every_escape(void **unused)
{
    static const char lines[] = "300 '\\xe9\\u4e2d' 5\r\n"
                                "301 \"it's\" 4\n"
                                "302 ' a b ' 5\n"
                                "303 b'\\xe4\\xb8' 2\n"
                                "304 '\\\\\\'\\n\\r\\t' 5\n"
                                "305 'é' 2";
    static const char *const texts[] = {
        "\xc3\xa9\xe4\xb8\xad", "it's", " a b ", "\xe4\xb8", "\\'\n\r\t", "\xc3\xa9"};
    struct tokenizer *t = NULL;
    struct err err = {0};

    (void)unused;
    if (open_lines(&t, lines, 256, &err))
        fail_msg("%s", err.text);
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t ids[16] = {0};
        size_t bytes, length = strlen(texts[i]);
        const uint8_t *text = tokenizer_text(t, 300 + i, &bytes);
        assert_int_equal(bytes, length);
        assert_memory_equal(text, texts[i], length);
        assert_int_equal(encode(t, (const uint8_t *)texts[i], length, ids), 1);
        assert_int_equal(ids[0], 300 + i);
    }
    tokenizer_close(&t);
}

static void vocabulary_faults_name_the_line(void **unused)
{
    static const char *const faults[] = {
        "300 'ab' 3\n",
        "300 'ab'\n",
        "'ab' 2\n",
        "300 'ab 2\n",
        "300 ab 2\n",
        "300 'a\\q' 3\n",
        "300 '\\x4' 1\n",
        "300 '\\ud800' 3\n",
        "300 b'\\u4e2d' 3\n",
        "300 b'é' 2\n",
        "0 'ab' 2\n",
        "1 'ab' 2\n",
        "-3 'ab' 2\n",
        "300 '' 0\n",
        "99999999 'ab' 2\n",
        "300 'a'b' 3\n",
        "\n",
        "300 b\"ab\" 2\n",
        "300 '\\\"' 1\n",
        "123456789 'ab' 2\n",
        "300 'ab' 2x\n",
        "300 'ab\\' 2\n",
        "300  2\n",
        "300 b' 1\n",
    };

    (void)unused;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct tokenizer *t = NULL;
        struct err err = {0};
        if (open_lines(&t, faults[i], 256, &err) != ERR_INPUT || t)
            fail_msg("taken: %s", faults[i]);
        assert_non_null(strstr(err.text, "line 257"));
        assert_null(strchr(err.text, '\n'));
    }
}

static void vocabulary_must_cover_every_byte_once(void **unused)
{
    struct tokenizer *t = NULL;
    struct err err = {0};
    char line[400];

    (void)unused;
    assert_int_equal(open_lines(&t, "", 65, &err), ERR_INPUT);
    assert_int_equal(open_lines(&t, "300 'AB' 2\n", 65, &err), ERR_INPUT);
    assert_non_null(strstr(err.text, "0x41"));
    assert_int_equal(open_lines(&t, "300 'ab' 2\n301 'ab' 2\n", 256, &err), ERR_INPUT);
    assert_non_null(strstr(err.text, "300"));
    snprintf(line, sizeof line, "300 '%0129d' 129\n", 0);
    assert_int_equal(open_lines(&t, line, 256, &err), ERR_INPUT);
    assert_int_equal(tokenizer_open(&t, "/nowhere/at/all", NULL, &err), ERR_SOURCE);
    assert_int_equal(tokenizer_open(&t, "/tmp", NULL, &err), ERR_SOURCE);
    assert_null(t);
}

static void vocabulary_fingerprint_is_of_tokens_and_ids(void **unused)
{
    static const char *const lines[] = {"300 'ab' 2\n301 'cd' 2\n", "301 'cd' 2\n300 'ab' 2\n",
                                        "300 'cd' 2\n301 'ab' 2\n", "300 'ab' 2\n302 'cd' 2\n"};
    uint64_t prints[4];
    struct err err = {0};

    (void)unused;
    for (int i = 0; i < 4; i++) {
        struct tokenizer *t = NULL;
        assert_int_equal(open_lines(&t, lines[i], 256, &err), ERR_OK);
        prints[i] = tokenizer_fingerprint(t);
        tokenizer_close(&t);
    }
    assert_true(prints[0] == prints[1]);
    assert_true(prints[0] != prints[2] && prints[0] != prints[3] && prints[2] != prints[3]);
}

/* ---- A vocabulary that travels in a model file, as a GGUF container lends it ---- */

static void put_carried(struct buffer *out, const char *text, size_t bytes)
{
    buffer_u64(out, bytes);
    buffer_put(out, text, bytes);
}

/* As Python writes the bytes, without the quotes. */
static void put_escaped(struct buffer *out, const uint8_t *bytes, size_t count)
{
    bool both = memchr(bytes, '\'', count) && memchr(bytes, '"', count);
    char text[4 * 128 + 1];
    size_t at = 0;

    for (size_t i = 0; i < count; i++) {
        uint8_t c = bytes[i];
        const char *plain = c == '\t'                          ? "\\t"
                            : c == '\n'                        ? "\\n"
                            : c == '\r'                        ? "\\r"
                            : c == '\\' || (c == '\'' && both) ? (c == '\\' ? "\\\\" : "\\'")
                                                               : NULL;
        if (plain)
            at += (size_t)sprintf(text + at, "%s", plain);
        else
            at += (size_t)sprintf(text + at, c < 0x20 || c > 0x7E ? "\\x%02x" : "%c", c);
    }
    put_carried(out, text, at);
}

static enum err_code open_carried(struct tokenizer **out, const struct buffer *texts,
                                  const uint8_t *types, uint64_t count, struct err *err)
{
    char path[] = "made.gguf";
    struct container c = {.kind = "GGUF", .path = path, .map = texts->data, .bytes = texts->bytes};
    struct tokenizer *t = calloc(1, sizeof *t);
    enum err_code code;

    assert_non_null(t);
    c.vocabulary = (struct container_vocabulary){count, texts->data, types};
    code = carried_read(t, &c, err);
    if (code)
        tokenizer_close(&t);
    *out = t;
    return code;
}

static void world_in_a_model_file_is_world(void **unused)
{
    enum { IDS = 65536 };
    struct buffer texts = buffer_of(1 << 24), types = buffer_of(1 << 20);
    struct tokenizer *t, *carried;
    struct err err = {0};

    (void)unused;
    if (!have_world)
        skip();
    t = world();
    for (uint32_t id = 0; id < IDS; id++) {
        size_t bytes;
        const uint8_t *text = tokenizer_text(t, id, &bytes);
        char padding[32];
        if (bytes)
            put_escaped(&texts, text, bytes);
        else
            put_carried(&texts, padding,
                        (size_t)(id ? sprintf(padding, "[PAD%u]", id) : sprintf(padding, "<s>")));
        buffer_u32(&types, id == 0 ? 3 : bytes ? 1 : 5);
    }
    for (int round = 0; round < 2; round++) { /* with types, and without */
        if (open_carried(&carried, &texts, round ? NULL : types.data, IDS, &err))
            fail_msg("%s", err.text);
        assert_string_equal(tokenizer_name(carried), "world");
        assert_int_equal(tokenizer_vocab(carried), tokenizer_vocab(t));
        assert_true(tokenizer_fingerprint(carried) == tokenizer_fingerprint(t));
        tokenizer_close(&carried);
    }
    tokenizer_close(&t);
    buffer_release(&texts);
    buffer_release(&types);
}

/* `<s>`, the bytes, then what is given. */
static struct buffer carried_texts(const char *const *more, size_t count)
{
    struct buffer texts = buffer_of(1 << 20);

    put_carried(&texts, "<s>", 3);
    for (unsigned byte = 0; byte < 256; byte++)
        put_escaped(&texts, &(uint8_t){(uint8_t)byte}, 1);
    for (size_t i = 0; i < count; i++)
        put_carried(&texts, more[i], strlen(more[i]));
    return texts;
}

static void texts_of_a_model_file_are_unescaped(void **unused)
{
    json_t *list = json_load_file(SHARED_DIR "/vectors/gguf_token_escape.json", 0, NULL), *entry;
    const char *more[100] = {"\\q\\\"", "\xc3\xa9"};
    struct tokenizer *t;
    struct err err = {0};
    uint8_t want[128];
    size_t count = 2, bytes, i;

    (void)unused;
    if (!list)
        skip();
    /* Single bytes are there already. */
    json_array_foreach(list, i,
                       entry) if (strlen(json_string_value(json_object_get(entry, "bytes"))) > 2)
        more[count++] = json_string_value(json_object_get(entry, "gguf_text"));
    assert_true(count > 20);
    struct buffer texts = carried_texts(more, count);
    if (open_carried(&t, &texts, NULL, 257 + count, &err))
        fail_msg("%s", err.text);
    assert_memory_equal(tokenizer_text(t, 257, &bytes), "q\"", 2);
    assert_memory_equal(tokenizer_text(t, 258, &bytes), "\xc3\xa9", 2);
    count = 2;
    json_array_foreach(list, i, entry)
    {
        size_t wanted = unhex(json_string_value(json_object_get(entry, "bytes")), want);
        if (wanted == 1)
            continue;
        const uint8_t *text = tokenizer_text(t, (uint32_t)(257 + count++), &bytes);
        assert_int_equal(bytes, wanted);
        assert_memory_equal(text, want, bytes);
    }
    tokenizer_close(&t);
    buffer_release(&texts);
    json_decref(list);
}

static void faults_of_a_carried_vocabulary_name_the_token(void **unused)
{
    static const char *const faults[] = {"\\x4", "\\xg0", "a\\", ""};
    char long_text[200] = {0};
    struct tokenizer *t;
    struct buffer texts;
    struct err err = {0};
    uint8_t types[4 * 258] = {0};

    (void)unused;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        texts = carried_texts(&faults[i], 1);
        assert_int_equal(open_carried(&t, &texts, NULL, 258, &err), ERR_INPUT);
        assert_non_null(strstr(err.text, "'made.gguf', token 257"));
        assert_int_equal(open_carried(&t, &texts, NULL, 257, &err), ERR_OK);
        tokenizer_close(&t);
        assert_int_equal(open_carried(&t, &texts, NULL, 256, &err), ERR_INPUT); /* without FF */
        assert_int_equal(open_carried(&t, &texts, NULL, UINT64_MAX, &err), ERR_INPUT);
        assert_null(t);
        buffer_release(&texts);
    }
    memset(long_text, 'a', 129);
    texts = carried_texts((const char *[]){long_text}, 1);
    assert_int_equal(open_carried(&t, &texts, NULL, 258, &err), ERR_INPUT);
    buffer_release(&texts);
    texts = carried_texts((const char *[]){"A"}, 1);
    assert_int_equal(open_carried(&t, &texts, NULL, 258, &err), ERR_INPUT); /* there already */
    for (size_t i = 0; i < 258; i++)
        store_u32(types + 4 * i, i == 257 ? 5 : 1);
    assert_int_equal(open_carried(&t, &texts, types, 258, &err), ERR_OK); /* but not in use */
    tokenizer_close(&t);
    store_u32(types + 4 * 257, 2);
    assert_int_equal(open_carried(&t, &texts, types, 258, &err), ERR_INPUT);
    assert_non_null(strstr(err.text, "type 2"));
    buffer_release(&texts);
}

static void a_model_without_a_vocabulary_says_so(void **unused)
{
    struct tokenizer *t = NULL;
    struct err err = {0};

    (void)unused;
    assert_int_equal(tokenizer_open_model(&t, NANO_DIR "/nano.safetensors", &err), ERR_ABSENT);
    assert_int_equal(tokenizer_open_model(&t, "/nowhere/at/all", &err), ERR_SOURCE);
    assert_null(t);
}

static void bytes_are_their_own_ids(void **unused)
{
    struct tokenizer *t = NULL;
    struct tokenizer_reader *reader;
    struct tokenizer_piece piece;
    struct err err = {0};

    (void)unused;
    assert_int_equal(tokenizer_open_bytes(&t, &err), ERR_OK);
    assert_string_equal(tokenizer_name(t), "bytes");
    assert_int_equal(tokenizer_vocab(t), 256);
    reader = text_reader(t);
    for (unsigned i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        size_t length;
        assert_int_equal(tokenizer_next(reader, &byte, 1, false, &piece), 1);
        assert_int_equal(piece.count, 1);
        assert_int_equal(piece.tokens[0].id, i);
        assert_int_equal(*tokenizer_text(t, i, &length), i);
        assert_int_equal(length, 1);
    }
    assert_int_equal(tokenizer_next(reader, NULL, 0, true, &piece), 0);
    tokenizer_reader_close(&reader);
    tokenizer_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(world_gives_the_authors_ids),
        cmocka_unit_test(world_does_not_depend_on_cuts),
        cmocka_unit_test(world_holds_back_at_most_the_stated_bytes),
        cmocka_unit_test(world_with_carriage_returns_is_the_same),
        cmocka_unit_test(vocabulary_reads_every_escape),
        cmocka_unit_test(vocabulary_faults_name_the_line),
        cmocka_unit_test(vocabulary_must_cover_every_byte_once),
        cmocka_unit_test(vocabulary_fingerprint_is_of_tokens_and_ids),
        cmocka_unit_test(world_in_a_model_file_is_world),
        cmocka_unit_test(texts_of_a_model_file_are_unescaped),
        cmocka_unit_test(faults_of_a_carried_vocabulary_name_the_token),
        cmocka_unit_test(a_model_without_a_vocabulary_says_so),
        cmocka_unit_test(bytes_are_their_own_ids),
    };

    have_world = access(world_path, R_OK) == 0;
    if (!have_world)
        printf("without %s: tests of World are skipped\n", world_path);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
