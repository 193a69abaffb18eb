#!/usr/bin/python3
"""NeoX through the whole program, with a random model of its 50,277 tokens: killed and resumed, read in any
sizes, by one process or four, to the same bytes; and a vocabulary that is not the model's is refused in one
line that names the file."""
import random
import subprocess
import sys

from e2e import Job, Pipe, check, generated_text, main, make_model, read, same, undisturbed

MISMATCH = 13
SHORT = ["--checkpoint-seconds", "0.1", "--checkpoint-every", "300"]
NEOX, WORLD = "tokenizers/20B_tokenizer.json", "tokenizers/rwkv_vocab_v20230424.txt"


def fixture(place, *options):
    """A model, its text with a segment that is cut for length alone, options."""
    vocab = ["--vocab", place.of_shared(NEOX)]
    model = make_model(place, "neox.safetensors", "--version", "4", "--vocab", "50277")
    half = generated_text(place.seed, 120000 if place.nightly else 5000)
    long = ("\U0001f600" if place.nightly else "-").encode() * 66000
    return model, place.text("text.txt", half + b"a line\n" + long + b"\n\n" + half[:-2000:-1]), [*vocab, *options]


def killed_at_any_token(place, options=()):
    model, source, options = fixture(place, *options)
    want = undisturbed(place, "undisturbed", source, model, options)
    tokens, job = want.status()["tokens"], Job(place, "killed", source, model, [*options, *SHORT])
    rng = random.Random(place.seed)
    for target in sorted(rng.randrange(tokens) for _ in range(60 if place.nightly else 3)):
        process = job.start()
        job.wait_tokens(process, target)
        job.kill(process)
    job.run()
    job.validate()
    same(job, want.records(), f"{job.kills} kills")
    return f"{job.kills} kills, {tokens} tokens"


def killed_and_resumed_to_the_same_bytes(place):
    return killed_at_any_token(place)


def killed_and_resumed_by_lines_and_normalised(place):
    return killed_at_any_token(place, ["--unit", "line", "--normalize", "nfc"])


def reads_of_any_size_and_processes_give_the_same_bytes(place):
    for unit in ("paragraph", "line") if place.nightly else ("line",):
        model, source, options = fixture(place, "--unit", unit, "--name", "text")
        want = undisturbed(place, f"alone-{unit}", source, model, options).records()
        for bytes_read in (7, 60000):
            job = Job(place, f"{unit}-{bytes_read}", source, model, [*options, "--read-bytes", str(bytes_read)])
            job.run()
            same(job, want, f"--unit {unit}, reads of {bytes_read}")
    options.remove("--name")
    options.remove("text")
    job = Job(place, "four", source, model, options)
    Pipe(job).run()
    alone = undisturbed(place, "one", source, model, options)
    same(job, alone.records(), "four processes")


def a_vocabulary_that_is_not_the_models_is_refused(place):
    source, count = place.text("a.txt", b"some text\n"), 0
    neox, world = place.of_shared(NEOX), place.of_shared(WORLD)
    for vocab, options, words in (("50277", [], "20B_tokenizer.json"), ("50277", [world], "20B_tokenizer.json"),
                                  ("50304", [], "20B_tokenizer.json"), ("65536", [], "rwkv_vocab_v20230424.txt"),
                                  ("65536", [neox], "rwkv_vocab_v20230424.txt"), ("256", [neox], "--vocab"),
                                  ("300", [neox], "50277")):
        model = make_model(place, f"{vocab}.safetensors", "--vocab", vocab)
        job = Job(place, f"refused{count}", source, model, ["--vocab", *options] if options else [])
        count += 1
        process = job.start()
        status, said = place.end_of(process), place.said(process)
        check(status == MISMATCH and words in said and said.count("\n") == 1, f"{vocab} {options}: {status}, {said}")


def a_stream_goes_on_with_its_own_tokenizer_alone(place):
    model, source, options = fixture(place)
    want = undisturbed(place, "undisturbed", source, model, options)
    job = Job(place, "begun", source, model, [*options, *SHORT])
    process = job.start()
    job.wait_tokens(process, 600)
    job.kill(process)
    job.run("--special-tokens", want=MISMATCH)
    job.run()
    same(job, want.records(), "refused and gone on with")


def a_model_files_own_vocabulary_is_used(place):
    """A GGUF file of the reference's: its vocabulary is the bytes, id = value + 1. The same in a file of its own
    is the same to a stream."""
    model, make = place.path("own.gguf"), place.of_shared("reference/make_random_model.py")
    done = subprocess.run(["/usr/bin/python3", "-B", make, "--version", "7", "--format", "gguf", "--dtype", "f32", "--layers",
                           "2", "--embd", "32", "--head-size", "16", "--vocab", "300", "-o", model],
                          capture_output=True, check=False)
    check(done.returncode == 0, done.stderr.decode())
    lines = "".join(f"{i + 1} b'\\x{i:02x}' 1\n" for i in range(256))
    vocab = place.text("bytes.txt", lines.encode())
    source = place.text("text.txt", generated_text(place.seed, 30000))
    want = undisturbed(place, "undisturbed", source, model)
    check(want.status()["tokens"] == len(read(source)), "not a token a byte")
    job = Job(place, "begun", source, model, SHORT)
    process = job.start()
    job.wait_tokens(process, 5000)
    job.kill(process)
    job.run("--vocab", vocab)
    same(job, want.records(), "the same vocabulary from a file")
    ids = subprocess.run([place.riverrun, "tokenize", "--model", model, source], capture_output=True, check=True).stdout
    check([int(i) for i in ids.split()] == [byte + 1 for byte in read(source)], "ids by --model")
    other = place.text("other.txt", "".join(f"{i + 1} b'\\x{255 - i:02x}' 1\n" for i in range(256)).encode())
    text = place.text("short.txt", b"A river runs.\n")
    for verb in (["read", text, "-q", "-o", place.path("other")], ["eval", text], ["generate", "--tokens", "1"]):
        asked = [place.riverrun, *verb, "--model", model]
        done = subprocess.run([*asked, "--vocab", other], capture_output=True, check=False, stdin=subprocess.DEVNULL)
        said = done.stderr.decode()
        check(done.returncode == MISMATCH and said.count("\n") == 1 and not done.stdout, f"{verb[0]}: {done}")
        check(f"'{other}' is not the vocabulary that model '{model}' carries" in said, said)
        subprocess.run([*asked, "--vocab", vocab], capture_output=True, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main([killed_and_resumed_to_the_same_bytes, killed_and_resumed_by_lines_and_normalised,
                   reads_of_any_size_and_processes_give_the_same_bytes, a_vocabulary_that_is_not_the_models_is_refused,
                   a_stream_goes_on_with_its_own_tokenizer_alone, a_model_files_own_vocabulary_is_used]))
