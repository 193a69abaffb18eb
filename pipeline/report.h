/* pipeline/report.h: the only place that prints while a run goes on.
 *
 * Lines about streams and one progress line share stderr: on a terminal the progress line rewrites
 * itself and steps aside for the others; elsewhere it is a plain line every few seconds. */
#ifndef PIPELINE_REPORT_H
#define PIPELINE_REPORT_H

#include "stages/stage.h"

struct report;

struct report *report_open(bool quiet);
void report_close(struct report **report);

/* For stage_env.report; self is the report. Any thread. */
void report_line(void *self, enum stage_level level, const char *stream, const char *text);

/* How often progress wants to be told, in milliseconds; 0: never. */
unsigned report_interval_ms(const struct report *report);
/* reply: an answer to `status`; now_ms monotonic, clock_ms of the day. */
void report_progress(struct report *report, const Riverrun__Reply *reply, uint64_t now_ms,
                     uint64_t clock_ms);

/* "2.3 MB", "1 h 02 min": for people. */
void report_bytes(char *text, size_t room, double bytes);
void report_time(char *text, size_t room, double seconds);

#endif
