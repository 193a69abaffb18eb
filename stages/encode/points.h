/* stages/encode/points.h: points of streams: savepoints and kept checkpoints; streams that begin at one.
 *
 * What is here works on a store alone, so that it serves the run that owns it and, where nobody does, a command.
 * A branch is a new stream whose only checkpoint has the point's state and no source: `unbound`, until it is read into.
 * An import is one whose checkpoint has all of the other's, and whose output begins at the point's record. */
#ifndef STAGES_ENCODE_POINTS_H
#define STAGES_ENCODE_POINTS_H

#include "schemas/control.h"
#include "schemas/export.h"
#include "store/store.h"

/* The savepoint that a branch keeps of its own beginning, for --restart. */
#define POINT_ORIGIN "origin"

struct point {
    uint64_t id;
    char stream[STORE_NAME_MAX + 1];
    char name[STORE_POINT_MAX +
              1]; /* of a savepoint, or a checkpoint's number; "": the newest checkpoint */
};

/* STREAM or STREAM@POINT. A stream's name may hold an '@' itself: the whole text is looked for first.
 * Fails: ERR_ABSENT: no such stream; ERR_USAGE: no name of a point; ERR_DAMAGED, ERR_SYSTEM. */
MUST_CHECK enum err_code point_parse(struct store *store, const char *text, struct point *out,
                                     struct err *err);
/* The newest checkpoint by its number, so that all that is done with the point is of one. Fails: as point_read. */
MUST_CHECK enum err_code point_pin(struct store *store, struct point *point, struct err *err);
/* What the point holds; release both. Fails: ERR_ABSENT: no such point; ERR_DAMAGED... */
MUST_CHECK enum err_code point_read(struct store *store, const struct point *point, bool with_parts,
                                    struct store_checkpoint **values, Riverrun__Checkpoint **meta,
                                    struct err *err);
/* The metadata of a checkpoint; free it with riverrun__checkpoint__free_unpacked. Fails: ERR_DAMAGED. */
MUST_CHECK enum err_code point_decode(struct view bytes, Riverrun__Checkpoint **meta,
                                      struct err *err);

/* A batch that makes a savepoint of the newest checkpoint, or of the one named by point->name.
 * Fails: ERR_USAGE: its name is none, or taken. */
MUST_CHECK enum err_code point_save(struct store *store, const struct point *point,
                                    const char *name, struct store_batch **out, struct err *err);
/* A batch that drops a savepoint. Fails: ERR_ABSENT. */
MUST_CHECK enum err_code point_drop(struct store *store, const struct point *point,
                                    const char *name, struct store_batch **out, struct err *err);
/* A batch that makes stream target begin at the point. Fails: ERR_USAGE: the name is taken; as point_read. */
MUST_CHECK enum err_code point_branch(struct store *store, const struct point *point,
                                      const char *target, struct store_batch **out,
                                      struct err *err);
/* A batch that makes stream target of an export. Fails: ERR_USAGE: the name is taken; ERR_DAMAGED. */
MUST_CHECK enum err_code point_import(struct store *store, const struct exported *from,
                                      const char *target, struct store_batch **out,
                                      struct err *err);
/* Submit a batch and wait until it is durable, where nothing else is in flight; empties *batch. */
MUST_CHECK enum err_code point_commit(struct store *store, struct store_batch **batch,
                                      struct err *err);

#endif
