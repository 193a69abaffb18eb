#!/usr/bin/python3
"""GGUF files that the reference's writer does not make: `riverrun model logits` against the numpy reference in
float64 on the same file.

A file is written by the reference, taken apart, changed and put together again, as other programs leave it.
"""
import json
import os
import random
import struct
import subprocess
import sys

import e2e

try:
    import numpy as np
except ImportError:
    print("skipped: no numpy")
    sys.exit(e2e.SKIPPED)

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else "."), "reference"))
try:
    import make_random_model as make
    import rwkv_reference as reference
except ImportError as why:
    print(f"skipped: no reference programs: {why}")
    sys.exit(e2e.SKIPPED)

WITHIN = 1e-4
CHANNELS, HEAD, VOCAB, FFN, ALIGNMENT = 256, 64, 300, 512, 32
K_TYPES = {"Q4_K": (12, 144), "Q5_K": (13, 176), "Q6_K": (14, 210)}  # number, bytes of 256 items


def write(path, version, layers, dtype="f32", rescale=0, seed=1):
    tensors = make.random_tensors(version, layers, CHANNELS, VOCAB, HEAD, FFN, seed)
    tensors = {name: make.round_to(values, dtype) for name, values in tensors.items()}
    make.write_gguf(path, tensors, dtype, version, layers, CHANNELS, HEAD, FFN, VOCAB, rescale=rescale)


