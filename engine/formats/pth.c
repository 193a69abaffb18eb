/* engine/formats/pth.c: PyTorch .pth files: a zip of stored members. */
#include "engine/formats/formats.h"

enum err_code pth_read(struct container *c, struct err *err)
{
    return container_fail(c, err, "PyTorch .pth files are not supported yet");
}
