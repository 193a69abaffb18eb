#!/usr/bin/python3
"""Trainings that are stopped and killed go on to the bytes of one that was not; vocabularies are learned."""
import json
import os
import random
import signal
import struct
import subprocess
import sys
import xml.etree.ElementTree

import e2e
from e2e import HANG_S, STOPPED, check, read, wait_for
from e2e_faults import EVERYWHERE, KILL, MOMENTS, Page

USAGE, INPUT, CHANGED, MODEL, MISMATCH, SINK, BUSY = 2, 6, 11, 12, 13, 14, 18
SVG = "{http://www.w3.org/2000/svg}"
SMALL = ["--layers", "2", "--channels", "32", "--head-size", "16", "--rank-w", "16", "--rank-a", "16",
         "--rank-v", "16", "--rank-g", "16", "--streams", "4", "--window", "32", "--warm-up", "4", "--rate", "4e-3"]


ADAPT = ["--streams", "4", "--window", "32", "--span-kib", "1"]


class Training:
    """model: adapt this one instead of training from scratch."""

    def __init__(self, place, name, text, steps, *options, model=None):
        self.place, self.output = place, place.path(name + ".safetensors")
        self.saved, self.curve = self.output + ".training", place.path(name + ".svg")
        what = ["adapt", model, text, *ADAPT] if model else ["train", text, *SMALL]
        self.command = [place.riverrun, *what, "-o", self.output, "-q", "--steps", str(steps), "--save-every", "0",
                        *options]

    def start(self, page=None):
        shim = {"LD_PRELOAD": shim_of(self.place), "FAULT_PAGE": page.path, "FAULT_FOLDER": self.place.folder} if page \
            else {}
        return self.place.start(self.command, more=shim)

    def run(self, want=0):
        process = self.start()
        status = self.place.end_of(process)
        check(status == want, f"exit status {status} instead of {want}: {self.place.said(process)}")

    def files(self):
        return read(self.output), read(self.saved)

    def points(self):
        """Steps, losses and held-out figures as engine/train/saved.c keeps them."""
        data = read(self.saved)
        settings = struct.unpack_from("<I", data, 8)[0]
        at = 12 + settings + 9 * 8 + 4 * 28  # 4 streams
        count = struct.unpack_from("<Q", data, at)[0]
        return [struct.unpack_from("<Qdd", data, at + 8 + 24 * i) for i in range(count)]

    def wait_saved(self, process, times):
        """It has saved itself so many times more, or has ended."""
        for _ in range(times):
            before = stamp(self.saved)
            wait_for("a save", lambda: process.poll() is not None or stamp(self.saved) != before)


def stamp(path):
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def text_of(place):
    documents = [e2e.generated_text(seed, 3000, invalid=False) for seed in range(8)]
    return place.text("text", b"\0".join(documents))


def shim_of(place):
    """Sanitizers have memory of their own, so no shim."""
    path = os.path.join(place.build, "tests/libfault_shim.so")
    return path if os.path.exists(path) else None


