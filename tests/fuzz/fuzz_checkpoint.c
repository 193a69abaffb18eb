/* What the store gives back: checkpoint and note of a stream, the state of the analysis; and what the
 * control socket is asked. The first byte says which. */
#include "schemas/control.h"
#include "stages/encode/analysis/units.h"
#include "tests/fuzz/fuzz.h"

static void pack_again(const ProtobufCMessage *message)
{
    struct buffer out = buffer_of(1 << 24);
    struct err err;

    if (!proto_write(message, &out, &err))
        fuzz_touch(out.data, out.bytes);
    buffer_release(&out);
}

static void read_units(const uint8_t *data, size_t bytes)
{
    struct units u;
    struct record record = {.tokens = 0};
    struct buffer out = buffer_of(UNITS_BYTES_MAX);
    struct err err;

    if (!units_load(&u, (struct view){data, bytes}, &err)) {
        for (unsigned i = 0; i < 40; i++)
            if (units_token(&u, 0.5, (struct view){(const uint8_t *)"a b\xcc\x81\n\n", 7}, 7,
                            &record))
                fuzz_touch(record.text.data, record.text.bytes);
        if (units_end(&u, &record))
            fuzz_touch(record.text.data, record.text.bytes);
        units_document(&u, &record);
        fuzz_touch(record.text.data, record.text.bytes);
        units_save(&u, &out);
        require(!out.refused);
    }
    buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const ProtobufCMessageDescriptor *const kinds[] = {
        &riverrun__checkpoint__descriptor, &riverrun__note__descriptor,
        &riverrun__request__descriptor, &riverrun__reply__descriptor};
    ProtobufCMessage *message;

    if (bytes == 0)
        return 0;
    if (data[0] >= sizeof kinds / sizeof *kinds) {
        read_units(data + 1, bytes - 1);
        return 0;
    }
    message = protobuf_c_message_unpack(kinds[data[0]], NULL, bytes - 1, data + 1);
    if (message) {
        pack_again(message);
        protobuf_c_message_free_unpacked(message, NULL);
    }
    return 0;
}
