#!/usr/bin/python3
"""riverrun tokenize against the reference tokenizers: parts of the books and of all files of data/unicode (at night
these whole), text without a place to cut; whatever the size of reads; what it says on stderr and as JSON."""
import glob
import json
import lzma
import os
import random
import subprocess
import sys

from e2e import HANG_S, Failed, Skip, check, main, read

WORLD, NEOX = "tokenizers/rwkv_vocab_v20230424.txt", "tokenizers/20B_tokenizer.json"
PART = 8000  # bytes of a file by day; of a book 20 times as many at night


def reference(place):
    place.of_shared("data/README.md")
    sys.path.insert(0, os.path.dirname(place.of_shared("reference/tokenizer_reference.py")))
    import tokenizer_reference  # pylint: disable=import-outside-toplevel,import-error
    return tokenizer_reference


def tokenize(place, data, *options, cut=None):
    """stdout and stderr of riverrun tokenize over data, on standard input in writes of cut bytes."""
    process = subprocess.Popen([place.riverrun, "tokenize", "-", *options], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if cut:
        # Few bytes a write, until the pipe is the reader's and the rest.
        for at in range(0, min(len(data), 200 * cut), cut):
            process.stdin.write(data[at:at + cut])
            process.stdin.flush()
        data = data[200 * cut:]
    out, errors = process.communicate(data, timeout=HANG_S)
    check(process.returncode == 0, errors.decode())
    return out, errors.decode()


def ids_of(place, data, *options, cut=None):
    return [int(line) for line in tokenize(place, data, *options, cut=cut)[0].split()]


def texts(place):
    """(name, bytes): all of data/unicode, parts of the books."""
    folder = os.path.dirname(place.of_shared("data/unicode/README.md"))
    for path in sorted(glob.glob(folder + "/**/*", recursive=True)):
        if os.path.isfile(path):
            data = lzma.decompress(read(path)) if path.endswith(".xz") else read(path)
            yield os.path.relpath(path, folder), data if place.nightly else data[:2 * PART]
    for path in sorted(glob.glob(os.path.join(folder, "../books/*.txt"))):
        data = read(path)
        at = random.Random(place.seed).randrange(max(1, len(data) - PART))
        yield os.path.basename(path), data[at:at + (20 if place.nightly else 1) * PART]


def compare(place, name, kind, path, prepare):
    oracle = prepare(reference(place).load(kind))
    total = 0
    for text, data in texts(place):
        want, got = oracle.encode(data), ids_of(place, data, "--vocab", path)
        if got != want:
            at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
            raise Failed(f"{name}, {text}: token {at} is {got[at:at + 3]}, want {want[at:at + 3]}")
        total += len(want)
    return f"{total} ids"


def world_gives_the_references_ids(place):
    return compare(place, "World", "world", place.of_shared(WORLD), lambda t: t)


def neox_gives_the_references_ids(place):
    """Python's Unicode is 14, utf8proc's may be newer: test_engine_neox names the characters that differ;
    nothing is left out here."""
    def plain(oracle):
        oracle.special = {}
        return oracle
    return compare(place, "NeoX", "neox", place.of_shared(NEOX), plain)


def special_tokens_are_ids_where_asked_for(place):
    oracle = reference(place).load("neox")
    data = b"one<|endoftext|>two <|padding|><|endoftext|> \xcc\x81<|endoftext|\n<|endoftext|>\xcc\x81" * 50
    got = ids_of(place, data, "--vocab", place.of_shared(NEOX), "--special-tokens", cut=3)
    check(got == oracle.encode(data), "ids with special strings differ")
    off = ids_of(place, data, "--vocab", place.of_shared(NEOX))
    check(0 not in off and 1 not in off, "a special id without --special-tokens")


def text_without_a_safe_place_is_cut_where_the_reference_cuts(place):
    module, path = reference(place), place.of_shared(NEOX)
    oracle, forced = module.load("neox"), 0
    oracle.special = {}
    for data in ("a" * 131073, "\n" * 65537, "\u6211" * 65536, "e" + "\u0301\u0323" * 33000,
                 "x" + "\uffff" * 65535 + "y z", "a" * 65536 + " b"):
        stream = oracle.stream()
        raw = data.encode()
        want = stream.feed(raw, True)
        out, errors = tokenize(place, raw, "--vocab", path, "--json")
        got = json.loads(out)
        check(got["ids"] == want, f"{data[:3]!r}...: other ids")
        check(got["forced_cuts"] == stream.forced, f"{data[:3]!r}...: {got['forced_cuts']} cuts, {stream.forced}")
        check((f"cut {stream.forced} times" in errors) == (stream.forced > 0), errors)
        forced += stream.forced
    check(forced == 4, f"only {forced} forced cuts")
    return f"{forced} forced cuts"


def json_says_what_was_read(place):
    data = b"r\xc3\xa9sum\xc3\xa9 \xff\xfe end"
    out, errors = tokenize(place, data, "--json")
    got = json.loads(out)
    check(got["tokenizer"] == "bytes" and got["ids"] == list(data) and got["bytes"] == len(data), out)
    check(got["repaired"] == 0 and not errors, errors)
    out, errors = tokenize(place, data, "--json", "--vocab", place.of_shared(NEOX), cut=1)
    got = json.loads(out)
    check(got["tokenizer"] == "neox" and got["tokens"] == len(got["ids"]) and got["repaired"] == 2, out)
    check("2 ill-formed" in errors and errors.count("\n") == 1, errors)
    check(json.loads(tokenize(place, b"", "--json")[0])["ids"] == [], "ids of nothing")


def faults_are_one_line(place):
    model = place.of_shared("models/tiny-rwkv-7v0-834K-FP32.bin")
    for status, words, arguments in (
            (10, "nowhere", ["/nowhere/text"]), (10, "nowhere", [place.text("a.txt", b"a"), "--vocab", "/nowhere"]),
            (6, "line 1", [place.path("a.txt"), "--vocab", place.text("v.json", b'{"a": }')]),
            (6, "model.vocab", [place.path("a.txt"), "--vocab", place.text(
                "w.json", b'{"normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "ByteLevel"}, "model": {}}')]),
            (7, "no vocabulary", [place.path("a.txt"), "--model", model]), (2, "one file", []),
            (10, "read", [os.path.dirname(model)])):
        done = subprocess.run([place.riverrun, "tokenize", *arguments], capture_output=True, timeout=HANG_S, check=False)
        errors = done.stderr.decode()
        check(done.returncode == status and words in errors and errors.count("\n") == 1,
              f"{arguments}: {done.returncode}, {errors}")


if __name__ == "__main__":
    if not os.path.isdir(sys.argv[2]):
        print(f"skipped: {sys.argv[2]} is not there")
        sys.exit(77)
    sys.exit(main([world_gives_the_references_ids, neox_gives_the_references_ids,
                   special_tokens_are_ids_where_asked_for, text_without_a_safe_place_is_cut_where_the_reference_cuts,
                   json_says_what_was_read, faults_are_one_line]))
