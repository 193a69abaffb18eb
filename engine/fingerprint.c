/* engine/fingerprint.c: a number for what a model computes.
 *
 * XXH3 over version, epsilon, and for each used tensor, in the order of names: canonical name, type, shape,
 * scale and the hash of its bytes. Tensors are hashed by several threads, which is why theirs are hashes of
 * their own. */
#include "engine/model.h"

#include "engine/pieces.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct hashing {
    const struct container *container;
    XXH128_hash_t *of; /* (count) of each tensor's bytes */
};

/* Row by row as they would lie without gaps. */
static enum err_code hash_strided(const struct tensor *tensor, XXH128_hash_t *out, struct err *err)
{
    uint64_t rows = tensor->rank == 1 ? 1 : tensor->shape[0];
    size_t bytes = tensor->values / rows * dtypes[tensor->dtype].bytes;
    XXH3_state_t *hash = XXH3_createState();
    uint8_t *raw = malloc(bytes);
    enum err_code code = ERR_OK;

    if (!hash || !raw) {
        code = err_set(err, ERR_MEMORY, 0, "tensor '%s': fingerprint", tensor->name);
        goto done;
    }
    XXH3_128bits_reset(hash);
    for (uint64_t row = 0; row < rows; row++) {
        tensor_raw_row(tensor, row, raw);
        XXH3_128bits_update(hash, raw, bytes);
    }
    *out = XXH3_128bits_digest(hash);
done:
    XXH3_freeState(hash);
    free(raw);
    return code;
}

static enum err_code hash_bytes(void *context, size_t index, struct err *err)
{
    struct hashing *h = context;
    const struct tensor *tensor = &h->container->tensors[index];

    if (!tensor->used)
        return ERR_OK;
    if (!tensor_is_plain(tensor))
        return hash_strided(tensor, &h->of[index], err);
    h->of[index] = XXH3_128bits(tensor->data, tensor->bytes);
    return ERR_OK;
}

static void add_number(XXH3_state_t *hash, uint64_t number)
{
    uint8_t bytes[8];

    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(number >> 8 * i);
    XXH3_128bits_update(hash, bytes, sizeof bytes);
}

static void add_tensor(XXH3_state_t *hash, const struct tensor *tensor, XXH128_hash_t bytes)
{
    XXH128_canonical_t canonical;

    add_number(hash, strlen(tensor->name));
    XXH3_128bits_update(hash, tensor->name, strlen(tensor->name));
    add_number(hash, tensor->dtype);
    add_number(hash, tensor->rank);
    for (unsigned i = 0; i < tensor->rank; i++)
        add_number(hash, tensor->shape[i]);
    add_number(hash, (uint64_t)ilogbf(tensor->scale));
    XXH128_canonicalFromHash(&canonical, bytes);
    XXH3_128bits_update(hash, canonical.digest, sizeof canonical.digest);
}

enum err_code model_fingerprint(const struct model *model, unsigned threads,
                                uint8_t fingerprint[ENGINE_FINGERPRINT_BYTES], struct err *err)
{
    const struct container *c = model->container;
    struct hashing h = {.container = c, .of = calloc(c->count, sizeof *h.of)};
    XXH3_state_t *hash = XXH3_createState();
    XXH128_canonical_t canonical;
    enum err_code code = ERR_OK;
    uint32_t eps;

    if (!hash || !h.of)
        code = err_set(err, ERR_MEMORY, 0, "model '%s': fingerprint", c->path);
    if (!code)
        code = pieces_run(hash_bytes, &h, c->count, threads, err);
    if (code)
        goto done;
    XXH3_128bits_reset(hash);
    memcpy(&eps, &model->gn_eps, sizeof eps);
    add_number(hash, model->version->major);
    add_number(hash, model->version->minor);
    add_number(hash, eps);
    if (c->halved_every)
        add_number(hash, c->halved_every);
    for (size_t i = 0; i < c->count; i++)
        if (c->tensors[i].used)
            add_tensor(hash, &c->tensors[i], h.of[i]);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(hash));
    memcpy(fingerprint, canonical.digest, ENGINE_FINGERPRINT_BYTES);
done:
    XXH3_freeState(hash);
    free(h.of);
    return code;
}
