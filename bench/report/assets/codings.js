// The page with every coding in one table, to sort and filter; and the one viewer that all pages share.

class CodingsPage {
  constructor(report, viewing) {
    this.report = report;
    this.filters = { text: "", dataset: "", codec: "", status: "", pass: "quality", seen: false };
    const at = (column) => (row) => report.at(row, column);
    const text = (name, heading = name, show = at(name)) => ({ name, heading, text: true, value: at(name), show });
    const value = (name, heading, of, show, title) => ({ name, heading, value: of, show: (row) => show(of(row)), title });
    const open = (scene) => viewing.browse(this.grid.sorted().map((row) => report.sceneOfRow.get(row)).filter(Boolean), scene);
    const seeds = new Set(report.columns.seed).size;
    this.place = h("div");
    const sorted = (metric) => metric ? { name: metric.name, down: metric.better === "lower" } : { name: "mesh", down: false };
    this.makeGrid = (more) => new Grid("Every coding", [
      text("mesh"), { name: "show", heading: "3-D", text: true, show: (row) => sceneButton(report, row, open) },
      ...(report.blocks.length > 1 ? [{ ...text("dataset"), show: (row) => report.blockName(report.blocks[report.blockOfRow[row]]) }] : []),
      text("codec"), { ...text("rate"), value: (row) => `${report.at(row, "codec")} ${String(report.at(row, "rate_index")).padStart(4, "0")}` },
      ...(seeds > 1 ? [value("seed", "seed", at("seed"), count)] : []),
      text("status", "status", (row) => statusCell(report, row)),
      value("stream_bytes", "bytes", at("stream_bytes"), count, "Bytes of the stream; of a set codec its share for one mesh"),
      value("ratio", "ratio", (row) => report.ratio(row), (v) => number(v, 3), "OBJ bytes / stream bytes"),
      value("bits_per_vertex", "bits/vertex", at("bits_per_vertex"), (v) => number(v, 3)),
      ...[...more, ...report.headlines].map((metric) => value(metric.name, metric.label, at(metric.name), (v) => showMetric(metric, v), metric.definition)),
      value("encode_s", "enc ms", at("encode_s"), milliseconds), value("decode_s", "dec ms", at("decode_s"), milliseconds),
      value("vertices", "vertices in", at("vertices"), count), value("faces", "faces in", at("faces"), count),
      text("stage", "failed at", (row) => report.at(row, "stage") ?? ""), text("error", "error", (row) => report.at(row, "error") ?? report.at(row, "unmeasured") ?? ""),
    ], sorted(more[0] ?? report.mainMetric));
    this.total = h("p", { class: "hint", role: "status" });
    this.element = h("div", {}, h("h2", {}, "Every coding", h("small", {}, "one mesh, one codec, one rate")), this.controls(), this.total, this.place);
    this.showMore("");
  }

  /** The table, with one more metric in front of those that suites put forward. */
  showMore(name) {
    const more = this.report.metric.get(name);
    this.grid = this.makeGrid(more ? [more] : []);
    this.place.replaceChildren(this.grid.element);
    this.update();
  }

  controls() {
    const { report, filters } = this;
    const set = (name) => (value) => { filters[name] = value; this.update(); };
    const different = (column) => [...new Set(report.columns[column])].sort();
    const any = (column) => [["", "all"], ...different(column).map((v) => [v, v])];
    const search = h("input", { type: "search", placeholder: "mesh, codec, rate, error …", on: { input: () => set("text")(search.value.toLowerCase()) } });
    return h("div", { class: "toolbar fields" },
      h("label", { class: "field wide" }, h("span", {}, "Filter"), search),
      choice("Dataset", [["", "all"], ...report.blocks.map((block, i) => [String(i), report.blockName(block)])], "", set("dataset")),
      choice("Codec", any("codec"), "", set("codec")), choice("Status", any("status"), "", set("status")),
      report.columns.timing.some(Boolean) ? choice("Pass", [["quality", "quality"], ["timing", "timing"], ["", "both"]], "quality", set("pass")) : null,
      report.otherMetrics.length ? choice("Also show", [["", "nothing more"], ...report.otherMetrics.map((m) => [m.name, m.label])], "", (name) => this.showMore(name)) : null,
      h("div", { class: "ticks" }, tick("with 3-D only", false, set("seen"))));
  }

