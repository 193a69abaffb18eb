/* stages/ingest/paths.h: which files a run reads, and what their streams are called. */
#ifndef STAGES_INGEST_PATHS_H
#define STAGES_INGEST_PATHS_H

#include "schemas/bytes.h"
#include "schemas/config.h"
#include "schemas/err.h"
#include "stages/ingest/passed.h"

struct path {
    char *file; /* canonical, or "-" for standard input */
    char *name; /* of the stream */
};

struct path_list {
    struct path *items;
    size_t count, room;
    struct passed passed; /* in directories */
};

/* The name of the stream of a canonical path, malloc'ed; NULL when memory is refused.
 *
 * '/' becomes '+' (the first is dropped), and '%', '+', control characters and bytes that are not
 * UTF-8 become %XX: one name for one path, fit for a file name and for JSON. A result over
 * PATH_NAME_MAX bytes keeps its tail and gets "%%" and a 128-bit hash of the path in front. */
enum { PATH_NAME_MAX = 200 };
char *path_name(const char *file);
/* Whether a name may be given to a stream: a plain file name of at most PATH_NAME_MAX bytes. */
bool path_is_name(const char *name);

/* The name of the stream of a key in a feed: FEED+KEY, the key escaped as above, and '/' too; malloc'ed. Where that
 * is too long each of the two keeps its tail and gets a hash in front, if it alone is more than half. */
char *key_name(const char *feed, struct view key);
/* Is name the feed's, or that of one of its keys? */
bool is_of_feed(const char *feed, const char *name);

/* The output of the stream `name` is not the file that it reads: an empty one would be taken for an output that is to
 * be begun. Fails: ERR_USAGE */
MUST_CHECK enum err_code path_not_output(const struct config *config, const char *file,
                                         const char *name, struct err *err);

/* Files as they are, directories recursively in order of their names, without config's output and
 * store folders, and without what passed.h says; each file once. Links to directories inside a directory are not
 * followed. A directory inside of one that may not be listed is listed itself: opened as a file, it says why.
 * Fails  ERR_SOURCE: a path is not there or cannot be read, a directory has no files;
 *        ERR_USAGE: a name for several inputs, or one that is no file name; ERR_STOPPED: by a
 *        signal that waits; ERR_MEMORY. */
MUST_CHECK enum err_code path_list_make(struct path_list *out, const struct config *config,
                                        struct err *err);
/* Is config's name, where it has one, fit for a file, and for a single input? Fails: ERR_USAGE. */
MUST_CHECK enum err_code path_list_check_name(const struct config *config, struct err *err);
void path_list_release(struct path_list *list);

#endif
