#!/usr/bin/python3
"""Files that are no plain text: what a reader makes of them is read as the plain file would be, to the same bytes whatever
happens meanwhile; one that is damaged, hostile or no text costs a line, and the others are read."""
import base64
import bz2
import contextlib
import gzip
import json
import lzma
import os
import posixpath
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import time
import urllib.parse
import zipfile
import zlib
from email.header import Header
from email.mime.image import MIMEImage
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from e2e import (DEAR, OTHER_SETTINGS, SOME_FAILED, SOURCE_CHANGED, Failed, Job, Pipe, check, generated_text, main, memory_bytes,
                 read, same, undisturbed, wait_for, write)

CONTAINER = (b'<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
             b'<rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>')
NOTE, TEXT, WARNING, FAULT, END, PLACE = range(1, 7)


def squeeze(data):
    return gzip.compress(data, mtime=0)


def named(place, name, path, options=(), **how):
    """The records of path, as those of a stream called text."""
    job = Job(place, name, [path], options=["--name", "text", *options])
    job.run(**how)
    return job


def frames(place, path, *more):
    """What the reader's process says of a file: [(kind, bytes)]."""
    with open(path, "rb") as file:
        done = subprocess.run([place.riverrun, "reader", path, *more], stdin=file, capture_output=True, check=False)
    check(done.returncode == 0, f"reader of {path}: exit status {done.returncode}: {done.stderr.decode()}")
    at, said = 0, []
    while at < len(done.stdout):
        kind, size = struct.unpack_from("<BI", done.stdout, at)
        said.append((kind, done.stdout[at + 5:at + 5 + size]))
        at += 5 + size
    check(said[-1][0] in (FAULT, END), f"reader of {path}: no last word")
    return said


def text_of(place, path, *more):
    said = frames(place, path, *more)
    check(said[-1][0] == END, f"reader of {path}: {said[-1][1].decode()}")
    return b"".join(data for kind, data in said if kind == TEXT)


def note_of(place, path):
    return frames(place, path)[0][1].decode()


