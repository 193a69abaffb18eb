#!/usr/bin/python3
"""riverrun generate: the tokens that the options name, as whole characters, and an end that is clean."""
import ast
import os
import signal
import socket
import struct
import subprocess
import sys

import e2e
import e2e_world
from e2e_world import DONE, FULL, MISMATCH, SOURCE, STOPPED, USAGE, check_line, get, put

VOCAB = 256


def generate(world, *options, model=None, status=DONE, stdin=subprocess.DEVNULL):
    """The bytes that come out."""
    done = subprocess.run([world.place.riverrun, "generate", "--model", model or world.model, *options], stdin=stdin,
                          capture_output=True, timeout=e2e.HANG_S, check=False)
    assert done.returncode == status, done.stderr
    world.said_last = done.stderr.decode()
    return done.stdout


def most_likely(world, model, tokens, vocab):
    out = world.path("logits.f32")
    result = world.call(["model", "logits", model, "--tokens", ",".join(map(str, tokens)), "-o", out])
    assert result.status == DONE, result.stderr
    values = struct.unpack(f"<{vocab}f", get(out))
    return values.index(max(values))


def test_at_temperature_0_it_is_what_the_logits_say(world):
    prompt, tokens = b"The river", []
    for _ in range(24):
        tokens.append(most_likely(world, world.model, [0, *prompt, *tokens], VOCAB))
    got = generate(world, "--prompt", prompt.decode(), "--tokens", "24", "--temperature", "0", "--past-end")
    assert got == bytes(tokens), (got, tokens)


def test_the_same_seed_gives_the_same_text_and_another_gives_another(world):
    first = generate(world, "--seed", "1", "--past-end", "--tokens", "500")
    assert first == generate(world, "--seed", "1", "--past-end", "--tokens", "500", "--isa", "ref", "--threads", "1")
    assert first != generate(world, "--seed", "2", "--past-end", "--tokens", "500")
    assert len(first) == 500, "a token of this model is a byte"
    assert first.startswith(generate(world, "--seed", "1", "--past-end", "--tokens", "100"))


def test_options_of_chance_reach_the_sampler(world):
    plain = generate(world, "--past-end")
    for option in (["--temperature", "3"], ["--top-p", "1"], ["--top-k", "2"], ["--presence", "1"],
                   ["--frequency", "1"]):
        assert generate(world, "--past-end", *option) != plain, option
    penalised = generate(world, "--past-end", "--frequency", "1")
    assert generate(world, "--past-end", "--frequency", "1", "--decay", "0.5") != penalised


def test_the_fewest_tokens_of_no_probability_are_the_most_likely(world):
    likely = generate(world, "--past-end", "--temperature", "0")
    assert generate(world, "--past-end", "--top-p", "0", "--temperature", "2", "--top-k", "9") == likely


def test_a_prompt_is_the_same_from_everywhere(world):
    text = "".join(e2e.WORDS) * 30
    put(world.path("prompt"), text.encode())
    want = generate(world, "--prompt", text)
    assert generate(world, "--prompt-file", world.path("prompt")) == want
    with open(world.path("prompt"), "rb") as file:
        assert generate(world, "--prompt-file", "-", stdin=file) == want
    assert generate(world, "--prompt", text + "x") != want


def test_the_end_of_a_text_ends_it(world):
    longer = generate(world, "--past-end", "--tokens", "3000", "--temperature", "2", "--top-p", "1")
    assert b"\0" in longer, "nothing was tested"
    ended = generate(world, "--tokens", "3000", "--temperature", "2", "--top-p", "1")
    assert ended == longer[:longer.index(b"\0")]


def test_it_ends_in_front_of_the_stop_text(world):
    whole = generate(world, "--past-end", "--tokens", "400", "--temperature", "0.2", "--top-k", "3")
    at = 0
    for length in (1, 2, 3, 7):
        at += 31
        stop = whole[at:at + length]
        with_stop = [world.place.riverrun.encode(), b"generate", b"--model", world.model.encode(), b"--past-end",
                     b"--tokens", b"400", b"--temperature", b"0.2", b"--top-k", b"3", b"--stop", stop]
        done = subprocess.run(with_stop, capture_output=True, check=False, timeout=e2e.HANG_S)
        assert done.returncode == DONE and done.stdout == whole[:whole.index(stop)], (stop, done.stdout)
    absent = "no such text"
    assert generate(world, "--past-end", "--tokens", "400", "--temperature", "0.2", "--top-k", "3", "--stop",
                    absent) == whole


