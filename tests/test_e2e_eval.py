#!/usr/bin/python3
"""riverrun eval: its figures against those of `riverrun read` and of the reference, what it says of models
that drift, profit or do neither, and how it answers what is wrong. And `riverrun read` on a model that
drifts."""
import bz2
import gzip
import json
import math
import os
import random
import signal
import subprocess
import sys
import xml.etree.ElementTree

import e2e
from e2e import Skip, check

try:
    import jsonschema
except ImportError:
    jsonschema = None

DONE, USAGE, STOPPED, INPUT, SOURCE, MODEL, MISMATCH, SINK = 0, 2, 3, 6, 10, 12, 13, 14
K = 1024


def run(place, *arguments, stdin=b"", want=DONE):
    done = subprocess.run([place.riverrun, "eval", *arguments], input=stdin, capture_output=True, check=False,
                          timeout=e2e.HANG_S)
    check(done.returncode == want, f"eval {arguments}: exit status {done.returncode} instead of {want}: "
          f"{done.stderr.decode(errors='replace')}")
    return done


def evaluate(place, *arguments, stdin=b""):
    return json.loads(run(place, *arguments, "--json", stdin=stdin).stdout)


def close(got, want, what, relative=1e-9):
    check(abs(got - want) <= relative * abs(want), f"{what}: {got!r} instead of {want!r}")


def small_text(seed, size):
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(1, 7))) for _ in range(60)]
    text = ""
    while len(text) < size:
        text += " ".join(rng.choices(words, k=9)) + "\n"
    return text[:size].encode()


# ---- A vocabulary, and what `read` says of the same tokens ----

def vocabulary(place):
    """Single bytes and some words; token 0 is "end of text". Returns (path, the list of tokens)."""
    tokens = [bytes([i]) for i in range(256)] + [b" " + bytes([a, b]) for a in b"etaoin" for b in b"shrdlu"]
    lines = [f"{i + 1} b'{''.join(f'{chr(92)}x{b:02x}' for b in token)}' {len(token)}"
             for i, token in enumerate(tokens)]
    return place.text("vocab.txt", ("\n".join(lines) + "\n").encode()), tokens


def world_ids(tokens, text):
    """Greedy: the longest token at each place. [(id, bytes)]"""
    known, longest, at, found = {token: i + 1 for i, token in enumerate(tokens)}, max(map(len, tokens)), 0, []
    while at < len(text):
        size = next(n for n in range(min(longest, len(text) - at), 0, -1) if text[at:at + n] in known)
        found.append((known[text[at:at + size]], size))
        at += size
    return found


def documents_nats(place, name, texts, model, vocab):
    """What `read` says of each text as a document of its own."""
    paths = [place.text(f"{name}-{i:03}.txt", text) for i, text in enumerate(texts)]
    job = e2e.Job(place, name, paths, model, ["--vocab", vocab])
    job.run()
    found = {}
    for file, data in job.records().items():
        record = json.loads(data.splitlines()[-1])
        check(record["kind"] == "document", f"{file} ends with {record['kind']}")
        found[file[-len(".txt.jsonl") - 3:-len(".txt.jsonl")]] = record["nats"]
    return [found[f"{i:03}"] for i in range(len(texts))]


