"""The file: its size, its budget, what is in it and above all what is not; and runs whose meshes cannot be had."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import shutil
import zlib
from html.parser import HTMLParser

import pytest

from gcbench.bench.analysis.frame import frame, summarise
from gcbench.bench.cli import main
from gcbench.bench.report import build
from gcbench.bench.store.run import Run
from gcbench.errors import StoreError, UsageError


class Elements(HTMLParser):
    """Tags with their attributes, and the text of scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts, self._open = [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = (tag, dict(attrs)) if tag in {"script", "style", "title"} else None

    def handle_data(self, data):
        if self._open is not None:
            self.texts.append((*self._open, data))
            self._open = None


@pytest.fixture(scope="module")
def page(built):
    return built.path.read_text(encoding="utf-8")


def content(page):
    text = re.search(r'<script type="application/octet-stream" id="content">([^<]*)</script>', page)[1]
    return json.loads(zlib.decompress(base64.b64decode(text)))


def reasons_of(said):
    """Row and reason of every coding without a 3-D view; the page counts reasons."""
    names = [reason for reason, _ in said["without_scene"]["reasons"]]
    rows = said["without_scene"]["rows"]
    assert [n for _, n in said["without_scene"]["reasons"]] == [sum(r == i for _, r in rows) for i in range(len(names))]
    return [{"row": row, "reason": names[reason]} for row, reason in rows]


def blobs(page):
    found = re.findall(r'<script type="application/octet-stream" id="blob-(\d+)">([^<]*)</script>', page)
    assert [int(index) for index, _ in found] == list(range(len(found)))
    return [text for _, text in found]


def test_nothing_of_the_run_is_markup_but_its_escaped_name(page, hostile):
    for text in (hostile.mesh, hostile.codec, hostile.error, "window.harm"):
        assert text not in page
    assert "<title>run &lt;b&gt; &amp; &quot;co.&quot; · gcbench report</title>" in page
    said = content(page)
    assert hostile.mesh in said["records"]["mesh"]["values"]
    assert hostile.codec in said["records"]["codec"]["values"]
    assert hostile.error in said["records"]["error"]["values"]


def test_the_page_needs_nothing_but_itself_and_says_so_to_the_browser(page):
    elements = Elements(page)
    for tag, attributes in elements.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert not {"src", "srcset", "style"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")
    (policy,) = (a["content"] for tag, a in elements.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    code = [text for tag, a, text in elements.texts if tag == "script" and "type" not in a]
    (style,) = (text for tag, _, text in elements.texts if tag == "style")
    assert len(code) == 1
    for text in (code[0], style):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    # The only addresses are names of XML.
    assert set(re.findall(r"https?://[^\s\"'`]+", page)) == {"http://www.w3.org/2000/svg"}


def test_scripts_never_parse_markup_or_text_as_code(page):
    (script,) = (text for tag, a, text in Elements(page).texts if tag == "script" and "type" not in a)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser", script
    )


def test_means_records_and_failures_are_those_of_the_analysis(page, store):
    said, records = content(page), store.records()
    summary = summarise(frame(records))
    points = [point for block in said["blocks"] for point in block["points"]]
    assert [(p["codec"], p["rate"]) for p in points] == list(zip(summary["codec"], summary["rate"], strict=True))
    for point, (_, row) in zip(points, summary.iterrows(), strict=True):
        for name in ("ratio", "cd_p2s", "cd", "decode_ms"):
            value = row[name]
            assert point[name] == (None if math.isnan(value) else pytest.approx(value, rel=1e-5))
    columns = said["records"]
    assert len(columns["timing"]) == len(records)
    mesh = columns["mesh"]
    assert [mesh["values"][code] for code in mesh["codes"]] == [r.mesh for r in records]
    measured = [r.metrics.get("cd_p2s", math.nan) for r in records]
    assert [math.nan if v is None else v for v in columns["cd_p2s"]] == pytest.approx(measured, rel=1e-5, nan_ok=True)
    assert {f["status"] for f in said["failures"]["lines"]} == {"failed", "bad-input"}
    assert {u["codec"] for u in said["unavailable"]} == {"gone<i>"}


def test_every_good_coding_has_a_scene_and_originals_are_stored_once(page, store, built):
    said, records = content(page), store.records()
    good = {row for row, record in enumerate(records) if record.status == "ok"}
    assert {scene["row"] for scene in said["scenes"]} == good
    assert built.shown == built.codings == len(good)
    assert not built.refused
    originals = {records[scene["row"]].mesh: scene["original"] for scene in said["scenes"]}
    assert len(set(originals.values())) == len(originals) == 2
    stored = blobs(page)
    used = {scene[name] for scene in said["scenes"] for name in ("original", "decoded", "error", "missed")}
    assert len(set(stored)) == len(stored) == len(used) <= 2 + 3 * len(good)
    for scene in said["scenes"]:
        largest = records[scene["row"]].metrics["hausdorff_p2s"]
        # The Hausdorff distance looks at samples too, so it is no smaller than what the vertices see.
        assert 0 < max(scene["error_max"], scene["missed_max"]) <= largest * (1 + 1e-9)


def test_a_mesh_of_a_set_is_the_one_of_its_record(page, store):
    """The set codec rounds to the same digits everywhere, so the wrong mesh would be off by the size of the mesh."""
    said, records = content(page), store.records()
    of_set = [scene for scene in said["scenes"] if records[scene["row"]].kind == "set"]
    assert len(of_set) == 2
    assert all(max(scene["error_max"], scene["missed_max"]) < 0.01 for scene in of_set)


def test_the_file_keeps_to_its_budget_and_says_what_it_left_out(store, built, tmp_path):
    bare = build(store, tmp_path / "bare.html", meshes=False)
    assert bare.shown == 0
    assert not blobs(bare.path.read_text())
    room = bare.size_bytes + (built.size_bytes - bare.size_bytes) // 2
    half = build(store, tmp_path / "half.html", max_mb=room / 1e6)
    assert half.size_bytes <= room
    assert 0 < half.shown < built.shown
    said = content(half.path.read_text())
    without = reasons_of(said)
    assert {w["reason"] for w in without} == {"over the size limit of the file (--max-mb)"}
    assert len(without) == half.codings - half.shown == sum(half.refused.values())
    assert said["scenes"][0]["role"] == "worst"


@pytest.fixture
def copied(store, tmp_path):
    """A copy of the run in which something can be broken."""
    return Run(shutil.copytree(store.path, tmp_path / "run"))


def reasons(run, tmp_path, **options):
    built = build(run, tmp_path / "report.html", **options)
    return built, reasons_of(content(built.path.read_text()))


def test_inputs_that_are_gone_cost_the_meshes_and_nothing_else(copied, tmp_path):
    sessions = copied.path / "sessions.jsonl"
    sessions.write_text(sessions.read_text().replace("/shapes", "/nowhere"))
    built, without = reasons(copied, tmp_path)
    assert built.shown == 0
    assert {w["reason"].split(":")[0] for w in without} == {"the input meshes are not here"}


def test_what_is_broken_costs_its_own_case_and_no_other(copied, tmp_path, monkeypatch):
    """An input that is another one now, a stream that was tampered with, codecs that hang, die and talk nonsense."""
    monkeypatch.setattr("gcbench.bench.run.kept.DECODE_LIMIT_S", 1.0)
    kept = copied.path / "codings.jsonl"
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    of = {(c["meshes"][0]["mesh"], c["rate"]): c for c in lines if c["codec"] == "test-exact"}
    of["ball", "d1"]["meshes"][0]["input_sha256"] = "f" * 64
    of["ball", "d2"]["codec"] = "test-nobody"
    sha256 = of["ball", "d3"]["streams"][0]
    stream = copied.path / "streams" / sha256[:2] / sha256
    stream.write_bytes(b"?" + stream.read_bytes()[1:])
    for rate, way in (("d1", b"hang"), ("d2", b"segv"), ("d3", b"nan")):
        victim = next(c for (mesh, of_rate), c in of.items() if mesh not in {"ball", "broken"} and of_rate == rate)
        sha256 = hashlib.sha256(way).hexdigest()
        victim |= {"codec": "test-bad", "streams": [sha256]}
        (copied.path / "streams" / sha256[:2]).mkdir(exist_ok=True)
        (copied.path / "streams" / sha256[:2] / sha256).write_bytes(way)
    kept.write_text("".join(json.dumps(line) + "\n" for line in lines))
    built, without = reasons(copied, tmp_path)
    assert built.shown == 2  # of the set codec
    expected = (
        "decoding the stream failed: UsageError: unknown codec 'test-nobody'",
        "decoding the stream failed: stream ",
        "decoding the stream failed: took longer than 1",
        "decoding the stream failed: worker process died of SIGSEGV",
        "the decoded mesh has coordinates that are not finite",
        "the input mesh has changed since the run was made",
    )
    for reason, start in zip(sorted(w["reason"] for w in without), expected, strict=True):
        assert reason.startswith(start)


def test_a_report_can_be_made_while_the_run_is_going_on(copied, tmp_path):
    """Another process has the lock, a line is half written, and a stream is not there yet."""
    good = next(c for c in copied.codings() if c.codec == "test-exact" and c.status == "ok")
    (copied.path / "streams" / good.streams[0][:2] / good.streams[0]).unlink()
    with copied.writing():
        with (copied.path / "codings.jsonl").open("a") as file:
            file.write('{"key": "half a li')
        built, without = reasons(copied, tmp_path)
    assert {w["reason"] for w in without} == {"the stream is not here"}
    assert built.shown == built.codings - len(without) > 0


def test_the_same_run_gives_the_same_bytes_in_any_number_of_slots(store, built, tmp_path):
    again = build(store, tmp_path / "again.html", jobs=1)
    assert again.path.read_bytes() == built.path.read_bytes()
    again = build(store, tmp_path / "again.html", jobs=3)
    assert again.path.read_bytes() == built.path.read_bytes()


def test_nothing_to_report_and_nowhere_to_write_are_errors_of_one_line(store, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no results yet"):
        build(Run(tmp_path / "empty"), tmp_path / "r.html")
    with pytest.raises(StoreError, match="cannot write"):
        build(store, tmp_path / "r.html" / "in-a-file.html", meshes=False) if (
            tmp_path / "r.html"
        ).touch() is None else None


def test_the_command_names_the_file_and_its_size(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "sys.argv", ["bench", "report", str(store.path), "--no-meshes", "--out", str(tmp_path / "r.html")]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    said = capsys.readouterr().out
    assert f"{tmp_path / 'r.html'}: 0." in said
    assert "next: open" in said
    assert (tmp_path / "r.html").exists()
