/* pipeline/commands/train.h: what the commands that learn from text share. */
#ifndef PIPELINE_COMMANDS_TRAIN_H
#define PIPELINE_COMMANDS_TRAIN_H

#include "engine/train/train.h"

/* Each PATH or PATH:WEIGHT; a path that is there as it stands has no weight. Fails: ERR_MEMORY. */
MUST_CHECK enum err_code train_files(struct corpus_file **out, char *const *arguments, size_t count,
                                     struct err *err);
/* From here on a file that shrinks while it is mapped ends the program: a line, and the status of ERR_CHANGED. */
void train_watch_files(void);
void train_files_release(struct corpus_file *files, size_t count);

/* A training as a command runs it: train.c makes it of a command line, training.c runs it. */
struct training {
    struct train_options train;
    uint64_t save_ms, evaluate_every; /* steps */
    uint64_t until;                   /* end at this step, to go on another time; 0: at the last */
    const char *curve;                /* a picture of the loss; NULL: beside the model */
    bool quiet;
    bool compare; /* measure before the first step, and say at the end what was gained */
};

/* To the end, to the step of `until`, or to a signal. Fails: ERR_STOPPED; as train_open, train_step, train_save. */
MUST_CHECK enum err_code training_run(const struct training *training, struct err *err);

#endif
