/* pipeline/control.h: where the control socket of a store is; ZeroMQ's context, for it and for a run. */
#ifndef PIPELINE_CONTROL_H
#define PIPELINE_CONTROL_H

#include "schemas/err.h"

enum { CONTROL_ENDPOINT_MAX = 160 };

/* The endpoint; *folder is a descriptor that must stay open while it is used, or -1.
 * Fails  ERR_ABSENT: no such store. */
MUST_CHECK enum err_code control_endpoint(const char *store, char endpoint[CONTROL_ENDPOINT_MAX],
                                          int *folder, struct err *err);
/* For zmq_ctx_term. Fails  ERR_SYSTEM: too few descriptors are left for it. */
MUST_CHECK enum err_code context_open(void **out, struct err *err);

#endif