  update() {
    const { report, filters } = this;
    const anyQuality = report.columns.timing.some((timing) => !timing);
    const fits = (row) => (filters.dataset === "" || report.blockOfRow[row] === Number(filters.dataset))
      && (!filters.codec || report.at(row, "codec") === filters.codec) && (!filters.status || report.at(row, "status") === filters.status)
      && (!filters.pass || !anyQuality || report.at(row, "timing") === (filters.pass === "timing"))
      && (!filters.seen || report.sceneOfRow.has(row))
      && filters.text.split(/\s+/).every((word) => ["dataset", "mesh", "codec", "rate", "status", "error"].some((name) => String(report.at(row, name) ?? "").toLowerCase().includes(word)));
    const rows = [...Array(report.rows).keys()].filter(fits);
    this.total.textContent = `${count(rows.length)} of ${plural(report.rows, "record")}`;
    this.grid.setRows(rows);
  }
}

/** The viewer, made when it is first needed, and moved to where it is wanted. */
class Viewing {
  constructor(report) {
    this.report = report;
  }

  /** Show a scene in a place of a page, which keeps it until another place of a page asks. */
  open(scene, place) {
    this.home = { scene, place };
    this.put(scene, place);
  }

  put(scene, place) {
    this.viewer ??= new Viewer();
    if (this.viewer.element.parentNode !== place) place.replaceChildren(this.viewer.element);
    this.viewer.show(scene, this.caption(scene));
  }

  /** Show a scene in a dialog, in which one steps through `scenes`. */
  browse(scenes, scene) {
    let at = scenes.indexOf(scene);
    const place = h("div", { class: "viewer-place" }), where = h("span", { class: "hint", role: "status" });
    const step = (by) => {
      at = (at + by + scenes.length) % scenes.length;
      where.textContent = `${count(at + 1)} of ${count(scenes.length)}`;
      this.put(scenes[at], place);
    };
    const button = (label, act) => h("button", { type: "button", on: { click: act } }, label);
    const dialog = h("dialog", { "aria-label": "3-D view", on: {
      close: () => {
        dialog.remove();
        if (this.home) this.put(this.home.scene, this.home.place);
      },
      click: (event) => { if (event.target === dialog) dialog.close(); }, // on the backdrop
    } }, h("div", { class: "dialog-body" },
      h("div", { class: "dialog-head" }, button("‹ Previous", () => step(-1)), button("Next ›", () => step(1)), where, button("Close", () => dialog.close())), place));
    document.body.append(dialog);
    dialog.showModal();
    step(0);
  }

  caption({ row, role }) {
    const { report } = this, at = (column) => report.at(row, column);
    const facts = [
      ["bytes", count(at("stream_bytes"))], ["ratio", number(report.ratio(row), 4)], ["bits per vertex", number(at("bits_per_vertex"), 3)],
      ["vertices in", count(at("vertices"))], ["faces in", count(at("faces"))],
      ...report.headlines.map((metric) => [metric.label, showMetric(metric, at(metric.name))]),
      ["encode, decode ms", `${milliseconds(at("encode_s"))}, ${milliseconds(at("decode_s"))}`],
    ];
    const list = (pairs) => h("dl", { class: "facts" }, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    const others = report.otherMetrics.map((metric) => [metric.label, showMetric(metric, at(metric.name))]);
    const rank = role === "other" ? "" : ` · ${role} of its codec and rate`;
    return [
      h("h3", {}, `${at("codec")} ${at("rate")} on ${at("mesh")}`, h("small", {}, `${at("dataset")}, ${at("split")}${rank}`)),
      list(facts), ...(others.length ? [h("details", {}, h("summary", {}, `${count(others.length)} more`), list(others))] : []),
    ];
  }
}
