#!/usr/bin/python3
"""The same input gives the same bytes out (promises P1 and P2): however it is read, by however many
processes, threads and neighbours, by whichever implementation of the arithmetic. Every output is
validated against the schema of records."""
import os
import sys

from e2e import (DEAR, Job, Pipe, check, generated_text, main, make_model, normalized, read, same, undisturbed,
                 write)

READS = (1, 7, 4096, 65536)
SIZE = 30000 if DEAR == 1 else 10000


def levels(place):
    """The instruction set levels of this machine."""
    flags = read("/proc/cpuinfo").split()
    return ["ref"] + [level for level, flag in (("avx2", b"avx2"), ("avx512f", b"avx512f"), ("avx512", b"avx512f"))
                      if flag in flags]


def variants(place, source, model=None, options=(), reads=READS, small=None):
    """One text in all the ways to read it; small: a shorter one for the slow implementations."""
    data, count = read(source), 0
    name = ["--name", "text"]

    def reads_like(want, path, what, more, model=model):
        nonlocal count
        job = Job(place, f"out{count}", path, model, [*options, *name, *more])
        count += 1
        job.run()
        same(job, want, what) # which was validated

    want = undisturbed(place, "alone", source, model, [*options, *name], len(data)).records()
    for bytes_read in reads:
        reads_like(want, source, f"reads of {bytes_read}", ["--read-bytes", str(bytes_read)])
    for threads in ("1", "2"):
        reads_like(want, source, f"{threads} threads", ["--threads", threads])
    for block in ("1", "33"):
        reads_like(want, source, f"blocks of {block}", ["--block", block])
    reads_like(want, source, "many checkpoints", ["--checkpoint-seconds", "0.05", "--checkpoint-every", "100"])
    with open(source, "rb") as standard_input:
        job = Job(place, "stdin", "-", model, [*options, *name])
        job.run(stdin=standard_input)
        same(job, want, "standard input")
    if small:
        want = undisturbed(place, "small", small, model, [*options, *name]).records()
        for blas in ("own", "onednn", "ref"):
            reads_like(want, small, f"--blas {blas}", ["--blas", blas])
        for isa in levels(place):
            reads_like(want, small, f"--isa {isa}", ["--isa", isa])
    return count + 2


def units_and_normalisation_do_not_depend_on_how_bytes_arrive(place):
    source = place.text("text.txt", generated_text(place.seed, SIZE))
    small = place.text("small.txt", read(source)[:6000])
    count = 0
    for options in ([], ["--unit", "line"], ["--normalize", "nfc"], ["--unit", "line", "--normalize", "nfc"]):
        sub = sub_place(place, "-".join(options) or "plain")
        count += variants(sub, source, options=options, small=small)
    return f"{count} runs"


