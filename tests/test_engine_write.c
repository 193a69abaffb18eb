/* tests/test_engine_write.c: what formats/write.c writes, read back by the loader. */
#include "engine/formats/write.h"
#include "tests/engine_help.h"

enum { HALVES = 1 << 16 };

static char path[128];

/* Rows of an array of floats; `width` values a row. */
struct source {
    const float *values;
    size_t width;
};

static void source_rows(const void *self, uint64_t first, uint64_t count, float *out)
{
    const struct source *source = self;

    memcpy(out, source->values + first * source->width, count * source->width * sizeof *out);
}

static enum err_code write_vector(enum dtype dtype, const float *values, size_t count,
                                  struct write_report *report, struct err *err)
{
    struct source source = {values, count};
    struct write_tensor tensor = {"x", dtype, 1, {count}, source_rows, &source};

    return safetensors_write(path, &(struct write_plan){.tensors = &tensor, .count = 1}, report,
                             err);
}

/* Write values as dtype and read the raw bytes of the tensor. */
static void stored(enum dtype dtype, const float *values, size_t count, uint8_t *raw,
                   struct write_report *report)
{
    struct container *container = NULL;
    struct err err = {0};

    if (write_vector(dtype, values, count, report, &err) || container_open(&container, path, &err))
        fail_msg("%s", err.text);
    tensor_raw_row(container_find(container, "x"), 0, raw);
    container_close(&container);
}

static float half_value(enum dtype dtype, uint16_t half)
{
    float value;

    dtypes[dtype].decode(&value, (const uint8_t *)&half, 1);
    return value;
}

static const enum dtype small_types[] = {DTYPE_F16, DTYPE_BF16};

static void every_small_number_keeps_its_bits(void **unused)
{
    (void)unused;
    for (int t = 0; t < 2; t++) {
        float *values = malloc(HALVES * sizeof *values);
        uint16_t *raw = malloc(HALVES * sizeof *raw);
        uint64_t not_finite = 0;
        struct write_report report;

        assert_true(values && raw);
        for (uint32_t i = 0; i < HALVES; i++) {
            values[i] = half_value(small_types[t], (uint16_t)i);
            not_finite += !isfinite(values[i]);
        }
        stored(small_types[t], values, HALVES, (uint8_t *)raw, &report);
        for (uint32_t i = 0; i < HALVES; i++)
            if (isnan(values[i]) ? !isnan(half_value(small_types[t], raw[i])) : raw[i] != i)
                fail_msg("%s %04x became %04x", dtypes[small_types[t]].name, i, raw[i]);
        assert_int_equal(report.not_finite, not_finite);
        assert_int_equal(report.vanished, 0);
        free(values);
        free(raw);
    }
}

/* Between every two neighbours: the middle goes to the even one, a step aside to the nearer one. */
static void between_two_the_nearer_and_then_the_even_is_taken(void **unused)
{
    (void)unused;
    for (int t = 0; t < 2; t++) {
        uint32_t count = small_types[t] == DTYPE_F16 ? 0x7BFF : 0x7F7F;
        float *values = malloc(6 * count * sizeof *values);
        uint16_t *raw = malloc(6 * count * sizeof *raw);
        struct write_report report;

        assert_true(values && raw);
        for (uint32_t i = 0; i < count; i++) {
            float low = half_value(small_types[t], (uint16_t)i);
            float high = half_value(small_types[t], (uint16_t)(i + 1));
            float middle = (float)(((double)low + (double)high) / 2);
            for (int sign = 0; sign < 2; sign++) {
                float *at = values + 6 * i + 3 * sign;
                at[0] = sign ? -nextafterf(middle, low) : nextafterf(middle, low);
                at[1] = sign ? -middle : middle;
                at[2] = sign ? -nextafterf(middle, high) : nextafterf(middle, high);
            }
        }
        stored(small_types[t], values, 6 * count, (uint8_t *)raw, &report);
        for (uint32_t i = 0; i < 6 * count; i++) {
            uint32_t low = i / 6, want = i % 3 == 0 ? low : i % 3 == 2 ? low + 1 : low + (low & 1);
            want |= i % 6 >= 3 ? 0x8000 : 0;
            if (raw[i] != want)
                fail_msg("%s %a became %04x, not %04x", dtypes[small_types[t]].name,
                         (double)values[i], raw[i], want);
        }
        assert_int_equal(report.vanished, 4); /* below and at half of the smallest, of both signs */
        free(values);
        free(raw);
    }
}

static void numbers_that_do_not_fit_are_counted_and_refused(void **unused)
{
    static const float f16[] = {1, 65519.99F, 65520, -1e6F, INFINITY};
    static const float bf16[] = {1, 3.3895e38F, 3.4e38F};
    struct write_report report;
    struct err err = {0};

    (void)unused;
    unlink(path);
    assert_int_equal(write_vector(DTYPE_F16, f16, 5, &report, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "2 values are too large for F16, the first in tensor 'x'"));
    assert_int_equal(write_vector(DTYPE_BF16, bf16, 3, &report, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "1 values"));
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(write_vector(DTYPE_F16, f16, 2, &report, &err), ERR_OK);
    assert_int_equal(write_vector(DTYPE_F32, f16, 5, &report, &err), ERR_OK);
    assert_int_equal(report.not_finite, 1);
}

