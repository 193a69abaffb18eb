/* riverrun model logits: numbers to compare with another program's. */
#include "engine/formats/formats.h"
#include "pipeline/commands/model.h"
#include "schemas/outfile.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Token numbers from text. ---- */

struct numbers {
    uint32_t *values;
    size_t count, room;
};

static enum err_code add_number(struct numbers *n, uint64_t value, struct err *err)
{
    if (value > UINT32_MAX)
        return err_set(err, ERR_USAGE, 0, "--tokens: number %zu is no token", n->count + 1);
    if (n->count == n->room) {
        size_t room = n->room ? 2 * n->room : 256;
        uint32_t *more = realloc(n->values, room * sizeof *more);
        if (!more)
            return err_set(err, ERR_MEMORY, 0, "--tokens: %zu numbers", room);
        n->values = more;
        n->room = room;
    }
    n->values[n->count++] = (uint32_t)value;
    return ERR_OK;
}

/* Whatever is no digit separates, except what would make another number of it. */
struct scan {
    struct numbers *numbers;
    uint64_t value;
    bool inside, wrong;
};

static enum err_code scan_byte(struct scan *s, int byte, struct err *err)
{
    bool digit = byte >= '0' && byte <= '9', was_inside = s->inside;

    if ((digit && s->wrong) || (was_inside && isalpha(byte)))
        return err_set(err, ERR_USAGE, 0, "--tokens: number %zu has a sign, a point or a letter",
                       s->numbers->count + 1);
    s->wrong = byte == '-' || byte == '.';
    s->inside = digit;
    if (digit) {
        s->value = was_inside ? s->value * 10 : 0;
        s->value += (uint64_t)(byte - '0');
        s->value = s->value > UINT32_MAX ? (uint64_t)UINT32_MAX + 1 : s->value;
        return ERR_OK;
    }
    return was_inside ? add_number(s->numbers, s->value, err) : ERR_OK;
}

static enum err_code scan_text(struct numbers *numbers, const char *text, struct err *err)
{
    struct scan scan = {.numbers = numbers};

    for (const char *at = text; *at; at++)
        if (scan_byte(&scan, (unsigned char)*at, err))
            return err->code;
    return scan_byte(&scan, ' ', err);
}

static enum err_code scan_file(struct numbers *numbers, const char *path, struct err *err)
{
    struct scan scan = {.numbers = numbers};
    FILE *file = fopen(path, "r");
    enum err_code code = ERR_OK;
    int byte;

    if (!file)
        return err_set(err, ERR_SOURCE, errno, "--tokens '@%s'", path);
    while (!code && (byte = getc(file)) != EOF)
        code = scan_byte(&scan, byte, err);
    if (!code && ferror(file))
        code = err_set(err, ERR_SOURCE, errno, "--tokens '@%s'", path);
    (void)fclose(file);
    return code ? code : scan_byte(&scan, ' ', err);
}

static enum err_code read_numbers(struct numbers *numbers, const char *text, struct err *err)
{
    enum err_code code =
        text[0] == '@' ? scan_file(numbers, text + 1, err) : scan_text(numbers, text, err);

    if (!code && numbers->count == 0)
        code = err_set(err, ERR_USAGE, 0, "--tokens '%s': no number in it", text);
    return code;
}

/* ---- The numbers that come out. ---- */

struct result {
    float *logits;
    uint8_t *state;
};

static enum err_code compute(struct engine *engine, const struct numbers *tokens,
                             struct result *result, struct err *err)
{
    const struct engine_info *info = engine_info(engine);
    struct engine_state *state = NULL;
    enum err_code code;

    result->logits = calloc(info->vocab, sizeof *result->logits);
    result->state = malloc(info->state_bytes);
    if (!result->logits || !result->state)
        return err_set(err, ERR_MEMORY, 0, "logits and state");
    code = engine_state_open(engine, &state, err);
    if (!code) {
        struct engine_job job = {.state = state,
                                 .tokens = tokens->values,
                                 .count = tokens->count,
                                 .logits = result->logits};
        code = engine_run(engine, &job, err);
        if (!code)
            engine_state_save(state, result->state);
        engine_state_close(&state);
    }
    return code;
}

static enum err_code write_file(const char *path, const void *data, size_t bytes, struct err *err)
{
    struct outfile *file = NULL;
    enum err_code code = outfile_open(&file, path, err);