def kill_somewhere(place, rng, cut, steps, kills):
    """Begin or go on, and kill -9: between two instants of a step, or in a call of a save. What it was killed at, or
    None where it came to its end."""
    in_a_call = shim_of(place) and rng.random() < 0.5
    page = Page(place.path("page"), {}) if in_a_call else None
    if page:
        page.arm(KILL, rng.randint(0, 6 * 2 * steps // kills), where=EVERYWHERE, detail=rng.choice(MOMENTS))
    process = cut.start(page)
    if page:
        place.end_of(process)
        page.close()
        return "call" if process.returncode == -signal.SIGKILL else None
    cut.wait_saved(process, rng.randint(0, 2 * steps // kills))
    for _ in range(rng.randint(0, 20000)):  # somewhere in what comes next
        pass
    lives = process.poll() is None
    place.kill(process)
    return "instant" if lives else None


def killed(place, name, *options, model=None):
    """The same bytes as without."""
    kills, steps = (20, 200) if place.nightly else (6, 60)
    rng, text = random.Random(place.seed), text_of(place)
    whole = Training(place, name + "-whole", text, steps, *options, model=model)
    cut = Training(place, name + "-cut", text, steps, "--threads", "1", *options, model=model)
    whole.run()
    done = []
    while len(done) < kills:
        at = kill_somewhere(place, rng, cut, steps, kills)
        if not at:
            break
        done.append(at)
    cut.run()
    check(len(done) >= kills // 2, f"only {len(done)} kills before the end")
    check(cut.files() == whole.files(), f"other bytes after {len(done)} kills")
    check(read(cut.curve).replace(b"-cut", b"-whole") == read(whole.curve), "another picture")
    left = [path for path in os.listdir(place.folder) if path.endswith((".lock", ".part"))]
    # A kill between the naming of a whole file and its renaming leaves it (schemas/outfile.h); it is in nobody's way.
    check(len(left) <= len(done) and not any(path.endswith(".lock") for path in left), f"left behind: {left}")
    return f"{len(done)} kills, {done.count('call')} of them in calls of a save"


def killed_trainings_end_with_the_same_bytes(place):
    return killed(place, "train")


def killed_adaptations_end_with_the_same_bytes(place):
    model = Training(place, "model", text_of(place), 5)
    model.run()
    return killed(place, "adapt", model=model.output) + "; a state: " + killed(place, "state", "--state",
                                                                               model=model.output)


def stopped_trainings_go_on(place):
    text = text_of(place)
    whole, cut = Training(place, "whole", text, 30), Training(place, "cut", text, 30)
    whole.run()
    for number in (signal.SIGTERM, signal.SIGINT):
        process = cut.start()
        cut.wait_saved(process, 3)
        process.send_signal(number)
        status = place.end_of(process)
        check(status == STOPPED, f"exit status {status}: {place.said(process)}")
    cut.run()
    check(cut.files() == whole.files(), "other bytes after two stops")


def a_stop_does_not_wait_for_a_measurement(place):
    """Before the first step and in between; what was not measured is measured by the run that goes on."""
    text, model = text_of(place), Training(place, "model", text_of(place), 2)
    model.run()
    held_out = place.text("held", e2e.generated_text(30, 100000, invalid=False))
    options = ["--held-out", held_out, "--held-out-kib", "0", "--evaluate-every", "3"]
    whole, cut = (Training(place, name, text, 4, *options, model=model.output) for name in ("whole", "cut"))
    whole.run()
    for saves in (0, 2):
        process = cut.start()
        wait_for("a training", lambda: process.poll() is not None or os.path.exists(cut.output + ".lock"))
        cut.wait_saved(process, saves)
        process.send_signal(signal.SIGTERM)
        status = place.end_of(process)
        check(status == STOPPED, f"exit status {status}: {place.said(process)}")
        points = cut.points()
        check(len(points) == (1 + points[-1][0] if saves else 0) and not (points and points[-1][2]), f"measured: {points}")
    cut.run()
    check(cut.files() == whole.files(), "other bytes after two stops")
    check([point[0] for point in cut.points() if point[2]] == [0, 3, 4], cut.points())


def a_text_that_is_cut_short_ends_it_in_words(place):
    """A log that is emptied while it is read; the training goes on when the text is back."""
    text = text_of(place)
    kept, whole, cut = read(text), Training(place, "whole", text, 60), Training(place, "cut", text, 60)
    whole.run()
    process = cut.start()
    cut.wait_saved(process, 1)
    process.send_signal(signal.SIGSTOP)
    os.truncate(text, 0)
    process.send_signal(signal.SIGCONT)
    status, said = place.end_of(process), place.said(process)
    check(status == CHANGED and said.count("\n") == 1 and "cut short" in said, f"exit status {status}: {said}")
    with open(text, "wb") as file:
        file.write(kept)
    cut.run()
    check(cut.files() == whole.files(), "other bytes")


def a_training_ends_where_it_is_told_and_goes_on(place):
    text = text_of(place)
    whole, cut = Training(place, "whole", text, 30), Training(place, "cut", text, 30)
    whole.run()
    for until in ("11", "20"):
        Training(place, "cut", text, 30, "--until", until).run()
        check(cut.points()[-1][0] <= int(until) and cut.files() != whole.files(), f"not at step {until}")
    cut.run()
    check(cut.files() == whole.files(), "other bytes after two ends")


def a_finished_training_stays_as_it_is(place):
    training = Training(place, "once", text_of(place), 5)
    training.run()
    before = training.files()
    training.run()
    check(training.files() == before, "the same command changed a training that was done")


def other_beginnings_are_refused(place):
    """Texts and a model that have other bytes, under whatever name; in words that can be done something about."""
    text, held_out, copy = text_of(place), place.text("held", b"A river runs past.\n"), place.text("more", b"Eve.\n")
    model, other = Training(place, "model", text, 2), Training(place, "other", text, 3)
    model.run()
    other.run()
    training = Training(place, "text", text, 5, "--held-out", held_out, "--until", "2", model=model.output)
    training.run()
    before = training.files()

    def refused(words, *options, model=model.output):
        process = Training(place, "text", text, 5, *options, model=model).start()
        status, said = place.end_of(process), place.said(process)
        check(status == MISMATCH and said.count("\n") == 1 and words in said, f"{words}: {said}")
        check(training.files() == before, "a refused command changed a training")

    refused("another held-out text", "--held-out", copy)
    refused("another held-out text")
    refused("begun with 'held-out-kib 64', not 'held-out-kib 32'", "--held-out", held_out, "--held-out-kib", "32")
    refused("another model", "--held-out", held_out, model=other.output)
    refused("begun with 'rate 0.001', not 'rate 0.0015'", "--held-out", held_out, "--rate", "1.5e-3")
    kept = read(model.output)
    os.replace(other.output, model.output)
    refused("another model", "--held-out", held_out)
    with open(model.output, "wb") as file:
        file.write(kept)
    os.replace(held_out, copy)
    Training(place, "text", text, 5, "--held-out", copy, "--until", "3",
             model=os.path.join(place.folder, ".", os.path.basename(model.output))).run()
    before = training.files()
    with open(text, "ab") as file:
        file.write(b"more")
    refused("another text", "--held-out", copy)
    with open(training.saved, "r+b") as file:
        file.seek(7)
        file.write(b"1")
    before = training.files()
    refused("another version of riverrun", "--held-out", copy)
    training = Training(place, "none", text, 5, "--until", "2")
    training.run()
    process = Training(place, "none", text, 5, "--held-out", copy).start()
    check(place.end_of(process) == MISMATCH and "begun with no held-out text" in place.said(process), place.said(process))


def a_learned_vocabulary_trains_and_reads(place):
    """The vocabulary holds every byte, is the same twice, and a model trained with it reads a text."""
    text, vocabulary, twice = text_of(place), place.path("vocab.txt"), place.path("twice.txt")
    for path in (vocabulary, twice):
        said = subprocess.run([place.riverrun, "vocab", "learn", text, "-o", path, "--size", "384"], check=True,
                              stdout=subprocess.PIPE, timeout=HANG_S).stdout.decode()
    check(read(vocabulary) == read(twice), "another vocabulary the second time")
    tokens = [eval(line.split(b" ", 1)[1].rsplit(b" ", 1)[0])  # pylint: disable=eval-used
              for line in read(vocabulary).splitlines()]
    check(len(tokens) == 383 and len(set(tokens)) == 383, f"{len(set(tokens))} tokens of 383")
    check({bytes([i]) for i in range(256)} <= set(tokens), "a byte is missing")
    documents, count = read(text).split(b"\0"), 0
    for document in documents:  # as the World tokenizer: always the longest
        at = 0
        while at < len(document):
            at += max(n for n in range(1, 33) if document[at:at + n] in tokens)
            count += 1
    check(f"384 ids, {sum(map(len, documents)) / count:.3f} bytes a token" in said, f"{count} tokens: {said}")
    check(not any(b"\n" in token[:-1] for token in tokens), "a token spans lines")
    training = Training(place, "learned", text, 5, "--vocab", vocabulary)
    training.run()
    job = e2e.Job(place, "read", place.text("some", b"A river runs.\n"), training.output)  # the vocabulary is in it
    job.run()
    check(len(job.records()) == 1, "nothing was read")
    subprocess.run([place.riverrun, "vocab", "learn", text, "-o", twice, "--size", "352"], check=True,
                   stdout=subprocess.DEVNULL, timeout=HANG_S)
    process = place.start([place.riverrun, "adapt", training.output, text, "-o", place.path("no"), "--vocab", twice, *ADAPT])
    check(place.end_of(process) == MISMATCH and twice in place.said(process), place.said(process))


def a_vocabulary_of_nothing_is_refused(place):
    """Texts that all have weight 0, as those that are empty."""
    text, empty, vocabulary = text_of(place), place.text("empty", b""), place.path("vocab.txt")
    for texts in ([text + ":0"], [text + ":0", empty], [empty]):
        process = place.start([place.riverrun, "vocab", "learn", *texts, "-o", vocabulary])
        check(place.end_of(process) == INPUT and "there is no text" in place.said(process), place.said(process))
        check(not os.path.exists(vocabulary), f"{texts}: a vocabulary")


def settings_that_say_nothing_are_refused(place):
    """A shape beside a model's own, two lengths, none at all."""
    text, output = text_of(place), place.path("out.safetensors")
    model = Training(place, "model", text, 1)
    model.run()
    for command, words in ((["train", "--model", model.output, "--layers", "5"], "--model"),
                           (["train", "--model", model.output, "--rank-g", "32"], "--model"),
                           (["train", "--steps", "5", "--passes", "2"], "--passes"), (["train", "--passes", "0"], "--passes"),
                           (["adapt", model.output, "--passes", "0"], "--passes"),
                           (["adapt", model.output, "--rate", "0"], "above 0"),
                           (["adapt", model.output, "--keep", "1"], "less than 1")):
        process = place.start([place.riverrun, *command, text, "-o", output, "-q"])
        status, said = place.end_of(process), place.said(process)
        check(status == USAGE and said.count("\n") == 1 and words in said, f"{command}: {said}")
        check(not os.path.exists(output), f"{command}: a model")


def a_vocabulary_that_is_missing_is_asked_for(place):
    """A model that is no model of bytes and has no vocabulary in its file; with one it is trained."""
    text, model, output = text_of(place), place.path("bare.safetensors"), place.path("out.safetensors")
    subprocess.run([os.path.join(place.build, "tests/make_nano"), "-o", model, "--version", "7", "--channels", "32", "--head",
                    "16", "--vocab", "512", "--layers", "1", "--rank", "16", "--ffn", "64"], check=True, timeout=HANG_S)
    for command in (["adapt", model, text], ["adapt", "--state", model, text], ["train", "--model", model, text]):
        process = place.start([place.riverrun, *command, "-o", output, "-q", "--steps", "1", *ADAPT])
        status, said = place.end_of(process), place.said(process)
        check(status == MISMATCH and said.count("\n") == 1 and model in said and "--vocab" in said, said)
    check(not os.path.exists(output), "a model")
    vocabulary = place.path("vocab.txt")
    subprocess.run([place.riverrun, "vocab", "learn", text, "-o", vocabulary, "--size", "384"], check=True,
                   stdout=subprocess.DEVNULL, timeout=HANG_S)
    subprocess.run([place.riverrun, "adapt", model, text, "-o", output, "-q", "--steps", "1", *ADAPT, "--vocab",
                    vocabulary], check=True, timeout=HANG_S)


def a_model_that_is_not_finite_is_not_trained(place):
    """A weight that is NaN or infinite: the tensor is named."""
    text, output = text_of(place), place.path("out.safetensors")
    model = Training(place, "model", text, 1)
    model.run()
    data = bytearray(read(model.output))
    begin = 8 + struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:begin])
    for name, word in (("head.weight", b"\x80\x7f"), ("blocks.1.att.w0", b"\x00\x00\xc0\x7f")):
        at, bad = begin + header[name]["data_offsets"][1] - len(word), place.path("bad.safetensors")
        with open(bad, "wb") as file:
            file.write(data[:at] + word + data[at + len(word):])
        for command in (["adapt", bad, text], ["adapt", "--state", bad, text], ["train", "--model", bad, text]):
            process = place.start([place.riverrun, *command, "-o", output, "-q", "--steps", "1", *ADAPT])
            status, said = place.end_of(process), place.said(process)
            check(status == MODEL and said.count("\n") == 1 and f"tensor '{name}'" in said and "finite" in said, said)
            check(not os.path.exists(output), "a model")


def an_adaptation_lowers_what_a_text_costs(place):
    """Defaults but for the size of a step: so many that the text is read ten times. What was gained is said."""
    model = Training(place, "model", text_of(place), 60)
    model.run()
    text = place.text("own", b"level=info msg=ok user=7\n" * 400 + e2e.generated_text(20, 3000, invalid=False))
    rest = place.text("rest", b"level=info msg=ok user=8\n" * 40)
    output, before = place.path("own.safetensors"), read(model.output)
    done = subprocess.run([place.riverrun, "adapt", model.output, text, "-o", output, *ADAPT, "--held-out", rest],
                          check=True, stdout=subprocess.PIPE, timeout=HANG_S).stdout.decode()
    last = done.splitlines()[-1].split()
    check(last[:2] == ["held-out", "text:"] and last[-1] == "less", done)
    check(float(last[5]) < 0.8 * float(last[2]), done)
    check("--weights auto is int8" in done and b'"riverrun.weights":"int8"' in read(output), done)
    steps, size = int(done.split(" of ", 2)[2].split(",")[0]), len(read(text))
    check(0 <= 128 * steps - 10 * size <= 10 * (2 + size // 512) + 128, f"{steps} steps for {size} bytes")
    check(read(model.output) == before, "the model that was adapted has changed")
    process = place.start([place.riverrun, "adapt", model.output, text, "-o", model.output, "-q"])
    check(place.end_of(process) == USAGE and "give the output another name" in place.said(process), place.said(process))
    return " ".join(last)


def weights_of(path):
    """The numbers of a model's tensors by name, and by what share of a number each may be rounded."""
    data = read(path)
    start = 8 + struct.unpack_from("<Q", data)[0]
    out = {}
    for name, tensor in json.loads(data[8:start]).items():
        if name != "__metadata__":
            raw = data[start + tensor["data_offsets"][0]:start + tensor["data_offsets"][1]]
            is_half = tensor["dtype"] == "BF16"
            if is_half:
                raw = b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2))
            out[name] = struct.unpack(f"<{len(raw) // 4}f", raw), 2**-8 if is_half else 2**-23
    return out


def what_is_made_lies_near_the_model(place):
    """So near as --keep says, weight by weight, and so is what is measured; what was trained is the same."""
    text, model = text_of(place), Training(place, "model", text_of(place), 20)
    model.run()
    options = ["--held-out", text, "--rate", "1e-2"]
    far, near = (Training(place, name, text, 10, *options, "--keep", keep, model=model.output)
                 for name, keep in (("far", "0"), ("near", "0.75")))
    far.run()
    near.run()
    was, trained, made = (weights_of(one.output) for one in (model, far, near))
    moved = 0
    for name, (numbers, share) in made.items():
        for before, after, number in zip(was[name][0], trained[name][0], numbers):
            room = 2 * share * (abs(before) + abs(after)) + 1e-30
            check(abs(number - (after + 0.75 * (before - after))) <= room, f"{name}: {before} {after} {number}")
            moved += abs(before - after) > 4 * room
    check(moved > 1000, f"{moved} weights were trained")
    measured = [one.points()[-1] for one in (far, near)]
    check(measured[0][1] == measured[1][1] and measured[0][2] != measured[1][2], measured)
    said = subprocess.run([place.riverrun, "eval", text, "--model", near.output, "--weights", "f32", "--json"],
                          check=True, stdout=subprocess.PIPE, timeout=HANG_S)
    (file,) = json.loads(said.stdout)["files"]
    check(abs(file["bits_per_byte"] - measured[1][2]) < 2e-3 * measured[1][2], f"{file} {measured}")
    return f"{moved} weights; {measured[0][2]:.3f} bits/byte as trained, {measured[1][2]:.3f} near"


def a_state_is_trained_and_read(place):
    """Defaults: a file of some KB, with which `read` finds the text less surprising than without."""
    model = Training(place, "model", text_of(place), 100, "--save-every", "600")
    model.run()
    text, state = place.text("own", b"level=info msg=ok user=7\n" * 400), place.path("state.safetensors")
    done = subprocess.run([place.riverrun, "adapt", "--state", model.output, text, "-o", state, "--held-out", text],
                          check=True, stdout=subprocess.PIPE, timeout=HANG_S).stdout.decode()
    check(done.startswith("1024 of ") and done.endswith(" less\n"), done)
    check(4096 < os.path.getsize(state) < 8192, f"{os.path.getsize(state)} bytes")
    sums = []
    for name, options in (("zeros", ()), ("state", ("--initial-state", state))):
        job = e2e.Job(place, name, place.text("begin", b"level=info msg=ok user=7\n"), model.output, options=options)
        job.run()
        (lines,) = job.records().values()
        sums.append(sum(json.loads(line).get("nats") or 0 for line in lines.splitlines()))
    check(sums[1] < sums[0], f"{sums[1]} nats with the state, {sums[0]} without")
    return f"{sums[0]:.1f} nats without, {sums[1]:.1f} with the state"


def an_input_is_no_output(place):
    """By whatever name: text, model, vocabulary and held-out text stay as they are, and nothing is done."""
    text, vocabulary = text_of(place), place.path("vocab.txt")
    subprocess.run([place.riverrun, "vocab", "learn", text, "-o", vocabulary, "--size", "384"], check=True,
                   stdout=subprocess.DEVNULL, timeout=HANG_S)
    model = Training(place, "model", text, 2)
    model.run()
    link = place.path("link.svg")
    for path in (link, place.path("its.lock"), place.path("its.training")):
        os.link(text, path)
    there = sorted(os.listdir(place.folder))
    before = {path: read(path) for path in (text, vocabulary, model.output)}
    train = ["train", text, *SMALL, "-q", "--steps", "2", "-o"]
    for command in (["vocab", "learn", text, "-o", link], [*train, text], [*train, link],
                    [*train, place.path("link.safetensors")],  # whose curve is link.svg
                    [*train, place.path("its")],
                    [*train, place.path("new"), "--curve", text], [*train, vocabulary, "--vocab", vocabulary],
                    ["train", text, "-o", place.path("new"), "--model", model.output, "--curve", model.output],
                    [*train, vocabulary, "--held-out", vocabulary], ["adapt", model.output, text, "-o", text]):
        process = place.start([place.riverrun, *command])
        check(place.end_of(process) == USAGE and place.said(process).count("\n") == 1 and
              "is an input too" in place.said(process), f"{command}: {place.said(process)}")
        check({path: read(path) for path in before} == before and sorted(os.listdir(place.folder)) == there,
              f"{command}: {sorted(os.listdir(place.folder))}")


def a_lock_that_is_none_stays(place):
    """What bears the name of a lock and is no empty regular file is somebody's: named, and left as it is."""
    text, other, lock = text_of(place), place.text("other", b"other"), place.path("Cargo.lock")
    for make in (lambda: place.text("Cargo.lock", b"[[package]]\n"), lambda: os.symlink(other, lock),
                 lambda: os.symlink("nowhere", lock), lambda: os.mkfifo(lock)):
        make()
        before, there = os.lstat(lock), sorted(os.listdir(place.folder))
        process = place.start([place.riverrun, "train", text, *SMALL, "-q", "--steps", "2", "-o", place.path("Cargo")])
        status, said = place.end_of(process), place.said(process)
        check(status == SINK and said.count("\n") == 1 and lock in said and "move it away" in said, said)
        now = os.lstat(lock)
        check((now.st_ino, now.st_size) == (before.st_ino, before.st_size) and read(other) == b"other" and
              sorted(os.listdir(place.folder)) == there, f"{os.listdir(place.folder)}")
        os.unlink(lock)


def a_place_that_cannot_be_written_is_known_first(place):
    """A folder, a folder that is not there, one below a file: one line, and nothing was trained or learned."""
    text, folder = text_of(place), place.path("folder")
    os.mkdir(folder)
    before = sorted(os.listdir(place.folder))
    for output in (folder, folder + "/no/model", text + "/model"):
        for command in (["train", text, *SMALL, "-q", "--steps", "2"], ["vocab", "learn", text]):
            process = place.start([place.riverrun, *command, "-o", output])
            said = (place.end_of(process), place.said(process))
            check(said[0] == SINK and said[1].count("\n") == 1 and f"'{output}" in said[1], f"{command}: {said}")
            check(sorted(os.listdir(place.folder)) == before and not os.listdir(folder), f"{os.listdir(place.folder)}")


def one_training_at_a_time(place):
    """The second is refused, in a line that names the file and what to do; what the first makes is what it makes."""
    text = text_of(place)
    whole, first = Training(place, "alone", text, 60), Training(place, "both", text, 60)
    whole.run()
    process = first.start()
    first.wait_saved(process, 1)
    process.send_signal(signal.SIGSTOP)
    second = first.start()
    status, said = place.end_of(second), place.said(second)
    check(status == BUSY, f"exit status {status}: {said}")
    check(said.count("\n") == 1 and first.output in said and "another -o" in said, said)
    process.send_signal(signal.SIGCONT)
    check(place.end_of(process) == 0, place.said(process))
    check(first.files() == whole.files(), "other bytes")


def a_picture_is_not_the_model(place):
    """Nor what lies beside it; another spelling is found at the latest when the model stands there."""
    text, output = text_of(place), place.path("new")
    before = sorted(os.listdir(place.folder))
    for curve in (output, output + ".training", output + ".lock"):
        process = place.start([place.riverrun, "train", text, *SMALL, "-q", "--steps", "2", "-o", output, "--curve", curve])
        check(place.end_of(process) == USAGE and "--curve" in place.said(process), place.said(process))
        check(sorted(os.listdir(place.folder)) == before, f"{os.listdir(place.folder)}")
    process = place.start([place.riverrun, "train", text, *SMALL, "-q", "--steps", "2", "-o", output, "--curve",
                           os.path.join(place.folder, ".", "new")])
    check(place.end_of(process) == SINK and "is no picture" in place.said(process), place.said(process))
    check(read(output)[8:10] == b'{"', "no model")


def coordinates(root, kind):
    """Of the polyline of a class: pairs of numbers, and the words above it."""
    (line,) = [one for one in root.iter(SVG + "polyline") if one.get("class") == kind]
    return [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]


def lies_on_a_line(pairs, most):
    """Is the second of each pair a linear function of the first, but for rounding?"""
    (x0, y0), (x1, y1) = min(pairs), max(pairs)
    slope = (y1 - y0) / (x1 - x0)
    for x, y in pairs:
        check(abs(y0 + slope * (x - x0) - y) <= most, f"{x}: {y} instead of {y0 + slope * (x - x0)}")


def the_curve_shows_every_point(place):
    text, held_out = text_of(place), place.text("held <out> & more", b"A river runs past.\n" * 30)
    training = Training(place, "a < b & c", text, 40, "--held-out", held_out, "--evaluate-every", "4")
    training.run()
    root = xml.etree.ElementTree.parse(training.curve).getroot()
    check(root.tag == SVG + "svg", root.tag)
    points = training.points()
    check(len(points) == 40 and [point[0] for point in points] == list(range(1, 41)), points)
    for kind, place_in, count in (("first", 1, 40), ("second", 2, 10)):
        drawn = coordinates(root, kind)
        known = [point for point in points if point[place_in] > 0]
        check(len(drawn) == len(known) == count, f"{kind}: {len(drawn)} points drawn, {len(known)} saved")
        lies_on_a_line([(point[0], x) for point, (x, _) in zip(known, drawn)], 0.011)
        lies_on_a_line([(point[place_in], y) for point, (_, y) in zip(known, drawn)], 0.011)
        check(drawn[0][1] < drawn[-1][1], "the loss goes up")
    words = "".join(root.itertext())
    for word in ("a < b & c.safetensors", f"nats a token: {points[-1][1]:.4f}", f"bits per byte: {points[-1][2]:.4f}",
                 "steps", "prefers-color-scheme: dark"):
        check(word in words, f"no {word!r} in the picture: {words}")
    check(b"<script" not in read(training.curve), "the picture is not self-contained")
    check(b"<circle" not in read(training.curve), "a dot on a line")
    single = Training(place, "single", text, 1)
    single.run()
    root = xml.etree.ElementTree.parse(single.curve).getroot()
    (dot,), (point,) = list(root.iter(SVG + "circle")), coordinates(root, "first")
    check((float(dot.get("cx")), float(dot.get("cy"))) == point, f"{dot.attrib}: {point}")
    elsewhere = place.path("no/curve.svg")
    process = place.start([*Training(place, "other", text, 5).command, "--curve", elsewhere])
    check(place.end_of(process) == 14 and elsewhere in place.said(process), place.said(process))


if __name__ == "__main__":
    sys.exit(e2e.main([killed_trainings_end_with_the_same_bytes, killed_adaptations_end_with_the_same_bytes,
                       stopped_trainings_go_on, a_stop_does_not_wait_for_a_measurement,
                       a_text_that_is_cut_short_ends_it_in_words, a_training_ends_where_it_is_told_and_goes_on,
                       an_adaptation_lowers_what_a_text_costs, what_is_made_lies_near_the_model,
                       a_state_is_trained_and_read, one_training_at_a_time, the_curve_shows_every_point,
                       a_picture_is_not_the_model, a_finished_training_stays_as_it_is, other_beginnings_are_refused,
                       a_learned_vocabulary_trains_and_reads, a_vocabulary_of_nothing_is_refused,
                       settings_that_say_nothing_are_refused, a_vocabulary_that_is_missing_is_asked_for,
                       a_model_that_is_not_finite_is_not_trained, an_input_is_no_output, a_lock_that_is_none_stays,
                       a_place_that_cannot_be_written_is_known_first]))
