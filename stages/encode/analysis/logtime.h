/* stages/encode/analysis/logtime.h: when a log line says that it was written.
 *
 *    2026-11-22T03:30:07.123Z   2026/11/22 03:30:07   2005-06-03-15.42.50   26/11/22 03:30:07   261122 033007
 *    Nov 22 03:30:07   Sun Nov 22 03:30:07 2026   22/Nov/2026:03:30:07 +0000   1795318207 (seconds since 1970)
 *
 * The first that stands in the first LOGTIME_WITHIN bytes; of ten digits, where no word stands before them, in brackets
 * or as what the first word is set to (ts=), and they are of 2001 to 2039. Zones are not looked at: a log keeps to one.
 * Where there is no year, all are the same year. */
#ifndef STAGES_ENCODE_ANALYSIS_LOGTIME_H
#define STAGES_ENCODE_ANALYSIS_LOGTIME_H

#include "schemas/bytes.h"

enum { LOGTIME_WITHIN = 64, LOGTIME_TEXT_MAX = 32, LOGTIME_FORMS = 9 };

struct logtime {
    int64_t seconds;  /* since a day of its own, the same for all lines of one form */
    uint8_t form;     /* seconds of two forms say nothing about each other */
    struct view text; /* as it stands in the line, at most LOGTIME_TEXT_MAX bytes */
};

/* False where none is found. */
bool logtime_of(struct view line, struct logtime *out);

#endif
