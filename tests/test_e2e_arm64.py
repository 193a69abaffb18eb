#!/usr/bin/python3
"""The same bytes on another kind of processor: what the program of this machine has begun, that for arm64 finishes,
and the other way round. It is cross-compiled here and run by qemu-user; README.md says which packages that needs.

A text that is read from its beginning, at every level of arm64; the whole folder, after a kill; a point that is
exported and imported. Texts are short: an emulated processor is slow."""
import os
import shutil
import signal
import subprocess
import sys

from e2e import OTHER_SETTINGS, Job, Skip, check, generated_text, main, read, same, undisturbed

COMPILER, EMULATOR, SLOW_S = "aarch64-linux-gnu-gcc", "qemu-aarch64", 1800
TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TREE, "build-arm64")
ROOT = os.environ.get("RIVERRUN_ARM64_ROOT", os.path.join(TREE, "build-arm64-root"))
KERNELS = ("test_kernel_golden", "test_kernel_levels", "test_kernel_accuracy")
ARITHMETICS = ("f32", "bf16", "int8")  # as --weights names f32-1, bf16-1, int8-1
# By tokens alone: by time, a slow processor would make its checkpoints of no tokens at all.
QUICK = ["--unit", "line", "--checkpoint-seconds", "3600", "--checkpoint-every", "300", "--name", "text"]


def done(command, **how):
    """Its output; a command that fails fails the test with its last words."""
    end = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         timeout=SLOW_S, check=False, **how)
    check(end.returncode == 0, f"{command}: exit status {end.returncode}: {end.stdout.decode()[-800:]}")
    return end.stdout.decode()


def need_arm64():
    """Skip where something is missing; build the program for arm64 where nothing is."""
    for tool, package in ((COMPILER, "gcc-aarch64-linux-gnu"), (EMULATOR, "qemu-user")):
        if not shutil.which(tool):
            raise Skip(f"{tool} is not there: apt-get install {package}")
    if not os.path.exists(os.path.join(ROOT, "usr/lib/aarch64-linux-gnu/libc.so")):
        raise Skip(f"no arm64 libraries in {ROOT}: tests/arm64_sysroot.sh {ROOT}")
    done(["cmake", "--preset", "arm64", f"-DRIVERRUN_ARM64_ROOT={ROOT}"], cwd=TREE)
    done(["cmake", "--build", BUILD, "--target", "riverrun", "riverrun_steps", *KERNELS], cwd=TREE)


def emulated(program):
    return [EMULATOR, "-L", ROOT, os.path.join(BUILD, program)]


class Arm64(Job):
    """A job that the program for arm64 does."""

    def command(self, *more, program=None):
        return [*emulated("riverrun"), *super().command(*more)[1:]]

    def run(self, *more, want=0, **how):
        process = self.start(*more, **how)
        status = process.wait(SLOW_S)
        check(status == want, f"arm64: exit status {status} instead of {want}: {self.place.said(process)}")
        return status


def as_job(kind, job):
    """The same job, done by the other program."""
    return kind(job.place, os.path.basename(job.output), job.inputs, job.model, job.options)


def ask(job, *words):
    """riverrun WORDS about a job's store, by the program that does the job."""
    program = emulated("riverrun") if isinstance(job, Arm64) else [job.place.riverrun]
    return done([*program, *words, "--store", job.store])


def text(place, size):
    """About so many bytes of short lines: an emulated processor is slow."""
    lines, data = generated_text(place.seed, 10 * size, invalid=False).splitlines(keepends=True), b""
    for line in lines:
        data += line if len(line) < 300 and len(data) < size else b""
    return place.text("text.txt", data)


def options(weights):
    return [*QUICK, "--weights", weights]


def model(place, weights):
    """For int8 that with matrices large enough to be int8; else the smallest."""
    return os.path.join(place.build, "tests/nano_wide.safetensors") if weights == "int8" else place.nano


def kernels_have_the_frozen_bits(place):
    """Hashes made on x86, each level against the key, and the formulas' accuracy, by the unit tests themselves."""
    need_arm64()
    for name in KERNELS:
        said = done(emulated(os.path.join("tests", name)))
        check("no neon here" not in said, f"{name} found no level neon")
    return ", ".join(KERNELS)


