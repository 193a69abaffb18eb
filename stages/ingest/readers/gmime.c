#include "stages/ingest/readers/gmime.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#define CALL(field)                                     \
    {                                                   \
        "g_mime_" #field, offsetof(struct gmime, field) \
    }

static const struct {
    const char *name;
    size_t at;
} calls[] = {CALL(init),
             {"g_object_unref", offsetof(struct gmime, unref)},
             {"g_type_check_instance_is_a", offsetof(struct gmime, instance_is_a)},
             CALL(stream_mem_new_with_buffer),
             CALL(stream_read),
             CALL(stream_reset),
             CALL(stream_filter_new),
             CALL(stream_filter_add),
             CALL(filter_basic_new),
             CALL(parser_options_new),
             CALL(parser_options_free),
             CALL(parser_options_set_warning_callback),
             CALL(parser_new_with_stream),
             CALL(parser_construct_message),
             CALL(message_get_mime_part),
             CALL(multipart_get_type),
             CALL(multipart_get_count),
             CALL(multipart_get_part),
             CALL(message_part_get_type),
             CALL(message_part_get_message),
             CALL(part_get_type),
             CALL(part_is_attachment),
             CALL(part_get_filename),
             CALL(part_get_content_id),
             CALL(part_get_content),
             CALL(data_wrapper_get_stream),
             CALL(data_wrapper_get_encoding),
             CALL(object_get_header),
             CALL(object_get_content_type),
             CALL(object_get_content_type_parameter),
             CALL(content_type_get_media_type),
             CALL(content_type_get_media_subtype)};

_Static_assert(sizeof calls / sizeof *calls == sizeof(struct gmime) / sizeof(void *),
               "every call has its name");

/* dlsym looks in what GMime is linked with too, which is where GLib's own calls are. */
static bool find_calls(void *library, struct gmime *found)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        void *call = dlsym(library, calls[i].name);
        if (!call)
            return false;
        memcpy((char *)found + calls[i].at, &call, sizeof call);
    }
    return true;
}

enum err_code gmime_open(const struct gmime **out, struct err *err)
{
    static struct gmime gmime;
    static bool open;
    void *library = open ? NULL : dlopen("libgmime-3.0.so.0", RTLD_NOW | RTLD_LOCAL);

    if (!open && (!library || !find_calls(library, &gmime)))
        return err_set(err, ERR_SOURCE, 0,
                       "is mail, and GMime, which reads that, is not there: install "
                       "libgmime-3.0-0");
    if (!open)
        gmime.init();
    open = true;
    *out = &gmime;
    return ERR_OK;
}
