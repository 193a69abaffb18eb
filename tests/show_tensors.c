/* tests/show_tensors.c: a model file's tensors as the container readers give them, for tests that compare them
 * with another program's.
 *
 *     show_tensors FILE OUT
 *
 * OUT gets a line `NAME TYPE LENGTH LENGTH ...` for each tensor in the order of names, each followed by its values as
 * float32. The last line on standard output is the model's fingerprint, or why the model was refused. */
#include "engine/engine.h"
#include "engine/formats/formats.h"

#include <stdio.h>
#include <stdlib.h>

static bool put_tensor(FILE *out, const struct tensor *tensor)
{
    float *values = malloc(tensor->values * sizeof *values);
    bool done;

    if (!values)
        return false;
    tensor_rows(tensor, 0, tensor->rank == 1 ? 1 : tensor->shape[0], values);
    fprintf(out, "%s %s", tensor->name, dtypes[tensor->dtype].name);
    for (unsigned i = 0; i < tensor->rank; i++)
        fprintf(out, " %llu", (unsigned long long)tensor->shape[i]);
    fputc('\n', out);
    done = fwrite(values, sizeof *values, tensor->values, out) == tensor->values;
    free(values);
    return done;
}

static int show(const char *path, const char *to)
{
    struct container *c = NULL;
    struct err err = {0};
    FILE *out = NULL;
    bool done = false;

    if (container_open(&c, path, &err)) {
        printf("%s\n", err.text);
        return err_status(err.code);
    }
    out = fopen(to, "wb");
    done = out != NULL;
    for (size_t i = 0; i < c->count && done; i++)
        done = put_tensor(out, &c->tensors[i]);
    if (out && fclose(out))
        done = false;
    container_close(&c);
    return done ? 0 : 1;
}

int main(int count, char **words)
{
    uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES];
    struct err err = {0};
    int status;

    if (count != 3)
        return 2;
    status = show(words[1], words[2]);
    if (status)
        return status;
    if (engine_fingerprint(words[1], fingerprint, &err)) {
        printf("%s\n", err.text);
        return 0;
    }
    for (size_t i = 0; i < sizeof fingerprint; i++)
        printf("%02x", fingerprint[i]);
    printf("\n");
    return 0;
}
