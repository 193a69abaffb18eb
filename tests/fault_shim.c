/* The world's faults, brought into one process by LD_PRELOAD (e2e_faults.py drives it).
 *
 * FAULT_PAGE names a file that is mapped and shared with the driver: a row for each kind of fault. The driver arms
 * a row while the process runs ("let two calls pass, then fail three, on the store's files alone") and reads what
 * really happened. FAULT_FOLDER is the folder whose files suffer, nothing else does. FAULT_MAP divides the sizes that
 * LMDB's map is given, so that it is full soon and has to grow often. FAULT_COPIES is a folder that takes copies of the
 * store.
 *
 * The page also keeps, for each output file, how much of it was there when its last sync began that succeeded: what a
 * power cut leaves at least. A sync that failed is believed to have lost the bytes it was for, as Linux does it: they
 * count as synced only when they were cut off or written again.
 *
 * What is not reached: writes of stdio, which libc makes by itself. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum fault { SYNC, WRITE, SHORT, FULL, MAP, LINK, KILL, COPY, SLOW, FAULTS = 16 };
enum { STORE = 1, OUTPUT = 2, FEED = 4, OTHER = 8, FILES_MAX = 64, META_BYTES_MAX = 256 };
enum moment { BEFORE, AFTER, HALFWAY }; /* of a call, to be killed at */

/* e2e_faults.py knows this layout. */
struct row {
    _Atomic uint64_t wait;  /* calls to let pass */
    _Atomic uint64_t count; /* calls to fail then; written last */
    _Atomic uint64_t fired;
    uint64_t where;  /* bits of the files that suffer */
    uint64_t detail; /* KILL: its moment; SLOW: milliseconds */
    uint64_t spare;
};
struct synced {
    _Atomic uint64_t inode, bytes;
    _Atomic uint64_t
        lost; /* 1 + the place from which a failed sync lost what was written; 0: none */
    uint64_t spare;
};
struct page {
    struct row rows[FAULTS];
    struct synced files[FILES_MAX];
};
_Static_assert(sizeof(struct page) <= 4096, "one page");

static struct page *page;
static const char *folder;
static uint64_t map_divisor;

/* Sanitizers' and our own early calls come before any constructor: then there is no page, and no fault. */
__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULT_PAGE"), *divisor = getenv("FAULT_MAP");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map;

    folder = getenv("FAULT_FOLDER");
    map_divisor = divisor ? strtoull(divisor, NULL, 10) : 0;
    if (fd < 0 || !folder)
        return;
    map = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (map != MAP_FAILED)
        page = map;
}

/* ---- Which file, and whether it is its turn ---- */

static bool ends_in(const char *text, const char *end)
{
    size_t bytes = strlen(text), more = strlen(end);
    return bytes >= more && !strcmp(text + bytes - more, end);
}

static uint64_t kind_of(int fd)
{
    char link[64], path[PATH_MAX];
    ssize_t bytes;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    bytes = readlink(link, path, sizeof path - 1);
    if (bytes <= 0)
        return 0;
    path[bytes] = 0;
    if (strncmp(path, folder, strlen(folder)))
        return 0;
    if (ends_in(path, ".jsonl"))
        return OUTPUT;
    if (ends_in(path, ".mdb") || ends_in(path, "/data.copy"))
        return strstr(path, "/ingest/") ? FEED : STORE;
    return OTHER;
}

static bool is_armed(enum fault fault)
{
    return page && atomic_load(&page->rows[fault].count) > 0;
}

/* Count a call down; true where it has to fail. */
static bool takes_turn(struct row *row)
{
    uint64_t left = atomic_load(&row->wait);

    while (left > 0)
        if (atomic_compare_exchange_weak(&row->wait, &left, left - 1))
            return false;
    left = atomic_load(&row->count);
    while (left > 0)
        if (atomic_compare_exchange_weak(&row->count, &left, left - 1)) {
            atomic_fetch_add(&row->fired, 1);
            return true;
        }
    return false;
}

static bool fires(enum fault fault, int fd)
{
    return is_armed(fault) && (page->rows[fault].where & kind_of(fd)) &&
           takes_turn(&page->rows[fault]);
}

