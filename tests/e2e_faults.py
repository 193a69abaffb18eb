"""What the fault driver (test_e2e_faults.py) is made of: the page shared with fault_shim.c, what is done to
files between two lives of a run, the texts that are read, and the count of all that happened.

A fault is counted when it happened, not when it was planned: the shim counts calls that it failed, a kill
counts where the process was alive.
"""
import collections
import fcntl
import mmap
import os
import random
import struct

import e2e
import e2e_store
from e2e import check, read, write

# Rows of the page, bits of files, moments of a kill, the layout: fault_shim.c.
SYNC, WRITE, SHORT, FULL, MAP, LINK, KILL, COPY, SLOW = range(9)
STORE, OUTPUT, FEED, OTHER = 1, 2, 4, 8
EVERYWHERE = STORE | OUTPUT | FEED | OTHER
MOMENTS = BEFORE, AFTER, HALFWAY = range(3)
ROW, FILE, FILES_AT, FILES_MAX, PAGE_BYTES = struct.Struct("6Q"), struct.Struct("4Q"), 16 * 48, 64, 4096

KINDS = {
    "kill": "kill -9 at a random instant, the one process or one of four",
    "kill in a call": "kill -9 before, after or in the middle of a write, sync or cut",
    "stop": "SIGSTOP for a while, then SIGCONT",
    "superseded": "stopped, superseded by a second run, woken",
    "link": "a link's connection shut down at a send or receive",
    "disk full": "write, allocation or growth of a file: ENOSPC, for a while",
    "sync fails": "fsync or fdatasync: EIO",
    "write fails": "write, pwrite, writev or pwritev: EIO",
    "short write": "a write that takes half of the bytes",
    "map": "mmap of the store or of its growth: ENOMEM",
    "slow syncs": "fsync or fdatasync take 20 to 200 ms, several times",
    "torn output": "what was not synced is cut in mid-line, zeros or garbage",
    "bit in a value": "a bit of the newest checkpoint's values flipped",
    "bit in a tree page": "a bit of a page of the store's tree flipped",
    "store back": "the store as it was at an earlier commit of the same life",
    "output back": "an output as it was at an earlier sync",
}
BY_ROW = {SYNC: "sync fails", WRITE: "write fails", SHORT: "short write", FULL: "disk full", MAP: "map",
          LINK: "link", KILL: "kill in a call", SLOW: "slow syncs"}


class Tally:
    """All that happened, over all fronts."""

    def __init__(self):
        self.faults = collections.Counter()
        self.seen = collections.Counter()  # runs, resumes, ends with an error by status, rounds
        self.tokens = self.twice = self.streams = 0

    def add(self, other):
        self.faults += other.faults
        self.seen += other.seen
        self.tokens += other.tokens
        self.twice += other.twice
        self.streams += other.streams

    def total(self):
        return sum(self.faults.values())

    def lines(self):
        yield f"{self.total()} faults of {len(self.faults)} kinds over {self.streams} streams"
        for kind, meaning in KINDS.items():
            if self.faults[kind]:
                yield f"  {self.faults[kind]:6}  {kind}: {meaning}"
        for what, count in sorted(self.seen.items()):
            yield f"  {count:6}  {what}"
        yield (f"  {self.tokens} tokens in the finished outputs, {self.twice} computed twice "
               f"({100 * self.twice / max(self.tokens, 1):.1f} %)")


class Page:
    """What one process is to suffer, and what it says of it."""

    def __init__(self, path, synced):
        """synced: inode of an output: bytes of it that are known to be durable."""
        self.path = path
        write(path, bytes(PAGE_BYTES))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), PAGE_BYTES)
        self.counted = [0] * 16
        self.known = dict(synced)
        for i, (inode, size) in enumerate(synced.items()):
            FILE.pack_into(self.map, FILES_AT + i * FILE.size, inode, size, 0, 0)

    def arm(self, row, wait, count=1, where=EVERYWHERE, detail=0):
        at = row * ROW.size
        struct.pack_into("Q", self.map, at + 8, 0)
        struct.pack_into("Q", self.map, at, wait)
        struct.pack_into("2Q", self.map, at + 24, where, detail)
        struct.pack_into("Q", self.map, at + 8, count)

    def disarm(self):
        for row in range(16):
            struct.pack_into("Q", self.map, row * ROW.size + 8, 0)

    def fired(self, row):
        return ROW.unpack_from(self.map, row * ROW.size)[2]

    def news(self):
        """Row: how often it fired since the last question."""
        found = {}
        for row in BY_ROW:
            if self.fired(row) > self.counted[row]:
                found[row] = self.fired(row) - self.counted[row]
                self.counted[row] = self.fired(row)
        return found

    def synced(self):
        """Inode of an output: bytes that a power cut leaves at least; those that changed since the last question."""
        now = {}
        for i in range(FILES_MAX):
            inode, size, _, _ = FILE.unpack_from(self.map, FILES_AT + i * FILE.size)
            if inode:
                now[inode] = size
        found = {inode: size for inode, size in now.items() if self.known.get(inode) != size}
        self.known = now
        return found

    def close(self):
        self.map.close()
        os.unlink(self.path)


# ---- Texts ----

BOOKS = ("frankenstein.en.txt", "honglou-meng.zh.txt", "kokoro.ja.aozora.txt", "origin-of-species.en.txt",
         "prestuplenie-i-nakazanie.ru.txt", "promessi-sposi.it.txt", "sherlock-holmes-adventures.en.txt",
         "treasure-island.en.txt", "trois-mousquetaires.fr.txt", "war-and-peace.en.txt")


