/* What the store gives back: checkpoint and note of a stream, the state of the analysis; and what the
 * control socket is asked. The first byte says which. */
#include "schemas/control.h"
#include "stages/encode/analysis/analysis.h"
#include "tests/fuzz/fuzz.h"

static void pack_again(const ProtobufCMessage *message)
{
    struct buffer out = buffer_of(1 << 24);
    struct err err;

    if (!proto_write(message, &out, &err))
        fuzz_touch(out.data, out.bytes);
    buffer_release(&out);
}

static void write_records(const struct analysis_records *made)
{
    struct buffer line = buffer_of(RECORD_LINE_MAX);
    struct err err;

    for (size_t i = 0; i < made->count; i++)
        if (!record_line("s", &made->records[i], &line, &err))
            fuzz_touch(line.data, line.bytes);
    buffer_release(&line);
}

static void read_analysis(const uint8_t *data, size_t bytes)
{
    static const uint8_t text[] = "a 12 b\xcc\x81\n\n";
    struct analysis a = {.resting = true};
    struct analysis_records made;
    struct buffer out = buffer_of(ANALYSIS_BYTES_MAX), again = buffer_of(ANALYSIS_BYTES_MAX);
    struct err err;

    if (!analysis_load(&a, NULL, (struct view){data, bytes}, false, &err)) {
        analysis_save(&a, &again);
        require(again.bytes == bytes && !memcmp(again.data, data, bytes));
        for (unsigned i = 0; i < 40; i++) {
            analysis_token(&a, 0.5, (struct view){text, sizeof text - 1 - i % 4}, 7, i % 8 == 0,
                           &made);
            write_records(&made);
        }
        analysis_end(&a, &made);
        write_records(&made);
        analysis_save(&a, &out);
        require(!out.refused);
    }
    analysis_release(&a);
    buffer_release(&out);
    buffer_release(&again);
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
        read_analysis(data + 1, bytes - 1);
        return 0;
    }
    message = protobuf_c_message_unpack(kinds[data[0]], NULL, bytes - 1, data + 1);
    if (message) {
        pack_again(message);
        protobuf_c_message_free_unpacked(message, NULL);
    }
    return 0;
}
