/* pipeline/runner.h: runs one stage: its links, its descriptors, its requests, the time.
 *
 * Threads  runner_open and runner_close in one thread, runner_run in any; commands go to a running
 *          runner over the PAIR socket at runner_command_endpoint. */
#ifndef PIPELINE_RUNNER_H
#define PIPELINE_RUNNER_H

#include "stages/stage.h"

struct runner;

/* Commands are single messages: COMMAND_STOP alone, or COMMAND_REQUEST, a u64 that numbers the question, and a packed
 * Request; it is answered with COMMAND_REPLY, the same number and a packed Reply, in any order. When the stage is over
 * COMMAND_DONE comes. */
enum { COMMAND_STOP = 1, COMMAND_REQUEST, COMMAND_REPLY, COMMAND_DONE };
enum { COMMAND_HEAD_BYTES = 1 + 8 };

struct runner_options {
    const struct stage_ops *ops;
    const struct stage_env *env;
    void *context;         /* ZeroMQ's */
    const char *up, *down; /* endpoints, where the stage has these ports */
};

/* Open the stage and bind or connect its links. */
MUST_CHECK enum err_code runner_open(struct runner **out, const struct runner_options *options,
                                     struct err *err);
/* Run until the stage is done. *err is its outcome. */
void runner_run(struct runner *runner, struct err *err);
void runner_close(struct runner **runner);

/* The main side of the command socket: connect before runner_run. */
void *runner_command(struct runner *runner);
const char *runner_name(const struct runner *runner);

#endif