def narrow_weights_read_alike(place):
    """bf16 and int8: other numbers than f32, and the same in every way to read and at every level."""
    model = os.path.join(place.build, "tests/nano_wide.safetensors")
    source = place.text("text.txt", generated_text(place.seed, SIZE // 3))
    small = place.text("small.txt", read(source)[:2000])
    plain, count = undisturbed(place, "f32", source, model, ["--name", "text"]).records(), 0
    for weights in ("bf16", "int8"):
        options = ["--weights", weights, "--name", "text"]
        want = undisturbed(place, weights, source, model, options).records()
        check(want != plain, f"{weights} changed nothing")
        few = undisturbed(place, weights + "-small", small, model, options).records()
        for more in (["--read-bytes", "7"], ["--threads", "1"], ["--block", "33"],
                     ["--checkpoint-seconds", "0.05", "--checkpoint-every", "100"],
                     *(["--isa", level] for level in levels(place))):
            slow = more[0] == "--isa"
            job = Job(place, f"{weights}{count}", small if slow else source, model, [*options, *more])
            job.run()
            same(job, few if slow else want, f"{weights} {' '.join(more)}")
            count += 1
    return f"{count} runs"


def sub_place(place, name):
    """The same place with a folder of its own inside."""
    other = object.__new__(type(place))
    other.__dict__.update(place.__dict__)
    other.folder = place.path(name)
    os.makedirs(other.folder)
    return other


def normalised_text_scores_as_its_composed_form(place):
    """What the normaliser makes of the text is what Python's makes of it."""
    data = generated_text(place.seed + 1, SIZE, invalid=False)
    nfc = normalized(data)
    check(nfc != data, "the text has nothing to compose")
    one = undisturbed(place, "one", place.text("one.txt", data), options=["--normalize", "nfc", "--name", "t"])
    two = undisturbed(place, "two", place.text("two.txt", nfc), options=["--name", "t"])
    figures = [[line.split(b'"tokens"')[1].split(b'"bits_per_byte"')[0]
                for line in job.records()["t.jsonl"].splitlines() if b'"tokens"' in line] for job in (one, two)]
    check(len(figures[0]) > 1, "no units")
    check(figures[0] == figures[1], "tokens and nats differ")


def four_processes_write_what_one_writes(place):
    source = place.text("text.txt", generated_text(place.seed, 8 * SIZE))
    options = ["--unit", "line", "--normalize", "nfc"]
    want = undisturbed(place, "one", source, options=options).records()
    for read_bytes in READS[1:]:
        job = Job(place, f"four{read_bytes}", source, options=options)
        Pipe(job, ingest=["--read-bytes", str(read_bytes)]).run()
        same(job, want, f"four processes, reads of {read_bytes}")


def a_stream_does_not_see_its_neighbours(place):
    """Six texts at once, of very different sizes, against each alone."""
    folder = place.path("texts")
    os.makedirs(folder)
    want = {}
    for i, size in enumerate((SIZE, 1, 300, 5000, SIZE, 3 * SIZE)):
        source = write(os.path.join(folder, f"{i}.txt"), generated_text(place.seed + i, size)[:size])
        want.update(undisturbed(place, f"alone{i}", source).records())
    write(os.path.join(folder, "empty.txt"), b"")
    want.update(undisturbed(place, "alone-empty", os.path.join(folder, "empty.txt")).records())
    for threads in ("1", "2"):
        job = Job(place, f"together{threads}", folder, options=["--threads", threads])
        job.run()
        same(job, want, f"six at once, {threads} threads")
    job = Job(place, "four", folder)
    Pipe(job).run()
    same(job, want, "six at once, four processes")


def more_streams_than_are_read_at_a_time(place):
    folder = place.path("texts")
    os.makedirs(folder)
    want = {}
    for i in range(40):
        source = write(os.path.join(folder, f"{i}.txt"), generated_text(place.seed + i, 50 + 37 * i))
        if i % 8 == 0:
            want.update(undisturbed(place, f"alone{i}", source).records())
    job = Job(place, "together", folder)
    job.run()
    job.validate()
    got = job.records()
    check(len(got) == 40, f"{len(got)} files instead of 40")
    for name, data in want.items():
        check(got[name] == data, f"{name} differs beside 39 others")


def world_vocabulary(place):
    """A small vocabulary in World's format, made of the text's own words: all bytes, then pieces."""
    data = generated_text(place.seed, SIZE)
    pieces = [bytes([byte]) for byte in range(256)]
    for word in sorted(set(data.split()))[:400]:
        pieces += [word[:length] for length in (2, 3, 5, len(word)) if length <= len(word) <= 40]
        pieces.append(b" " + word[:40])
    pieces += [b"\r\n", b"\n\n", b"\r\n\r\n", b"  "]
    pieces = list(dict.fromkeys(pieces))
    with open(place.path("vocab.txt"), "w", encoding="utf-8") as out:
        for index, piece in enumerate(pieces, 1):
            try:
                text = repr(piece.decode())
            except UnicodeDecodeError:
                text = repr(piece)
            out.write(f"{index} {text} {len(piece)}\n")
    model = make_model(place, "world.safetensors", "--vocab", str(len(pieces) + 1), "--seed", "3")
    source = place.text("text.txt", data)
    options = ["--vocab", place.path("vocab.txt")]
    count = variants(sub_place(place, "paragraph"), source, model, options)
    count += variants(sub_place(place, "line"), source, model,
                      [*options, "--unit", "line", "--normalize", "nfc"])
    want = undisturbed(place, "one", source, model, options).records()
    job = Job(place, "four", source, model, options)
    Pipe(job, ingest=["--read-bytes", "7"]).run()
    same(job, want, "World, four processes")
    return f"{len(pieces)} tokens, {count} runs"


def worlds_own_vocabulary(place):
    vocab = place.of_shared("tokenizers/rwkv_vocab_v20230424.txt")
    model = make_model(place, "world.safetensors", "--vocab", "65536", "--seed", "4")
    source = place.text("text.txt", generated_text(place.seed, SIZE // 3))
    return f"{variants(place, source, model, ['--vocab', vocab], reads=(1, 4096))} runs"


def a_book_by_a_trained_model(place):
    """Frankenstein: one process, four, beside five other books, by reads of 4096."""
    book = place.book("frankenstein.en.txt")
    model = place.of_shared("models/tiny-rwkv-7v0-834K-FP32.bin")
    want = undisturbed(place, "alone", book, model, ["--threads", "1"], os.path.getsize(book)).records()
    job = Job(place, "four", book, model)
    Pipe(job, ingest=["--read-bytes", "4096"]).run()
    same(job, want, "four processes")
    if not place.nightly:
        return
    others = [place.of_shared(f"data/books/{name}") for name in
              ("sherlock-holmes-adventures.en.txt", "treasure-island.en.txt", "kokoro.ja.aozora.txt",
               "promessi-sposi.it.txt", "origin-of-species.en.txt")]
    job = Job(place, "together", [book, *others], model)
    job.run()
    job.validate()
    name = next(iter(want))
    check(job.records()[name] == want[name], "beside five other books the records differ")


CASES = (units_and_normalisation_do_not_depend_on_how_bytes_arrive,
         normalised_text_scores_as_its_composed_form, four_processes_write_what_one_writes,
         a_stream_does_not_see_its_neighbours, narrow_weights_read_alike,
         more_streams_than_are_read_at_a_time, world_vocabulary,
         worlds_own_vocabulary, a_book_by_a_trained_model)

if __name__ == "__main__":
    sys.exit(main(CASES))
