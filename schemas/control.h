/* schemas/control.h: control messages and checkpoint metadata, protobuf (control.proto) in and out.
 *
 * Decoders are bounded: a message is at most MSG_BYTES_MAX, protobuf-c allocates in proportion to
 * it, and what comes out is released by the caller with the generated free function. */
#ifndef SCHEMAS_CONTROL_H
#define SCHEMAS_CONTROL_H

#include "schemas/control.pb-c.h"
#include "schemas/msg.h"

/* A CONTROL message of control. Fails: ERR_LIMIT, ERR_MEMORY. */
MUST_CHECK enum err_code control_make(struct msg **out, const Riverrun__Control *control,
                                      struct err *err);
/* The reverse; free *out with riverrun__control__free_unpacked(out, NULL). Fails: ERR_INPUT. */
MUST_CHECK enum err_code control_read(const struct frame *f, Riverrun__Control **out,
                                      struct err *err);

/* Any protobuf message as bytes appended to b. Fails: ERR_LIMIT, ERR_MEMORY. */
MUST_CHECK enum err_code proto_write(const ProtobufCMessage *message, struct buffer *b,
                                     struct err *err);

/* A view as protobuf's bytes, borrowed. */
static inline ProtobufCBinaryData proto_bytes(const void *data, size_t bytes)
{
    return (ProtobufCBinaryData){bytes, (uint8_t *)(uintptr_t)data};
}

/* A string as protobuf's, borrowed: its generated fields are not const. */
static inline char *proto_text(const char *text)
{
    return (char *)(uintptr_t)text;
}

#endif
