/* stages/encode/analysis/mask.h: a log line as tokens with what varies taken out.
 *
 *    Jun 14 15:16:01 combo sshd(pam_unix)[19939]: check pass from 10.0.0.7:22 for /var/log/eve
 *    <*> <*> <*> combo sshd(pam_unix)[<*>]: check pass from <*> for <*>
 *
 * Tokens stand between white space. In them a run of letters and digits that holds a digit (numbers, times,
 * addresses, versions), eight or more hex letters, the name of a month or day, and a path become <*>; what joins
 * two of them, at most 8 letters and . : - _ , / + @, goes with them. Byte by byte, so any bytes are a line;
 * nothing is decoded.
 *
 * Memory  fixed: the first MASK_TOKENS_MAX tokens and MASK_TEXT_MAX bytes; what is behind them is not looked at. */
#ifndef STAGES_ENCODE_ANALYSIS_MASK_H
#define STAGES_ENCODE_ANALYSIS_MASK_H

#include "schemas/bytes.h"

enum { MASK_TOKENS_MAX = 48, MASK_TOKEN_BYTES = 64, MASK_TEXT_MAX = 512 };

struct masked {
    uint8_t count;
    uint16_t bytes;
    uint32_t hashes[MASK_TOKENS_MAX]; /* (count) of tokens; mask_wild() for <*> alone */
    uint8_t text[MASK_TEXT_MAX];      /* tokens with one space between them */
};

uint32_t mask_wild(void);
uint32_t mask_hash(const uint8_t *token, size_t bytes);

/* The first line of text that is not blank. */
void mask_line(struct view text, struct masked *out);

#endif
