#include "store/page.h"

#include "store/keys.h"

static struct tree read_tree(const uint8_t *at, bool is_free_list)
{
    return (struct tree){.flags = load_u16(at + 4),
                         .depth = load_u16(at + 6),
                         .branches = load_u64(at + 8),
                         .leaves = load_u64(at + 16),
                         .overflows = load_u64(at + 24),
                         .entries = load_u64(at + 32),
                         .root = load_u64(at + 40),
                         .is_free_list = is_free_list};
}

const char *page_meta(const uint8_t *at, unsigned index, struct meta *meta, uint32_t *version)
{
    size_t bytes = load_u32(at + META_TREES_AT);

    *version = 0;
    if (load_u64(at) != index || load_u16(at + 10) != PAGE_META || load_u32(at + 16) != LMDB_MAGIC)
        return "not a meta page";
    *version = load_u32(at + 20);
    if (*version != LMDB_VERSION)
        return "of another version of LMDB";
    *meta = (struct meta){.page_bytes = bytes,
                          .free_list = read_tree(at + META_TREES_AT, true),
                          .keys = read_tree(at + 88, false),
                          .last_page = load_u64(at + 136),
                          .transaction = load_u64(at + META_TRANSACTION_AT)};
    if (bytes < 512 || bytes > PAGE_BYTES_MAX || (bytes & (bytes - 1)))
        return "its page size makes no sense";
    if (meta->transaction && (meta->transaction & 1) != index)
        return "its transaction belongs to the other meta page";
    return NULL;
}

const char *page_node(const uint8_t *page, size_t page_bytes, unsigned index, bool leaf,
                      struct node *node)
{
    size_t place = PAGE_HEADER + 2 * (size_t)index;
    size_t at = place + 2 <= page_bytes ? load_u16(page + place) : 0;

    if (at < PAGE_HEADER || at + NODE_HEADER > page_bytes || (at & 1))
        return "a node lies outside it";
    const uint8_t *header = page + at;
    uint16_t flags = load_u16(header + 4);
    size_t key_bytes = load_u16(header + 6), bytes = NODE_HEADER + key_bytes;
    *node = (struct node){.key = {header + NODE_HEADER, key_bytes}, .at = at};
    if (!leaf)
        node->child = load_u32(header) | (uint64_t)flags << 32;
    else {
        if (flags & ~NODE_BIG)
            return "a node is of a kind that is never written";
        node->big = flags & NODE_BIG;
        node->value_bytes = load_u32(header);
        bytes += node->big ? 8 : node->value_bytes;
    }
    if (key_bytes > KEY_BYTES_MAX || at + bytes > page_bytes)
        return "a node reaches over its end";
    if (node->big)
        node->run = load_u64(header + NODE_HEADER + key_bytes);
    else if (leaf)
        node->value = (struct view){node->key.data + key_bytes, node->value_bytes};
    node->taken = (bytes + 1) & ~(size_t)1;
    return NULL;
}

uint64_t page_run(uint64_t value_bytes, size_t page_bytes)
{
    return (PAGE_HEADER - 1 + value_bytes) / page_bytes + 1;
}