def epub(path, chapters, package=None, title="A Book", kind="application/xhtml+xml"):
    """chapters: [(name, XHTML)], in the order of the spine, which is not the zip's."""
    items = "".join(f'<item id="i{i}" href="{name}" media-type="{kind}"/>'
                    for i, (name, _) in enumerate(chapters))
    spine = "".join(f'<itemref idref="i{i}"/>' for i in range(len(chapters)))
    package = package or (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></metadata>'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr(zipfile.ZipInfo("mimetype"), "application/epub+zip")
        for name, text in reversed(chapters):
            book.writestr(posixpath.normpath(posixpath.join("/OPS", urllib.parse.unquote(name)))[1:], text)
        book.writestr("OPS/book.opf", package)
        book.writestr("META-INF/container.xml", CONTAINER)
    return path


def pdf(path, pages, trailer=""):
    """pages: of each its lines. In Helvetica, uncompressed, with a table of places that is right."""
    objects = ["<</Type/Catalog/Pages 2 0 R>>",
               f"<</Type/Pages/Count {len(pages)}/Kids[{' '.join(f'{4 + 2 * i} 0 R' for i in range(len(pages)))}]>>",
               "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    for i, lines in enumerate(pages):
        text = "".join(f"BT /F 12 Tf 72 {720 - 16 * k} Td ({line}) Tj ET\n" for k, line in enumerate(lines))
        objects += [f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F 3 0 R>>>>/Contents {5 + 2 * i} 0 R>>",
                    f"<</Length {len(text)}>>stream\n{text}endstream"]
    data, at = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        at.append(len(data))
        data += f"{number} 0 obj\n{one}\nendobj\n".encode()
    table = "".join(f"{one:010} 00000 n \n" for one in at)
    data += (f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<</Size {len(objects) + 1}/Root 1 0 R{trailer}>>\n"
             f"startxref\n{len(data)}\n%%EOF\n").encode()
    write(path, data)
    return path


def squeezed(data, place):
    path = place.text("squeezed", data)
    zstd = subprocess.run(["zstd", "-q", "-c", path], capture_output=True, check=True).stdout
    return {"gz": squeeze(data), "bz2": bz2.compress(data), "xz": lzma.compress(data), "zst": zstd}


# ---- The same records as of the plain file ----

def compressed_reads_as_the_plain_file(place):
    data = generated_text(1, 30000)
    plain = named(place, "plain", place.text("a.txt", data))
    check(plain.status()["reader"] == "", "a plain file has a reader")
    for ending, packed in squeezed(data, place).items():
        job = named(place, ending, place.text("a.txt." + ending, packed))
        same(job, plain.records(), ending)
        check(job.status()["reader"].endswith(", UTF-8"), f"{ending}: {job.status()['reader']}")
        check(job.status()["percent"] == 100 and job.status()["bytes_total"] is None, f"{ending}: {job.status()}")
        job.run()  # finished: nothing changes
        same(job, plain.records(), ending + " again")
    members = named(place, "members", place.text("members.gz", squeeze(data[:9000]) + squeeze(b"") + squeeze(data[9000:]) + bytes(50)))
    same(members, plain.records(), "gzip in three members, with zeros behind")
    wrong = named(place, "wrong-name", place.text("b.bin", squeeze(data)))
    same(wrong, plain.records(), "gzip under another name")
    return f"{len(data)} bytes, 4 formats"


def encodings_read_as_utf8(place):
    made = os.path.dirname(place.of_shared("data/unicode/made/trois-mousquetaires.excerpt.utf8.txt"))
    folder = os.path.dirname(made)
    of = lambda name: read(os.path.join(folder, name))
    want = of("made/trois-mousquetaires.excerpt.utf8.txt")
    for name, note in (("latin1", "WINDOWS-1252"), ("utf16le-bom", "UTF-16LE"), ("utf16be-bom", "UTF-16BE")):
        path = os.path.join(made, f"trois-mousquetaires.excerpt.{name}.txt")
        check(note_of(place, path) == note and text_of(place, path) == want, name)
    koi8 = os.path.join(made, "prestuplenie.excerpt.koi8-r.txt")
    check(note_of(place, koi8) == "KOI8-R", "KOI8-R")
    check(text_of(place, koi8) == read(koi8).decode("koi8-r").encode(), "KOI8-R's text")
    known = {"Arabic_Alarabia-Arabic": "cp1256", "Chinese_Mandarin-GB2312": "gb18030", "German_Deutsch-Latin1": "cp1252",
             "Greek_Ellinika-Greek": "iso8859-7", "Japanese_Nihongo-EUC": "euc-jp",
             "Japanese_Nihongo-SJIS": "cp932", "Russian-Cyrillic": "cp1251", "Hindi-UTF8": "utf-8"}
    for name, encoding in known.items():
        path = os.path.join(folder, "udhr", name + ".txt")
        text = text_of(place, path).decode(errors="replace")
        check(text == read(path).decode(encoding, errors="replace"), f"{name}: {note_of(place, path)}")
    jis = text_of(place, os.path.join(folder, "udhr/Japanese_Nihongo-JIS.txt")).decode()
    check(jis.startswith("『世界人権宣言』"), "ISO-2022-JP")
    hungarian = frames(place, os.path.join(folder, "udhr/Hungarian_Magyar-Unicode.txt"))
    check("1 places" in hungarian[-2][1].decode(), "half a character at the end is told")
    return f"{4 + len(known) + 2} files"


def without_a_mark_and_as_asked(place):
    text = "Der Fluß fließt, am Adam und Eva vorbei. " * 300
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        path = place.text(encoding, text.encode(encoding))
        check(text_of(place, path) == text.encode(), encoding)
    odd = place.text("ebcdic", text.encode("cp037"))
    check(text_of(place, odd, "--encoding", "IBM037") == text.encode(), "--encoding IBM037")
    job = named(place, "asked", odd, ["--encoding", "IBM037"])
    plain = named(place, "plain", place.text("plain.txt", text.encode()))
    same(job, plain.records(), "--encoding IBM037")
    check(job.status()["reader"] == "IBM037", job.status()["reader"])
    for name in ("KLINGON", ""):
        unknown = named(place, "unknown", odd, ["--encoding", name], want=2)
        check(not os.path.exists(unknown.output), "an unknown encoding has output")


def html_is_its_text(place):
    page = place.text("page", b"\xef\xbb\xbf<!-- x --><!DOCTYPE html><html><head><title>The  title</title><style>p {}</style>"
                      b"<script>var a = '<p>no</p>';</script><meta charset=latin1></head><body><h1>Head &amp; "
                      b"shoulders</h1><p>One\n  two <b>th</b>ree<br>four\xc2\xa0five<p>Six<ul><li>a<li>b</ul>"
                      b"<pre>x\n  y\n</pre><table><tr><td>1<td>2<tr><td>3<td>4</table>\xe6\x9d\xb1<ruby>\xe4\xba\xac<rt>k</rt></ruby>"
                      b"</body></html>")
    want = ("The title\n\nHead & shoulders\n\nOne two three\nfour\u00a0five\n\nSix\n\na\n\nb\n\nx\n  y\n\n1\t2\n3\t4\n\n"
            "東京\n").encode()
    check(text_of(place, page) == want, text_of(place, page))
    check(note_of(place, page) == "HTML, UTF-8", note_of(place, page))
    latin = place.text("latin.html", "<meta charset='iso-8859-2'><p>ľúbozvučný kôň".encode("iso-8859-2"))
    check(text_of(place, latin).decode() == "ľúbozvučný kôň\n" or note_of(place, latin), "named HTML")
    packed = place.text("page.gz", squeeze(read(page)))
    check(text_of(place, packed) == want and note_of(place, packed) == "gzip, HTML, UTF-8", "HTML in gzip")
    cut = place.text("cut.html", b"<h2>I.<br><br>A name</h2>one<br><br>two<table><tr><td>&nbsp;<td>5<tr><td>&nbsp;</table>"
                     b"<script>'<![CDATA['</script><p>a[b]]>c")
    check(text_of(place, cut).decode() == "I.\nA name\n\none\n\ntwo\n\n\u00a0\t5\n\na[b]]>c\n", text_of(place, cut))


def a_declaration_counts_where_it_is_one(place):
    """Of an encoding: behind one that is not the text's, not where it is quoted, and not of units that it is not made of."""
    said = "'<?xml version=\"1.0\" encoding=\"%s\"?>'"
    polish, russian = "<p>cięzka zażółć gęślą jaźń</p>\n" * 20, "Статья о кодировках: <meta charset='koi8-r'> в начале.\n" * 20
    page = said[1:-1] % "UTF-8" + "<html><meta charset='iso-8859-2'>" + polish
    check(note_of(place, place.text("a.xhtml", page.encode("iso-8859-2"))) == "HTML, ISO-8859-2", "the <meta> behind a wrong declaration")
    for name in ("utf-16", "UCS-2", "utf-32", "unicode"):
        data = (said[1:-1] % name + "<d>" + "déjà vu à la crème\n" * 20 + "</d>").encode("cp1252")
        check(b"d\xc3\xa9j\xc3\xa0 vu" in text_of(place, place.text("wide.xml", data)), f"8-bit text that says {name}")
    quoted = place.text("quoted.txt", russian.encode("cp1251"))
    check(text_of(place, quoted).decode() == russian, note_of(place, quoted))


def paragraphs(data):
    return [" ".join(part.split()) for part in data.decode().split("\n\n") if part.strip()]


def books_are_their_texts(place):
    book = place.of_shared("data/books/treasure-island.en.epub")
    got = paragraphs(text_of(place, book))
    want = paragraphs(read(place.of_shared("data/books/treasure-island.en.txt")))
    there = set(got)
    missing = [one for one in want if one not in there]
    # Headings stand otherwise there, and the two endnotes end with a way back.
    check(len(missing) <= 43 and sum(len(one) >= 80 for one in missing) <= 2,
          f"EPUB: {len(missing)} of {len(want)} paragraphs are not there: {missing[:3]}")
    at = iter(got)
    check(all(one in at for one in want if one in there and len(one) > 200), "EPUB: paragraphs out of order")
    html = text_of(place, place.of_shared("data/books/promessi-sposi.it.html")).decode()
    plain = read(place.of_shared("data/books/promessi-sposi.it.txt")).decode()
    words = lambda text: re.findall(r"\w+", re.sub(r"\[Pg [^]]*\]|_", "", text))
    one, two = words(html), words(plain)
    common = len(set(zip(two, two[1:], two[2:])) & set(zip(one, one[1:], one[2:])))
    share = common / len(set(zip(two, two[1:], two[2:])))
    check(share > 0.97, f"HTML: {share:.3f} of the text's word triples")
    return f"EPUB {len(want) - len(missing)} of {len(want)} paragraphs, HTML {share:.4f} of the word triples"


def epub_in_the_order_of_its_spine(place):
    book = epub(place.path("book"), [("one.xhtml", "<html><head><title>no</title></head><body><p>First.</p></body></html>"),
                                     ("sub/two%20b.xhtml", "<p>Second.</p>"), ("three.xhtml", "<p>Third.</p>")])
    check(text_of(place, book) == b"A Book\n\nFirst.\n\nSecond.\n\nThird.\n", text_of(place, book))
    check(note_of(place, book) == "EPUB", note_of(place, book))
    book = epub(place.path("hrefs"), [("./a.xml", "<p>1"), ("/b", "<p>2"), ("../c.htm", "<p>3"), ("x/../y//./d.svg", "<p>4"),
                                      ("..%2fe", "<p>5")])
    check([name for _, _, name in places_of(place, book)] == ["", "OPS/a.xml", "b", "c.htm", "OPS/y/d.svg", "e"], places_of(place, book))
    other = epub(place.path("other"), [("a.html", "<p>1"), ("b.svg", "<p>2"), ("c", "<p>3")], kind="image/svg+xml")
    check(text_of(place, other) == b"A Book\n\n1\n", text_of(place, other))


def a_bad_chapter_costs_itself(place):
    """One is missing, one no text, one damaged in the zip."""
    noise = bytes(random.Random(3).choices(range(256), k=9000))
    chapters = [("a.xhtml", "<p>First."), ("b.xhtml", "absent"), ("c.xhtml", noise), ("d.xhtml", "<p>Damaged."), ("e.xhtml", "<p>Last.")]
    path = epub(place.path("bad.epub"), chapters)
    data = bytearray(read(path))
    data = data.replace(b"OPS/b.xhtml", b"OPS/-.xhtml")
    with zipfile.ZipFile(path) as book:
        damaged = book.getinfo("OPS/d.xhtml").header_offset + 30 + len("OPS/d.xhtml")
    data[damaged:damaged + 5] = b"\xff" * 5
    write(path, bytes(data))
    check(text_of(place, path) == b"A Book\n\nFirst.\n\nLast.\n", text_of(place, path))
    said = frames(place, path)[-2]
    check(said == (WARNING, b"3 of 5 chapters are not read, or not to their end, the first 'OPS/b.xhtml': the zip has no 'OPS/b.xhtml'"),
          said)
    locked = epub(place.path("locked.epub"), [("a.xhtml", noise), ("b.xhtml", noise)])
    check(b"in any encoding that can be told" in frames(place, locked)[-1][1], frames(place, locked)[-1])
    with zipfile.ZipFile(locked, "a") as book:
        book.writestr("META-INF/encryption.xml", "<encryption/>")
    cover = epub(place.path("cover.epub"), [("a.xhtml", "<p>Cover."), ("b.xhtml", noise), ("c.xhtml", noise)])
    with zipfile.ZipFile(cover, "a") as book:
        book.writestr("META-INF/encryption.xml", "<encryption/>")
    for path in (locked, cover):
        said = frames(place, path)[-1]
        check(said == (FAULT, b"the EPUB's chapters are encrypted (DRM): a copy that is not can be read"), said)


def packed(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, text in files.items():
            zipped.writestr(name, text)
    return path


def documents_of_offices(place):
    word = ('<?xml version="1.0" encoding="UTF-8"?><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
            '<w:body><w:p><w:r><w:t>One </w:t></w:r><w:r><w:t xml:space="preserve">and  two</w:t><w:tab/><w:t>three</w:t></w:r></w:p>'
            "<w:p><w:pPr><w:tabs><w:tab w:val='left'/></w:tabs></w:pPr>\n<w:r><w:t>a</w:t><w:br/><w:t>b &amp; ü</w:t>"
            "<w:instrText>no</w:instrText></w:r><w:del><w:r><w:delText>no</w:delText><w:t>no</w:t></w:r></w:del></w:p><w:p/>"
            "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>cell</w:t></w:r></w:p></w:tc></w:tr></w:tbl></w:body></w:document>")
    book = packed(place.path("a.docx"), {"[Content_Types].xml": "<Types/>", "word/document.xml": word})
    check(text_of(place, book).decode() == "One and  two\tthree\n\na\nb & ü\n\ncell\n", text_of(place, book))
    check(note_of(place, book) == "DOCX", note_of(place, book))
    text = ('<office:document-content xmlns:office="o" xmlns:text="t"><office:body><office:text>'
            "<text:tracked-changes><text:p>no</text:p></text:tracked-changes><text:h>Head</text:h>\n"
            "<text:p>One\n  <text:span>two</text:span><text:s/><text:s/>three<text:tab/>x<text:line-break/>y"
            "<office:annotation><text:p>no</text:p></office:annotation></text:p></office:text></office:body></office:document-content>")
    book = packed(place.path("a.odt"), {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": text,
                                        "META-INF/manifest.xml": "<m/>"})
    check(text_of(place, book).decode() == "Head\n\nOne two  three\tx\ny\n", text_of(place, book))
    check(note_of(place, book) == "ODT", note_of(place, book))
    book = packed(place.path("two.docx"), {"word/document2.xml": "<d xmlns:w='w'><w:p><w:t>two</w:t></w:p></d>"})
    check(text_of(place, book) == b"two\n", "document2.xml")
    for kind, name in (("XLSX", "xl/workbook.xml"), ("PPTX", "ppt/presentation.xml")):
        said = frames(place, packed(place.path("other"), {"[Content_Types].xml": "<Types/>", name: "<x/>"}))
        check(said == [(FAULT, f"is {kind}, which no reader knows: save it as text, or as DOCX or PDF".encode())], said)
    ruby = ("<w:ruby><w:rt><w:r><w:t>no</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>base</w:t></w:r></w:rubyBase></w:ruby>")
    change = "<w:pPr><w:pPrChange><w:pPr><w:pStyle w:val='H'/></w:pPr></w:pPrChange></w:pPr>"
    styles = "<w:styles xmlns:w='w'><w:style w:styleId='H'><w:name w:val='heading 1'/></w:style></w:styles>"
    book = packed(place.path("ruby.docx"), {"word/styles.xml": styles, "word/document.xml": f"<d xmlns:w='w'><w:p>{change}{ruby}</w:p></d>"})
    check(text_of(place, book) == b"base\n" and not places_of(place, book), text_of(place, book))
    svg = "urn:oasis:names:tc:opendocument:xmlns:svg-compatible:1.0"
    text = (f"<o xmlns:text='t' xmlns:svg='{svg}'><text:p><text:ruby><text:ruby-base>base</text:ruby-base><text:ruby-text>no</text:ruby-text>"
            "</text:ruby> <text:title>Field</text:title><svg:title>no</svg:title></text:p></o>")
    book = packed(place.path("ruby.odt"), {"content.xml": text, "META-INF/manifest.xml": "<m/>"})
    check(text_of(place, book) == b"base Field\n", text_of(place, book))
    long = "".join(f"<w:p><w:r><w:t>paragraph {i}</w:t></w:r></w:p>" for i in range(20000))
    book = packed(place.path("long.docx"), {"word/document.xml": word.replace("<w:p/>", long)})
    check(text_of(place, book).count(b"\n\nparagraph ") == 20000, "a long one")
    cut = packed(place.path("cut.docx"), {"word/document.xml": word[:400]})
    check(frames(place, cut)[-1] == (FAULT, b"the DOCX's XML is damaged"), frames(place, cut)[-1])


# ---- Where a place is in the source ----

def places_of(place, path, *more):
    """[(offset in the text, level or flags, name)] as the reader says them."""
    at, said = 0, []
    for kind, data in frames(place, path, *more):
        if kind == PLACE:
            said.append((at, data[0], data[1:].decode()))
        at += len(data) if kind == TEXT else 0
    return said


def all_records(job):
    return [json.loads(line) for data in job.records().values() for line in data.splitlines()]


def kept_places(job):
    """[(text, place, section, heading)] of the units."""
    return [(one["text"], one.get("place"), one.get("section"), one.get("heading"))
            for one in all_records(job) if one["kind"] in ("paragraph", "line", "section")]


def readers_say_places(place):
    page = place.text("page.html", b"<title>T</title><h1>A <i>b</i></h1>x<h2></h2>y<h3>C<br>d</h3>z<h4><svg>n</svg></h4>w")
    check(text_of(place, page) == b"T\n\nA b\n\nx\n\ny\n\nC\nd\n\nz\n\nw\n", text_of(place, page))
    check(places_of(place, page) == [(0, 7, ""), (3, 1, ""), (14, 3, "")], places_of(place, page))
    book = epub(place.path("book.epub"), [("a.xhtml", "<h2>One</h2><p>First.</p>"), ("empty.xhtml", "<p> </p>"),
                                          ("sub/b.xhtml", "<p>Second.</p><h3>Deep</h3>more")])
    want = [(0, 7, ""), (8, 2, "OPS/a.xhtml"), (21, 0, "OPS/sub/b.xhtml"), (30, 3, "")]
    check(places_of(place, book) == want, places_of(place, book))
    styles = ("<w:styles xmlns:w='w'><w:style w:styleId='Rubrik2'><w:name w:val='heading 2'/></w:style><w:style w:styleId='T'>"
              "<w:name w:val='Title'/></w:style><w:style w:styleId='x'/></w:styles>")
    styled = lambda style, text: f"<w:p><w:pPr><w:pStyle w:val='{style}'/></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"
    word = ("<w:document xmlns:w='w'><w:body>" + styled("T", "Top") + styled("Rubrik2", "Head") + styled("x", "text") +
            styled("Rubrik2", "") + styled("none", "text") + "</w:body></w:document>")
    docx = packed(place.path("a.docx"), {"word/document.xml": word, "word/styles.xml": styles})
    check(places_of(place, docx) == [(0, 7, ""), (5, 2, "")], places_of(place, docx))
    open_document = ("<o xmlns:text='t'><text:p text:style-name='Title'>Top</text:p><text:h text:outline-level='2'>Head</text:h>"
                     "<text:p text:style-name='P1'>text</text:p><text:h>One</text:h></o>")
    odt = packed(place.path("a.odt"), {"content.xml": open_document, "META-INF/manifest.xml": "<m/>"})
    check(places_of(place, odt) == [(0, 7, ""), (5, 2, ""), (17, 1, "")], places_of(place, odt))


def records_name_their_places(place):
    book = epub(place.path("book.epub"), [("a.xhtml", "<h2>One</h2><p>First.</p>"), ("b.xhtml", "<p>Second.</p><h3>Deep</h3>more")])
    want = [("A Book", None, None, 0), ("One", "OPS/a.xhtml", "One", 2), ("First.", "OPS/a.xhtml", "One", None),
            ("Second.", "OPS/b.xhtml", "One", None), ("Deep", "OPS/b.xhtml", "One / Deep", 3),
            ("more", "OPS/b.xhtml", "One / Deep", None)]
    check(kept_places(named(place, "epub", book)) == want, "EPUB")
    got = kept_places(named(place, "sections", book, ["--unit", "section"]))
    check(got == [("A Book", None, None, 0), ("One\n\nFirst.", "OPS/a.xhtml", "One", 2), ("Second.", "OPS/b.xhtml", "One", None),
                  ("Deep\n\nmore", "OPS/b.xhtml", "One / Deep", 3)], got)
    text = b"# Top\n\ntext\n\n## Sub\nmore\n\nChapter 1\n\nlast\n"
    want = [("# Top", None, "Top", 1), ("text", None, "Top", None), ("## Sub\nmore", None, "Top / Sub", 2),
            ("Chapter 1", None, "Top / Sub / Chapter 1", 3), ("last", None, "Top / Sub / Chapter 1", None)]
    check(kept_places(named(place, "md", place.text("a.md", text))) == want, "Markdown")
    check(kept_places(named(place, "md.gz", place.text("a.md.gz", squeeze(text)))) == want, "Markdown in gzip")
    plain = [(one[0], None, *(("Chapter 1", 3) if one[0] == "Chapter 1" else ("Chapter 1", None) if one[0] == "last" else (None, None)))
             for one in want]
    check(kept_places(named(place, "txt", place.text("a.txt", text))) == plain, "plain text")


def pages_of_pdf(place):
    path = pdf(place.path("a.pdf"), [["one", "two"], [], ["three"]])
    check(text_of(place, path) == b"one\ntwo\n\nthree\n\n", text_of(place, path))
    check(places_of(place, path) == [(0, 0, "page 1"), (9, 0, "page 3")], places_of(place, path))
    check(note_of(place, path) == "PDF", note_of(place, path))
    want = [("one\ntwo", "page 1", None, None), ("three", "page 3", None, None)]
    check(kept_places(named(place, "records", path)) == want, kept_places(named(place, "records", path)))
    behind = place.text("behind.pdf", b"\n\xff junk\r\n" + read(path))
    check(text_of(place, behind) == text_of(place, path) and note_of(place, behind) == "PDF", "behind something else")
    book = place.of_shared("data/books/introduction-to-mathematics.en.pdf")
    pages = [name for _, _, name in places_of(place, book)]
    text = text_of(place, book).decode()
    check(b"\f" not in text.encode() and "CHAPTER I" in text, "form feeds")
    check(len(pages) > 200 and pages == sorted(pages, key=lambda one: int(one.split()[1])), f"{len(pages)} pages")
    key = "00" * 32
    locked = pdf(place.path("locked.pdf"), [["one"]],
                 f"/Encrypt<</Filter/Standard/V 1/R 2/O<{key}>/U<{key}>/P -4>>/ID[<00><00>]")
    check(b"locked by a password" in frames(place, locked)[-1][1], frames(place, locked)[-1])
    check(b"without text" in frames(place, pdf(place.path("empty.pdf"), [[], []]))[-1][1], "no text layer")
    damaged = place.text("damaged.pdf", b"%PDF-1.4\n" + os.urandom(3000))
    check(b"is a damaged PDF: pdftotext says" in frames(place, damaged)[-1][1], frames(place, damaged)[-1])
    bare = subprocess.run([place.riverrun, "reader", path], stdin=open(path, "rb"), capture_output=True, check=False,
                          env={"PATH": "/nowhere"})
    check(b"install poppler-utils" in bare.stdout, bare.stdout)
    return f"{len(pages)} pages of a book"


def archives_member_by_member(place):
    members = {"a/one.txt": b"First.", "a/two.md": "# Zwei\n\nmehr".encode(), "b/page.html": b"<title>T</title><p>HTML",
               "b/latin.txt": "Der Fluß fließt, am Adam und Eva vorbei. ".encode("latin-1") * 40,
               "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, ".git/HEAD": b"ref: refs/heads/main\n",
               "empty.txt": b"", "z.txt.gz": squeeze(b"packed"), "last.txt": b"Last.\n"}
    text = ("First.# Zwei\n\nmehrT\n\nHTML\n" + "Der Fluß fließt, am Adam und Eva vorbei. " * 40 + "Last.\n").encode()
    folder = place.path("tree")
    for name, data in members.items():
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        write(os.path.join(folder, name), data)
    with zipfile.ZipFile(place.path("a.zip"), "w") as zipped:
        for name in members:
            zipped.write(os.path.join(folder, name), name)
    for name, options in (("a.tar", []), ("a.tar.gz", ["-z"]), ("a.tar.xz", ["-J"]), ("a.tar.zst", ["--zstd"])):
        subprocess.run(["tar", "-cf", place.path(name), *options, "-C", folder, *members], check=True)
    notes = {}
    for name in ("a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.tar.zst"):
        path = place.path(name)
        check(text_of(place, path) == text, f"{name}: {text_of(place, path)[:200]}")
        said = frames(place, path)
        notes[name] = said[0][1].decode()
        check(said[-3:-1] == [(WARNING, b"2 of 9 files inside are no text and are passed over, the first 'picture.png'"),
                              (WARNING, b"1 of 9 files inside are passed over or not read to their end, the first 'z.txt.gz': "
                                        b"what is packed inside an archive is not unpacked")], said[-3:-1])
        levels = [(level, inside) for _, level, inside in places_of(place, path)]
        check(levels == [(16, "a/one.txt"), (24, "a/two.md"), (16, "b/page.html"), (7, ""), (16, "b/latin.txt"), (16, "empty.txt"),
                         (16, "last.txt")], levels)
    check(list(notes.values()) == ["zip", "tar", "gzip, tar", "xz, tar", "zstd, tar"], notes)
    got = [one[:2] + one[2:] for one in kept_places(named(place, "records", place.path("a.tar.gz")))]
    check(got[:4] == [("First.", "a/one.txt", None, None), ("# Zwei", "a/two.md", "Zwei", 1), ("mehr", "a/two.md", "Zwei", None),
                      ("T", "b/page.html", None, 0)] and got[-1] == ("Last.", "last.txt", None, None), got)
    none = frames(place, packed(place.path("none.zip"), {"a.png": members["picture.png"]}))
    check(none[-1] == (FAULT, b"is an archive, and none of the 1 files in it is text"), none[-1])
    cut = place.text("cut.tar.gz", read(place.path("a.tar.gz"))[:-200])
    check(frames(place, cut)[-1][0] == FAULT, "a cut archive")


def a_damaged_member_costs_itself(place):
    path = place.path("bad.zip")
    with zipfile.ZipFile(path, "w") as zipped:
        for name in ("one", "damaged", "locked", "last"):
            zipped.writestr(name, name + " text\n")
    data = bytearray(read(path).replace(b"damaged text", b"demaged text"))
    data[data.index(b"locked") - 30 + 6] |= 1  # it says that it is encrypted
    data[data.rindex(b"locked") - 46 + 8] |= 1
    write(path, bytes(data))
    check(text_of(place, path) == b"one text\nlast text\n", text_of(place, path))
    check(frames(place, path)[-2][1].startswith(b"2 of 4 files inside are passed over or not read to their end, the first 'damaged': "
                                                b"ZIP bad CRC"), frames(place, path)[-2])


def members_of_any_name(place):
    """Whoever's locale is C reads them too, and one without a name has its number."""
    folder, names = place.path("tree"), ["über.txt", "川.txt", "p.txt"]
    os.mkdir(folder)
    for name in names:
        write(os.path.join(folder, name), name.encode())
    for ending in ("zip", "7z", "tar"):
        path = place.path("a." + ending)
        subprocess.run(["bsdtar", "-a", "-cf", path, "-C", folder, *names], check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
        check(text_of(place, path) == "".join(names).encode(), f"{ending}: {text_of(place, path)}")
        check([name for _, _, name in places_of(place, path)] == names, f"{ending}: {places_of(place, path)}")
    raw = place.text("raw.zip", read(packed(place.path("b.zip"), {"Xber.txt": "one\n", "N": "two\n", "p.txt": "three\n"}))
                     .replace(b"Xber.txt", b"\x81ber.txt").replace(b"N", b"\0"))
    check(kept_places(named(place, "raw", raw)) == [("one", "\ufffdber.txt", None, None), ("two", "file 2", None, None),
                                                   ("three", "p.txt", None, None)], "names of no encoding, and none")
    book = epub(place.path("book.epub"), [("%C3%BCber.xhtml", "<p>First.</p>"), ("川.xhtml", "<p>Second.</p>")])
    check(text_of(place, book) == b"A Book\n\nFirst.\n\nSecond.\n", text_of(place, book))


def rar4(path, members):
    """Stored, as RAR 2 to 4 wrote it; nothing free packs it."""
    block = lambda kind, flags, rest: struct.pack("<H", zlib.crc32(struct.pack("<BHH", kind, flags, 7 + len(rest)) + rest) & 0xFFFF) + \
        struct.pack("<BHH", kind, flags, 7 + len(rest)) + rest
    data = b"Rar!\x1a\x07\x00" + block(0x73, 0, bytes(6))
    for name, text in members.items():
        head = struct.pack("<IIBIIBBHI", len(text), len(text), 3, zlib.crc32(text), 0, 20, 0x30, len(name), 0o100644)
        data += block(0x74, 0x8000, head + name.encode()) + text
    write(path, data + block(0x7B, 0x4000, b""))
    return path


def rar5(path, members):
    """Stored, as RAR 5 and later."""
    def number(value):
        low = bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
        return low + number(value >> 7) if value > 0x7F else low

    def block(rest):
        rest = number(len(rest)) + rest
        return struct.pack("<I", zlib.crc32(rest)) + rest

    data = b"Rar!\x1a\x07\x01\x00" + block(number(1) + number(0) + number(0))
    for name, text in members.items():
        data += block(number(2) + number(2) + number(len(text)) + number(4) + number(len(text)) + number(0o100644) +
                      struct.pack("<I", zlib.crc32(text)) + number(0) + number(1) + number(len(name)) + name.encode()) + text
    write(path, data + block(number(5) + number(0) + number(0)))
    return path


def documents_inside_archives(place):
    """Each gives the text that it gives by itself, and its places behind its name; one level deep."""
    folder = place.path("tree")
    os.mkdir(folder)
    inside = lambda name: os.path.join(folder, name)
    epub(inside("a.epub"), [("one.xhtml", "<h2>One</h2><p>First.</p>"), ("two.xhtml", "<p>Second.</p>")])
    packed(inside("b.docx"), {"word/document.xml": "<w:d xmlns:w='w'><w:p><w:t>Word.</w:t></w:p></w:d>"})
    packed(inside("c.odt"), {"content.xml": "<o xmlns:text='t'><text:h>Head</text:h><text:p>Open.</text:p></o>", "META-INF/manifest.xml": "<m/>"})
    pdf(inside("d.pdf"), [["page one"], [], *([f"line {k} of page {i}" for k in range(40)] for i in range(3, 200))])
    mbox(inside("e.mbox"), [mail("Letter.\n", "S1").as_bytes(), mail("", "S2", "mixed", parts=[attached(mail("x"), "x.txt")]).as_bytes()])
    write(inside("f.eml"), mail("Alone.\n", "S3").as_bytes())
    write(inside("g.html"), b"<title>T</title><p>HTML")
    good = [*"abcdefg"]
    names = [next(name for name in sorted(os.listdir(folder)) if name[0] == one) for one in good]
    want = b"".join(text_of(place, inside(name)) for name in names)
    packed(inside("h.epub"), {"META-INF/container.xml": "<container/>"})
    packed(inside("i.zip"), {"x.txt": "deep"})
    subprocess.run(["tar", "-cf", inside("j.tar"), "-C", folder, "g.html"], check=True)
    write(inside("k.pdf"), b"%PDF-1.4\n" + os.urandom(3000))
    names += ["h.epub", "i.zip", "j.tar", "k.pdf"]
    members = {name: read(inside(name)) for name in names}
    formats = {"a.tar.gz": "gzip, tar", "a.zip": "zip", "a.7z": "7z", "newc.cpio": "cpio", "odc.cpio": "cpio", "4.rar": "RAR", "5.rar": "RAR"}
    rar4(place.path("4.rar"), members)
    rar5(place.path("5.rar"), members)
    subprocess.run(["tar", "-czf", place.path("a.tar.gz"), "-C", folder, *names], check=True)
    for name, kind in (("a.zip", "zip"), ("a.7z", "7zip"), ("newc.cpio", "newc"), ("odc.cpio", "odc")):
        subprocess.run(["bsdtar", "-cf", place.path(name), "--format", kind, "-C", folder, *names], check=True)
    levels = [(16, "a.epub"), (7, ""), (2, "a.epub: OPS/one.xhtml"), (0, "a.epub: OPS/two.xhtml"), (16, "b.docx"), (16, "c.odt"), (1, ""),
              (16, "d.pdf"), (0, "d.pdf: page 1"), *((0, f"d.pdf: page {i}") for i in range(3, 200)), (16, "e.mbox"), (17, "e.mbox: message 1 at byte 0"),
              (17, f"e.mbox: message 2 at byte {members['e.mbox'].rindex(FROM)}"), (16, "f.eml"), (17, "f.eml: message 1 at byte 0"),
              (16, "g.html"), (7, ""), (16, "h.epub"), (16, "i.zip"), (16, "k.pdf")]
    for name, note in formats.items():
        path = place.path(name)
        said = frames(place, path)
        check(said[0] == (NOTE, note.encode()), f"{name}: {said[0]}")
        check(b"".join(data for kind, data in said if kind == TEXT) == want, name)
        told = [(data[0], data[1:].decode()) for kind, data in said if kind == PLACE]
        check(told == levels, f"{name}: {told}")
        check([data for kind, data in said if kind == WARNING] == [
            b"e.mbox: 1 attachments are passed over, the first 'x.txt'",
            b"4 of 11 files inside are passed over or not read to their end, the first 'h.epub': the EPUB names no package document"],
              f"{name}: {said[-4:]}")
    got = kept_places(named(place, "records", place.path("a.7z")))
    check(("First.", "a.epub: OPS/one.xhtml", "One", None) in got and ("Word.", "b.docx", None, None) in got and
          ("page one", "d.pdf: page 1", None, None) in got and ("Letter.", "e.mbox: message 1 at byte 0", "S1", None) in got, got)
    for one, why in (("i.zip", b"an archive inside an archive is not opened"), ("j.tar", b"an archive inside an archive is not opened"),
                     ("k.pdf", b"is a damaged PDF: pdftotext says")):
        none = frames(place, packed(place.path("none.zip"), {one: members[one]}))
        check(none[-1][0] == FAULT and b"none of the 1 files in it can be read" in none[-1][1] and why in none[-1][1], none[-1])
    return ", ".join(formats)


# ---- Mail ----

FROM = b"From a@b.org Mon Jan  1 10:00:00 2024\n"


def mbox(path, messages):
    """As mboxrd has it: lines that begin with From are escaped; an empty line ends each message."""
    write(path, b"".join(FROM + re.sub(rb"(?m)^(>*From )", rb">\1", one) + b"\n" for one in messages))
    return path


def mail(text, subject=None, kind="plain", charset="utf-8", parts=None, **fields):
    """A message as the library of mail that comes with Python writes it. parts: of a multipart of that kind."""
    message = MIMEMultipart(kind, _subparts=parts) if parts else MIMEText(text, kind, charset)
    for name, value in (("Subject", subject and Header(subject, charset).encode()), *fields.items()):
        if value:
            message[name] = value
    return message


def attached(part, name):
    part.add_header("Content-Disposition", "attachment", filename=name)
    return part


def mail_message_by_message(place):
    png = lambda: MIMEImage(b"\x89PNG\r\n\x1a\n" + bytes(300), "png")
    shown = png()
    shown.add_header("Content-Disposition", "inline", filename="shown.png")
    quoted = mail("Grüße\nFrom here on: größer.\n\n>From before\n", "Schöne neue Betreffzeile, die so lang ist, dass sie gefaltet wird",
                  From="=?iso-8859-1?Q?J=FCrgen?= <j@m.de>", Date="Mon, 1 Jan 2024 10:00:00 +0100", charset="iso-8859-1")
    both = mail("", "Both", "mixed", parts=[mail("", kind="alternative", parts=[mail("<p>HTML", kind="html"), mail("plain")]),
                                            attached(png(), ("utf-8", "", "Bild ü.png")), attached(mail("not read"), "a.txt"), mail("The end.")])
    html = mail("", "HTML", "alternative", parts=[mail("\n\n"), mail("", kind="related", parts=[mail("<title>no</title><h1>Top</h1><p>alone ü",
                                                                                                kind="html", charset="iso-8859-2"), png()])])
    blank = mail("", "Blank", "alternative", parts=[mail(" \u00a0\n\u200b \t\n" * 900), mail("<p>The letter.", kind="html")])
    apple = mail("", "Apple", "alternative", parts=[mail("plain"), mail("", kind="mixed", parts=[
        mail("<p>HTML", kind="html"), png(), attached(png(), "sent.png"), attached(mail("not read"), "note.txt"), shown])])
    inside = mail("", "Fwd", "mixed", parts=[mail("See below."), MIMEMessage(mail("Inner text.", "Inner", From="i@j"))])
    latin = b"Subject: raw \xe4\nContent-Type: text/plain; charset=iso-8859-15\n\nEuro \xa4\n"
    japanese = mail("日本語のテキスト\n", "日本", charset="iso-2022-jp").as_bytes()
    liar = "Subject: liar\nContent-Type: text/plain; charset=us-ascii\n\nnaïve — UTF-8\n".encode()
    messages = [quoted.as_bytes(), both.as_bytes(), html.as_bytes(), inside.as_bytes(), latin, japanese, liar, blank.as_bytes(), apple.as_bytes(),
                b"X: no subject\r\n\r\nbare\r\n"]
    want = ["Schöne neue Betreffzeile, die so lang ist, dass sie gefaltet wird\n\nFrom: Jürgen <j@m.de>\nDate: Mon, 1 Jan 2024 10:00:00 +0100\n\n"
            "Grüße\nFrom here on: größer.\n\n>From before\n\n", "Both\n\nplain\n\nAttachment: Bild ü.png\nAttachment: a.txt\n\nThe end.\n\n",
            "HTML\n\nTop\n\nalone ü\n\nAttachment: image/png\n\n", "Fwd\n\nSee below.\n\nInner\n\nFrom: i@j\n\nInner text.\n\n",
            "raw ä\n\nEuro €\n\n", "日本\n\n日本語のテキスト\n\n", "liar\n\nnaïve — UTF-8\n\n", "Blank\n\nThe letter.\n\n",
            "Apple\n\nplain\n\nAttachment: sent.png\nAttachment: note.txt\nAttachment: shown.png\n\n", "bare\n"]
    path = mbox(place.path("a.mbox"), messages)
    check(text_of(place, path).decode() == "".join(want), text_of(place, path).decode())
    source, places = read(path), places_of(place, path)
    outer = [one for one in places if one[2]]
    check(len(outer) == 10 and [one[1] for one in outer] == [17] * 9 + [16], places)
    check([one[0] for one in outer] == [len("".join(want[:i]).encode()) for i in range(10)], "where they begin in the text")
    for i, (_, _, name) in enumerate(outer):
        number, at = re.fullmatch(r"message (\d+) at byte (\d+)", name).groups()
        end = int(at) + len(FROM)
        check(int(number) == i + 1 and source[int(at):end] == FROM and source[end:].startswith(messages[i][:12]), name)
    check([one[1] for one in places if not one[2]] == [2, 2], "headings below the subject")
    check(frames(place, path)[-2] == (WARNING, "6 attachments are passed over, the first 'Bild ü.png'".encode()), frames(place, path)[-2])
    packed_too = place.text("b.gz", squeeze(source))
    check(frames(place, packed_too)[1:] == frames(place, path)[1:] and note_of(place, packed_too) == "gzip, mail", note_of(place, packed_too))
    alone = place.text("alone.eml", messages[0])
    check(text_of(place, alone).decode() == want[0][:-1] and places_of(place, alone) == [(0, 17, "message 1 at byte 0")], "one by itself")
    for ending, one in ((".eml", messages[0]), (".mbox", source)):
        plain, marked = place.text("plain" + ending, one), place.text("marked" + ending, b"\xef\xbb\xbf" + one)
        check(text_of(place, marked) == text_of(place, plain) and places_of(place, marked)[0] == places_of(place, plain)[0], "a mark")
    got = kept_places(named(place, "records", path))
    first = places[0][2]
    check(got[0] == (want[0].split("\n")[0], first, want[0].split("\n")[0], 1) and got[3][:3] == (">From before", first, got[0][2]), got[:4])
    check(("Inner", outer[3][2], "Fwd / Inner", 2) in got and got[-1] == ("bare", outer[9][2], None, None), got)
    return f"{len(got)} records of {len(messages)} messages"


def damaged_mail_costs_itself(place):
    multi = b"Subject: %s\nContent-Type: multipart/mixed%s\n\n--abc\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\nSGVsbG8gd29y"
    deep = b"Subject: deep\n" + b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(3000))
    binary = b"Subject: binary\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(bytes(range(256)) * 20)
    bad = {b"": "it has no text", b"\0\1\n": "it has no text", multi % (b"cut", b"; boundary=abc"): "it is cut short",
           multi % (b"none", b""): "it does not say where its parts end", deep: "its parts lie too deep in each other",
           binary: "a part of it is in no encoding that can be told", b"Subject: a lot\n\n" + b"x" * (65 << 20): "it is longer than 64 MiB"}
    good = b"Subject: good\n\nGood.\n"
    path = mbox(place.path("a.mbox"), [good, *(one for message in bad for one in (message, good))])
    said = [data.decode() for kind, data in frames(place, path) if kind == WARNING]
    got = [re.sub(r" at byte \d+", "", one) for one in said]
    check(got == [f"message {2 * i + 2} is not read, or not all of it: {why}" for i, why in enumerate(bad.values())], said)
    text = text_of(place, path)
    check(text.count(good[9:]) == 1 + len(bad) and b"Hello wor" in text, text[:400])
    job = Job(place, "told", [mbox(place.path("b.mbox"), [good, b""] * 40)])
    process = job.start()
    check(place.end_of(process) == 0, place.said(process))
    said = place.said(process, 9000)
    check(said.count("it has no text") == 20 and "40 messages are not read, or not all of them" in said, said)
    nothing = frames(place, mbox(place.path("c.mbox"), [b"X: y\n\n"] * 3))
    check(nothing[-1] == (FAULT, b"is mail, and nothing of it is text"), nothing[-1])
    broken = place.path("broken")
    os.mkdir(broken)
    write(os.path.join(broken, "libgmime-3.0.so.0"), b"")
    bare = subprocess.run([place.riverrun, "reader", path], stdin=open(path, "rb"), capture_output=True, check=False,
                          env={"LD_LIBRARY_PATH": broken})
    check(bare.returncode == 0 and b"install libgmime-3.0-0" in bare.stdout, bare.stdout)
    return f"{len(bad)} kinds"


def a_field_of_json_lines(place):
    rows = [{"id": 1, "text": "One\nand more.", "a": {"b": "deep 1"}}, {"id": 2}, {"text": 7, "a": {"b": "deep 2"}, "a.b": "flat"},
            {"text": "Drei \u00e4\u2014\U0001f30a", "a": []}, {"text": ""}]
    path = place.text("a.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows) + b"\n" + b'{"text": "last"}')
    check(text_of(place, path, "--field", "text").decode() == "One\nand more.\nDrei ä—🌊\nlast\n", "text")
    check(text_of(place, path, "--field", "a.b") == b"deep 1\nflat\n", "a.b")
    check(places_of(place, path, "--field", "text") == [(0, 16, "line 1"), (14, 16, "line 4"), (29, 16, "line 7")],
          places_of(place, path, "--field", "text"))
    said = frames(place, path, "--field", "text")
    check(said[-2] == (WARNING, b"3 of 6 lines have no text in 'text' and are passed over, the first is line 2"), said[-2])
    check(b"no line has a text in the field 'nothing'" in frames(place, path, "--field", "nothing")[-1][1], "no such field")
    bad = place.text("bad.jsonl", b'{"text": "a"}\n{"text": \n{"text": "b"}\n{"other": 1}\n{"te')
    check(text_of(place, bad, "--field", "text") == b"a\nb\n", "what stands around lines that are no JSON")
    told = [words for kind, words in frames(place, bad, "--field", "text") if kind == WARNING]
    check(len(told) == 2 and told[0].startswith(b"1 of 5 lines have no text in 'text'") and
          told[1].startswith(b"2 of 5 lines are no JSON and are passed over, the first is line 2: "), told)
    none = place.text("none.jsonl", b'{"text": \n{a log}\n')
    check(b"no line is JSON, the first because: " in frames(place, none, "--field", "text")[-1][1], "no JSON at all")
    job = named(place, "job", place.text("a.jsonl.gz", squeeze(read(path))), ["--field", "text"])
    check(kept_places(job) == [("One\nand more.", "line 1", None, None), ("Drei ä—🌊", "line 4", None, None),
                               ("last", "line 7", None, None)], kept_places(job))
    check(job.status()["reader"] == "gzip, JSON Lines, field 'text', UTF-8", job.status()["reader"])
    long = place.text("long.jsonl", read(path).replace(b'{"text": "last"}', b"") * 3000)
    begun = Job(place, "begun", [long], options=["--field", "text", "--checkpoint-every", "500"])
    process = begun.start()
    begun.wait_tokens(process, 3000)
    begun.kill(process)
    begun.options = ["--field", "a.b", "--checkpoint-every", "500"]
    process = begun.start()
    status = place.end_of(process)
    check(status == OTHER_SETTINGS and "with another --field" in place.said(process), f"{status}: {place.said(process)}")
    lines = b'{"text": "a"}\n{"text": "b"}\n'
    for name, data in {"mark": b"\xef\xbb\xbf" + lines, "sequence": b"\x1e" + lines.replace(b"\n{", b"\n\x1e{"),
                       "torn": b'"a"}\n' + lines, "log": b"begun\n\n " + lines}.items():
        said = frames(place, place.text(name, data), "--field", "text")
        check(b"".join(one for kind, one in said if kind == TEXT) == b"a\nb\n", f"{name}: {said}")
        check(any(kind == WARNING for kind, _ in said) == (name in ("torn", "log")), f"{name}: {said}")
    wide = place.text("wide.jsonl", b'{"id": 18446744073709551616, "text": "a"}\n{"text": "b\\u0000c"}\n')
    check(frames(place, wide, "--field", "text")[-1][0] == END and text_of(place, wide, "--field", "text") == b"a\nb\0c\n", "valid JSON")
    for name, data in {"array": b'[\n{"text": "a"},\n{"text": "b"}\n]\n', "readme": b"# Data\n\nLines are:\n\n" + lines}.items():
        check(text_of(place, place.text(name, data), "--field", "text") == data, f"{name} is no JSON Lines")
    code = place.text("a.c", b"int f(void)\n{\n}\n")
    said = frames(place, code, "--field", "text")
    check(said[1] == (WARNING, b"begins with no line of JSON, and is read as plain text, without --field"), said)
    check(text_of(place, code, "--field", "text") == read(code), "a source with --field")
    check(len(frames(place, place.text("empty", b""), "--field", "text")) == 2, "an empty file with --field")
    plain = place.text("plain.txt", b"No JSON.\n")
    same(named(place, "beside", plain, ["--field", "text"]), named(place, "plain", plain).records(), "plain text with --field")


def another_question_is_refused_by_name(place):
    """Also of a stream that is finished: no reader is asked for that one."""
    text = place.text("a.jsonl", b'{"t": "na\xc3\xafve", "u": "bbb"}\n' * 50)
    same_name = {"latin1": "LATIN1", "UTF-8": "utf8"}
    for number, (first, then, words) in enumerate([
            (["--field", "t"], ["--field", "u"], "with another --field: give --field as at first"),
            (["--field", "t"], [], "with --field: give --field as at first"),
            (["--field", "t"], ["--field", "t", "--encoding", "latin1"], "without --encoding: leave that out"),
            (["--encoding", "latin1"], ["--encoding", "IBM037"], "with another --encoding"),
            (["--encoding", "UTF-8"], ["--encoding", "latin1"], "without --encoding: leave that out"),
            ([], ["--field", "t"], "without --field: leave that out"),
            ([], ["--encoding", "latin1"], "without --encoding: leave that out")]):
        job = Job(place, f"asked-{number}", [text])
        job.run(*first)
        job.run(*(same_name.get(word, word) for word in first))
        before = job.records()
        process = job.start(*then)
        status, said = place.end_of(process), place.said(process)
        check(status == OTHER_SETTINGS and text in said and words in said and "--restart" in said, f"{first}, {then}: {status}: {said}")
        check(job.records() == before, f"{first}, {then}: records changed")
        job.run(*then, "--restart")


def chapters_of_real_books(place):
    """Against the places where chapters are known to begin, of plain text; no model reads it, as it would take minutes."""
    found = {}
    for name in ("frankenstein.en", "treasure-island.en"):
        gold = read(place.of_shared(f"data/books/{name}.chapters.tsv")).decode().splitlines()[1:]
        whole = read(place.of_shared(f"data/books/{name}.txt"))
        # A paragraph of each hundred, and all short ones: what is read costs time, what is a heading does not change.
        kept = [one for i, one in enumerate(re.split(rb"\n\s*\n", whole)) if len(one) < 130 and one.count(b"\n") < 2 or i % 100 == 0]
        job = named(place, name, place.text(name + ".txt", b"\n\n".join(kept)))
        headings = [re.sub(r"\s+", " ", one["text"]) for one in all_records(job) if "heading" in one]
        titles = [re.sub(r"\s+", " ", line.split("\t")[2]) for line in gold]
        same_title = [one for one in headings if any(one.startswith(title) or title.startswith(one) for title in titles)]
        check(len(same_title) == len(headings), f"{name}: {set(headings) - set(same_title)} are no chapters")
        check(len(headings) >= 0.9 * len(gold), f"{name}: {len(headings)} of {len(gold)} chapters")
        found[name] = f"{len(headings)} of {len(gold)}"
    return ", ".join(f"{name} {one}" for name, one in found.items())


# ---- Whatever happens meanwhile ----

def killed_and_cut(place, name, inputs, options, most):
    """Kills at random, reads of 7 bytes and four processes give the bytes of an undisturbed run."""
    whole = undisturbed(place, name + ".whole", inputs, options=options)
    tokens = sum(one["tokens"] for one in whole.statuses())
    job = Job(place, name + ".killed", inputs, options=options)
    for i in range(most):
        process = job.start()
        job.wait_tokens(process, tokens * (2 * i + 1) // (2 * most))
        job.kill(process)
    job.run()
    check(job.kills >= most // 2, f"{job.kills} kills")
    same(job, whole.records(), "after kills")
    cut = undisturbed(place, name + ".cut", inputs, options=(*options, "--read-bytes", "7"))
    same(cut, whole.records(), "read by 7 bytes")
    four = Job(place, name + ".four", inputs, options=options)
    pipe = Pipe(four)
    pipe.run()
    same(four, whole.records(), "as four processes")
    return whole, f"{job.kills} kills, {tokens} tokens"


def killed_at_random_the_bytes_are_the_same(place):
    data = generated_text(5, 120000)
    html = "".join(f"<p>{line}</p>" for line in data.decode(errors="ignore").splitlines()).encode()
    inputs = [place.text("a.gz", squeeze(data)), place.text("b.html", html),
              place.text("c.txt", data.decode(errors="ignore").encode("utf-16"))]
    return killed_and_cut(place, "killed", inputs, ("--checkpoint-every", "3000"), place.times(8, 60))[1]


def killed_at_random_the_places_are_the_same(place):
    """A file inside, a heading or a paragraph every few tokens, so that kills and cuts fall on them."""
    lines = [line for line in generated_text(6, 12000).decode(errors="ignore").split("\n") if line.strip()]
    text = lambda i: "".join(f"<h{1 + k % 3}>{k} {lines[(i + k) % len(lines)][:30]}</h{1 + k % 3}><p>{lines[(i * k) % len(lines)][:60]}</p>"
                             for k in range(12))
    book = epub(place.path("book.epub"), [(f"part{i}.xhtml", text(i)) for i in range(40)])
    marked = "\n\n".join(f"{'#' * (1 + k % 4)} Head {k}\n\n{lines[k % len(lines)][:70]}" for k in range(400))
    paper = pdf(place.path("a.pdf"), [[re.sub(r"[()\\\\]|[^ -~]", "", lines[(i + k) % len(lines)])[:40] for k in range(3)] for i in range(60)])
    folder = place.path("tree")
    os.mkdir(folder)
    for i in range(40):
        write(os.path.join(folder, f"{i}.md"), f"# Top {i}\n\n{lines[i % len(lines)][:200]}".encode())
    subprocess.run(["tar", "-czf", place.path("a.tgz"), "-C", folder, *sorted(os.listdir(folder))], check=True)
    letters = mbox(place.path("a.mbox"), [mail(text(i), lines[i % len(lines)][:40], "html", From=f"{i}@b").as_bytes() for i in range(30)])
    inputs = [book, place.text("a.md", marked.encode()), paper, place.path("a.tgz"), letters]
    told = []
    for unit in ("paragraph", "section"):
        whole, words = killed_and_cut(place, unit, inputs, ("--checkpoint-every", "1000", "--unit", unit), place.times(6, 60))
        records = all_records(whole)
        check(sum("heading" in one for one in records) >= 800, "headings are missing")
        check(len({one.get("place") for one in records}) == 171, "places are missing")
        told.append(words)
    return "; ".join(told)


def another_file_is_refused_by_name(place):
    data = generated_text(6, 200000)
    path = place.text("a.gz", squeeze(data))
    job = Job(place, "changed", [path], options=["--checkpoint-every", "2000"])
    process = job.start()
    job.wait_tokens(process, 20000)
    job.kill(process)
    write(path, squeeze(data[:-1] + b"?"))
    process = job.start()
    status = place.end_of(process)
    check(status == SOURCE_CHANGED and path in place.said(process), f"{status}: {place.said(process)}")
    write(path, squeeze(data))
    job.run()
    write(path, squeeze(b"other"))
    check(place.end_of(job.start()) == SOURCE_CHANGED, "a finished one whose file changed")
    job.run("--restart")


def plain_does_not_go_on_with_what_a_reader_began(place):
    path = place.text("a.gz", squeeze(generated_text(6, 20000)))
    job = Job(place, "plain", [path])
    job.run()
    process = job.start("--plain")
    status, said = place.end_of(process), place.said(process)
    check(status == OTHER_SETTINGS and said.count("\n") == 1, f"{status}: {said}")
    check(all(word in said for word in (path, "--plain", "--restart")), said)
    job.run("--plain", "--restart")
    for option, value in (("--encoding", "latin1"), ("--field", "t")):
        process = job.start("--plain", option, value)
        status, said = place.end_of(process), place.said(process)
        check(status == 2 and "--plain" in said and option in said, f"{status}: {said}")


# ---- Damage ----

def the_others_are_read(place):
    good = generated_text(7, 20000)
    alone = undisturbed(place, "alone", [place.text("good.txt", good)])
    bomb = ('<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "' + "x" * 10000 + '">' +
            "".join(f'<!ENTITY a{i} "{("&a" + str(i - 1) + ";") * 10 if i else "&a;" * 10}">' for i in range(9)) +
            ']><package><metadata><title>&a8;</title></metadata><manifest>&a8;</manifest></package>')
    packed = squeeze(good)
    bad = {"truncated.gz": packed[:len(packed) // 2], "crc.gz": packed[:-8] + bytes(4) + packed[-4:],
           "noise.bin": os.urandom(50000),
           "picture.png": b"\x89PNG\r\n\x1a\n" + os.urandom(3000), "zeros.gz": squeeze(bytes(50 << 20)),
           "a.pdf": b"%PDF-1.4\n", "nothing.zip": b"PK\3\4" + os.urandom(500)}
    for name, data in bad.items():
        place.text(name, data)
    epub(place.path("bomb.epub"), [], package=bomb)
    epub(place.path("empty.epub"), [])
    names = [*bad, "bomb.epub", "empty.epub"]
    for name in names:
        job = Job(place, name + ".out", [place.path(name), place.path("good.txt")])
        process = job.start()
        status = place.end_of(process)
        said = place.said(process, 4000)
        check(status == SOME_FAILED, f"{name}: {status}: {said}")
        lines = [line for line in said.splitlines() if name in line]
        check(1 <= len(lines) <= 2 and "error" in lines[0], f"{name}: {said}")
        records = job.records()
        stream = next(key for key in alone.records())
        check(records[stream] == alone.records()[stream], f"{name}: the good file's records")
    return ", ".join(names)


def what_no_reader_knows_is_named(place):
    """In one line that says what it is and what helps, by itself and in an archive."""
    text = b"Text.\n" * 99
    refused = {"a.rtf": (rb"{\rtf1\ansi Text.}", b"is RTF"), "a.doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), b"old Office"),
               "a.lzma": (lzma.compress(text, lzma.FORMAT_ALONE), b"unlzma"),
               "a.zst": (b"\x50\x2a\x4d\x18\4\0\0\0abcd" + squeezed(text, place)["zst"], b"unzstd")}
    for name, (data, why) in refused.items():
        said = frames(place, place.text(name, data))
        check(len(said) == 1 and why in said[0][1], f"{name}: {said}")
        said = frames(place, packed(place.path("in.zip"), {name: data, "b.txt": text}))
        check(why in said[-2][1] and said[-2][0] == WARNING, f"{name} in a zip: {said}")
        said = frames(place, packed(place.path("alone.zip"), {name: data}))
        check(said[-1][0] == FAULT and said[-1][1].endswith((b"`", b"unzstd`")), f"{name} alone in a zip: {said}")
    asked = frames(place, packed(place.path("in.zip"), {"a.rtf": refused["a.rtf"][0], "b.txt": text}), "--encoding", "latin1")
    check(asked[-1][0] == END and not any(kind == WARNING for kind, _ in asked), f"as it was asked for: {asked}")
    check(frames(place, place.text("twice.gz", squeeze(squeeze(text))))[0] == (FAULT, b"is packed twice: unpack it once"), "twice")
    process = Job(place, "rtf", [place.path("a.rtf"), place.text("good.txt", text)]).start()
    status, said = place.end_of(process), place.said(process)
    check(status == SOME_FAILED and "a.rtf': is RTF: make DOCX" in said, f"{status}: {said}")


def a_tree_of_sources(place):
    folder = place.path("tree")
    for name, data in {"src/a.c": b"int main(void)\n{\n}\n", "README.md": b"# Read me\n", "logo.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9,
                       ".git/HEAD": b"ref\n", "package-lock.json": b"{}\n", "prog": read("/bin/true")}.items():
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        write(os.path.join(folder, name), data)
    said = subprocess.run([place.riverrun, "read", folder, "--model", place.nano, "-o", place.path("out")], capture_output=True,
                          check=False, text=True)
    check(said.returncode == 0, f"exit status {said.returncode}: {said.stderr}")
    check("passed over in folders: 2 files that are no text, 1 lock file, 1 folder of tools', first '" in said.stderr, said.stderr)
    names = [name for name in os.listdir(place.path("out")) if name.endswith(".jsonl")]
    check(len(names) == 2, names)


def a_readers_death_is_one_line(place):
    good = place.text("good.txt", generated_text(8, 4000))
    path = place.text("a.gz", squeeze(generated_text(9, 4000000)))
    job = Job(place, "death", [path, good])
    process = job.start()
    job.wait_tokens(process, 5000)  # much of it is still in the pipe, so the reader is there
    children = set()
    for task in os.listdir(f"/proc/{process.pid}/task"):
        children |= set(read(f"/proc/{process.pid}/task/{task}/children").split())
    check(len(children) == 1, f"readers: {children}")
    os.kill(int(children.pop()), signal.SIGKILL)  # a sanitizer makes an exit of what it can catch
    status = place.end_of(process)
    said = place.said(process)
    check(status == SOME_FAILED and "signal 9" in said and path in said, f"{status}: {said}")


def endless_text_in_constant_memory(place):
    """300 MB of text from 0.3 MB: by itself, as the model would be at it for hours."""
    path, line = place.path("endless.gz"), b"0" * 99 + b"\n"
    with gzip.open(path, "wb", 1) as file:
        for _ in range(300):
            file.write(line * 10000)
    page = place.path("endless.html.gz")
    with gzip.open(page, "wb", 1) as file:
        for _ in range(60):
            file.write(b"<p>" + line * 10000)
    letters = place.path("endless.mbox.gz")
    with gzip.open(letters, "wb", 1) as file:
        for _ in range(60):
            file.write((FROM + b"Subject: s\n\n" + line * 100 + b"\n") * 100)
    most = []
    for one in (path, page, letters):
        with open(one, "rb") as file, open("/dev/null", "wb") as out:
            process = place.start([place.riverrun, "reader", one], stdin=file, stdout=out)
        peak = 0  # by looking on: what wait4 says counts the one who forked too
        while process.poll() is None:
            with contextlib.suppress(OSError, Failed):
                peak = max(peak, memory_bytes(process.pid, "VmHWM"))
            time.sleep(0.002)
        check(process.returncode == 0, f"status {process.returncode}")
        most.append(peak >> 20)
    check(DEAR > 1 or max(most) < 100, f"{most} MiB")
    return f"{most[0]}, {most[1]} and {most[2]} MiB"


def a_reader_can_do_little(place):
    """It has two descriptors and a sink for words, and dies with the one who began it."""
    path = place.text("a.gz", squeeze(generated_text(3, 4000000)))
    job = Job(place, "little", [path])
    process = job.start()
    job.wait_tokens(process, 1000)
    child = next(int(one) for task in os.listdir(f"/proc/{process.pid}/task")
                 for one in read(f"/proc/{process.pid}/task/{task}/children").split())
    check(sorted(os.listdir(f"/proc/{child}/fd")) == ["0", "1", "2"], os.listdir(f"/proc/{child}/fd"))
    check(b"NoNewPrivs:\t1" in read(f"/proc/{child}/status"), "it may gain rights")
    check(resource.prlimit(child, resource.RLIMIT_FSIZE) == (0, 0), "it may write files")
    job.kill(process)
    gone = lambda: not os.path.exists(f"/proc/{child}") or b"State:\tZ" in read(f"/proc/{child}/status")
    wait_for("the reader's death", gone)


if __name__ == "__main__":
    sys.exit(main([compressed_reads_as_the_plain_file, encodings_read_as_utf8, without_a_mark_and_as_asked,
                   html_is_its_text, a_declaration_counts_where_it_is_one, books_are_their_texts,
                   epub_in_the_order_of_its_spine, a_bad_chapter_costs_itself, documents_of_offices,
                   readers_say_places, records_name_their_places, pages_of_pdf, archives_member_by_member, a_damaged_member_costs_itself, members_of_any_name, documents_inside_archives,
                   mail_message_by_message, damaged_mail_costs_itself, a_field_of_json_lines, another_question_is_refused_by_name, chapters_of_real_books, killed_at_random_the_bytes_are_the_same,
                   killed_at_random_the_places_are_the_same, another_file_is_refused_by_name,
                   plain_does_not_go_on_with_what_a_reader_began, the_others_are_read,
                   what_no_reader_knows_is_named,
                   a_tree_of_sources, a_readers_death_is_one_line, endless_text_in_constant_memory,
                   a_reader_can_do_little]))
