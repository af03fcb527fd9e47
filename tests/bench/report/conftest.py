"""One run and its report for all tests of the folder: good codings, failures, bad input, names that mean harm."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import trimesh

from gcbench.bench.plan.planning import make_plan
from gcbench.bench.report import build
from gcbench.bench.run.runner import run_plan
from gcbench.bench.store.run import Run

# Ids of meshes are paths, so that this is a file in a folder called `<`.
MESH = "</script><script>window.harm=1"
CODEC = "test-exact[digits=\"><img src=x onerror='window.harm=2'>]"
ERROR = 'boom <img src=x onerror="window.harm=3"> \u2028 </script><!-- \' & ${window.harm=4}'
# Drawing in software, so that any machine gives a picture.
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]


@pytest.fixture(scope="session")
def hostile():
    return SimpleNamespace(mesh=MESH, codec=CODEC, error=ERROR)


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Two good meshes and a bad one; a model codec with three rates, a set codec, one that fails, one made up."""
    folder = tmp_path_factory.mktemp("report") / "shapes"
    (folder / "<").mkdir(parents=True)
    trimesh.creation.icosphere(2).export(folder / "ball.ply")
    trimesh.creation.torus(2, 0.5).export(folder / f"{MESH}.ply")
    (folder / "broken.obj").write_text("v 0 0 nan\nf 1 1 1\n")
    store = Run(folder.parent / 'run <b> & "co."')
    codecs = ["test-exact", "test-set", "test-bad"]
    rates = ["d1", "d2", "d3", "only", "dec-raise"]
    run_plan(make_plan(str(folder), codecs, effort="standard", rates=rates), store, threads=1)
    good = next(coding for coding in store.codings() if coding.codec == "test-exact" and coding.status == "ok")
    mesh = dataclasses.replace(good.meshes[0], mesh_bytes=None, decoded_sha256=None)
    made_up = {"key": "0" * 64, "codec": CODEC, "status": "failed", "stage": "decode", "error": ERROR, "streams": ()}
    nothing = {"meshes": (mesh,), "encode": None, "decode": None, "shared_bytes": None}
    with (store.path / "codings.jsonl").open("a") as file:
        file.write(json.dumps(dataclasses.replace(good, **made_up, **nothing).to_json()) + "\n")
    store.note("made-up", unavailable={"gone<i>": "<script>window.harm=5</script>; get it"}, argv=["bench", "<script>"])
    return store


@pytest.fixture(scope="session")
def other_store(store):
    """The same run, but every coding of test-exact d1 has the stream of d2, and one of d3 fails."""
    other = Run(shutil.copytree(store.path, store.path.parent / "<i>later"))
    codings = list(store.codings())
    of = {(c.codec, c.rate, c.meshes[0].mesh): c for c in codings if c.codec == "test-exact"}
    lines = []
    for coding in codings:
        first, changed = coding.meshes[0], {}
        better = of.get((coding.codec, "d2", first.mesh))
        if coding.codec == "test-exact" and coding.rate == "d1" and better.status == "ok":
            changed = {"streams": better.streams, "meshes": better.meshes}
        if coding.codec == "test-exact" and coding.rate == "d3" and first.mesh == "ball":
            mesh = dataclasses.replace(first, mesh_bytes=None, decoded_sha256=None)
            changed = {"status": "failed", "stage": "encode", "error": "it broke", "meshes": (mesh,)}
            changed |= {"encode": None, "decode": None, "shared_bytes": None, "streams": ()}
        lines.append(json.dumps(dataclasses.replace(coding, **changed).to_json()) + "\n")
    (other.path / "codings.jsonl").write_text("".join(lines))
    (other.path / "experiment.toml").write_text('datasets = ["</pre><script>window.harm=6</script>"]\n')
    for view in other.path.glob("view*.duckdb*"):
        view.unlink()
    return other


@pytest.fixture(scope="session")
def long_run(store, tmp_path_factory):
    """A run of 3000 records without streams."""
    run = Run(tmp_path_factory.mktemp("long") / "long")
    run.path.mkdir()
    good = next(c for c in store.codings() if c.codec == "test-exact" and c.status == "ok")
    lines = []
    for i in range(3000):
        mesh = dataclasses.replace(good.meshes[0], mesh=f"mesh-{i:04}", mesh_bytes=100 + i)
        coding = dataclasses.replace(good, key=f"{i:064x}", meshes=(mesh,), streams=(f"{i:064x}",))
        lines.append(json.dumps(coding.to_json()) + "\n")
    (run.path / "codings.jsonl").write_text("".join(lines))
    return run


@pytest.fixture(scope="session")
def built(store, tmp_path_factory):
    return build(store, tmp_path_factory.mktemp("built") / "report.html")


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    with playwright.sync_playwright() as started:
        own = Path(started.chromium.executable_path)
        names = ("chromium", "chromium-browser", "google-chrome", "chrome")
        found = own if own.exists() else next(filter(None, map(shutil.which, names)), None)
        if found is None:
            pytest.skip("needs Chromium: apt-get install chromium, or playwright install chromium")
        browser = started.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, built):
    """Opens the report; when the test ends, no error was logged, nothing was fetched and no name ran as code."""
    opened, troubles, fetched = [], [], []

    def open_it(path=built.path, width=1280, height=900, script=None, **context):
        page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
        page.set_default_timeout(30_000)
        if script:
            page.add_init_script(script)
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: fetched.append(request.url))
        page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        opened.append((page, path))
        return page

    yield open_it
    for page, path in opened:
        assert page.evaluate("window.harm") is None
        fetched.remove(path.as_uri())
        page.context.close()
    assert troubles == []
    assert [url for url in fetched if not url.startswith("blob:null")] == []
