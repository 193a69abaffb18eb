"""What a store holds, read from outside: by LMDB's library without the program's own code, by the layout in
store/README.md and the messages in schemas/control.proto."""
import ctypes
import os

import e2e_world
from e2e_world import get, put


class Value(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("data", ctypes.c_void_p)]

    def bytes(self):
        return ctypes.string_at(self.data, self.size)


def values(folder):
    """Every key and value of a store that nobody has open."""
    try:
        lmdb = ctypes.CDLL("liblmdb.so.0")
    except OSError:
        raise e2e_world.Skip("liblmdb.so.0 is not there") from None
    lmdb.mdb_env_set_mapsize.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    env, txn, cursor = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    key, value, found, dbi = Value(), Value(), {}, ctypes.c_uint()

    def must(status):
        assert status == 0, f"lmdb {status}"
    must(lmdb.mdb_env_create(ctypes.byref(env)))
    must(lmdb.mdb_env_set_mapsize(env, 1 << 30))
    must(lmdb.mdb_env_open(env, folder.encode(), 0x20000 | 0x400000, 0o644))  # read only, no lock
    must(lmdb.mdb_txn_begin(env, None, 0x20000, ctypes.byref(txn)))
    must(lmdb.mdb_dbi_open(txn, None, 0, ctypes.byref(dbi)))
    must(lmdb.mdb_cursor_open(txn, dbi, ctypes.byref(cursor)))
    move = 0  # MDB_FIRST, then MDB_NEXT
    while lmdb.mdb_cursor_get(cursor, ctypes.byref(key), ctypes.byref(value), move) == 0:
        found[key.bytes()] = value.bytes()
        move = 8
    lmdb.mdb_cursor_close(cursor)
    lmdb.mdb_txn_abort(txn)
    lmdb.mdb_env_close(env)
    return found


def parts(world, stream=1):
    """Checkpoint number -> key of part -> its value."""
    found = {}
    for key, value in values(world.store).items():
        if key[0] == 5 and key[1:9] == stream.to_bytes(8, "big"):
            found.setdefault(int.from_bytes(key[13:21], "big"), {})[key] = value
    return found


def flip(world, value, at):
    """Change one bit of a value where it stands in the file."""
    path = os.path.join(world.store, "data.mdb")
    data = bytearray(get(path))
    place, count = data.find(value), 0
    while place >= 0:
        data[place + at] ^= 4
        count += 1
        place = data.find(value, place + 1)
    assert count, "the value is not in the file"
    put(path, bytes(data))


def checksum(payload, key):
    hashes = ctypes.CDLL("libxxhash.so.0")
    for function in (hashes.XXH3_64bits, hashes.XXH3_64bits_withSeed):
        function.restype = ctypes.c_uint64
    hashes.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    hashes.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    return hashes.XXH3_64bits_withSeed(payload, len(payload),
                                       hashes.XXH3_64bits(key, len(key))).to_bytes(8, "little")


# ---- Messages ----

def number_at(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def message(data):
    """Field number -> value of a protobuf message; numbers and bytes alone, the last of each."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = number_at(data, at)
        if tag & 7 == 0:
            fields[tag >> 3], at = number_at(data, at)
        elif tag & 7 == 1:
            fields[tag >> 3], at = data[at:at + 8], at + 8
        else:
            assert tag & 7 == 2, f"wire type {tag & 7}"
            length, at = number_at(data, at)
            fields[tag >> 3], at = data[at:at + length], at + length
    return fields


def meta_of(value):
    """The message in a checkpoint's meta value, behind its seal (store/seal.h)."""
    count = int.from_bytes(value[:4], "little")
    return value[12 + 8 * (count & 0x7fffffff) if count >> 31 else 4:-8]


def token_lengths(folder, stream=1):
    """Bytes of output that each kept checkpoint stands on, newest first."""
    found = {}
    for key, value in values(folder).items():
        if key[0] == 5 and key[1:9] == stream.to_bytes(8, "big") and key[21:25] == bytes(4):
            token = message(message(meta_of(value))[7])
            found[int.from_bytes(key[13:21], "big")] = token.get(4, 0)
    return [found[number] for number in sorted(found, reverse=True)]
