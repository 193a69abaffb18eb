/* What verify makes of the meaning of checkpoints and notes, beyond their checksums: each contradiction is found, and
 * nothing where there is none. */
#include "tests/store_help.h"

#include "schemas/control.h"
#include "stages/care/care.h"
#include "stages/encode/analysis/analysis.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- A stream of two checkpoints ---- */

struct point {
    uint64_t generation, tokens, offset, next_seq, n, length, first, base;
    bool finished, no_prints, bad_units, garbage;
};

/* Its records went to standard output where length is 0 and n is not: no output to look at. */
static struct point point_of(uint64_t generation, uint64_t tokens)
{
    return (struct point){.generation = generation,
                          .tokens = tokens,
                          .offset = 2 * tokens,
                          .next_seq = tokens / 10,
                          .n = tokens / 10};
}

static void pack(const struct point *p, struct buffer *out)
{
    Riverrun__Checkpoint meta = RIVERRUN__CHECKPOINT__INIT;
    Riverrun__Fingerprints prints = RIVERRUN__FINGERPRINTS__INIT;
    Riverrun__SinkToken token = RIVERRUN__SINK_TOKEN__INIT;
    struct buffer analysis = buffer_of(ANALYSIS_BYTES_MAX);
    uint8_t chain[16] = {0};
    struct err err;

    analysis_blank(&analysis);
    token.generation = p->generation;
    token.n = p->n;
    token.first = p->first;
    token.length = p->length;
    token.chain = proto_bytes(chain, sizeof chain);
    meta.generation = p->generation;
    meta.tokens = p->tokens;
    meta.offset = p->offset;
    meta.next_seq = p->next_seq;
    meta.base_seq = p->base;
    meta.finished = p->finished;
    meta.token = &token;
    meta.fingerprints = p->no_prints ? NULL : &prints;
    meta.analysis = proto_bytes(analysis.data, p->bad_units ? analysis.bytes / 2 : analysis.bytes);
    assert_int_equal(proto_write(&meta.base, out, &err), ERR_OK);
    if (p->garbage)
        memset(out->data, 0xFF, out->bytes);
    buffer_release(&analysis);
}

static void put(struct store *store, uint64_t number, const struct point *p)
{
    struct buffer meta = buffer_of(1 << 20);
    struct store_batch *batch;
    struct err err;

    pack(p, &meta);
    assert_int_equal(store_batch_open(&batch, NULL), ERR_OK);
    assert_int_equal(
        batch_checkpoint(batch, 1, number, (struct view){meta.data, meta.bytes}, NULL, 0, NULL),
        ERR_OK);
    assert_int_equal(commit(store, &batch, &err), ERR_OK);
    buffer_release(&meta);
}

/* ---- What is said ---- */

struct said {
    size_t notes, wrong;
    char text[2000];
};

static void hear(void *user, enum care_kind kind, const char *thing, const char *text)
{
    struct said *said = user;
    size_t used = strlen(said->text);

    assert_true(thing && strlen(thing) && strlen(text));
    said->notes += kind == CARE_NOTE;
    said->wrong += kind != CARE_NOTE;
    snprintf(said->text + used, sizeof said->text - used, "%s: %s\n", thing, text);
}

static enum err_code verify(const char *path, struct said *said)
{
    struct care_options options = {.store = path, .say = hear, .user = said};
    struct care_verified totals;
    struct err err = {0};
    enum err_code code;

    *said = (struct said){0};
    code = care_verify(&options, &totals, &err);
    assert_int_equal(totals.streams, 1);
    assert_string_equal(err.text, "");
    assert_int_equal(totals.damaged, said->wrong);
    return code;
}

static void check_pair(const char *path, struct point older, struct point newer, const char *words,
                       bool wrong)
{
    struct store *store = open_store(path);
    struct said said;
    uint64_t stream;

    if (store_find(store, "one", &stream, NULL))
        stream = add_stream(store, "one");
    assert_int_equal(stream, 1);
    put(store, 1, &older);
    put(store, 2, &newer);
    store_close(&store);
    enum err_code code = verify(path, &said);
    if (code != (wrong ? ERR_DAMAGED : ERR_OK) || !strstr(said.text, words) ||
        (said.wrong > 0) != wrong)
        fail_msg("code %d, wanted '%s', said: %s", (int)code, words, said.text);
}

static void what_follows_is_well(void **state)
{
    struct point one = point_of(1, 100), two = point_of(1, 200), three = point_of(2, 0);

    check_pair(folder_of(state), one, two, "standard output", false);
    check_pair(folder_of(state), one, one, "standard output", false);
    check_pair(folder_of(state), two, three, "", false); /* begun again */
    three = point_of(2, 50);
    check_pair(folder_of(state), two, three, "", false);
}

static void going_back_is_told_and_not_wrong(void **state)
{
    struct point one = point_of(1, 100), two = point_of(1, 200);

    check_pair(folder_of(state), two, one, "stands before checkpoint 1", false);
    two.finished = true;
    check_pair(folder_of(state), two, point_of(1, 300), "stands before", false);
}

static void each_contradiction_is_found(void **state)
{
    const char *path = folder_of(state);
    struct point one = point_of(1, 100), two = point_of(1, 200), bad = two;

    bad.generation = 0;
    check_pair(path, one, bad, "older generation", true);
    bad = two;
    bad.offset = one.offset - 1;
    check_pair(path, one, bad, "contradict each other", true);
    bad = two;
    bad.next_seq = bad.n = one.n - 1;
    check_pair(path, one, bad, "contradict each other", true);
    bad = one;
    bad.offset = two.offset + 1;
    check_pair(path, two, bad, "contradict each other", true);
    bad = two;
    bad.n++;
    check_pair(path, one, bad, "checkpoint 2 has a sink token of another record", true);
    bad = two;
    bad.first = bad.n + 1;
    check_pair(path, one, bad, "makes no sense", true);
    bad = two;
    bad.base = bad.next_seq + 1;
    check_pair(path, one, bad, "makes no sense", true);
    bad = two;
    bad.first = bad.n;
    bad.length = 5;
    check_pair(path, one, bad, "makes no sense", true);
}

static void what_cannot_be_decoded_is_found(void **state)
{
    const char *path = folder_of(state);
    struct point one = point_of(1, 100), bad = point_of(1, 200);

    bad.garbage = true;
    check_pair(path, one, bad, "checkpoint 2 cannot be decoded", true);
    bad = point_of(1, 200);
    bad.no_prints = true;
    check_pair(path, one, bad, "checkpoint 2 cannot be decoded", true);
    bad = point_of(1, 200);
    bad.bad_units = true;
    check_pair(path, one, bad, "checkpoint 2 cannot be decoded", true);
    check_pair(path, one, point_of(1, 200), "", false);
    struct store *store = open_store(path);
    struct said said;
    put_note(store, 1, "\xff\xff\xff");
    store_close(&store);
    assert_int_equal(verify(path, &said), ERR_DAMAGED);
    assert_non_null(strstr(said.text, "its note cannot be decoded"));
}

static void a_stream_without_checkpoints_is_told(void **state)
{
    struct store *store = open_store(folder_of(state));
    struct said said;

    add_stream(store, "one");
    store_close(&store);
    assert_int_equal(verify(folder_of(state), &said), ERR_OK);
    assert_non_null(strstr(said.text, "read from its beginning"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(what_follows_is_well),
        STORE_TEST(going_back_is_told_and_not_wrong),
        STORE_TEST(each_contradiction_is_found),
        STORE_TEST(what_cannot_be_decoded_is_found),
        STORE_TEST(a_stream_without_checkpoints_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