    if (!code)
        code = outfile_write(file, data, bytes, err);
    if (!code)
        code = outfile_commit(&file, err);
    outfile_close(&file);
    return code;
}

/* NaN is not hidden: the files are written as they are, and the exit status tells. */
static enum err_code check_finite(const char *path, const float *logits, uint32_t count,
                                  struct err *err)
{
    uint32_t wrong = 0;

    for (uint32_t i = 0; i < count; i++)
        wrong += !isfinite(logits[i]);
    return wrong ? err_set(err, ERR_MODEL, 0, "model '%s': %u of %u logits are not finite", path,
                           wrong, count)
                 : ERR_OK;
}

/* Neither output is what is read. */
static enum err_code check_output(const char *path, const char *model,
                                  const struct engine_settings *settings, const char *tokens,
                                  struct err *err)
{
    enum err_code code = model_not_output(model, path, err);

    if (!code)
        code = outfile_not_input(path, settings->initial_state, err);
    return code || *tokens != '@' ? code : outfile_not_input(path, tokens + 1, err);
}

static enum err_code run(const char *model, const struct engine_settings *settings,
                         const char *tokens, const char *output, const char *state_path,
                         struct err *err)
{
    const struct engine_options options = engine_settings_end(settings);
    const struct engine_info *info;
    struct engine *engine = NULL;
    struct numbers numbers = {0};
    struct result result = {0};
    enum err_code code = check_output(output, model, settings, tokens, err);

    if (!code && state_path)
        code = check_output(state_path, model, settings, tokens, err);
    if (!code && state_path && !strcmp(state_path, output))
        code = err_set(err, ERR_USAGE, 0, "-o and --state are both '%s': give one another name",
                       output);
    if (!code)
        code = read_numbers(&numbers, tokens, err);
    if (!code)
        code = engine_open(&engine, model, &options, err);
    if (code)
        goto done;
    info = engine_info(engine);
    code = compute(engine, &numbers, &result, err);
    if (!code)
        code = write_file(output, result.logits, info->vocab * sizeof *result.logits, err);
    if (!code && state_path)
        code = write_file(state_path, result.state, info->layers * info->layer_state_bytes, err);
    if (!code)
        code = check_finite(model, result.logits, info->vocab, err);
done:
    engine_close(&engine);
    free(result.logits);
    free(result.state);
    free(numbers.values);
    return code;
}

static void print_help(const struct option *options)
{
    puts("usage: riverrun model logits FILE --tokens 1,2,3 -o logits.f32 [--state state.f32]\n"
         "\n"
         "Reads the tokens from the model's origin and writes the logits after the last one, "
         "before\n"
         "softmax, as little-endian float32 without a header: as many as the model has tokens. "
         "--state\n"
         "writes the state too, float32, the layers one after the other, in each\n"
         "\n"
         "    RWKV-4         ffn_x[C] att_x[C] aa[C] bb[C] pp[C]\n"
         "    RWKV-5, -6     ffn_x[C] att_x[C] S[head][key][value]\n"
         "    RWKV-7         ffn_x[C] att_x[C] S[head][value][key]\n");
    options_print(options);
}

enum err_code model_logits(char **arguments, size_t count, struct err *err)
{
    const char *tokens = NULL, *output = NULL, *state = NULL;
    struct engine_settings settings = {0};
    struct option options[3 + ENGINE_SETTINGS_OPTIONS + 1] = {
        {"tokens", 't', OPTION_TEXT, &tokens, 0, 0, "1,2,3|@FILE",
         "token numbers, or a file of them with anything between"},
        {"output", 'o', OPTION_PATH, &output, 0, 0, "FILE", "logits go here"},
        {"state", 0, OPTION_PATH, &state, 0, 0, "FILE", "the state goes here (default: nowhere)"}};
    bool help;
    enum err_code code;

    engine_settings_options(&settings, options + 3);
    code = options_parse(options, arguments, &count, &help, err);
    if (code)
        return code;
    if (help) {
        print_help(options);
        return ERR_OK;
    }
    if (count != 1 || !tokens || !output)
        return err_set(err, ERR_USAGE, 0,
                       "model logits needs %s: riverrun model logits FILE --tokens 1,2,3 -o OUT",
                       count != 1 ? "one model file"
                       : tokens   ? "an output"
                                  : "tokens");
    code = find_model((const char **)&arguments[0], err);
    return code ? code : run(arguments[0], &settings, tokens, output, state, err);
}
