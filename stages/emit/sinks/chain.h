/* stages/emit/sinks/chain.h: is a file what a token says it is? Its lines by a chain of hashes, its end by one.
 *
 * Threads  any. */
#ifndef STAGES_EMIT_SINKS_CHAIN_H
#define STAGES_EMIT_SINKS_CHAIN_H

#include "stages/emit/sinks/sink.h"

/* h_n = H(h_n-1, H(line)) */
void chain_add(uint8_t chain[SINK_CHAIN_BYTES], struct view line);
/* Hash of the 64 KiB before length; false where the file is shorter. */
bool chain_tail(int fd, uint64_t length, uint64_t *hash);
/* Does the file begin with what token covers? All of it is read. */
bool chain_whole(int fd, const struct sink_token *token);
/* The same by the end alone where it is longer than SINK_WHOLE_BYTES. */
bool chain_fits(int fd, uint64_t size, const struct sink_token *token);
/* Read what is there of [offset, offset + count); fewer bytes at the end of the file. */
size_t read_at(int fd, uint8_t *data, size_t count, uint64_t offset);

#endif
