/* riverrun history: the points of a stream. It looks into the store, beside a run or without one. */
#include "pipeline/commands/commands.h"
#include "pipeline/commands/points.h"
#include "pipeline/commands/target.h"
#include "pipeline/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- One point ---- */

static char *copy_text(const char *text)
{
    char *copy = text && *text ? strdup(text) : NULL;

    require(copy || !text || !*text);
    return copy;
}

static char *join(char *const *texts, size_t count)
{
    char *all = NULL;

    for (size_t i = 0; i < count; i++) {
        char *longer = NULL;
        if (asprintf(&longer, "%s%s%s", all ? all : "", all ? "; " : "", texts[i]) < 0)
            longer = NULL;
        require(longer);
        free(all);
        all = longer;
    }
    return all;
}

void shown_read(struct store *store, const struct point *point, struct shown *out)
{
    struct store_checkpoint *values = NULL;
    Riverrun__Checkpoint *meta = NULL;
    struct err err;
    enum err_code code;

    *out = (struct shown){.number = 0};
    if (point->name[0] && strspn(point->name, "0123456789") == strlen(point->name))
        out->number = strtoull(point->name, NULL, 10);
    else
        strcpy(out->name, point->name);
    code = point_read(store, point, true, &values, &meta, &err);
    if (code) {
        out->absent = code == ERR_ABSENT;
        out->wrong = copy_text(err.text);
        return;
    }
    out->number = values->number;
    for (size_t i = 0; i < values->part_count; i++)
        out->state_bytes += values->parts[i].bytes;
    out->records = meta->next_seq;
    out->tokens = meta->tokens;
    out->offset = meta->offset;
    out->written_ms = meta->written_ms;
    out->generation = meta->generation;
    out->finished = meta->finished;
    out->unbound = meta->unbound;
    out->lineage = join(meta->lineage, meta->n_lineage);
    out->from = copy_text(meta->branched_from);
    riverrun__checkpoint__free_unpacked(meta, NULL);
    store_checkpoint_free(&values);
}

void shown_release(struct shown *s)
{
    free(s->lineage);
    free(s->from);
    free(s->wrong);
    *s = (struct shown){.number = 0};
}

json_t *shown_json(const struct shown *s)
{
    json_t *o = json_object();

    if (s->name[0])
        json_object_set_new(o, "name", answer_text(s->name));
    json_object_set_new(o, "checkpoint", json_integer((json_int_t)s->number));
    if (s->wrong) {
        json_object_set_new(o, "wrong", answer_text(s->wrong));
        return o;
    }
    json_object_set_new(o, "records", json_integer((json_int_t)s->records));
    json_object_set_new(o, "tokens", json_integer((json_int_t)s->tokens));
    json_object_set_new(o, "offset", json_integer((json_int_t)s->offset));
    json_object_set_new(o, "written_ms", json_integer((json_int_t)s->written_ms));
    json_object_set_new(o, "generation", json_integer((json_int_t)s->generation));
    json_object_set_new(o, "finished", json_boolean(s->finished));
    json_object_set_new(o, "unbound", json_boolean(s->unbound));
    json_object_set_new(o, "state_bytes", json_integer((json_int_t)s->state_bytes));
    json_object_set_new(o, "lineage", s->lineage ? answer_text(s->lineage) : json_null());
    json_object_set_new(o, "branched_from", s->from ? answer_text(s->from) : json_null());
    return o;
}

void shown_head(void)
{
    printf("%-24s %10s %12s %12s %10s  %-19s %s\n", "point", "records", "tokens", "byte", "state",
           "written (UTC)", "remarks");
}

static void remark(const char *text, bool *any)
{
    printf("%s%s", *any ? "; " : "", text);
    *any = true;
}

