// The one viewer that all pages share, moved to where it is wanted; and what stands under it.

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
    const partner = this.report.partnerOf(scene), scenes = partner ? [scene, partner].sort((a, b) => this.report.at(a.row, "run") - this.report.at(b.row, "run")) : [scene];
    const name = (one) => partner ? this.report.runName(this.report.at(one.row, "run")) : "";
    this.viewer.show(scenes.map((one) => ({ scene: one, name: name(one) })), scenes.indexOf(scene), partner ? this.comparison(scenes) : this.caption(scene));
  }

  /** Both runs' numbers of one coding. */
  comparison(scenes) {
    const { report } = this, [a, b] = scenes.map((scene) => scene.row), at = (column) => report.at(a, column);
    const line = (label, of, show, better) => [label, show(of(a)), show(of(b)), showRatio(ratioOf(of(a), of(b)), better)];
    const lines = [
      line("bytes", (row) => report.at(row, "stream_bytes"), count, "lower"), line("bits per vertex", (row) => report.at(row, "bits_per_vertex"), (v) => number(v, 3), "lower"),
      ...report.headlines.map((m) => line(m.label, (row) => report.at(row, m.name), (v) => showMetric(m, v), m.least === null ? null : m.better)),
      line("encode ms", (row) => report.at(row, "encode_s"), milliseconds, "lower"), line("decode ms", (row) => report.at(row, "decode_s"), milliseconds, "lower"),
    ];
    return [
      h("h3", {}, `${at("address")} ${at("rate")} on ${at("mesh")}`, h("small", {}, `${at("dataset")}, ${at("split")}; left of the wipe A, right of it B`)),
      plainTable("The coding in both runs", ["", report.runName(0), report.runName(1), "B / A"], lines),
    ];
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
