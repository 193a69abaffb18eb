#include "schemas/step.h"

#define STEP_NAME(name, words) #name,
const char *const step_names[STEP_COUNT] = {STEP_LIST(STEP_NAME)};

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void trace(const char *file, enum step step, uint64_t stream, uint64_t at)
{
    char line[128];
    int bytes = snprintf(line, sizeof line, "%d %s %" PRIu64 " %" PRIu64 "\n", (int)getpid(),
                         step_names[step], stream, at);
    int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);

    if (fd < 0 || write(fd, line, (size_t)bytes) != bytes)
        abort(); /* a trace with a hole would be taken for what happened */
    close(fd);
}

void step_reached(enum step step, uint64_t stream, uint64_t at)
{
    static atomic_int reached[STEP_COUNT];
    const char *wanted = getenv("RIVERRUN_CRASH"), *file = getenv("RIVERRUN_TRACE");
    size_t length = strlen(step_names[step]);

    if (file)
        trace(file, step, stream, at);
    if (!wanted || strncmp(wanted, step_names[step], length) || wanted[length] != ':')
        return;
    if (atomic_fetch_add(&reached[step], 1) + 1 == atoi(wanted + length + 1))
        kill(getpid(), SIGKILL);
}

bool step_mistake(const char *name)
{
    const char *wanted = getenv("RIVERRUN_MISTAKE");

    return wanted && !strcmp(wanted, name);
}
