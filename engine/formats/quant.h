/* engine/formats/quant.h: decoders of the quantised types, ggml's block formats.
 *
 * One decode has no allocation, no branch that depends on the data and reads exactly the blocks it is
 * given; infinite and NaN scales come through as IEEE has them.
 *
 * Shapes  as dtype_decode_fn: count is a multiple of the type's items
 * Error   none: bit for bit what ggml decodes (tests/test_engine_quant.c)
 * Source  ggml's block formats, as files hold them */
#ifndef ENGINE_FORMATS_QUANT_H
#define ENGINE_FORMATS_QUANT_H

#include "engine/formats/formats.h"

dtype_decode_fn decode_f16, decode_q4_0, decode_q4_1, decode_q5_0, decode_q5_1, decode_q8_0,
    decode_q4_k, decode_q5_k, decode_q6_k;

#endif
