/* saved.c: a training as a file: all that decides what comes next.
 *
 *     magic (8) | u32 bytes of settings | settings
 *     u64 step, tokens | f64 loss sum, loss weight, held out, rate, norm | u64 epoch, next
 *     for each stream     u64 span, at | u32 skip, pending, ended
 *     u64 points | for each point     u64 step | f64 loss, held out
 *     float parameters, means, squares (parameters each), states (streams, net_state)
 *     u64 XXH3 of all before
 *
 * Numbers are little-endian in front; the floats are as the machine has them, for on another kind of
 * machine the bits would not be those of an undisturbed training anyway. The settings are text, one a
 * line, so that a difference can be named. */
#include "engine/train/inside.h"
#include "schemas/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static const char magic[8] = "RRTRAIN3";

enum { POINT_BYTES = 24, FIXED_BYTES = 8 + 4 + 9 * 8 };

/* As short as gives the same number again. */
static const char *shortest(char text[32], double value)
{
    snprintf(text, 32, "%.15g", value);
    if (strtod(text, NULL) != value)
        snprintf(text, 32, "%.17g", value);
    return text;
}

/* What is compared by its content has '#' before its fingerprint, 0 where there is none. */
enum err_code saved_settings(struct train *t, struct err *err)
{
    const struct train_options *o = &t->options;
    const struct net_shape *s = &o->shape;
    static const char *const products[] = {"f32", "bf16"};
    uint8_t model[ENGINE_FINGERPRINT_BYTES] = {0};
    char reals[5][32];
    enum err_code code = o->model ? engine_fingerprint(o->model, model, err) : ERR_OK;
    int length = snprintf(
        t->settings, sizeof t->settings,
        "layers %u\nchannels %u\nhead-size %u\nffn %u\nvocabulary #%016llx\nranks %u %u %u %u\n"
        "streams %u\nwindow %u\nparts %u\nproducts %s\nisa %s\nsteps %llu\nwarm-up %llu\nrate %s\n"
        "rate-last %s\ndecay %s\nclip %s\nkeep %s\nspan %llu\nseed %llu\ntext #%016llx\n"
        "model #%016llx\nheld-out text #%016llx\nheld-out-kib %llu\n%s",
        s->layers, s->channels, s->head_size, s->ffn,
        (unsigned long long)tokenizer_fingerprint(t->tokenizer), s->rank_w, s->rank_a, s->rank_v,
        s->rank_g, o->streams, o->tokens, o->parts, products[o->products], t->ops->level,
        (unsigned long long)o->steps, (unsigned long long)o->warm_up, shortest(reals[0], o->rate),
        shortest(reals[1], o->rate_last), shortest(reals[2], o->decay), shortest(reals[3], o->clip),
        shortest(reals[4], o->keep), (unsigned long long)o->span_bytes, (unsigned long long)o->seed,
        (unsigned long long)corpus_fingerprint(t->corpus), (unsigned long long)load_u64(model),
        (unsigned long long)(t->held_out ? corpus_fingerprint(t->held_out) : 0),
        (unsigned long long)(t->held_out ? o->held_out_bytes >> 10 : 0),
        o->state_only ? "only the state\n" : "");

    require(length > 0 && (size_t)length < sizeof t->settings);
    return code;
}

enum err_code points_add(struct train *t, struct train_point point, struct err *err)
{
    if (t->point_count == t->point_room) {
        size_t room = t->point_room ? 2 * t->point_room : 1024;
        struct train_point *points = realloc(t->points, room * sizeof *points);
        if (!points)
            return err_set(err, ERR_MEMORY, 0, "the loss curve");
        t->points = points;
        t->point_room = room;
    }
    t->points[t->point_count++] = point;
    return ERR_OK;
}

/* ---- One owner at a time. ----
 *
 * The lock is an open file description lock, as the store's: it goes with the run, however that ends. The file
 * goes too, where the run ends by itself, so who has locked it asks whether it still stands under its name. */

/* Ours are regular and empty for ever; what is not is somebody's, and is not to go when a training ends. */
static bool is_a_lock(int fd)
{
    struct stat st;

    return !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size == 0;
}

static bool still_stands(int fd, const char *path)
{
    struct stat own, named;

    return !fstat(fd, &own) && !stat(path, &named) && own.st_dev == named.st_dev &&
           own.st_ino == named.st_ino;
}

enum err_code saved_claim(struct train *t, struct err *err)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd, cause;

    for (;;) {
        fd = open(t->lock_path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd < 0 && errno != ELOOP)
            return err_set(err, errno == ENOSPC || errno == EDQUOT ? ERR_FULL : ERR_SINK, errno,
                           "open '%s'", t->lock_path);
        if (fd < 0 || !is_a_lock(fd)) {
            if (fd >= 0)
                close(fd);
            return err_set(err, ERR_SINK, 0,
                           "'%s' is no lock of a training, and one is to stand there: move it "
                           "away, or use another -o",
                           t->lock_path);
        }
        cause = fcntl(fd, F_OFD_SETLK, &whole) ? errno : 0;
        if (cause || still_stands(fd, t->lock_path))
            break;
        close(fd);
    }
    if (!cause) {
        t->lock_fd = fd;
        return ERR_OK;
    }
    close(fd);
    if (cause != EAGAIN && cause != EACCES)
        return err_set(err, ERR_SYSTEM, cause, "lock '%s'", t->lock_path);
    return err_set(err, ERR_BUSY, 0,
                   "'%s' is being trained by another run: wait for its end, or use another -o",
                   t->output);
}

