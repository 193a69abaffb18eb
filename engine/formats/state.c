/* engine/formats/state.c: an initial state from a file of its own, as state tuning leaves it.
 *
 *     blocks.N.att.time_state [heads][size][size] for each layer, and nothing else
 *
 * in any container. Its tensors become the model's, in place of those that it has itself, so that shapes are checked,
 * values used and fingerprints taken as if they had been in the model's file. */
#include "engine/formats/formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_ROOM = 64 };

static void state_name(char name[NAME_ROOM], size_t layer)
{
    snprintf(name, NAME_ROOM, "blocks.%zu.att.time_state", layer);
}

static bool has_layer(const struct container *model, size_t layer)
{
    char name[NAME_ROOM];

    snprintf(name, sizeof name, "blocks.%zu.ln1.weight", layer);
    return container_find(model, name) != NULL;
}

/* A tensor that is no state; NULL: there is none. */
static const char *stranger_of(const struct container *state)
{
    static const char ending[] = ".att.time_state";

    for (size_t i = 0; i < state->count; i++) {
        const char *name = state->tensors[i].name;
        size_t bytes = strlen(name);
        if (bytes < strlen(ending) || strcmp(name + bytes - strlen(ending), ending) != 0)
            return name;
    }
    return NULL;
}

/* One for each layer, and no other tensor. */
static enum err_code check_state(const struct container *state, const struct container *model,
                                 struct err *err)
{
    const char *stranger = stranger_of(state);
    char name[NAME_ROOM];
    size_t layers = 0;

    if (stranger)
        return container_fail(state, err, "it is no initial state, but holds '%.80s'", stranger);
    for (; layers < state->count; layers++) {
        state_name(name, layers);
        if (!container_find(state, name))
            return container_fail(state, err, "it is no initial state: '%s' is missing", name);
    }
    if (!has_layer(model, layers - 1) || has_layer(model, layers))
        return container_fail(
            state, err, "an initial state of %zu layers, which the model does not have", layers);
    return ERR_OK;
}

/* What the tensors lie in. */
static enum err_code take_memory(struct container *model, struct container *state, struct err *err)
{
    struct view *maps = realloc(model->maps, (model->map_count + state->map_count) * sizeof *maps);
    uint8_t **notes;

    if (maps)
        model->maps = maps;
    notes = realloc(model->notes, (model->note_count + state->note_count + 1) * sizeof *notes);
    if (notes)
        model->notes = notes;
    if (!maps || !notes)
        return err_set(err, ERR_MEMORY, 0, "model '%s': its initial state", model->path);
    memcpy(maps + model->map_count, state->maps, state->map_count * sizeof *maps);
    model->map_count += state->map_count;
    state->map_count = 0;
    if (state->note_count)
        memcpy(notes + model->note_count, state->notes, state->note_count * sizeof *notes);
    model->note_count += state->note_count;
    state->note_count = 0;
    return ERR_OK;
}

enum err_code container_take_state(struct container *model, const char *path, struct err *err)
{
    struct container *state = NULL;
    struct tensor *mine;
    enum err_code code = container_open(&state, path, err);

    if (!code)
        code = check_state(state, model, err);
    if (!code)
        code = take_memory(model, state, err);
    for (size_t i = 0; !code && i < state->count; i++) {
        const struct tensor *tensor = &state->tensors[i];
        mine = container_find(model, tensor->name);
        if (!mine)
            code = container_add(model, tensor->name, strlen(tensor->name), tensor->dtype,
                                 tensor->rank, tensor->shape, &mine, err);
        if (!code) {
            const char *name = mine->name;
            *mine = *tensor;
            mine->name = name;
            code = container_sort(model, err);
        }
    }
    container_close(&state);
    return code;
}