static void source_check(const void *self, uint64_t first, uint64_t count, float *out)
{
    const struct source *source = self;

    assert_true(count * source->width <= 1 << 18 || count == 1);
    source_rows(self, first, count, out);
}

static void a_plan_of_many_tensors_is_read_back(void **unused)
{
    enum { ROWS = 3000, WIDTH = 100, ODD = 7 };
    float *values = malloc(ROWS * WIDTH * sizeof *values);
    float *got = malloc(ROWS * WIDTH * sizeof *got);
    struct source matrix = {values, WIDTH}, odd = {values, ODD};
    const struct write_tensor tensors[] = {
        {"b.odd", DTYPE_BF16, 1, {ODD}, source_check, &odd},
        {"a.matrix", DTYPE_F32, 2, {ROWS, WIDTH}, source_check, &matrix},
        {"c.cube",
         DTYPE_F16,
         3,
         {ROWS / 10, 10, WIDTH},
         source_check,
         &(struct source){values, 10 * WIDTH}},
        {"d.odd", DTYPE_F32, 3, {1, 1, ODD}, source_check, &odd},
    };
    const struct write_text texts[] = {{"format", "pt"}, {"note", "\"quoted\" \xc3\xa9\n"}};
    const struct write_plan plan = {tensors, 4, texts, 2};
    struct container *container = NULL;
    struct write_report report;
    struct err err = {0};
    size_t bytes;

    (void)unused;
    assert_true(values && got);
    for (size_t i = 0; i < (size_t)ROWS * WIDTH; i++)
        values[i] = (float)i / 4096; /* exact in F32 */
    if (safetensors_write(path, &plan, &report, &err) || container_open(&container, path, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < 4; i++) {
        const struct tensor *tensor = container_find(container, tensors[i].name);
        assert_non_null(tensor);
        assert_int_equal(tensor->dtype, tensors[i].dtype);
        assert_int_equal(tensor->rank, tensors[i].rank);
        assert_memory_equal(tensor->shape, tensors[i].shape, tensor->rank * sizeof(uint64_t));
        assert_int_equal((size_t)(tensor->data - container->map) % dtypes[tensor->dtype].bytes, 0);
    }
    tensor_rows(container_find(container, "a.matrix"), 0, ROWS, got);
    assert_memory_equal(got, values, ROWS * WIDTH * sizeof *got);
    container_close(&container);
    free(file_read(path, &bytes));
    assert_int_equal(bytes, report.bytes);
    free(values);
    free(got);
}

static void the_same_plan_gives_the_same_bytes(void **unused)
{
    static const float values[] = {1, 2, 3};
    struct write_report report;
    struct err err = {0};
    uint8_t *first, *second;
    size_t bytes, again;

    (void)unused;
    assert_int_equal(write_vector(DTYPE_BF16, values, 3, &report, &err), ERR_OK);
    first = file_read(path, &bytes);
    assert_int_equal(write_vector(DTYPE_BF16, values, 3, &report, &err), ERR_OK);
    second = file_read(path, &again);
    assert_int_equal(bytes, again);
    assert_memory_equal(first, second, bytes);
    free(first);
    free(second);
}

static void a_text_that_is_not_utf8_is_refused(void **unused)
{
    static const float value = 1;
    struct source source = {&value, 1};
    const struct write_tensor tensor = {"x", DTYPE_F32, 1, {1}, source_rows, &source};
    const struct write_text text = {"key", "\xff"};
    struct write_report report;
    struct err err = {0};

    (void)unused;
    assert_int_equal(
        safetensors_write(path, &(struct write_plan){&tensor, 1, &text, 1}, &report, &err),
        ERR_INPUT);
    assert_non_null(strstr(err.text, "'key'"));
}

static void what_cannot_be_written_is_told_and_the_old_file_stays(void **unused)
{
    static const float values[] = {1, 1e9F};
    struct write_report report;
    struct err err = {0};
    char good[sizeof path];
    uint8_t *data;
    size_t bytes;

    (void)unused;
    file_write(path, "old", 3);
    assert_int_equal(write_vector(DTYPE_F16, values, 2, &report, &err), ERR_LIMIT);
    data = file_read(path, &bytes);
    assert_int_equal(bytes, 3);
    assert_memory_equal(data, "old", 3);
    free(data);
    memcpy(good, path, sizeof good);
    snprintf(path, sizeof path, "/dev/full");
    assert_int_equal(write_vector(DTYPE_F32, values, 2, &report, &err), ERR_FULL);
    snprintf(path, sizeof path, "%.100s/x", good);
    assert_int_equal(write_vector(DTYPE_F32, values, 2, &report, &err), ERR_SINK);
    memcpy(path, good, sizeof path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_small_number_keeps_its_bits),
        cmocka_unit_test(between_two_the_nearer_and_then_the_even_is_taken),
        cmocka_unit_test(numbers_that_do_not_fit_are_counted_and_refused),
        cmocka_unit_test(a_plan_of_many_tensors_is_read_back),
        cmocka_unit_test(the_same_plan_gives_the_same_bytes),
        cmocka_unit_test(a_text_that_is_not_utf8_is_refused),
        cmocka_unit_test(what_cannot_be_written_is_told_and_the_old_file_stays),
    };
    int failed;

    snprintf(path, sizeof path, "/tmp/riverrun-write-%ld.safetensors", (long)getpid());
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