def the_figures_are_those_that_read_writes(place):
    vocab, tokens = vocabulary(place)
    model = e2e.make_model(place, "world.safetensors", "--vocab", "300")
    text = small_text(1, 8000)
    ids = world_ids(tokens, text)
    ends, at = [0], 0
    for _, size in ids:
        at += size
        ends.append(at)
    check(4 * K < len(ids) < 8 * K, f"{len(ids)} tokens are not what this test needs")
    reset = 512
    chunks = [text[ends[i]:ends[min(i + reset, len(ids))]] for i in range(0, len(ids), reset)]
    marks = [i for i in (0, K, 2 * K, 4 * K) if i < len(ids)] + [len(ids)]
    prefixes = [text[:ends[mark]] for mark in marks[1:]]
    nats = documents_nats(place, "read", chunks + prefixes, model, vocab)
    fresh, carried = nats[:len(chunks)], [0] + nats[len(chunks):]
    file = place.text("book.txt", text)
    answer = evaluate(place, file, "--model", model, "--vocab", vocab, "--reset", str(reset))
    check(answer["tokenizer"] == "world" and answer["reset_tokens"] == reset, answer)
    (got,) = answer["files"]
    check((got["file"], got["bytes"], got["tokens"], got["scored"]) ==
          (file, len(text), len(ids), len(ids)), got)
    check(got["nats"] == carried[-1], f"carried: {got['nats']!r}, read says {carried[-1]!r}")
    close(got["bits_per_byte"], carried[-1] / math.log(2) / len(text), "bits per byte")
    close(got["perplexity"], math.exp(carried[-1] / len(ids)), "perplexity")
    close(got["reset"]["nats"], sum(fresh), "reset")
    close(got["reset"]["bits_per_byte"], sum(fresh) / math.log(2) / len(text), "reset, bits per byte")
    check(len(got["positions"]) == len(marks) - 1, got["positions"])
    for i, position in enumerate(got["positions"]):
        first, end = marks[i], marks[i + 1]
        check(position["begin"] == first and position["tokens"] == end - first, position)
        check(position["bytes"] == ends[end] - ends[first], position)
        close(position["nats"], carried[i + 1] - carried[i], f"carried from {first}", 1e-8)
        close(position["reset"]["nats"], sum(fresh[first // reset:-(-end // reset)]), f"reset from {first}")
        close(position["percent"], 100 * (position["nats"] / position["reset"]["nats"] - 1), "percent", 1e-6)


# ---- The reference ----

def reference(place):
    try:
        sys.path.insert(0, os.path.dirname(place.of_shared("reference/rwkv_reference.py")))
        import numpy
        import rwkv_reference
    except ImportError as why:
        raise Skip(f"the reference cannot be used: {why}") from None
    return rwkv_reference, numpy


def losses(place, model, tokens, unscored=1):
    """Nats of tokens[unscored:], each given all before it."""
    module, numpy = reference(place)
    m = module.Model(model, dtype=numpy.float64)
    logits, _ = module.run(m, tokens, m.new_state(), "seq", 0, True)
    z = logits[unscored - 1:-1]
    top = z.max(axis=1)
    every = top + numpy.log(numpy.exp(z - top[:, None]).sum(axis=1))
    return list(every - z[numpy.arange(len(z)), tokens[unscored:]])


def bytes_are_scored_as_the_help_says(place):
    """The first byte costs nothing; after a reset the byte before it is given to the fresh state."""
    text, reset = small_text(2, 2500), 700
    got = evaluate(place, place.text("book.txt", text), "--model", place.nano, "--reset", str(reset))["files"][0]
    carried = [0.0] + losses(place, place.nano, list(text))
    fresh = []
    for first in range(0, len(text), reset):
        part = losses(place, place.nano, list(text[max(first - 1, 0):first + reset]))
        fresh += part if first else [0.0] + part
    check((got["bytes"], got["tokens"], got["scored"]) == (2500, 2500, 2499), got)
    close(got["nats"], sum(carried), "carried", 1e-6)
    close(got["reset"]["nats"], sum(fresh), "reset", 1e-6)
    close(got["perplexity"], math.exp(sum(carried) / 2499), "perplexity", 1e-5)
    for i, (first, end) in enumerate(((0, K), (K, 2 * K), (2 * K, 2500))):
        position = got["positions"][i]
        close(position["nats"], sum(carried[first:end]), f"carried from {first}", 1e-6)
        close(position["reset"]["nats"], sum(fresh[first:end]), f"reset from {first}", 1e-6)


def lambada_counts_whole_targets_and_takes_the_mean_over_passages(place):
    """Passages whose last word is a token of its own that the reference finds most probable, others, and
    targets of several tokens."""
    module, numpy = reference(place)
    vocab, tokens = vocabulary(place)
    model = e2e.make_model(place, "world.safetensors", "--vocab", "300")
    m = module.Model(model, dtype=numpy.float64)

    def logits_of(ids):
        return module.run(m, ids, m.new_state(), "seq", 0, True)[0]

    passages, nats, hits, count = [], [], 0, 0
    for seed in range(36):
        context = small_text(seed, 30 + seed)
        context = context.replace(b"\n", b" ").strip()
        ids = [0] + [i for i, _ in world_ids(tokens, context)]
        best = ([b""] + tokens + 10 * [b""])[int(logits_of(ids)[-1].argmax())]
        if best[:1] != b" " or len(best) == 1:
            if len(passages) >= 20:
                continue
            best = b" " + random.Random(seed).choice((b"shore", b"es", b"x", "Ωκεανός".encode()))
        target = [i for i, _ in world_ids(tokens, best)]
        rows = logits_of(ids + target)[len(ids) - 1:-1]
        hits += all(int(row.argmax()) == want for row, want in zip(rows, target))
        nats.append(sum(losses(place, model, ids + target, len(ids))))
        count += len(target)
        passages.append({"text": (context + best).decode(), "more": seed})
    check(0 < hits < len(passages), f"{hits} hits of {len(passages)}")
    lines = "\n".join(json.dumps(p, ensure_ascii=p["more"] % 2 == 0) for p in passages) + "\n\n"
    got = evaluate(place, "--lambada", place.text("lambada.jsonl", lines.encode()), "--model", model, "--vocab",
                   vocab)["lambada"]
    check((got["passages"], got["hits"], got["target_tokens"]) == (len(passages), hits, count),
          f"{got}, wanted {len(passages), hits, count}")
    close(got["accuracy"], hits / len(passages), "accuracy")
    close(got["nats"], sum(nats), "nats", 1e-5)
    close(got["perplexity"], math.exp(sum(nats) / len(nats)), "perplexity", 1e-4)
    return f"{hits} hits of {len(passages)}"


# ---- What comes out ----

NUMBER, COUNT = {"type": ["number", "null"]}, {"type": "integer", "minimum": 0}


def closed(**properties):
    return {"type": "object", "properties": properties, "required": list(properties),
            "additionalProperties": False}


PART = {"bytes": COUNT, "tokens": COUNT, "scored": COUNT, "nats": {"type": "number"}, "bits_per_byte": NUMBER,
        "perplexity": NUMBER, "reset": closed(nats={"type": "number"}, bits_per_byte=NUMBER, perplexity=NUMBER)}
VERDICT = closed(kind={"enum": ["nothing", "profits", "even", "drifts", "unsteady"]}, until=COUNT,
                 percent={"type": "number"}, text={"type": "string"}, **{"from": COUNT})
FILE = closed(file={"type": "string"}, **PART, verdict=VERDICT, repaired=COUNT,
              positions={"type": "array", "items": closed(begin=COUNT, end=COUNT, **PART,
                                                          percent={"type": "number"})})
LAMBADA = closed(file={"type": "string"}, passages=COUNT, hits=COUNT, accuracy=NUMBER, target_tokens=COUNT,
                 nats={"type": "number"}, perplexity=NUMBER)
ANSWER = closed(model={"type": "string"}, fingerprint={"type": "string", "pattern": "^[0-9a-f]{32}$"},
                arithmetic={"type": "string"}, tokenizer={"type": "string"}, reset_tokens=COUNT,
                files={"type": "array", "items": FILE}, lambada={"anyOf": [{"type": "null"}, LAMBADA]})


def json_keeps_its_schema_and_its_bytes_for_any_number_of_threads(place):
    texts = [b"", b"x", e2e.generated_text(2, 2500), e2e.generated_text(3, 5000)]
    files = [place.text(f"{i}.txt", text) for i, text in enumerate(texts)]
    lines = b'{"text": "the river run past Eve"}\n' * 20
    want = [*files, "--model", place.nano, "--json", "--lambada", place.text("l.jsonl", lines), "--reset", "1500"]
    first = run(place, *want, "--threads", "1").stdout
    for more in (["--threads", "3"], ["--block", "7"], ["--threads", "2", "--block", "300", "--isa", "ref"]):
        check(run(place, *want, *more).stdout == first, f"{more} changes what comes out")
    answer = json.loads(first)
    check([file["tokens"] for file in answer["files"]] == [os.path.getsize(file) for file in files], answer)
    empty, one = answer["files"][:2]
    check(empty["bits_per_byte"] is None and empty["nats"] == 0 and empty["positions"] == [], empty)
    check(one["scored"] == 0 and one["perplexity"] is None and one["nats"] == 0, one)
    check(one["bits_per_byte"] is None and one["reset"]["bits_per_byte"] is None, one)
    if jsonschema is None:
        raise Skip("jsonschema is not installed")
    jsonschema.validate(answer, ANSWER)


def standard_input_and_bytes_that_are_no_text_are_read(place):
    text = e2e.generated_text(5, 9000) + bytes(range(256)) + b"\xff\xfe\xed\xa0\x80\xf0\x90"
    check(b"\xff" in text[:9000], "the text is valid")
    one, two = (evaluate(place, path, "--model", place.nano, stdin=stdin)["files"][0]
                for path, stdin in (("-", text), (place.text("t.txt", text), b"")))
    check(one["file"] == "-" and one["bytes"] == len(text), one)
    check({**one, "file": ""} == {**two, "file": ""}, "standard input is read otherwise than a file")


def what_is_not_plain_text_is_told(place):
    """By each command that takes a file's bytes as they are, and by none of text, also with NULs between documents."""
    text = b"One text, of \xc3\xa9 and of others.\n" * 40
    plain, nuls = place.text("plain", text), place.text("nuls", text + b"\0" + text + b"\0")
    others = {"gzip": place.text("packed", gzip.compress(text)), "HTML": place.text("page", b"<!DOCTYPE html><p>" + text),
              "no text in UTF-8": place.text("wide", text.decode().encode("utf-16")[2:])}
    for command in (["eval"], ["tokenize"], ["vocab", "learn", "--size", "280", "-o"],
                    ["train", "--layers", "1", "--channels", "32", "--head-size", "16", "--steps", "1", "-q", "-o"]):
        for kind, path in [(None, plain), (None, nuls), *others.items()]:
            made = [f"{path}.{command[0]}"] if command[-1] == "-o" else []
            done = subprocess.run([place.riverrun, *command, *made, path], capture_output=True, check=True, timeout=e2e.HANG_S)
            said = done.stderr.decode()
            check(("its bytes are read as they are" in said) == bool(kind), f"{command} {path}: {said}")
            check(not kind or f"'{path}' is {kind}, " in said, f"{command} {path}: {said}")


def every_tokenizer_counts_the_bytes_of_the_file(place):
    """Combining marks, other scripts and bytes that are no UTF-8: what NFC and repair change is still counted as
    the bytes that stood there."""
    text = e2e.generated_text(6, 12000) + "e\u0301tude \u1112\u1161\u11ab A\u030a".encode() + b"\xff\xe2\x82"
    file = place.text("t.txt", text)
    said = []
    for vocab, size in (("rwkv_vocab_v20230424.txt", 65536), ("20B_tokenizer.json", 50277)):
        vocab = place.of_shared(f"tokenizers/{vocab}")
        model = e2e.make_model(place, f"{size}.safetensors", "--vocab", str(size), "--channels", "16", "--layers", "1")
        got = evaluate(place, file, "--model", model, "--vocab", vocab, "--reset", "999")["files"][0]
        check(got["bytes"] == len(text) == sum(p["bytes"] for p in got["positions"]), got)
        check(got["tokens"] == got["scored"] == sum(p["tokens"] for p in got["positions"]), got)
        check((got["repaired"] > 0) == (size == 50277), got)
        said.append(f"{got['tokens']} tokens, {got['repaired']} repaired")
    return "; ".join(said)


def verdict(place, model, size):
    file = place.text("long.txt", small_text(9, size))
    drawn = place.path(f"{os.path.basename(model)}.svg")
    done = run(place, file, file, "--model", model, "--plot", drawn).stdout.decode()
    found = evaluate(place, file, "--model", model)["files"][0]["verdict"]
    check(done.count(found["text"]) == 2, f"{found['text']!r} is not said: {done}")
    root = xml.etree.ElementTree.parse(drawn).getroot()
    check(root.tag == "{http://www.w3.org/2000/svg}svg", root.tag)
    paths = [one for one in root.iter() if one.tag.endswith("}path")]
    check(len(paths) == 8, f"{len(paths)} strokes instead of two curves and their legend in two panels")
    text = "".join(root.itertext())
    check(text.count(found["text"]) == 2 and text.count("long.txt") == 2, text)
    for word in ("bits per byte", "position in the document", "prefers-color-scheme: dark"):
        check(word in text, f"no {word!r} in the plot")
    svg = e2e.read(drawn)
    check(b"<script" not in svg and svg.count(b"http") == 1, "the plot is not self-contained")
    return found


def verdicts_tell_models_that_drift_profit_and_do_neither(place):
    grows = e2e.make_model(place, "grows.safetensors", "--grow", "10000")
    drifts = verdict(place, os.path.join(place.build, "tests/nano_drift.safetensors"), 40000)
    check(drifts["kind"] == "drifts" and drifts["percent"] > 2 and drifts["from"] >= 4096, drifts)
    profits = verdict(place, grows, 20000)
    check(profits["kind"] == "profits" and profits["percent"] < -1, profits)
    even = verdict(place, place.nano, 20000)
    check(even["kind"] == "even" and abs(even["percent"]) < 0.5, even)
    check(verdict(place, place.nano, 4096)["kind"] == "nothing", "4,096 tokens are compared with themselves")
    return f"{drifts['text']}; {profits['text']}"


# ---- What is wrong ----

def what_is_wrong_is_one_line_and_a_status(place):
    good, model = place.text("good.txt", b"good " * 100), ["--model", place.nano]
    vocab, _ = vocabulary(place)
    bad = {name: place.text(f"{name}.jsonl", line) for name, line in
           {"torn": b'{"text": "a b"}\n{"text": "a', "words": b'{"text": "word"}\n', "end": b'{"text": "a b "}\n',
            "first": b'{"text": " b"}\n', "kind": b'{"text": 1}\n', "list": b"[]\n", "none": b'{"t": "a b"}\n',
            "nul": b'{"text": "a \0 b"}\n', "long": b'{"text": "' + b"a " * 600000 + b'b"}\n'}.items()}
    for arguments, status, words in (
            ([], USAGE, ["eval", "something to read"]), (model, USAGE, ["something to read"]),
            ([good, *model, "--reset", "0"], USAGE, ["--reset"]), ([good, *model, "--zap"], USAGE, ["--zap"]),
            (["-", "-", *model], USAGE, ["standard input"]),
            ([good, place.path("no.txt"), *model], SOURCE, [place.path("no.txt")]),
            ([good, place.folder, *model], SOURCE, [place.folder, "folder"]),
            (["--lambada", place.path("no.jsonl"), *model], SOURCE, [place.path("no.jsonl")]),
            ([good, "--model", place.path("no.bin")], SOURCE, [place.path("no.bin")]),
            ([good, "--model", good], MODEL, [good]),
            ([good, *model, "--vocab", place.path("no.vocab")], SOURCE, [place.path("no.vocab")]),
            ([good, *model, "--vocab", vocab], MISMATCH, ["--vocab", "256"]),
            ([good, *model, "--plot", place.path("no/p.svg")], SINK, [place.path("no/p.svg")]),
            ([good, *model, "--plot", place.folder], SINK, [place.folder]),
            ([good, *model, "--plot", good], USAGE, [good, "input"]),
            *((["--lambada", bad[name], *model], INPUT, [bad[name], f"line {line}"]) for name, line in
              (("torn", 2), ("words", 1), ("end", 1), ("first", 1), ("kind", 1), ("list", 1), ("none", 1),
               ("nul", 1), ("long", 1)))):
        done = run(place, *arguments, want=status)
        said = done.stderr.decode()
        check(said.count("\n") == 1 and not done.stdout, f"{arguments}: said {said!r} and {done.stdout!r}")
        for word in words:
            check(word in said, f"{arguments}: no {word!r} in {said!r}")
    check(not [name for name in os.listdir(place.folder) if "svg" in name], "a plot that was refused is left")


def a_signal_ends_it_at_once_and_leaves_nothing(place):
    for number in (signal.SIGINT, signal.SIGTERM):
        drawn = place.path("p.svg")
        process = subprocess.Popen([place.riverrun, "eval", "-", "--model", place.nano, "--json", "--plot", drawn],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(small_text(3, 200000))  # more than a pipe holds: it reads
        process.stdin.flush()
        process.send_signal(number)
        try:
            said, wrong = process.communicate(timeout=e2e.HANG_S)
        finally:
            process.kill()
            process.wait()
        check(process.returncode == STOPPED and not said, f"{process.returncode}, {said!r}")
        check(wrong.count(b"\n") == 1 and b"stopped" in wrong, wrong)
        check(not os.path.exists(drawn), "half a plot is left")


# ---- Drift in `read` ----

def read_warns_of_a_model_that_drifts_and_writes_the_same(place):
    """On stderr once, in a live `status`; with a stop and a resume in the middle; the document's nats are those
    that eval, which has no probes, finds."""
    vocab, _ = vocabulary(place)
    model = e2e.make_model(place, "drift.safetensors", "--vocab", "300", "--seed", "4", "--grow",
                           "400000")
    text = small_text(4, 200000)
    file = place.text("book.txt", text)
    options = ["--vocab", vocab]
    undisturbed = e2e.Job(place, "whole", file, model, options)
    process = undisturbed.start()
    check(place.end_of(process) == DONE, place.said(process))
    said = place.said(process)
    check(said.count("drifts: at token ") == 1 and said.count("\n") == 1, f"said {said!r}")
    undisturbed.validate(len(text))
    (data,) = undisturbed.records().values()
    nats = evaluate(place, file, "--model", model, *options)["files"][0]["nats"]
    check(json.loads(data.splitlines()[-1])["nats"] == nats, "the probes changed a record")

    feed = e2e.Job(place, "feed", "-", model, options + ["--name", "feed"])
    process = feed.start(stdin=subprocess.PIPE)
    process.stdin.write(text)
    process.stdin.flush()
    warned = e2e.wait_for("the warning in status", lambda: "drifts" in (feed.status() or {}).get("text", ""))
    process.send_signal(signal.SIGINT)
    process.stdin.close()
    check(warned and place.end_of(process) == STOPPED, place.said(process))
    process = feed.start(stdin=subprocess.PIPE)
    process.stdin.write(text)
    process.stdin.close()
    check(place.end_of(process) == DONE, place.said(process))
    (again,) = feed.records().values()
    name = json.loads(data.splitlines()[0])["stream"].encode()
    check(again == data.replace(b'"stream":"' + name + b'"', b'"stream":"feed"'), "a stop changed a record")


def read_does_not_warn_of_a_model_that_does_not_drift(place):
    job = e2e.Job(place, "out", place.text("book.txt", small_text(4, 200000)))
    process = job.start()
    check(place.end_of(process) == DONE and place.said(process) == "", place.said(process))


# ---- The model that comes with the program ----

def the_default_model_has_learned_to_read(place):
    """Texts that it never saw cost it less than the best compressor of a whole file; it is small, and one file."""
    told, books = [], (("data/books/frankenstein.en.txt", 0.85), ("data/books/trois-mousquetaires.fr.txt", 1.0))
    for name, share in books:
        data = e2e.read(place.of_shared(name))[100000:100000 + 64 * K]
        one = evaluate(place, place.text("text", data))
        (file,), model = one["files"], one["model"]
        limit = share * 8 * len(bz2.compress(data)) / len(data)
        check(os.path.basename(model) == "riverrun-small.safetensors", model)
        check(os.path.getsize(model) <= 16e6, f"{os.path.getsize(model)} bytes")
        check(file["bits_per_byte"] < limit, f"{name}: {file['bits_per_byte']}, more than {limit}")
        told.append(f"{name}: {file['bits_per_byte']:.3f} of {limit:.3f} bits per byte")
    return "; ".join(told)


if __name__ == "__main__":
    sys.exit(e2e.main([
        the_default_model_has_learned_to_read,
        the_figures_are_those_that_read_writes,
        bytes_are_scored_as_the_help_says,
        lambada_counts_whole_targets_and_takes_the_mean_over_passages,
        json_keeps_its_schema_and_its_bytes_for_any_number_of_threads,
        standard_input_and_bytes_that_are_no_text_are_read,
        what_is_not_plain_text_is_told,
        every_tokenizer_counts_the_bytes_of_the_file,
        verdicts_tell_models_that_drift_profit_and_do_neither,
        what_is_wrong_is_one_line_and_a_status,
        a_signal_ends_it_at_once_and_leaves_nothing,
        read_warns_of_a_model_that_drifts_and_writes_the_same,
        read_does_not_warn_of_a_model_that_does_not_drift,
    ]))