void saved_release(struct train *t)
{
    if (t->lock_fd < 0)
        return;
    unlink(t->lock_path);
    close(t->lock_fd);
    t->lock_fd = -1;
}

/* ---- Writing. ---- */

struct writer {
    struct outfile *file;
    XXH3_state_t *hash;
};

static enum err_code put(struct writer *w, const void *data, size_t bytes, struct err *err)
{
    XXH3_64bits_update(w->hash, data, bytes);
    return outfile_write(w->file, data, bytes, err);
}

static void put_front(struct buffer *b, const struct train *t)
{
    const struct train_status *s = &t->status;
    size_t length = strlen(t->settings);

    buffer_put(b, magic, sizeof magic);
    buffer_u32(b, (uint32_t)length);
    buffer_put(b, t->settings, length);
    buffer_u64(b, s->step);
    buffer_u64(b, s->tokens);
    buffer_f64(b, t->loss_sum);
    buffer_f64(b, t->loss_weight);
    buffer_f64(b, s->held_out);
    buffer_f64(b, s->rate);
    buffer_f64(b, s->norm);
    buffer_u64(b, t->place.epoch);
    buffer_u64(b, t->place.next);
    for (size_t i = 0; i < t->options.streams; i++) {
        buffer_u64(b, t->cursors[i].span);
        buffer_u64(b, t->cursors[i].at);
        buffer_u32(b, t->cursors[i].skip);
        buffer_u32(b, t->cursors[i].pending);
        buffer_u32(b, t->cursors[i].ended);
    }
    buffer_u64(b, t->point_count);
    for (size_t i = 0; i < t->point_count; i++) {
        buffer_u64(b, t->points[i].step);
        buffer_f64(b, t->points[i].loss);
        buffer_f64(b, t->points[i].held_out);
    }
}

enum err_code saved_write(const struct train *t, struct err *err)
{
    const size_t count = t->layout.count;
    const struct {
        const float *data;
        size_t count;
    } floats[] = {{t->parameters, count},
                  {t->mean, count},
                  {t->square, count},
                  {t->before, t->options.streams * net_state(&t->options.shape)}};
    struct buffer front = buffer_of(SIZE_MAX / 2);
    struct writer w = {NULL, XXH3_createState()};
    uint8_t sum[8];
    enum err_code code = ERR_OK;

    put_front(&front, t);
    if (front.refused || !w.hash)
        code = err_set(err, ERR_MEMORY, 0, "save '%s'", t->saved_path);
    if (!code)
        code = outfile_open(&w.file, t->saved_path, err);
    if (!code) {
        XXH3_64bits_reset(w.hash);
        code = put(&w, front.data, front.bytes, err);
    }
    for (size_t i = 0; !code && i < sizeof floats / sizeof *floats; i++)
        code = put(&w, floats[i].data, floats[i].count * sizeof(float), err);
    if (!code) {
        store_u64(sum, XXH3_64bits_digest(w.hash));
        code = outfile_write(w.file, sum, sizeof sum, err);
    }
    if (!code)
        code = outfile_commit(&w.file, err);
    outfile_close(&w.file);
    XXH3_freeState(w.hash);
    buffer_release(&front);
    return code;
}

/* ---- Reading. ---- */

static enum err_code damaged(const struct train *t, struct err *err)
{
    return err_set(err, ERR_DAMAGED, 0,
                   "the training '%s' is damaged; remove it to begin anew from the text, or with "
                   "--model from the last model",
                   t->saved_path);
}

/* The line `now` differs, of so many bytes; `then` stands in its place. Nobody can give a fingerprint, but its file. */
static enum err_code differs(const struct train *t, const char *now, size_t length,
                             const char *then, size_t other, struct err *err)
{
    const char *mark = memchr(now, '#', length);

    if (mark)
        return err_set(
            err, ERR_MISMATCH, 0, "'%s' was begun with %s %.*s: do as then, or use another -o",
            t->saved_path,
            other > 17 && !memcmp(then + other - 17, "#0000000000000000", 17) ? "no" : "another",
            (int)(mark - now - 1), now);
    return err_set(err, ERR_MISMATCH, 0,
                   "'%s' was begun with '%.*s', not '%.*s': use those settings, or another -o",
                   t->saved_path, (int)(other < 80 ? other : 80), then,
                   (int)(length < 80 ? length : 80), now);
}

/* Name the first line that differs. */
static enum err_code check_settings(const struct train *t, const uint8_t *saved, size_t bytes,
                                    struct err *err)
{
    const char *now = t->settings, *then = (const char *)saved, *end = then + bytes;