def take_apart(path):
    """(all before the tensors, [name, axes, type, data])."""
    data = e2e.read(path)
    tensors, info = reference.read_gguf(path)
    count, = struct.unpack_from("<Q", data, 8)
    e2e.check(count == len(tensors), "the reference drops tensors")
    first = next(iter(tensors)).encode()
    at = data.index(struct.pack("<Q", len(first)) + first)
    head, items = data[:at], []
    for _ in range(count):
        length, = struct.unpack_from("<Q", data, at)
        name = data[at + 8:at + 8 + length].decode()
        rank, = struct.unpack_from("<I", data, at + 8 + length)
        axes = list(struct.unpack_from(f"<{rank}Q", data, at + 12 + length))
        kind, offset = struct.unpack_from("<IQ", data, at + 12 + length + 8 * rank)
        at += 24 + length + 8 * rank
        items.append([name, axes, kind, offset])
    start = -(-at // ALIGNMENT) * ALIGNMENT
    ends = sorted(item[3] for item in items)[1:] + [len(data) - start]
    for item, end in zip(sorted(items, key=lambda item: item[3]), ends):
        item[3] = data[start + item[3]:start + end]
    e2e.check(info["version"] == 3, "a version of the container")
    return head, items


def put_together(path, head, items):
    infos, data = b"", b""
    for name, axes, kind, values in items:
        infos += struct.pack("<Q", len(name)) + name.encode() + struct.pack(f"<I{len(axes)}Q", len(axes), *axes)
        infos += struct.pack("<IQ", kind, len(data))
        data += values + bytes(-len(values) % ALIGNMENT)
    head = head[:8] + struct.pack("<Q", len(items)) + head[16:] + infos
    e2e.write(path, head + bytes(-len(head) % ALIGNMENT) + data)


def logits(place, path, tokens):
    out = place.path("logits.f32")
    done = subprocess.run([place.riverrun, "model", "logits", path, "--tokens", ",".join(map(str, tokens)), "-o", out],
                          capture_output=True, text=True, check=False)
    e2e.check(done.returncode == 0, f"status {done.returncode}: {done.stderr.strip()}")
    return np.fromfile(out, "<f4")


def check_file(place, path, what):
    """The worst error of the logits."""
    tokens = [random.Random(place.seed).randrange(VOCAB) for _ in range(12)]
    want, _ = reference.run(reference.Model(path, dtype=np.float64), tokens, mode="seq")
    got = logits(place, path, tokens)
    e2e.check(got.shape == want.shape, f"{what}: {got.size} logits, not {want.size}")
    e2e.check(want.std() > 0.1, f"{what}: the logits are all alike")
    worst = float(np.abs(got - want).max())
    e2e.check(worst <= WITHIN, f"{what}: {worst:.3g}, allowed {WITHIN}")
    return worst


def blocks(rng, kind, count, deviation):
    """count random blocks of a K type whose values spread like `deviation`: any bytes are blocks, only the scales
    (halves) are chosen."""
    size = K_TYPES[kind][1]
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    step = {"Q4_K": 1 / 32 / 7.5, "Q5_K": 1 / 32 / 15.5, "Q6_K": 1 / 74 / 18.5}[kind] * deviation

    def put(at, value):
        halves = np.full(count, value) * rng.uniform(0.7, 1.3, count)
        raw[:, at:at + 2] = halves.astype("<f2").view(np.uint8).reshape(count, 2)
    if kind == "Q6_K":
        put(208, step)
    else:
        put(0, step)
        put(2, step * (7.5 if kind == "Q4_K" else 15.5))  # so that the mean is near 0
    return raw.tobytes()


def k_types_agree_with_the_reference(place):
    rng, said = np.random.default_rng(place.seed), []
    for version in ("6", "7"):
        for kind, (number, _) in K_TYPES.items():
            path, changed = place.path("model.gguf"), 0
            write(path, version, 2)
            head, items = take_apart(path)
            for item in items:
                if item[0].startswith("blk.") and len(item[1]) == 2 and item[1][0] % 256 == 0 and item[1][1] >= 256:
                    values = np.frombuffer(item[3], "<f4")[:item[1][0] * item[1][1]]
                    item[2:] = [number, blocks(rng, kind, values.size // 256, values.std())]
                    changed += 1
            e2e.check(changed >= 12, f"only {changed} tensors are {kind}")
            put_together(path, head, items)
            said.append(f"{version} {kind} {check_file(place, path, f'version {version}, {kind}'):.1e}")
    return ", ".join(said)


def any_halving_agrees_with_the_reference(place):
    """Five layers: with 1 the last norms see a 32nd, with 2 a quarter, with 3 a half, with 6 all."""
    said = []
    for every in (1, 2, 3, 5, 6):
        path = place.path("model.gguf")
        write(path, "6", 5, "f16", every)
        said.append(f"{every}: {check_file(place, path, f'rescaled every {every} layers'):.1e}")
    return ", ".join(said)


def axes_of_one_may_be_left_out(place):
    """llama.cpp's quantiser writes a tensor's axes up to the last that is not 1."""
    for version in ("6", "7"):
        path, before = place.path("model.gguf"), None
        write(path, version, 2, "q8_0")
        before = logits(place, path, range(5))
        head, items = take_apart(path)
        shorter = 0
        for item in items:
            while len(item[1]) > 1 and item[1][-1] == 1:
                item[1].pop()
                shorter += 1
        e2e.check(shorter >= 4, "no axes to leave out")
        put_together(path, head, items)
        e2e.check(np.array_equal(logits(place, path, range(5)), before), f"version {version} gives other numbers")


def ids(place, path, text):
    done = subprocess.run([place.riverrun, "tokenize", text, "--model", path, "--json"], capture_output=True, text=True,
                          check=False)
    e2e.check(done.returncode == 0, done.stderr)
    return json.loads(done.stdout)


def a_converted_file_keeps_the_vocabulary(place):
    path, converted, text = place.path("model.gguf"), place.path("converted.safetensors"), place.path("text")
    write(path, "7", 2)
    with open(text, "wb") as file:
        file.write(bytes(range(256)) + "it's the end of \"all\"\t\\ \n\n  ".encode() * 3)
    done = subprocess.run([place.riverrun, "model", "convert", path, "-o", converted, "--dtype", "bf16"],
                          capture_output=True, text=True, check=False)
    e2e.check(done.returncode == 0, done.stderr)
    before, after = ids(place, path, text), ids(place, converted, text)
    e2e.check(before == after and before["tokenizer"] == "world", (before, after))


def a_converted_file_gives_the_same_bits(place):
    for version, dtype, rescale in (("6", "f16", 1), ("6", "q5_1", 0), ("7", "q4_0", 0)):
        path, converted = place.path("model.gguf"), place.path("converted.safetensors")
        write(path, version, 3, dtype, rescale)
        done = subprocess.run([place.riverrun, "model", "convert", path, "-o", converted, "--dtype", "f32"],
                              capture_output=True, text=True, check=False)
        e2e.check(done.returncode == 0, done.stderr)
        e2e.check(np.array_equal(logits(place, path, range(9)), logits(place, converted, range(9))),
                  f"version {version}, {dtype}, rescaled {rescale}: other numbers")


if __name__ == "__main__":
    sys.exit(e2e.main([k_types_agree_with_the_reference, any_halving_agrees_with_the_reference,
                       axes_of_one_may_be_left_out, a_converted_file_keeps_the_vocabulary,
                       a_converted_file_gives_the_same_bits]))
