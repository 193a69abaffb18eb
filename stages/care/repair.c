/* Repair joins what the store can mend by itself with what the outputs know: their epoch, so that emit takes the
 * mended store for a newer run; the id, so that it takes it for the same store; names, for streams that lost theirs.
 * Nothing is computed here: a stream goes on from the newest checkpoint that is left, and emit compares what comes
 * again with what stands in the output. */
#include "stages/care/care.h"

#include "schemas/control.h"
#include "stages/care/outputs.h"
#include "store/care.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct mending {
    const struct care_options *options;
    struct outputs outputs;
    const char *path; /* of the environment that is mended */
};

static void say(const struct mending *m, const char *thing, const char *text)
{
    if (m->options->say)
        m->options->say(m->options->user, CARE_DAMAGED, thing, text);
}

static void say_line(void *user, const char *line)
{
    const struct mending *m = user;
    say(m, m->path, line);
}

static Riverrun__Checkpoint *decode(struct view meta)
{
    return meta.bytes ? riverrun__checkpoint__unpack(NULL, meta.bytes, meta.data) : NULL;
}

/* What lies between two checkpoints. */
static void say_distance(char *text, size_t room, const Riverrun__Checkpoint *lost,
                         const Riverrun__Checkpoint *kept)
{
    if (!lost || !kept || lost->tokens < kept->tokens || lost->generation != kept->generation)
        snprintf(text, room, "what was done since%s is read again",
                 lost ? "" : ", if there was a newer one,");
    else
        snprintf(text, room, "%llu tokens, %llu bytes, %llu records are read again",
                 (unsigned long long)(lost->tokens - kept->tokens),
                 (unsigned long long)(lost->offset - kept->offset),
                 (unsigned long long)(lost->next_seq - kept->next_seq));
}

static void say_generation(const struct mending *m, const struct store_loss *loss,
                           const Riverrun__Checkpoint *kept)
{
    uint64_t theirs = outputs_generation(&m->outputs, loss->name);
    uint64_t ours = kept ? kept->generation : 1;
    char text[200];

    if (theirs <= ours)
        return;
    snprintf(
        text, sizeof text,
        "its output is of generation %llu and what is left of generation %llu: `read` will refuse "
        "it; move the output and its sidecar away and begin it again with --restart",
        (unsigned long long)theirs, (unsigned long long)ours);
    say(m, loss->name, text);
}

static void say_loss(void *user, const struct store_loss *loss)
{
    const struct mending *m = user;
    Riverrun__Checkpoint *lost = decode(loss->lost_meta), *kept = decode(loss->kept_meta);
    char text[300], distance[120], which[60] = "";

    say_distance(distance, sizeof distance, lost, kept);
    if (loss->lost)
        snprintf(which, sizeof which, "checkpoint %llu is lost; ", (unsigned long long)loss->lost);
    if (!loss->kept)
        snprintf(text, sizeof text, "%sno checkpoint is left: it is read again from its beginning",
                 which);
    else
        snprintf(text, sizeof text, "%sgoes on from checkpoint %llu (token %llu, record %llu): %s",
                 which, (unsigned long long)loss->kept,
                 (unsigned long long)(kept ? kept->tokens : 0),
                 (unsigned long long)(kept ? kept->next_seq : 0), distance);
    say(m, loss->name, text);
    say_generation(m, loss, kept);
    if (lost)
        riverrun__checkpoint__free_unpacked(lost, NULL);
    if (kept)
        riverrun__checkpoint__free_unpacked(kept, NULL);
}

static enum err_code mend(struct mending *m, const char *path, bool journal,
                          struct care_repaired *done, struct err *err)
{
    struct store_repair_options options = {.journal = journal,
                                           .dry_run = m->options->dry_run,
                                           .say = say_line,
                                           .lose = say_loss,
                                           .user = m};
    struct store_repaired repaired;
    enum err_code code;

    m->path = path;
    if (!journal) {
        options.seen = m->outputs.stores;
        options.seen_count = m->outputs.store_count;
        options.names = (const char *const *)m->outputs.names;
        options.name_count = m->outputs.count;
    }
    code = store_repair(path, &options, &repaired, err);
    *done = (struct care_repaired){
        .needed = repaired.needed, .exact = repaired.exact, .values = repaired.values};
    memcpy(done->kept_as, repaired.kept_as, sizeof done->kept_as);
    return code;
}

static void say_feed(const struct mending *m, const char *feed, const struct care_repaired *done)
{
    char text[200];

    if (m->options->dry_run)
        snprintf(text, sizeof text, "would be mended, nothing of it would be lost");
    else
        snprintf(text, sizeof text,
                 "mended, nothing of it was lost; the damaged file is %s beside it", done->kept_as);
    say(m, feed, text);
}

/* Ingest's environment lies in the store's folder, where it follows. */
static enum err_code mend_feed(struct mending *m, struct care_repaired *all, struct err *err)
{
    struct care_repaired done;
    enum err_code code = ERR_OK;
    char *feed, *file;

    require(asprintf(&feed, "%s/ingest", m->options->store) >= 0);
    require(asprintf(&file, "%s/data.mdb", feed) >= 0);
    struct stat status;
    if (stat(file, &status) == 0) {
        code = mend(m, feed, true, &done, err);
        if (code == ERR_ABSENT)
            code = ERR_OK;
        if (!code && done.needed)
            say_feed(m, feed, &done);
        all->feed_needed = done.needed;
    }
    free(feed);
    free(file);
    return code;
}

enum err_code care_repair(const struct care_options *options, struct care_repaired *done,
                          struct err *err)
{
    struct mending m = {.options = options};
    enum err_code code;

    *done = (struct care_repaired){0};
    outputs_read(&m.outputs, options->output, NULL);
    code = mend(&m, options->store, false, done, err);
    if (!code)
        code = mend_feed(&m, done, err);
    outputs_release(&m.outputs);
    return code;
}
