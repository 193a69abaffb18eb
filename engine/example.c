/* example.c: how much each piece of a text surprises a model, and how the text might go on.
 *     cc example.c $(pkg-config --cflags --libs riverrun_engine) -o example
 *     ./example MODEL TEXT [VOCABULARY] */
#include <riverrun_engine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct err err;

static void must(enum err_code code)
{
    if (code)
        fprintf(stderr, "%s\n", err.text), exit(err_status(code));
}

int main(int argc, char **argv)
{
    struct engine *engine;
    struct engine_state *state, *branch;
    enum err_code code;
    struct tokenizer *tokenizer;
    struct tokenizer_reader *reader;
    struct tokenizer_piece piece;
    struct sampler *sampler;
    const char *text = argc > 2 ? argv[2] : "";
    size_t bytes = strlen(text), length;
    uint32_t token = 0; /* every text begins behind token 0 */

    must(engine_open(&engine, argc > 1 ? argv[1] : "", NULL, &err));
    /* Its vocabulary: a file, or what the model file carries; a model of 256 tokens may carry none, and reads bytes. */
    code = argc > 3 ? tokenizer_open(&tokenizer, argv[3], NULL, &err)
                    : tokenizer_open_model(&tokenizer, argv[1], &err);
    if (code == ERR_ABSENT && engine_info(engine)->vocab == 256)
        code = tokenizer_open_bytes(&tokenizer, &err);
    must(code);
    must(tokenizer_reader_open(&reader, tokenizer, &err));
    must(engine_state_open(engine, &state, &err));
    must(engine_run(engine, &(struct engine_job){.state = state, .tokens = &token, .count = 1},
                    &err));

    /* Feed the text, and show what each token costs, given all before it. */
    for (size_t at = 0; at < bytes;) {
        at += tokenizer_next(reader, (const uint8_t *)text + at, bytes - at, true, &piece);
        for (size_t i = 0; i < piece.count; i++) {
            uint32_t id = piece.tokens[i].id;
            const uint8_t *part = tokenizer_text(tokenizer, id, &length);
            float nats;
            struct engine_job job = {.state = state, .tokens = &id, .count = 1, .loss = &nats};
            must(engine_run(engine, &job, &err));
            printf("%7.4f  %.*s\n", (double)nats, (int)length, (const char *)part);
        }
    }

    /* A copy of the state goes on by itself; the first could read more text. */
    uint8_t *saved = malloc(engine_info(engine)->state_bytes);
    float *logits = malloc(engine_info(engine)->vocab * sizeof *logits);
    must(engine_state_open(engine, &branch, &err));
    engine_state_save(state, saved);
    must(engine_state_load(branch, saved, &err));
    must(sampler_open(&sampler, engine_info(engine)->vocab,
                      &(struct sampler_options){.temperature = 1, .top_p = 0.8, .seed = 1}, &err));
    for (size_t i = 0; i < 40; i++) {
        struct engine_job job = {
            .state = branch, .tokens = &token, .count = i > 0, .logits = logits};
        must(engine_run(engine, &job, &err));
        must(sampler_next(sampler, logits, &token, &err));
        const uint8_t *part = tokenizer_text(tokenizer, token, &length);
        fwrite(part, 1, length, stdout);
    }
    putchar('\n');
    free(saved), free(logits);
    engine_state_close(&branch), engine_state_close(&state);
    sampler_close(&sampler);
    tokenizer_reader_close(&reader);
    tokenizer_close(&tokenizer);
    engine_close(&engine);
}
