/* One owner at a time. The lock is an open file description lock (not flock, which some file systems
 * do not know; not a classic record lock, which any close in the process drops): the kernel releases
 * it when the owner dies, however it dies. It guards processes from each other; within one process,
 * where LMDB forbids a second handle, the list below does. A stopped owner whose lock was taken away
 * (its file deleted, say) is caught later, by the owner epoch inside each commit. */
#include "store/place.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_TRIES = 50 /* a second */ };

struct listed {
    dev_t device;
    ino_t inode;
    pid_t process; /* a forked child inherits the list, but not what it means */
    struct listed *next;
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct listed *list;

struct place place_none(void)
{
    return (struct place){.folder_fd = -1, .lock_fd = -1};
}

enum err_code place_code(int cause)
{
    return err_full_or(cause, cause == ENOMEM ? ERR_MEMORY : ERR_SYSTEM);
}

/* File systems that reach over a network: their maps and locks are not those of one machine. FUSE is
 * let through, because most of what uses it is local. */
static const char *network_name(unsigned long type)
{
    static const struct {
        unsigned long type;
        const char *name;
    } table[] = {{0x6969, "NFS"},      {0xFF534D42, "CIFS"},   {0x517B, "SMB"},
                 {0xFE534D42, "SMB"},  {0x01021997, "9P"},     {0x5346414F, "AFS"},
                 {0x6B414653, "AFS"},  {0x00C36400, "Ceph"},   {0x73757245, "Coda"},
                 {0x564C, "NCP"},      {0x0BD00BD0, "Lustre"}, {0x01161970, "GFS2"},
                 {0x7461636F, "OCFS2"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].type == type)
            return table[i].name;
    return NULL;
}

static int sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd) != 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    /* Some file systems cannot sync folders; those that can report real faults otherwise. */
    return failed == EINVAL ? 0 : failed;
}

/* Make one folder and make its name durable in the folder above. `at` ends the name above. */
static int make_folder(char *path, char *at)
{
    int failed;
    char *parent_end = at;

    if (mkdir(path, 0777) != 0)
        return errno == EEXIST ? 0 : errno;
    while (parent_end > path && parent_end[-1] != '/')
        parent_end--;
    if (parent_end == path)
        return sync_folder(".");
    char kept = *parent_end;
    *parent_end = '\0';
    failed = sync_folder(path);
    *parent_end = kept;
    return failed;
}

/* As `mkdir -p`: returns 0 or an errno. */
static int make_folders(const char *path)
{
    char *copy = strdup(path);
    int failed = 0;

    if (!copy)
        return ENOMEM;
    for (char *at = copy + 1; !failed && *copy; at++) {
        char kept = *at;
        if (kept != '/' && kept != '\0')
            continue;
        *at = '\0';
        failed = make_folder(copy, at);
        *at = kept;
        if (kept == '\0')
            break;
    }
    free(copy);
    return failed;
}

static enum err_code list_add(struct place *place, struct err *err)
{
    enum err_code code = ERR_OK;
    struct listed *entry = malloc(sizeof *entry);

    if (!entry)
        return err_set(err, ERR_MEMORY, 0, "open the store '%s'", place->path);
    *entry = (struct listed){place->device, place->inode, getpid(), NULL};
    pthread_mutex_lock(&list_lock);
    for (const struct listed *at = list; at && !code; at = at->next)
        if (at->device == entry->device && at->inode == entry->inode &&
            at->process == entry->process)
            code = err_set(err, ERR_BUSY, 0, "the store '%s' is open already in this process",
                           place->path);
    if (!code) {
        entry->next = list;
        list = entry;
        place->listed = true;
        entry = NULL;
    }
    pthread_mutex_unlock(&list_lock);
    free(entry);
    return code;
}

static void list_remove(const struct place *place)
{
    pthread_mutex_lock(&list_lock);
    for (struct listed **at = &list; *at; at = &(*at)->next)
        if ((*at)->device == place->device && (*at)->inode == place->inode &&
            (*at)->process == getpid()) {
            struct listed *gone = *at;
            *at = gone->next;
            free(gone);
            break;
        }
    pthread_mutex_unlock(&list_lock);
}

/* A command that changes something while nobody runs owns the store for an instant: that is waited for. */
static enum err_code take_lock(struct place *place, struct err *err)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    int left = LOCK_TRIES, failed;

    place->lock_fd = openat(place->folder_fd, "owner.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (place->lock_fd < 0)
        return err_set(err, place_code(errno), errno, "open '%s/owner.lock'", place->path);
    while ((failed = fcntl(place->lock_fd, F_OFD_SETLK, &whole)) != 0 &&
           (errno == EAGAIN || errno == EACCES) && --left > 0)
        nanosleep(&pause, NULL);
    if (!failed)
        return ERR_OK;
    if (errno == EAGAIN || errno == EACCES)
        return err_set(err, ERR_BUSY, 0, "the store '%s' is in use by another run: stop that first",
                       place->path);
    return err_set(err, ERR_SYSTEM, errno, "lock '%s/owner.lock'", place->path);
}

bool place_is_owned(const struct place *place)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = openat(place->folder_fd, "owner.lock", O_RDONLY | O_CLOEXEC);
    bool owned = fd >= 0 && fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;

    if (fd >= 0)
        close(fd);
    return owned;
}

static enum err_code open_folder(struct place *place, struct err *err)
{
    struct statfs fs;
    struct stat folder;
    const char *network;

    place->folder_fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place->folder_fd < 0)
        return err_set(err, errno == ENOENT ? ERR_ABSENT : ERR_SYSTEM, errno, "open the store '%s'",
                       place->path);
    if (fstatfs(place->folder_fd, &fs) != 0 || fstat(place->folder_fd, &folder) != 0)
        return err_set(err, ERR_SYSTEM, errno, "look at the store '%s'", place->path);
    network = network_name((unsigned long)fs.f_type & 0xFFFFFFFFul);
    if (network)
        return err_set(err, ERR_SYSTEM, 0,
                       "the store '%s' lies on a network file system (%s), where LMDB is not safe: "
                       "choose a local folder",
                       place->path, network);
    place->device = folder.st_dev;
    place->inode = folder.st_ino;
    return ERR_OK;
}

enum err_code place_open(struct place *place, const char *path, bool write, struct err *err)
{
    enum err_code code;
    int failed = write ? make_folders(path) : 0;

    if (failed)
        return err_set(err, place_code(failed), failed, "make the folder '%s'", path);
    place->path = strdup(path);
    if (!place->path)
        return err_set(err, ERR_MEMORY, 0, "open the store '%s'", path);
    code = open_folder(place, err);
    if (!code)
        code = list_add(place, err);
    if (!code && write)
        code = take_lock(place, err);
    if (code)
        place_close(place);
    return code;
}

void place_close(struct place *place)
{
    if (place->lock_fd >= 0)
        close(place->lock_fd);
    if (place->listed)
        list_remove(place);
    if (place->folder_fd >= 0)
        close(place->folder_fd);
    free(place->path);
    *place = place_none();
}
