#include "schemas/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 18, BEGIN_MAX = 128 };

struct outfile {
    int fd;
    bool standard; /* output: after the file, what is said goes to standard error */
    bool direct;   /* standard output, or no regular file: written as it comes */
    bool named;    /* `fresh` is in the folder */
    char *path;    /* links followed */
    char *folder;  /* of path */
    char *fresh;   /* the name until it is whole */
    size_t used;
    char buffer[BUFFER_BYTES];
};

static enum err_code fail(const struct outfile *f, const char *verb, int cause, struct err *err)
{
    return err_set(err, err_full_or(cause, ERR_SINK), cause, "%s '%s'", verb, f->path);
}

bool outfile_is_standard(const char *path)
{
    struct stat file, out;

    return !strcmp(path, "/dev/stdout") || (!stat(path, &file) && !fstat(STDOUT_FILENO, &out) &&
                                            file.st_dev == out.st_dev && file.st_ino == out.st_ino);
}

/* A path that is there and cannot be resolved is a link: the file is not to take the link's own place. */
static bool leads_nowhere(const char *path)
{
    struct stat st, link;

    return stat(path, &st) && !lstat(path, &link);
}

static bool set_names(struct outfile *f, const char *path)
{
    char *copy;

    f->path = f->direct ? NULL : realpath(path, NULL); /* NULL where there is none yet */
    if (!f->path)
        f->path = strdup(path);
    copy = f->path ? strdup(f->path) : NULL;
    if (copy)
        f->folder = strdup(dirname(copy));
    free(copy);
    if (!f->path || asprintf(&f->fresh, "%s.%ld.part", f->path, (long)getpid()) < 0)
        f->fresh = NULL;
    return f->path && f->folder && f->fresh;
}

/* Without a name where the file system can: then a killed program leaves nothing behind. */
static int open_fresh(struct outfile *f)
{
    int fd = open(f->folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT))
        return fd;
    fd = open(f->fresh, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
    f->named = fd >= 0;
    return fd;
}

enum err_code outfile_open(struct outfile **out, const char *path, struct err *err)
{
    struct outfile *f = calloc(1, sizeof *f);
    enum err_code code = ERR_OK;
    struct stat st;

    if (!f)
        return err_set(err, ERR_MEMORY, 0, "output file '%s'", path);
    f->fd = -1;
    f->standard = outfile_is_standard(path);
    f->direct = f->standard || (stat(path, &st) == 0 && !S_ISREG(st.st_mode));
    if (!f->standard && leads_nowhere(path)) {
        code = err_set(err, ERR_SINK, 0,
                       "'%s' is a link to no file: remove it, or name another file", path);
        goto done;
    }
    if (!set_names(f, path)) {
        code = err_set(err, ERR_MEMORY, 0, "output file '%s'", path);
        goto done;
    }
    if (f->standard)
        f->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    else
        f->fd = f->direct ? open(f->path, O_WRONLY | O_CLOEXEC) : open_fresh(f);
    if (f->fd < 0) {
        code = fail(f, "write", errno, err);
        goto done;
    }
    *out = f;
    f = NULL;
done:
    outfile_close(&f);
    return code;
}

enum err_code outfile_not_input(const char *path, const char *input, struct err *err)
{
    struct stat out, in;

    if (input && !stat(path, &out) && !stat(input, &in) && S_ISREG(out.st_mode) &&
        out.st_dev == in.st_dev && out.st_ino == in.st_ino)
        return err_set(err, ERR_USAGE, 0, "'%s' is an input too: give the output another name",
                       path);
    return ERR_OK;
}

static bool begins_with(const char *path, const void *begin, size_t bytes)
{
    char head[BEGIN_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got;

    require(bytes <= sizeof head);
    got = fd < 0 ? -1 : pread(fd, head, bytes, 0);
    if (fd >= 0)
        close(fd);
    return got == (ssize_t)bytes && !memcmp(head, begin, bytes);
}

enum err_code outfile_may_replace(const char *path, const char *kind, const void *begin,
                                  size_t bytes, struct err *err)
{
    struct stat st;

    /* What cannot be looked at outfile_open will tell. */
    if (outfile_is_standard(path) || stat(path, &st) || !S_ISREG(st.st_mode) || st.st_size == 0 ||
        begins_with(path, begin, bytes))
        return ERR_OK;
    return err_set(err, ERR_SINK, 0,
                   "'%s' is no %s of riverrun's: move it away, or name another file", path, kind);
}

static enum err_code write_all(struct outfile *f, const char *data, size_t bytes, struct err *err)
{
    while (bytes > 0) {
        ssize_t done = write(f->fd, data, bytes);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail(f, "write", errno, err);
        data += done;
        bytes -= (size_t)done;
    }
    return ERR_OK;
}

static enum err_code flush(struct outfile *f, struct err *err)
{
    size_t used = f->used;

    f->used = 0;
    return write_all(f, f->buffer, used, err);
}

enum err_code outfile_write(struct outfile *file, const void *data, size_t bytes, struct err *err)
{
    if (bytes > sizeof file->buffer - file->used && flush(file, err))
        return err->code;
    if (bytes > sizeof file->buffer)
        return write_all(file, data, bytes, err);
    memcpy(file->buffer + file->used, data, bytes);
    file->used += bytes;
    return ERR_OK;
}

/* Give a file without a name one. A file of that name is of a dead program that had our process id. */
static bool give_name(struct outfile *f)
{
    char self[40];

    snprintf(self, sizeof self, "/proc/self/fd/%d", f->fd);
    (void)unlink(f->fresh);
    f->named = linkat(AT_FDCWD, self, AT_FDCWD, f->fresh, AT_SYMLINK_FOLLOW) == 0;
    return f->named;
}

/* A rename is durable when its folder is. */
static bool sync_folder(const struct outfile *f)
{
    int fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);

    if (fd >= 0)
        close(fd);
    return good;
}

enum err_code outfile_commit(struct outfile **file, struct err *err)
{
    struct outfile *f = *file;
    enum err_code code = flush(f, err);

    if (!code && f->standard && dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        code = err_set(err, ERR_SYSTEM, errno, "standard error");
    if (code || f->direct)
        goto done;
    if (fsync(f->fd))
        code = fail(f, "sync", errno, err);
    else if (!f->named && !give_name(f))
        code = fail(f, "name", errno, err);
    else if (rename(f->fresh, f->path))
        code = fail(f, "put in place", errno, err);
    if (code)
        goto done;
    f->named = false;
    if (!sync_folder(f))
        code = fail(f, "sync the folder of", errno, err);
done:
    outfile_close(file);
    return code;
}

void outfile_close(struct outfile **file)
{
    struct outfile *f = *file;

    *file = NULL;
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    if (f->named && f->fresh)
        (void)unlink(f->fresh);
    free(f->fresh);
    free(f->folder);
    free(f->path);
    free(f);
}
