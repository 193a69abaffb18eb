#!/usr/bin/python3
"""`riverrun show`: a stream's text as it was read, coloured or plain; its summary; its key passages."""
import json
import os
import subprocess
import sys

import e2e
from e2e import Follow, Job, check, generated_text, read, wait_for, write

USAGE, ABSENT, NO_SOURCE, CHANGED, NO_OUTPUT = 2, 7, 10, 11, 14
TEXT = ("The copper mine above the town was opened in 1820. Nobody knew then how much copper there was.\n\n"
        "In 1850 the copper mine had a railway. The railway took copper to the harbour, and food to the mine.\n\n"
        "A storm in 1871 broke the harbour. The mine was closed, and the railway with it.\n\n") * 4


def show(place, job, *words, status=0, environment=None, said=b"", stream="book"):
    """What it prints; said: in the one line on stderr, which there is of a failure too."""
    done = subprocess.run([os.path.join(place.build, "riverrun"), "show", stream, "-o", job.output, *words],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=e2e.HANG_S,
                          env={**os.environ, "COLORTERM": "", "TERM": "xterm", "NO_COLOR": "", **(environment or {})})
    check(done.returncode == status, f"show {words}: status {done.returncode}: {done.stderr}")
    check(done.stderr.count(b"\n") == (status != 0 or said != b"") and said in done.stderr, f"show {words}: {done.stderr}")
    return done.stdout


def text_is_shown_as_it_was_read(place):
    source = place.text("book.txt", TEXT.encode() + generated_text(place.seed, 60000) + b"\x1b[31m\xff no text\n")
    job = Job(place, "out", source, place.of_shared("models/tiny-rwkv-7v0-834K-FP32.bin"), ["--name", "book"])
    job.run()
    records = [json.loads(line) for line in read(os.path.join(job.output, "book.jsonl")).splitlines()]
    check(show(place, job) == read(source), "plain text is not the source")
    check(any((record.get("surprise") or 0) > 1 for record in records), "nothing surprises")
    coloured = show(place, job, "--color", "always")
    check(b"\x1b[38;5;" in coloured and b"\x1b[31m" not in coloured, "256 colours, and no colour of the text's own")
    check(b"\x1b[38;2;255;" in show(place, job, "--color", "always", environment={"COLORTERM": "truecolor"}), "truecolor")
    lines = [json.loads(line) for line in show(place, job, "--json").splitlines()]
    check(lines == [record for record in records if record["kind"] == "paragraph"], "JSON is the records")
    (summary,) = [record for record in records if record["kind"] == "summary"]
    said = show(place, job, "--summary", "--sentences", "2").decode()
    best = sorted(summary["sentences"][:2], key=lambda sentence: sentence["begin"])
    check(said.split("\n")[:2] == [sentence["text"] for sentence in best], said)
    check("about: " + summary["phrases"][0]["text"] in said, said)
    key = show(place, job, "--key").decode(errors="replace")
    passage = summary["passages"][0]
    text = read(source)[passage["begin"]:passage["end"]].decode(errors="replace").strip()
    check(f"bytes {passage['begin']} to {passage['end']}\n" in key and text in key, key)
    return f"{len(records)} records, {len(summary['sentences'])} sentences"


def what_is_not_there_is_said(place):
    source = place.text("book.txt", TEXT.encode())
    job = Job(place, "out", source, options=["--name", "book", "--analyze", "surprise"])
    job.run()
    show(place, job, "--summary", status=ABSENT)
    show(place, job, "--key", status=ABSENT, said=b"of a document that is not read by line")
    show(place, job, "--summary", "--key", status=USAGE)
    show(place, job, stream="other", status=ABSENT, said=b"`riverrun status` names the streams\n")
    nowhere = Job(place, "nowhere", source)
    show(place, nowhere, status=ABSENT, said=f"there is no folder '{nowhere.output}'".encode())
    show(place, job, "--source", os.path.join(job.output, "none"), status=NO_SOURCE)
    other = place.text("other.txt", TEXT.replace("copper", "silver").encode())
    said = show(place, job, "--source", other, said=b"other.txt' is not what was read")
    check(b"silver" not in said and b"The copper mine" in said, "another source was shown")
    output = os.path.join(job.output, "book.jsonl")
    data = read(output)
    write(output, data[:-20])
    show(place, job)  # a last line that a kill cut off
    write(output, data[:100] + b'"' + data[100:])
    show(place, job, status=NO_OUTPUT, said=b"line 1: is no record")
    write(output, b"\0" * 1000 + b"\n")
    show(place, job, "--json", status=NO_OUTPUT, said=b"line 1: is no record")
    return "refused in one line each"


def a_key_passage_that_changed_is_refused(place):
    source = place.text("book.txt", TEXT.encode() + generated_text(place.seed, 60000) + "Of it \ufffd\n".encode())
    job = Job(place, "out", source, place.of_shared("models/tiny-rwkv-7v0-834K-FP32.bin"), ["--name", "book"])
    job.run()
    before = show(place, job, "--key")
    (summary,) = [json.loads(line) for line in read(os.path.join(job.output, "book.jsonl")).splitlines()
                  if b'"kind":"summary"' in line]
    text = read(source)
    write(source, text[:200] + b"x" + text[200:])
    said = show(place, job, "--key", status=CHANGED, said=b"book.txt' is not what was read, up to byte ")
    check(said == b"", "other bytes were shown as a key passage")
    check(show(place, job, "--key", "--source", place.text("same.txt", text)) == before, "the same bytes elsewhere")
    return f"{len(summary['passages'])} passages"


def what_is_no_plain_text_is_shown_as_cut(place):
    words = " ".join(f"word{i}" for i in range(60))
    text = f"Short.\n\n{words}\n\n{words}\n\n".encode()
    job = Job(place, "html", place.text("a.html", f"<p>Short.</p><p>{words}</p><p>{words}</p>".encode()),
              options=["--name", "book"])
    job.run()
    no_text = b"the source is no file of plain text: units are shown by the first 160 bytes"
    cut = f"Short.\n\n{words[:160]}\u2026\n\n{words[:160]}\u2026\n\n".encode()
    check(show(place, job, said=no_text) == cut, "a cut unit looks whole")
    other = place.text("other.txt", text.upper())
    check(show(place, job, "--source", other, said=b"other.txt' is not what was read") == cut, "another text is shown")
    job = Job(place, "stdin", "-", options=["--name", "book"])
    with open(place.text("same.txt", text), "rb") as stdin:
        job.run(stdin=stdin)
    check(show(place, job, said=no_text) == cut, "standard input is cut and looks whole")
    check(show(place, job, "--source", place.path("same.txt")) == text, "what was standard input, given as a file")
    return "cut and said to be"


def a_stream_of_a_key_is_not_the_file(place):
    log = place.text("k.log", b"host1 a\nhost2 b\n\nnokey\nhost1 a\n")
    job = Follow(place, "out", log, options=["--key", r"^(\S+) ", "--name", "book"])
    process = job.start()
    wait_for("5 records", lambda: sum(one["durable_records"] for one in job.statuses()) == 5 or process.poll() is not None)
    process.terminate()
    place.end_of(process)
    check(show(place, job) == b"\nnokey\n", "bytes of another stream are shown")
    check(show(place, job, stream="book+host1") == b"host1 a\nhost1 a\n", "lines of a key")
    return "its own lines"


if __name__ == "__main__":
    sys.exit(e2e.main([text_is_shown_as_it_was_read, what_is_not_there_is_said, a_key_passage_that_changed_is_refused,
                       what_is_no_plain_text_is_shown_as_cut, a_stream_of_a_key_is_not_the_file]))
