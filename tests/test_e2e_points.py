#!/usr/bin/python3
"""What the control socket answers, savepoints, branches, exports and imports: made at rest and beside a run, killed at
every step, damaged at every place; and what is read from a point on is what an undisturbed run reads there."""
import subprocess
import sys

from e2e import HANG_S, Job, Pipe, check, generated_text, main, same, undisturbed, wait_for

QUICK = ["--unit", "line", "--checkpoint-seconds", "0.05", "--checkpoint-every", "3000"]


def ask(place, *words, want=0):
    """riverrun WORDS to its end."""
    done = subprocess.run([place.riverrun, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          timeout=HANG_S)
    wanted = (want,) if isinstance(want, int) else want
    check(done.returncode in wanted,
          f"{words}: exit status {done.returncode} instead of {want}: {done.stderr.decode()}")
    return done


def status_answers_while_a_pause_waits_for_emit(place):
    """A pause is answered when it is durable, which takes as long as emit is away; `status` is not kept."""
    source = place.text("text.txt", generated_text(place.seed, 400000))
    want = undisturbed(place, "want", source, options=QUICK).records()
    job = Job(place, "out", source, options=QUICK)
    pipe = Pipe(job).start()
    wait_for("records", lambda: sum(map(len, job.records().values())) > 20000)
    pipe.kill("emit")
    wait_for("encode to miss emit", lambda: job.answer().get("waiting") == "emit is not there")
    pause = place.start([place.riverrun, "pause", "--all", "--store", job.store])
    wait_for("a status beside the pause", lambda: "pausing" in (job.status() or {"text": ""})["text"])
    check(pause.poll() is None, "a pause was answered without emit")
    pipe.start("emit")
    check(place.end_of(pause) == 0, f"pause: {place.said(pause)}")
    check(job.status()["state"] == "paused", f"state {job.status()['state']}")
    job.control("resume")
    pipe.end()
    same(job, want, "paused without emit")


CASES = (status_answers_while_a_pause_waits_for_emit,)

if __name__ == "__main__":
    sys.exit(main(CASES))
