/* store/writer.h: the thread that commits batches, and the two queues around it. */
#ifndef STORE_WRITER_H
#define STORE_WRITER_H

#include "store/batch.h"

struct writer;

MUST_CHECK enum err_code writer_open(struct writer **out, struct env *env, struct err *err);
/* Waits for the batches in flight; those not collected are released. */
void writer_close(struct writer **writer);
void writer_submit(struct writer *writer, struct store_batch *batch);
/* The oldest finished batch, or NULL; with wait, NULL only when none is in flight. */
struct store_batch *writer_collect(struct writer *writer, bool wait);
int writer_descriptor(const struct writer *writer);

#endif
