// The page with every coding in one table, to sort and filter.

class CodingsPage {
  constructor(report, viewing) {
    this.report = report;
    this.filters = { text: "", dataset: "", codec: "", status: "", pass: "quality", seen: false };
    const at = (column) => (row) => report.at(row, column);
    const text = (name, heading = name, show = at(name)) => ({ name, heading, text: true, value: at(name), show });
    const value = (name, heading, of, show, title) => ({ name, heading, value: of, show: (row) => show(of(row)), title });
    const open = (scene) => viewing.browse(this.grid.order.map((row) => report.sceneOfRow.get(row)).filter(Boolean), scene);
    const seeds = new Set(report.columns.seed).size;
    this.place = h("div");
    const sorted = (metric) => metric ? { name: metric.name, down: metric.better === "lower" } : { name: "mesh", down: false };
    this.makeGrid = (more) => new Grid("Codings", [
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
    const heading = report.partial ? "Selected codings" : "Every coding";
    const note = report.partial ? h("p", { class: "notice" }, `This run is too large for one page. Here are ${count(report.rows)} of its ${count(report.totals.records)} records: the worst, median and best mesh of every codec and rate, failures of every kind, and every record of ${plural(report.whole.length, "mesh", "meshes")}. Curves, Spread, Time and Coverage are of all records.`) : null;
    this.element = h("div", {}, h("h2", {}, heading, h("small", {}, "one mesh, one codec, one rate")), note, this.controls(), this.total, this.place);
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
    this.total.textContent = `${count(rows.length)} of ${plural(report.rows, "record")}${report.partial ? ` here, of ${count(report.totals.records)} of the run` : ""}`;
    this.grid.setRows(rows);
  }
}
