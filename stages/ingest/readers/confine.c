/* A file can do to a decoder whatever the decoder's mistakes allow. So it runs in a process that has nothing:
 * two descriptors and its own memory. Files can still be opened for reading, since glibc loads the tables of an
 * encoding as they are needed; none can be written, for a file may have no bytes.
 *
 * Processor time is limited between two pieces of text, not in all: a long text is no fault, a parser that
 * turns round is.
 * Memory is limited by addresses, which is what the kernel counts reliably; address and thread sanitizers map
 *        terabytes of them, so there the limit is left out. */
#include "stages/ingest/readers/confine.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MAPS_MUCH
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(MAPS_MUCH)
static const bool maps_much = true;
#else
static const bool maps_much = false;
#endif

static bool confined;

static bool limit(int what, rlim_t most)
{
    struct rlimit now;

    return !getrlimit(what, &now) &&
           (now.rlim_max < most || !setrlimit(what, &(struct rlimit){most, most}));
}

static void limit_cpu(void)
{
    struct rusage used;
    struct rlimit now;

    if (getrusage(RUSAGE_SELF, &used) || getrlimit(RLIMIT_CPU, &now))
        return;
    now.rlim_cur = (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec + CONFINE_CPU_S);
    if (now.rlim_cur > now.rlim_max)
        now.rlim_cur = now.rlim_max;
    (void)setrlimit(RLIMIT_CPU, &now);
}

void confine_got_on(void)
{
    if (confined)
        limit_cpu();
}

void confine_let_on(pid_t process)
{
    clockid_t clock;
    struct timespec used;
    struct rlimit now;

    if (!confined || clock_getcpuclockid(process, &clock) || clock_gettime(clock, &used) ||
        prlimit(process, RLIMIT_CPU, NULL, &now))
        return;
    now.rlim_cur = (rlim_t)used.tv_sec + CONFINE_CPU_S;
    if (now.rlim_cur > now.rlim_max)
        now.rlim_cur = now.rlim_max;
    (void)prlimit(process, RLIMIT_CPU, &now, NULL);
}

enum err_code confine(struct err *err)
{
    if (close_range(3, ~0U, 0) || prctl(PR_SET_PDEATHSIG, SIGKILL) ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || !limit(RLIMIT_CORE, 0) ||
        !limit(RLIMIT_FSIZE, 0) || !limit(RLIMIT_NOFILE, 32) ||
        (!maps_much && !limit(RLIMIT_AS, (rlim_t)CONFINE_MEMORY_MIB << 20)))
        return err_set(err, ERR_SYSTEM, errno, "confine a reader's process");
    confined = true;
    limit_cpu();
    return ERR_OK;
}
