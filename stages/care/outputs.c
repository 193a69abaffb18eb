#include "stages/care/outputs.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_BYTES = 200 };

static bool hex_read(const char *text, uint8_t id[STORE_ID_BYTES])
{
    if (strspn(text, "0123456789abcdef") < (size_t)2 * STORE_ID_BYTES)
        return false;
    for (size_t i = 0; i < STORE_ID_BYTES; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], 0};
        id[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return true;
}

struct reading {
    struct outputs *outputs;
    const uint8_t *id; /* whose claim may be damaged */
    size_t room;
};

static void take_epoch(struct reading *r, const char *hex, uint64_t epoch)
{
    struct outputs *o = r->outputs;
    struct store_seen seen = {.epoch = epoch};
    size_t i = 0;

    if (!hex_read(hex, seen.id))
        return;
    while (i < o->store_count && memcmp(o->stores[i].id, seen.id, sizeof seen.id) != 0)
        i++;
    if (i == o->store_count) {
        o->stores = realloc(o->stores, (i + 1) * sizeof *o->stores);
        require(o->stores);
        o->stores[o->store_count++] = seen;
    }
    if (epoch > o->stores[i].epoch)
        o->stores[i].epoch = epoch;
}

static void take_name(struct reading *r, const char *name, size_t bytes, uint64_t generation)
{
    struct outputs *o = r->outputs;

    if (o->count == r->room) {
        r->room = r->room ? 2 * r->room : 64;
        o->names = realloc(o->names, r->room * sizeof *o->names);
        o->generations = realloc(o->generations, r->room * sizeof *o->generations);
    }
    require(o->names && o->generations);
    o->names[o->count] = strndup(name, bytes);
    require(o->names[o->count]);
    o->generations[o->count++] = generation;
}

static bool ends_with(const char *name, const char *end)
{
    size_t bytes = strlen(name), tail = strlen(end);
    return bytes > tail && !strcmp(name + bytes - tail, end);
}

/* A claim that a run of the store asked for would refuse; an empty one was just made. */
static void take_damaged(struct reading *r, const char *name)
{
    uint8_t id[STORE_ID_BYTES];

    if (!r->id || !ends_with(name, ".owner") || !hex_read(name, id) ||
        memcmp(id, r->id, sizeof id) != 0)
        return;
    r->outputs->damaged = strdup(name);
    require(r->outputs->damaged);
}

/* NAME.sidecar of a file, or STORE.owner of all that a run writes here. What is no file does not keep us. */
static void take_file(struct reading *r, int folder, const char *name)
{
    char text[TEXT_BYTES] = "", store[2 * STORE_ID_BYTES + 1];
    uint64_t epoch, generation;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got == 0)
        return;
    if (ends_with(name, ".sidecar") &&
        sscanf(text, "riverrun-sidecar 1 store %32s epoch %" SCNu64 " generation %" SCNu64, store,
               &epoch, &generation) == 3) {
        take_epoch(r, store, epoch);
        take_name(r, name, strlen(name) - strlen(".sidecar"), generation);
    } else if (ends_with(name, ".owner") &&
               sscanf(text, "riverrun-owner 1 epoch %" SCNu64, &epoch) == 1) {
        take_epoch(r, name, epoch);
    } else {
        take_damaged(r, name);
    }
}

void outputs_read(struct outputs *outputs, const char *folder, const uint8_t *id)
{
    struct reading r = {.outputs = outputs, .id = id};
    char *path;
    DIR *directory;

    *outputs = (struct outputs){0};
    if (!folder)
        return;
    require(asprintf(&path, "%s/.riverrun", folder) >= 0);
    directory = opendir(path);
    free(path);
    if (!directory)
        return;
    for (const struct dirent *entry; (entry = readdir(directory));)
        take_file(&r, dirfd(directory), entry->d_name);
    closedir(directory);
}

void outputs_release(struct outputs *outputs)
{
    for (size_t i = 0; i < outputs->count; i++)
        free(outputs->names[i]);
    free(outputs->damaged);
    free(outputs->names);
    free(outputs->generations);
    free(outputs->stores);
    *outputs = (struct outputs){0};
}

uint64_t outputs_epoch(const struct outputs *outputs, const uint8_t *id)
{
    for (size_t i = 0; i < outputs->store_count; i++)
        if (!memcmp(outputs->stores[i].id, id, STORE_ID_BYTES))
            return outputs->stores[i].epoch;
    return 0;
}

uint64_t outputs_generation(const struct outputs *outputs, const char *name)
{
    for (size_t i = 0; i < outputs->count; i++)
        if (!strcmp(outputs->names[i], name))
            return outputs->generations[i];
    return 0;
}
