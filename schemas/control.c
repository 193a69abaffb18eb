#include "schemas/control.h"

enum err_code control_make(struct msg **out, const Riverrun__Control *control, struct err *err)
{
    size_t bytes = riverrun__control__get_packed_size(control);
    struct frame f = {.kind = MSG_CONTROL, .payload = {NULL, bytes}};
    uint8_t *payload;
    enum err_code code = msg_make(out, &f, &payload, err);

    if (!code)
        riverrun__control__pack(control, payload);
    return code;
}

enum err_code control_read(const struct frame *f, Riverrun__Control **out, struct err *err)
{
    Riverrun__Control *control = NULL;

    if (f->kind == MSG_CONTROL)
        control = riverrun__control__unpack(NULL, f->payload.bytes, f->payload.data);
    if (!control || control->is_case == RIVERRUN__CONTROL__IS__NOT_SET) {
        if (control)
            riverrun__control__free_unpacked(control, NULL);
        return err_set(err, ERR_INPUT, 0, "control message of %zu bytes cannot be decoded",
                       f->payload.bytes);
    }
    *out = control;
    return ERR_OK;
}

enum err_code proto_write(const ProtobufCMessage *message, struct buffer *b, struct err *err)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *at = buffer_add(b, bytes);

    if (!at)
        return err_set(err, ERR_LIMIT, 0, "message of %zu bytes", bytes);
    protobuf_c_message_pack(message, at);
    return ERR_OK;
}