static long failed(int code)
{
    errno = code;
    return -1;
}

/* Killed at a call on a file: KILL's turn comes once a call, and the moment says where in it. */
static bool is_killed_here(int fd)
{
    if (!fires(KILL, fd))
        return false;
    if (page->rows[KILL].detail == BEFORE)
        kill(getpid(), SIGKILL);
    return true;
}

static void die_after(bool killed)
{
    if (killed)
        kill(getpid(), SIGKILL);
}

/* ---- What a power cut leaves ---- */

static struct synced *file_of(int fd)
{
    struct stat st;

    if (!page || kind_of(fd) != OUTPUT || fstat(fd, &st))
        return NULL;
    for (size_t i = 0; i < FILES_MAX; i++) {
        uint64_t none = 0;
        if (atomic_compare_exchange_strong(&page->files[i].inode, &none, st.st_ino) ||
            none == st.st_ino)
            return &page->files[i];
    }
    return NULL;
}

/* Bytes from offset on are new, or gone. */
static void note_change(int fd, uint64_t offset, bool cut)
{
    struct synced *file = file_of(fd);

    if (!file)
        return;
    if (atomic_load(&file->lost) > offset)
        atomic_store(&file->lost, 0);
    if (cut && atomic_load(&file->bytes) > offset)
        atomic_store(&file->bytes, offset);
}

/* ---- Syncs ---- */

static int sync_by(long number, int fd)
{
    struct synced *file = file_of(fd);
    bool killed = is_killed_here(fd);
    struct stat st;
    int result;

    if (fires(SYNC, fd)) {
        if (file && !atomic_load(&file->lost))
            atomic_store(&file->lost, 1 + atomic_load(&file->bytes));
        return (int)failed(EIO);
    }
    if (file && fstat(fd, &st))
        file = NULL;
    if (fires(SLOW, fd))
        usleep((useconds_t)(1000 * page->rows[SLOW].detail));
    result = (int)syscall(number, fd);
    if (file && result == 0)
        atomic_store(&file->bytes, atomic_load(&file->lost) ? atomic_load(&file->lost) - 1
                                                            : (uint64_t)st.st_size);
    die_after(killed);
    return result;
}

int fsync(int fd)
{
    return sync_by(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_by(SYS_fdatasync, fd);
}

/* ---- Writes ---- */

/* A copy of the store as it is right after a commit, of which a restored disk is made. */
static void copy_store(int fd)
{
    const char *copies = getenv("FAULT_COPIES");
    char path[PATH_MAX], *data = malloc(1 << 16);
    ssize_t got;
    int in, out;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    in = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/%d.%llu", copies ? copies : "/", getpid(),
             (unsigned long long)atomic_load(&page->rows[COPY].fired));
    out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    while (data && in >= 0 && out >= 0 && (got = read(in, data, 1 << 16)) > 0)
        if (syscall(SYS_write, out, data, got) != got)
            break;
    close(in);
    close(out);
    free(data);
}

static size_t bytes_of(const struct iovec *pieces, int count)
{
    size_t bytes = 0;

    for (int i = 0; i < count; i++)
        bytes += pieces[i].iov_len;
    return bytes;
}

