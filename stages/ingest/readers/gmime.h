/* stages/ingest/readers/gmime.h: what is used of GMime 3.0, which knows MIME: headers, parts, transfer encodings.
 *
 * It is opened when the first mail is read, in the process that reads it: GMime brings GLib and GnuPG's library,
 * which no other process of ours needs, and who has no mail needs no GMime. tests/gmime_calls.c has a compiler
 * compare these declarations with GMime's own.
 *
 * Threads  of a reader's process alone
 * Memory   it stays open until the process ends */
#ifndef STAGES_INGEST_READERS_GMIME_H
#define STAGES_INGEST_READERS_GMIME_H

#include "schemas/err.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct _GMimeContentType;
struct _GMimeDataWrapper;
struct _GMimeFilter;
struct _GMimeMessage;
struct _GMimeMessagePart;
struct _GMimeMultipart;
struct _GMimeObject;
struct _GMimeParser;
struct _GMimeParserOptions;
struct _GMimePart;
struct _GMimeStream;
struct _GMimeStreamFilter;
struct _GTypeInstance;

/* Of its enumerations, those that are asked for. */
enum {
    GMIME_ENCODED = 4, /* this transfer encoding and those above have to be decoded */
    GMIME_IS_TRUNCATED = 7,
    GMIME_IS_WITHOUT_BOUNDARY = 12,
    GMIME_IS_TOO_DEEP = 15
};

typedef void gmime_issue_fn(int64_t offset, unsigned issue, const char *item, void *self);

/* Named as there, without the "g_mime_". Strings are lent by the object; what is "new" or made by the parser is given
 * back by unref. */
struct gmime {
    void (*init)(void);
    void (*unref)(void *object);
    int (*instance_is_a)(struct _GTypeInstance *object, size_t type);
    struct _GMimeStream *(*stream_mem_new_with_buffer)(const char *data, size_t bytes);
    ssize_t (*stream_read)(struct _GMimeStream *stream, char *data, size_t bytes);
    int (*stream_reset)(struct _GMimeStream *stream);
    struct _GMimeStream *(*stream_filter_new)(struct _GMimeStream *stream);
    int (*stream_filter_add)(struct _GMimeStreamFilter *stream, struct _GMimeFilter *filter);
    struct _GMimeFilter *(*filter_basic_new)(unsigned encoding, int encode);
    struct _GMimeParserOptions *(*parser_options_new)(void);
    void (*parser_options_free)(struct _GMimeParserOptions *options);
    void (*parser_options_set_warning_callback)(struct _GMimeParserOptions *options,
                                                gmime_issue_fn *on_issue, void *self);
    struct _GMimeParser *(*parser_new_with_stream)(struct _GMimeStream *stream);
    struct _GMimeMessage *(*parser_construct_message)(struct _GMimeParser *parser,
                                                      struct _GMimeParserOptions *options);
    struct _GMimeObject *(*message_get_mime_part)(struct _GMimeMessage *message);
    size_t (*multipart_get_type)(void);
    int (*multipart_get_count)(struct _GMimeMultipart *multipart);
    struct _GMimeObject *(*multipart_get_part)(struct _GMimeMultipart *multipart, int index);
    size_t (*message_part_get_type)(void);
    struct _GMimeMessage *(*message_part_get_message)(struct _GMimeMessagePart *part);
    size_t (*part_get_type)(void);
    int (*part_is_attachment)(struct _GMimePart *part);
    const char *(*part_get_filename)(struct _GMimePart *part);
    const char *(*part_get_content_id)(struct _GMimePart *part);
    struct _GMimeDataWrapper *(*part_get_content)(struct _GMimePart *part);
    struct _GMimeStream *(*data_wrapper_get_stream)(struct _GMimeDataWrapper *content);
    unsigned (*data_wrapper_get_encoding)(struct _GMimeDataWrapper *content);
    const char *(*object_get_header)(struct _GMimeObject *object, const char *name);
    struct _GMimeContentType *(*object_get_content_type)(struct _GMimeObject *object);
    const char *(*object_get_content_type_parameter)(struct _GMimeObject *object, const char *name);
    const char *(*content_type_get_media_type)(struct _GMimeContentType *type);
    const char *(*content_type_get_media_subtype)(struct _GMimeContentType *type);
};

/* Fails  ERR_SOURCE: it is not there, which says what to install. */
MUST_CHECK enum err_code gmime_open(const struct gmime **out, struct err *err);

#endif