def some_text(place, rng, size):
    """A piece of a book, where books are there, or a generated text."""
    book = os.path.join(place.shared, "data/books", rng.choice(BOOKS))
    if rng.random() < 0.5 and os.path.exists(book):
        data = read(book)
        at = rng.randrange(max(len(data) - size, 1))
        return data[at:at + size]
    return e2e.generated_text(rng.random(), size)


# ---- What happens to files while nobody has them open ----

def tear(rng, path, durable, whole):
    """Behind what was synced an output ends as a machine may leave it: cut, with zeros, with garbage, none of which
    makes a whole other record (that would be an edit); nothing is there that was never written, so that behind its
    last record nothing is. False where all was synced."""
    data = read(path)
    if durable >= whole or len(data) == 0:
        return False
    cut = rng.randint(min(durable, len(data)), len(data))
    tail = rng.choice((b"", b"", bytes(rng.randrange(1, 5000)), b'"half": 1\n{"stream":', rng.randbytes(300)))
    if data[:cut] + tail == data:
        tail = b'{"stream":"'
    write(path, (data[:cut] + tail)[:whole])
    return True


def is_born(folder):
    """Whether a store was made whole: one that died while it was made is made again."""
    try:
        return bool(e2e_store.values(folder))
    except AssertionError:
        return False


def checkpoints(folder):
    """Stream: [(number, {key: value}, whether all checksums hold)], newest first."""
    found = {}
    for key, value in e2e_store.values(folder).items():
        if key[0] == 5 and key[9:13] == bytes(4):
            stream, number = int.from_bytes(key[1:9], "big"), int.from_bytes(key[13:21], "big")
            found.setdefault(stream, {}).setdefault(number, {})[key] = value
    return {stream: [(number, parts, all(e2e_store.checksum(value[:-8], key) == value[-8:]
                                         for key, value in parts.items()))
                     for number, parts in sorted(numbers.items(), reverse=True)]
            for stream, numbers in found.items()}


def flip_value(rng, folder):
    """A bit of the newest checkpoint of a stream that has another sound one; False where none has."""
    able = [parts for found in checkpoints(folder).values() for parts in
            [[parts for _, parts, sound in found if sound]] if len(parts) > 1]
    if not able:
        return False
    value, path = rng.choice(list(rng.choice(able)[0].values())), os.path.join(folder, "data.mdb")
    data = bytearray(read(path))
    bit, place = rng.randrange(8 * len(value)), data.find(value)
    check(place >= 0, "the value is not in the file")
    while place >= 0:  # older copies in free pages as well
        data[place + bit // 8] ^= 1 << bit % 8
        place = data.find(value, place + len(value))
    write(path, bytes(data))
    return True


def tree_pages(data):
    """Page number: (lower, upper) of the branch and leaf pages of the newest tree."""
    roots = [struct.unpack_from("<Q", data, at + 128)[0] for at in (0, 4096)]  # MDB_meta behind 16 bytes
    txns = [struct.unpack_from("<Q", data, at + 144)[0] for at in (0, 4096)]
    found, todo = {}, [roots[txns[1] > txns[0]]]
    while todo:
        page = todo.pop()
        if page >= len(data) // 4096:
            continue  # an empty tree
        flags, lower, upper = struct.unpack_from("<HHH", data, page * 4096 + 10)
        found[page] = (lower, upper)
        if flags & 1:
            for i in range((lower - 16) // 2):
                node = page * 4096 + struct.unpack_from("<H", data, page * 4096 + 16 + 2 * i)[0]
                low, high, top = struct.unpack_from("<HHH", data, node)
                todo.append(low | high << 16 | top << 32)
    return found


def flip_tree(rng, folder):
    """A bit of a tree page: of its head, its pointers, or where its nodes are. False without a tree."""
    path = os.path.join(folder, "data.mdb")
    data = bytearray(read(path))
    pages = tree_pages(data)
    if not pages:
        return False
    page, (lower, _) = rng.choice(sorted(pages.items()))
    at = rng.choice((rng.randrange(16), rng.randrange(16, max(lower, 17)), rng.randrange(4096)))
    data[page * 4096 + at] ^= 1 << rng.randrange(8)
    write(path, bytes(data))
    return True


def token_lengths(folder):
    """Name of a stream: the bytes of output that each kept checkpoint stands on, newest first."""
    values = e2e_store.values(folder)
    names = {key[1:9]: value[:-8].decode() for key, value in values.items() if key[0] == 3}
    found = {}
    for key in sorted(values, reverse=True):
        if key[0] == 5 and key[9:13] == bytes(4) and key[21:25] == bytes(4):
            meta = e2e_store.message(e2e_store.meta_of(values[key]))
            token = e2e_store.message(meta[7]) if 7 in meta else {}
            found.setdefault(names[key[1:9]], []).append(token.get(4, 0))
    return found


def head(folder):
    """(owner epoch, sequence) of a store."""
    value = e2e_store.values(folder)[b"\x01"]
    epoch, _, sequence = struct.unpack_from("<3Q", value, 24)
    return epoch, sequence


def is_owned(store):
    """Whether a process holds the store's lock."""
    try:
        with open(os.path.join(store, "owner.lock"), "r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def counters(store):
    """Tokens computed so far, over all runs, of each stream: the counters as they are mapped."""
    try:
        data = read(os.path.join(store, "counters"))[8:]
    except FileNotFoundError:
        return ()
    return struct.unpack(f"={len(data) // 8}Q", data[:len(data) // 8 * 8])


def computed(store):
    return sum(counters(store))


def generator(place, *words):
    return random.Random(" ".join(map(str, (place.seed, *words))))