/* All writes: offset < 0 is where the descriptor stands. */
static ssize_t write_pieces(int fd, const struct iovec *pieces, int count, off_t offset)
{
    size_t bytes = bytes_of(pieces, count);
    bool killed = is_killed_here(fd), shorter;
    ssize_t result;

    if (fires(WRITE, fd))
        return failed(EIO);
    if (fires(FULL, fd))
        return failed(ENOSPC);
    shorter = bytes > 1 && (fires(SHORT, fd) || (killed && page->rows[KILL].detail == HALFWAY));
    if (page)
        note_change(fd, offset < 0 ? 0 : (uint64_t)offset, false);
    if (shorter) {
        struct iovec half = {pieces[0].iov_base, pieces[0].iov_len / 2 + (pieces[0].iov_len == 1)};
        result = offset < 0 ? syscall(SYS_write, fd, half.iov_base, half.iov_len)
                            : syscall(SYS_pwrite64, fd, half.iov_base, half.iov_len, offset);
    } else
        result = offset < 0 ? syscall(SYS_writev, fd, pieces, count)
                            : syscall(SYS_pwritev, fd, pieces, count, (long)offset, 0L);
    die_after(killed);
    if (offset >= 0 && !shorter && bytes <= META_BYTES_MAX && is_armed(COPY) &&
        kind_of(fd) == STORE && takes_turn(&page->rows[COPY]))
        copy_store(fd);
    return result;
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    struct iovec piece = {(void *)data, bytes};

    if (!page)
        return syscall(SYS_write, fd, data, bytes);
    return write_pieces(fd, &piece, 1, -1);
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    if (!page || count < 1)
        return syscall(SYS_writev, fd, pieces, count);
    return write_pieces(fd, pieces, count, -1);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    struct iovec piece = {(void *)data, bytes};
    return write_pieces(fd, &piece, 1, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t offset)
{
    return pwrite(fd, data, bytes, offset);
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
    return write_pieces(fd, pieces, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off_t offset)
{
    return write_pieces(fd, pieces, count, offset);
}

/* ---- Room ---- */

int ftruncate(int fd, off_t bytes)
{
    bool killed = is_killed_here(fd);
    struct stat st;
    int result;

    if (is_armed(FULL) && fstat(fd, &st) == 0 && bytes > st.st_size && fires(FULL, fd))
        return (int)failed(ENOSPC);
    result = (int)syscall(SYS_ftruncate, fd, bytes);
    if (result == 0 && page)
        note_change(fd, (uint64_t)bytes, true);
    die_after(killed);
    return result;
}

int ftruncate64(int fd, off_t bytes)
{
    return ftruncate(fd, bytes);
}

int posix_fallocate(int fd, off_t offset, off_t bytes)
{
    if (fires(FULL, fd))
        return ENOSPC;
    return syscall(SYS_fallocate, fd, 0, offset, bytes) ? errno : 0;
}

int posix_fallocate64(int fd, off_t offset, off_t bytes)
{
    return posix_fallocate(fd, offset, bytes);
}

/* ---- Maps ---- */

void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (fd >= 0 && fires(MAP, fd)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return mmap(at, bytes, protection, flags, fd, offset);
}

/* LMDB's own: a smaller map than was asked for is full sooner. */
struct MDB_env;
int mdb_env_set_mapsize(struct MDB_env *env, size_t bytes);
int mdb_env_set_mapsize(struct MDB_env *env, size_t bytes)
{
    static int (*real)(struct MDB_env *, size_t);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "mdb_env_set_mapsize");
    if (bytes && map_divisor)
        bytes = (bytes / map_divisor + 65535) / 65536 * 65536;
    return real(env, bytes);
}

/* ---- Links: sockets of the file system, the control socket aside ---- */

static bool is_link(int fd)
{
    struct sockaddr_un name;

    for (int side = 0; side < 2; side++) {
        socklen_t bytes = sizeof name;
        memset(&name, 0, sizeof name);
        if (side ? getpeername(fd, (struct sockaddr *)&name, &bytes)
                 : getsockname(fd, (struct sockaddr *)&name, &bytes))
            continue;
        if (name.sun_family == AF_UNIX && name.sun_path[0])
            return !ends_in(name.sun_path, "/control");
    }
    return false;
}

static bool is_cut(int fd)
{
    if (!is_armed(LINK) || !is_link(fd) || !takes_turn(&page->rows[LINK]))
        return false;
    shutdown(fd, SHUT_RDWR);
    return true;
}

ssize_t send(int fd, const void *data, size_t bytes, int flags)
{
    if (is_cut(fd))
        return failed(EPIPE);
    return syscall(SYS_sendto, fd, data, bytes, flags, NULL, 0);
}

ssize_t recv(int fd, void *data, size_t bytes, int flags)
{
    if (is_cut(fd))
        return failed(ECONNRESET);
    return syscall(SYS_recvfrom, fd, data, bytes, flags, NULL, NULL);
}