void shown_line(const struct shown *s)
{
    char point[STORE_POINT_MAX + 1], bytes[32], when[32] = "";
    time_t seconds = (time_t)(s->written_ms / 1000);
    struct tm utc;
    bool any = false;

    snprintf(point, sizeof point, "%llu", (unsigned long long)s->number);
    if (s->wrong) {
        printf("%-24s %s\n", s->name[0] ? s->name : point, s->wrong);
        return;
    }
    report_bytes(bytes, sizeof bytes, (double)s->state_bytes);
    if (gmtime_r(&seconds, &utc))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &utc);
    printf("%-24s %10llu %12llu %12llu %10s  %-19s ", s->name[0] ? s->name : point,
           (unsigned long long)s->records, (unsigned long long)s->tokens,
           (unsigned long long)s->offset, bytes, when);
    if (s->finished)
        remark("finished", &any);
    if (s->unbound)
        remark("nothing read since the branch", &any);
    if (s->generation > 1) {
        char generation[32];
        snprintf(generation, sizeof generation, "generation %llu",
                 (unsigned long long)s->generation);
        remark(generation, &any);
    }
    if (s->lineage)
        remark(s->lineage, &any);
    putchar('\n');
}

void shown_print(const struct shown *s, const char *what, bool json)
{
    if (json) {
        json_t *o = shown_json(s);
        json_object_set_new(o, "done", answer_text(what));
        answer_json(o, 17);
        return;
    }
    printf("%s: %llu records, %llu tokens, at byte %llu\n", what, (unsigned long long)s->records,
           (unsigned long long)s->tokens, (unsigned long long)s->offset);
}

/* ---- The list ---- */

struct list {
    struct store *store;
    struct point point;
    bool json;
    json_t *points;
};

static void add_point(struct list *l, const char *name)
{
    struct point point = l->point;
    struct shown s;

    strcpy(point.name, name);
    shown_read(l->store, &point, &s);
    if (s.absent) { /* a run beside us has dropped it since it was listed */
        shown_release(&s);
        return;
    }
    if (l->json)
        json_array_append_new(l->points, shown_json(&s));
    else
        shown_line(&s);
    shown_release(&s);
}

static bool add_savepoint(void *user, const char *name, uint64_t number)
{
    (void)number;
    add_point(user, name);
    return true;
}

static void print_from(struct list *l)
{
    struct shown s;

    shown_read(l->store, &l->point, &s);
    if (s.from)
        printf("branched from %s\n", s.from);
    shown_release(&s);
}

static enum err_code list_all(struct list *l, struct err *err)
{
    uint64_t numbers[STORE_KEEP];
    json_t *o = json_pack("{s:o}", "stream", answer_text(l->point.stream));
    size_t count = 0;
    enum err_code code = store_checkpoints(l->store, l->point.id, numbers, &count, err);

    if (!code && !l->json) {
        print_from(l);
        shown_head();
    }
    l->points = json_array();
    for (size_t i = 0; i < count; i++) {
        char number[24];
        snprintf(number, sizeof number, "%llu", (unsigned long long)numbers[i]);
        add_point(l, number);
    }
    json_object_set_new(o, "checkpoints", l->points);
    l->points = json_array();
    if (!code)
        code = store_points(l->store, l->point.id, add_savepoint, l, err);
    json_object_set_new(o, "savepoints", l->points);
    if (!code && l->json)
        answer_json(o, 17);
    else
        json_decref(o);
    return code;
}

enum err_code command_history(char **arguments, size_t count, struct err *err)
{
    struct option options[TARGET_OPTIONS + 1];
    struct target target;
    struct list list = {.store = NULL};
    bool help, owned;
    enum err_code code;

    target_options(&target, false, options);
    code = options_parse(options, arguments, &count, &help, err);
    if (!code && help) {
        puts("usage: riverrun history STREAM [--store DIR] [--json]\n\n"
             "The checkpoints that are kept of a stream, newest first, and its savepoints: each is "
             "a\n"
             "point that `branch` and `export` take as STREAM@POINT.\n");
        options_print(options);
        puts("\nexit status: 0 done, 7 no such stream or store, 16 the store is damaged");
        return ERR_OK;
    }
    if (!code && count != 1)
        code = err_set(err, ERR_USAGE, 0, "history needs one stream: `riverrun status` names them");
    if (!code)
        code = target_end(&target, err);
    if (!code)
        code = target_look(&target, &list.store, &owned, err);
    if (!code)
        code = target_names(&target, list.store, arguments, 1, err);
    if (!code)
        code = point_parse(list.store, arguments[0], &list.point, err);
    if (!code && list.point.name[0])
        code = err_set(err, ERR_USAGE, 0, "history lists all points of a stream: leave out '@%s'",
                       list.point.name);
    list.json = target.json;
    if (!code)
        code = list_all(&list, err);
    store_close(&list.store);
    target_release(&target);
    return code;
}
