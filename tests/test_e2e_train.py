#!/usr/bin/python3
"""Trainings that are stopped and killed go on to the bytes of one that was not; vocabularies are learned."""
import os
import random
import signal
import subprocess
import sys

import e2e
from e2e import HANG_S, STOPPED, check, read, wait_for

MISMATCH = 13
SMALL = ["--layers", "2", "--channels", "32", "--head-size", "16", "--rank-w", "16", "--rank-a", "16",
         "--rank-v", "16", "--rank-g", "16", "--streams", "4", "--window", "32", "--warm-up", "4", "--rate", "4e-3"]


class Training:
    def __init__(self, place, name, text, steps, *options):
        self.place, self.output = place, place.path(name + ".safetensors")
        self.saved = self.output + ".training"
        self.command = [place.riverrun, "train", text, "-o", self.output, "-q", *SMALL, "--steps", str(steps),
                        "--save-every", "0", *options]

    def start(self):
        return self.place.start(self.command)

    def run(self, want=0):
        process = self.start()
        status = self.place.end_of(process)
        check(status == want, f"exit status {status} instead of {want}: {self.place.said(process)}")

    def files(self):
        return read(self.output), read(self.saved)

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


def killed_trainings_end_with_the_same_bytes(place):
    """kill -9 at random instants between and during saves."""
    kills, steps = (20, 200) if place.nightly else (6, 60)
    rng, text = random.Random(place.seed), text_of(place)
    whole = Training(place, "whole", text, steps)
    cut = Training(place, "cut", text, steps, "--threads", "1")
    whole.run()
    done = 0
    while done < kills:
        process = cut.start()
        cut.wait_saved(process, rng.randint(1, 2 * steps // kills))
        for _ in range(rng.randint(0, 20000)):  # somewhere in what comes next
            pass
        done += process.poll() is None
        place.kill(process)
        if process.returncode == 0:
            break
    cut.run()
    check(done >= kills // 2, f"only {done} kills before the end")
    check(cut.files() == whole.files(), f"other bytes after {done} kills")
    return f"{done} kills"


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


def a_finished_training_stays_as_it_is(place):
    training = Training(place, "once", text_of(place), 5)
    training.run()
    before = training.files()
    training.run()
    check(training.files() == before, "the same command changed a training that was done")


def another_text_is_refused(place):
    text = text_of(place)
    training = Training(place, "text", text, 5)
    training.run()
    with open(text, "ab") as file:
        file.write(b"more")
    before = training.files()
    training.run(want=MISMATCH)
    check(training.files() == before, "a refused command changed a training")


def a_learned_vocabulary_trains_and_reads(place):
    """The vocabulary holds every byte, is the same twice, and a model trained with it reads a text."""
    text, vocabulary, twice = text_of(place), place.path("vocab.txt"), place.path("twice.txt")
    for path in (vocabulary, twice):
        subprocess.run([place.riverrun, "vocab", "learn", text, "-o", path, "--size", "384"], check=True,
                       stdout=subprocess.DEVNULL, timeout=HANG_S)
    check(read(vocabulary) == read(twice), "another vocabulary the second time")
    tokens = [eval(line.split(b" ", 1)[1].rsplit(b" ", 1)[0])  # pylint: disable=eval-used
              for line in read(vocabulary).splitlines()]
    check(len(tokens) == 383 and len(set(tokens)) == 383, f"{len(set(tokens))} tokens of 383")
    check({bytes([i]) for i in range(256)} <= set(tokens), "a byte is missing")
    check(not any(b"\n" in token[:-1] for token in tokens), "a token spans lines")
    training = Training(place, "learned", text, 5, "--vocab", vocabulary)
    training.run()
    job = e2e.Job(place, "read", place.text("some", b"A river runs.\n"), training.output)  # the vocabulary is in it
    job.run()
    check(len(job.records()) == 1, "nothing was read")


if __name__ == "__main__":
    sys.exit(e2e.main([killed_trainings_end_with_the_same_bytes, stopped_trainings_go_on,
                       a_finished_training_stays_as_it_is, another_text_is_refused,
                       a_learned_vocabulary_trains_and_reads]))
