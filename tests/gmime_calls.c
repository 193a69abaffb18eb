/* Nothing runs here: a compiler compares what stages/ingest/readers/gmime.h declares with GMime's own headers, and
 * refuses a call whose arguments or result are others. Built where those are (libgmime-3.0-dev). */
#include "stages/ingest/readers/gmime.h"

#include <gmime/gmime.h>

_Static_assert((unsigned)GMIME_ENCODED == GMIME_CONTENT_ENCODING_BASE64 &&
                   GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE > GMIME_CONTENT_ENCODING_BASE64 &&
                   GMIME_CONTENT_ENCODING_UUENCODE > GMIME_CONTENT_ENCODING_BASE64,
               "transfer encodings");
_Static_assert((unsigned)GMIME_IS_TRUNCATED == GMIME_WARN_TRUNCATED_MESSAGE &&
                   (unsigned)GMIME_IS_WITHOUT_BOUNDARY == GMIME_CRIT_MULTIPART_WITHOUT_BOUNDARY &&
                   (unsigned)GMIME_IS_TOO_DEEP == GMIME_CRIT_NESTING_OVERFLOW,
               "issues");

extern const struct gmime gmime_calls;
const struct gmime gmime_calls = {
    .init = g_mime_init,
    .unref = g_object_unref,
    .instance_is_a = g_type_check_instance_is_a,
    .stream_mem_new_with_buffer = g_mime_stream_mem_new_with_buffer,
    .stream_read = g_mime_stream_read,
    .stream_reset = g_mime_stream_reset,
    .stream_filter_new = g_mime_stream_filter_new,
    .stream_filter_add = g_mime_stream_filter_add,
    .filter_basic_new = g_mime_filter_basic_new,
    .parser_options_new = g_mime_parser_options_new,
    .parser_options_free = g_mime_parser_options_free,
    .parser_options_set_warning_callback = g_mime_parser_options_set_warning_callback,
    .parser_new_with_stream = g_mime_parser_new_with_stream,
    .parser_construct_message = g_mime_parser_construct_message,
    .message_get_mime_part = g_mime_message_get_mime_part,
    .multipart_get_type = g_mime_multipart_get_type,
    .multipart_get_count = g_mime_multipart_get_count,
    .multipart_get_part = g_mime_multipart_get_part,
    .message_part_get_type = g_mime_message_part_get_type,
    .message_part_get_message = g_mime_message_part_get_message,
    .part_get_type = g_mime_part_get_type,
    .part_is_attachment = g_mime_part_is_attachment,
    .part_get_filename = g_mime_part_get_filename,
    .part_get_content_id = g_mime_part_get_content_id,
    .part_get_content = g_mime_part_get_content,
    .data_wrapper_get_stream = g_mime_data_wrapper_get_stream,
    .data_wrapper_get_encoding = g_mime_data_wrapper_get_encoding,
    .object_get_header = g_mime_object_get_header,
    .object_get_content_type = g_mime_object_get_content_type,
    .object_get_content_type_parameter = g_mime_object_get_content_type_parameter,
    .content_type_get_media_type = g_mime_content_type_get_media_type,
    .content_type_get_media_subtype = g_mime_content_type_get_media_subtype};
