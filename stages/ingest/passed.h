/* stages/ingest/passed.h: what nobody means who names a folder: the files that version control and tools keep for
 * themselves, those that jobs of ours made, and those that are no text. Whoever names such a file itself has it read.
 *
 * Memory  the path of the first one, and 8 KiB for a moment. */
#ifndef STAGES_INGEST_PASSED_H
#define STAGES_INGEST_PASSED_H

#include "schemas/config.h"
#include <stdint.h>

enum { PASSED_WORDS_MAX = 640 };

struct passed {
    uint64_t no_text, locks, folders, outputs, links, nowhere, special, deep;
    char *first; /* file or folder; malloc'ed */
};

/* Count it where it is passed over: a folder by its name (the last part of path), */
bool passed_folder(struct passed *p, const char *path);
/* a link to a folder, which may lead back to where it stands or into another tree, */
bool passed_link(struct passed *p, const char *path);
/* one that leads nowhere, and what is no file at all, */
bool passed_special(struct passed *p, const char *path);
/* what has too long a path, in the folder at path; */
void passed_deep(struct passed *p, const char *path);
/* a file by its name and how it begins. What cannot be looked at is not: opening it will say why. */
bool passed_file(struct passed *p, const struct config *config, const char *path);
/* Does a job keep its outputs or its store in the folder at path? Known by what stands there before any other file. */
bool passed_job(const char *path);
/* Did a job write the file at path: records that have a sidecar, a report, an array? Or may it be going to. */
bool passed_output(const char *path);
uint64_t passed_all(const struct passed *p);
/* "3 files that are no text, 1 lock file, first '...'"; "" for none. */
const char *passed_words(const struct passed *p, char words[PASSED_WORDS_MAX]);
void passed_release(struct passed *p);

#endif
