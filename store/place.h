/* store/place.h: the folder of an environment: made, found fit, and held by one owner. */
#ifndef STORE_PLACE_H
#define STORE_PLACE_H

#include "schemas/err.h"
#include <stdbool.h>
#include <sys/types.h>

/* What a user can do about a store whose tree is damaged. */
#define STORE_REMEDY "`riverrun repair -o DIR` keeps what is good; or put back a copy of it"

struct place {
    char *path;
    int folder_fd;
    int lock_fd; /* holds the kernel lock; -1 without write */
    bool listed; /* in the list of folders that this process has open */
    dev_t device;
    ino_t inode;
};

/* Open folder path, making it and its parents for write; for write also take the kernel lock on its
 * file owner.lock. *place must be place_none().
 * Fails  ERR_ABSENT: no folder (only without write); ERR_BUSY: owned by another process or open in
 *        this one (LMDB allows an environment once a process); ERR_SYSTEM: a network file system, no
 *        permission; ERR_FULL; ERR_MEMORY. */
MUST_CHECK enum err_code place_open(struct place *place, const char *path, bool write,
                                    struct err *err);
void place_close(struct place *place); /* takes half-open ones and place_none() */
struct place place_none(void);

/* Whether another process holds the lock; takes none. */
bool place_is_owned(const struct place *place);

/* A failed system call, as a code: ERR_FULL for the errnos that mean no space, else ERR_SYSTEM. */
enum err_code place_code(int cause);

#endif
