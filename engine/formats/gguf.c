/* engine/formats/gguf.c: GGUF files, versions 2 and 3. */
#include "engine/formats/formats.h"

enum err_code gguf_read(struct container *c, struct err *err)
{
    return container_fail(c, err, "GGUF files are not supported yet");
}
