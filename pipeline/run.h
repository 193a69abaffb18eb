/* pipeline/run.h: stages at work: threads of this process, its signals, its control socket.
 *
 * All four stages of `read` are threads over inproc://; `stage NAME` is a run of one over ipc://. The
 * process that has encode answers on the control socket in the store's folder. */
#ifndef PIPELINE_RUN_H
#define PIPELINE_RUN_H

#include "pipeline/report.h"
#include "schemas/config.h"
#include "stages/stage.h"

struct run_options {
    const struct config *config;
    const struct stage_ops *const *ops; /* ends with NULL */
    const char *listen, *connect;       /* endpoints of a single stage; NULL: inside this process */
    bool quiet;
};

/* Run until all stages are done, or a signal stops them (a second one exits at once). *err is the
 * outcome: the first stage that failed to open, else encode's, else the single stage's. */
enum err_code run_stages(const struct run_options *options, struct err *err);

/* SIGINT, SIGTERM and SIGHUP go to handler, a run's to the run; but one that was ignored when the program started stays
 * so: that is how `nohup`, and a script's `command &`, ask not to be stopped by it. */
void catch_signals(void (*handler)(int number), int flags);

/* ---- The control socket, from the other side ---- */

/* Ask whoever owns the store at path; free *reply with riverrun__reply__free_unpacked.
 * Fails  ERR_ABSENT: nobody answers, or it ends before it does, or (*waits) it has the request and has not answered
 *        yet; ERR_SYSTEM: too few descriptors. */
MUST_CHECK enum err_code control_ask(const char *path, const Riverrun__Request *request,
                                     Riverrun__Reply **reply, bool *waits, struct err *err);

#endif