    while (*now && then < end) {
        size_t length = strcspn(now, "\n"), other = 0;
        while (then + other < end && then[other] != '\n')
            other++;
        if (length != other || memcmp(now, then, length) != 0)
            return differs(t, now, length, then, other, err);
        now += length + (now[length] == '\n');
        then += other + 1;
    }
    if (*now || then < end)
        return err_set(err, ERR_MISMATCH, 0,
                       "'%s' was begun %s --state, not %s: go on so, or use another -o",
                       t->saved_path, *now ? "without" : "with", *now ? "with" : "without");
    return ERR_OK;
}

static bool get_cursors(struct train *t, struct reader *r)
{
    for (size_t i = 0; i < t->options.streams; i++) {
        struct corpus_cursor *c = &t->cursors[i];
        c->span = read_u64(r);
        c->at = read_u64(r);
        c->skip = read_u32(r);
        c->pending = read_u32(r);
        c->ended = read_u32(r) != 0;
        if (r->short_read || !corpus_cursor_fits(t->corpus, c))
            return false;
    }
    return true;
}

static enum err_code get_points(struct train *t, struct reader *r, struct err *err)
{
    uint64_t count = read_u64(r);
    enum err_code code = ERR_OK;

    if (r->short_read || count > (size_t)(r->end - r->at) / POINT_BYTES)
        return damaged(t, err);
    for (uint64_t i = 0; !code && i < count; i++) {
        struct train_point point;
        point.step = read_u64(r);
        point.loss = read_f64(r);
        point.held_out = read_f64(r);
        code = points_add(t, point, err);
    }
    return code;
}

static bool get_floats(float *to, size_t count, struct reader *r)
{
    const uint8_t *from = read_bytes(r, count * sizeof *to);

    if (!from)
        return false;
    memcpy(to, from, count * sizeof *to);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(to[i]))
            return false;
    return true;
}

static enum err_code get_all(struct train *t, struct view file, struct err *err)
{
    struct reader r = reader_of(file.data, file.bytes);
    struct train_status *s = &t->status;
    const size_t count = t->layout.count;
    const uint8_t *mark = read_bytes(&r, sizeof magic), *settings;
    uint32_t length = read_u32(&r);
    enum err_code code;

    if (mark && !memcmp(mark, magic, sizeof magic - 1) && mark[7] != (uint8_t)magic[7])
        return err_set(err, ERR_MISMATCH, 0,
                       "'%s' was begun by another version of riverrun: let that one end it, or use "
                       "another -o",
                       t->saved_path);
    if (!mark || memcmp(mark, magic, sizeof magic) != 0 || file.bytes < FIXED_BYTES + 8)
        return damaged(t, err);
    if (XXH3_64bits(file.data, file.bytes - 8) != load_u64(file.data + file.bytes - 8))
        return damaged(t, err);
    r.end -= 8;
    settings = read_bytes(&r, length);
    if (!settings)
        return damaged(t, err);
    code = check_settings(t, settings, length, err);
    if (code)
        return code;
    s->step = read_u64(&r);
    s->tokens = read_u64(&r);
    t->loss_sum = read_f64(&r);
    t->loss_weight = read_f64(&r);
    s->held_out = read_f64(&r);
    s->rate = read_f64(&r);
    s->norm = read_f64(&r);
    t->place.epoch = read_u64(&r);
    t->place.next = read_u64(&r);
    if (r.short_read || !corpus_place_fits(t->corpus, &t->place) || !get_cursors(t, &r))
        return damaged(t, err);
    code = get_points(t, &r, err);
    if (!code && !(get_floats(t->parameters, count, &r) && get_floats(t->mean, count, &r) &&
                   get_floats(t->square, count, &r) &&
                   get_floats(t->before, t->options.streams * net_state(&t->options.shape), &r) &&
                   read_done(&r)))
        code = damaged(t, err);
    s->loss = t->loss_weight > 0 ? t->loss_sum / t->loss_weight : 0;
    return code;
}

enum err_code saved_read(struct train *t, bool *found, struct err *err)
{
    enum err_code code = ERR_OK;
    struct stat st;
    void *map;
    int fd = open(t->saved_path, O_RDONLY | O_CLOEXEC);

    *found = false;
    if (fd < 0 && errno == ENOENT)
        return ERR_OK;
    if (fd < 0 || fstat(fd, &st)) {
        code = err_set(err, ERR_SOURCE, errno, "open '%s'", t->saved_path);
        goto done;
    }
    if (st.st_size < FIXED_BYTES) {
        code = damaged(t, err);
        goto done;
    }
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
        code = err_set(err, ERR_SOURCE, errno, "map '%s'", t->saved_path);
        goto done;
    }
    code = get_all(t, (struct view){map, (size_t)st.st_size}, err);
    munmap(map, (size_t)st.st_size);
done:
    if (fd >= 0)
        close(fd);
    *found = code == ERR_OK;
    return code;
}
