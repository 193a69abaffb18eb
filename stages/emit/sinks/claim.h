/* stages/emit/sinks/claim.h: whose an output folder's files are.
 *
 *     DIR/.riverrun/STORE.owner     the owner epoch of the newest run of that store that writes here; one for all
 *                                   of its files, locked as long as that run's emit lives
 *     DIR/.riverrun/NAME.sidecar    of one file: which store, the epoch and generation it was begun with
 *
 * Both are replaced by rename and synced: the claim before anything of the epoch is written, a sidecar before
 * anything of the generation. So ten thousand files cost one synced file a run, and a process that was superseded
 * is told from its successor in one place. Two stores may share a folder: each has its own claim, and the files
 * are told apart by their sidecars, which are only read and replaced under the lock of the file itself.
 *
 * Threads  claims are the stage's; sidecar_write is for any thread. */
#ifndef STAGES_EMIT_SINKS_CLAIM_H
#define STAGES_EMIT_SINKS_CLAIM_H

#include "stages/emit/sinks/sink.h"

enum { STORE_HEX_BYTES = 2 * 16 + 1 };

/* Take the claim of owner's store on owner's folder, which is made; or raise one that is held to owner's epoch.
 * Fails  ERR_BUSY: another process holds it, or a newer epoch was here; ERR_SINK, ERR_FULL. */
MUST_CHECK enum err_code claim_take(struct claim **claim, const struct sink_owner *owner,
                                    struct err *err);
/* Is it still ours? Not where somebody removed or replaced its file. */
bool claim_holds(const struct claim *claim);
bool claim_is_of(const struct claim *claim, struct view store_id);
void claim_drop(struct claim **claim);

struct sidecar {
    bool there;
    char store[STORE_HEX_BYTES];
    uint64_t epoch, generation;
};

/* Fails: ERR_SINK, damaged or not readable. */
MUST_CHECK enum err_code sidecar_read(const char *folder, const char *name, struct sidecar *side,
                                      struct err *err);
/* What stands in the sidecar of a file that claim's run begins; malloc'ed. */
char *sidecar_text(const struct claim *claim, uint64_t generation);
bool sidecar_is_of(const struct sidecar *side, const struct claim *claim);
/* Write it beside the old one, sync it and put it in its place; the folder is the caller's to sync. Returns 0 or
 * an errno. */
int sidecar_write(const char *folder, const char *name, const char *text);

/* DIR/NAME.jsonl and DIR/.riverrun/NAME.sidecar; malloc'ed. */
char *sink_path(const char *folder, const char *name);
char *sidecar_path(const char *folder, const char *name);
/* Make the folders that path stands in. Fails: ERR_SINK, ERR_FULL. */
MUST_CHECK enum err_code make_folders(const char *path, struct err *err);
int sync_folder(const char *path); /* 0 or an errno */

#endif