def test_every_write_ends_with_a_whole_character(world):
    """Standard output is a socket that keeps what was written together."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arguments = ["generate", "--model", world.model, "--past-end", "--tokens", "2000", "--temperature", "2", "--top-p",
                 "1", "-q"]
    process = world.place.start([world.place.riverrun, *arguments], stdout=theirs)
    theirs.close()
    got, ends, inner = b"", set(), set()
    while part := ours.recv(4096):
        got += part
        ends.add(len(got))
    assert world.place.end_of(process) == DONE and len(got) == 2000
    at = 0
    for character in got.decode("utf-8", "surrogateescape"):
        length = len(character.encode("utf-8", "surrogateescape"))
        inner |= set(range(at + 1, at + length))
        at += length
    assert not inner & ends, sorted(inner & ends)
    assert len(ends) > 500 and len(inner) > 50, (len(ends), len(inner))


def test_a_reader_that_goes_away_ends_it(world):
    process = world.place.start([world.place.riverrun, "generate", "--model", world.model, "--past-end", "--tokens",
                                 "0"], stdout=subprocess.PIPE)
    assert len(process.stdout.read(100)) == 100
    process.stdout.close()
    assert world.place.end_of(process) == -signal.SIGPIPE


def test_ctrl_c_ends_it_cleanly(world):
    process = world.place.start([world.place.riverrun, "generate", "--model", world.model, "--past-end", "--tokens",
                                 "0"], stdout=subprocess.PIPE)
    begin = process.stdout.read(100)
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert world.place.end_of(process) == STOPPED
    said = world.place.said(process)
    assert "interrupted" in said and said.count("\n") == 1, said
    text = begin + rest
    assert text == generate(world, "--past-end", "--tokens", str(len(text)))


def test_one_line_of_statistics_unless_quiet(world):
    generate(world, "--prompt", "abc", "--tokens", "10", "--past-end")
    assert world.said_last.startswith("riverrun: read 4 tokens in ") and "wrote 10 in " in world.said_last
    assert world.said_last.count("\n") == 1 and "tokens/s" in world.said_last
    generate(world, "--tokens", "10", "-q")
    assert world.said_last == ""


def test_a_vocabulary_gives_its_texts(world):
    vocab = world.place.of_shared("tokenizers/rwkv_vocab_v20230424.txt")
    texts = {}
    for line in get(vocab).decode().splitlines():
        number, text = line[:line.index(" ")], ast.literal_eval(line[line.index(" "):line.rindex(" ")].strip())
        texts[int(number)] = text.encode() if isinstance(text, str) else text
    model = e2e.make_model(world.place, "world.safetensors", "--vocab", "65536", "--channels", "32")
    tokens = [0, next(number for number, text in texts.items() if text == b"river")]
    for _ in range(6):
        tokens.append(most_likely(world, model, tokens, 65536))
    got = generate(world, "--vocab", vocab, "--prompt", "river", "--tokens", "6", "--temperature", "0", "--past-end",
                   model=model)
    assert got == b"".join(texts.get(token, b"") for token in tokens[2:]), (got, tokens)


def test_what_cannot_be_is_refused_with_one_line(world):
    tiles = os.path.join(os.path.dirname(world.model), "nano_tiles.safetensors")
    vocabulary = world.path("vocab.txt")
    put(vocabulary, "".join(f"{i + 1} {chr(i) if i < 128 else bytes([i])!r} 1\n" for i in range(256)).encode())

    def refused(status, words, *arguments):
        check_line(world.call(["generate", *arguments]), status, words)
    refused(USAGE, ["extra"], "--model", world.model, "extra")
    refused(USAGE, ["--prompt-file"], "--model", world.model, "--prompt", "a", "--prompt-file", "b")
    refused(USAGE, ["--stop"], "--model", world.model, "--stop", "")
    refused(USAGE, ["--top-p"], "--model", world.model, "--top-p", "1.5")
    refused(USAGE, ["--temperature"], "--model", world.model, "--temperature", "hot")
    refused(SOURCE, ["none.bin"], "--model", world.path("none.bin"))
    refused(SOURCE, ["none.txt"], "--model", world.model, "--prompt-file", world.path("none.txt"))
    refused(SOURCE, ["none.voc"], "--model", world.model, "--vocab", world.path("none.voc"))
    refused(MISMATCH, ["2500 tokens", "--vocab"], "--model", tiles)
    refused(MISMATCH, [vocabulary, "up to 256", "has 256 tokens"], "--model", world.model, "--vocab", vocabulary)


def test_a_model_with_nan_in_it_is_refused(world):
    data = bytearray(get(world.model))
    data[-4:] = struct.pack("<f", float("nan"))
    put(world.path("nan.safetensors"), bytes(data))
    result = world.call(["generate", "--model", world.path("nan.safetensors")])
    assert result.status != DONE and len(result.lines) == 1 and result.stdout == "", result.stderr


def test_a_full_disk_is_told(world):
    with open("/dev/full", "wb") as full:
        process = world.place.start([world.place.riverrun, "generate", "--model", world.model, "--past-end"],
                                    stdout=full)
    assert world.place.end_of(process) == FULL
    assert "standard output" in world.place.said(process)


if __name__ == "__main__":
    sys.exit(e2e_world.main(globals()))