def every_level_reads_as_this_machine_does(place):
    need_arm64()
    source, count = text(place, 4000), 0
    for weights in ARITHMETICS:
        want = undisturbed(place, f"want-{weights}", source, model(place, weights), options(weights)).records()
        for level in ("neon", "dotprod"):
            job = Arm64(place, f"{weights}-{level}", source, model(place, weights), [*options(weights), "--isa", level])
            job.run()
            same(job, want, f"{weights} at {level}")
            count += 1
    short = text(place, 300)
    want = undisturbed(place, "want-short", short, options=options("f32")).records()
    job = Arm64(place, "ref", short, options=[*options("f32"), "--isa", "ref"])
    job.run()
    same(job, want, "f32 at ref")
    return f"{count + 1} runs"


def killed_in_the_middle(job):
    """By the third checkpoint; the test build says when."""
    program = [*emulated("riverrun_steps")] if isinstance(job, Arm64) else [job.place.steps]
    process = job.place.start([*program, *Job.command(job)[1:]], crash="encode_committed:3")
    status = process.wait(SLOW_S)
    check(status == -signal.SIGKILL, f"exit status {status} instead of a crash: {job.place.said(process)}")
    one = job.status()
    check(one["state"] == "stopped" and one["tokens"] > 0, f"not in the middle: {one}")
    return one["tokens"]


def hand_over(place, source, path, weights, first, then):
    """What first has begun and was killed at, then finishes, in the folder as it lies."""
    want = undisturbed(place, f"want-{weights}-{first.__name__}", source, path, options(weights))
    job = first(place, f"{weights}-{first.__name__}", source, path, options(weights))
    tokens = killed_in_the_middle(job)
    as_job(then, job).run()
    same(job, want.records(), f"{weights}, begun by {first.__name__}")
    after = job.status()
    check(after["state"] == "finished" and after["tokens"] <= after["computed"] < 2 * after["tokens"],
          f"it was begun again, not continued: {after}")
    check(tokens < after["tokens"], f"nothing was left to do after {tokens} tokens")
    return f"{weights} by {first.__name__} to {tokens} of {after['tokens']} tokens"


def killed_on_one_and_finished_on_the_other(place):
    """kill -9 in the middle of a document; the other program takes the folder over."""
    need_arm64()
    source = text(place, 8000)
    return "; ".join(hand_over(place, source, model(place, weights), weights, first, then)
                     for weights in ARITHMETICS for first, then in ((Job, Arm64), (Arm64, Job)))


def a_trained_model_too(place):
    """The same of a book, by a model that was trained."""
    need_arm64()
    path = place.of_shared("models/tiny-rwkv-7v0-834K-FP32.bin")
    book = place.text("book.txt", read(place.of_shared("data/books/frankenstein.en.txt"))[:6000])
    return "; ".join(hand_over(place, book, path, weights, Job, Arm64) for weights in ARITHMETICS)


def a_savepoint_travels(place):
    """Exported by one, imported by the other, read on: the records from there are an undisturbed run's."""
    need_arm64()
    source, said = text(place, 8000), []
    for weights in ARITHMETICS:
        whole = undisturbed(place, f"want-{weights}", source, model(place, weights), options(weights))
        (want,) = whole.records().values()
        for first, then in ((Job, Arm64), (Arm64, Job)):
            job = first(place, f"{weights}-from-{first.__name__}", source, model(place, weights), options(weights))
            killed_in_the_middle(job)
            file = place.path(f"{weights}-{first.__name__}.rrx")
            ask(job, "export", "text", file)
            other = then(place, f"{weights}-to-{then.__name__}", source, model(place, weights), options(weights))
            ask(other, "import", file)
            other.run()
            (got,) = other.records().values()
            check(0 < len(got) < len(want) and want.endswith(b"\n" + got),
                  f"{weights}, from {first.__name__}: other records")
            said.append(f"{weights} from {first.__name__}: {got.count(10)} of {want.count(10)} records")
    return "; ".join(said)


def another_arithmetic_is_refused_there_too(place):
    """What f32-1 has begun is no int8-1: the other program says so, and does nothing."""
    need_arm64()
    source = text(place, 4000)
    job = Job(place, "bound", source, model(place, "f32"), options("f32"))
    killed_in_the_middle(job)
    before = job.records()
    Arm64(place, "bound", source, model(place, "f32"), options("int8")).run(want=OTHER_SETTINGS)
    check(job.records() == before, "a refused run wrote")


CASES = (kernels_have_the_frozen_bits, every_level_reads_as_this_machine_does,
         killed_on_one_and_finished_on_the_other, a_trained_model_too, a_savepoint_travels,
         another_arithmetic_is_refused_there_too)

if __name__ == "__main__":
    sys.exit(main(CASES))
