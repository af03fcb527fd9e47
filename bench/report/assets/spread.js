// The page of how a value spreads over the meshes: quantiles of every codec and rate, of all records of the run.

class SpreadPage {
  constructor(report) {
    this.report = report;
    this.block = report.blocks.findIndex((block) => block.spread.rows.length);
    this.place = h("div");
    this.element = h("div", {}, h("h2", {}, "Spread over the meshes", h("small", {}, "of every coding that is ok; a bar is the middle half, a line the middle 90 %, a tick the median")));
    if (this.block < 0) {
      this.element.append(h("p", {}, "No coding succeeded in a quality pass."));
      return;
    }
    this.name = report.mainMetric?.name ?? "kilobytes";
    this.controls = h("div", { class: "toolbar fields" });
    this.element.append(this.controls, this.place);
    this.drawControls();
    this.draw();
  }

  /** What the block has quantiles of: [name, label]. */
  quantities() {
    const of = this.report.blocks[this.block].spread.of, there = (name) => name in of;
    const metric = (m) => [m.name, m.label];
    const groups = [["metrics", this.report.headlines.filter((m) => there(m.name)).map(metric)], ["size, time, memory", SIZES.filter((one) => there(one.name)).map((one) => [one.name, one.short])],
      ["other metrics", this.report.otherMetrics.filter((m) => there(m.name)).map(metric)]];
    return groups.filter(([, list]) => list.length);
  }

  drawControls() {
    const groups = this.quantities(), names = groups.flatMap(([, list]) => list.map(([name]) => name));
    if (!names.includes(this.name)) this.name = names[0];
    this.controls.replaceChildren(
      choice("Dataset", this.report.blocks.map((block, i) => [i, this.report.blockName(block)]), this.block, (v) => { this.block = Number(v); this.drawControls(); this.draw(); }),
      choice("Value", groups, this.name, (v) => { this.name = v; this.draw(); }));
  }

  draw() {
    const { report } = this, block = report.blocks[this.block], { rows, of } = block.spread;
    const metric = report.metric.get(this.name), quantiles = of[this.name];
    const show = (value) => metric ? showMetric(metric, value) : number(value, 3);
    const log = !metric || metric.least !== null, least = metric?.least ?? 0;
    const values = quantiles.flatMap((q) => q.slice(1, -1)).filter((v) => v !== null && (!log || v > 0)).map((v) => Math.max(v, least));
    const scale = log ? Math.log : (v) => v, low = scale(Math.min(...values)), high = scale(Math.max(...values));
    const part = (value) => 100 * (high > low ? (scale(Math.max(value, log ? Math.max(least, 1e-300) : value)) - low) / (high - low) : 0.5);
    const box = (q, codec) => {
      if (q[3] === null) return NONE;
      const [from, first, middle, third, to] = [1, 2, 3, 4, 5].map((i) => Math.max(0, Math.min(100, part(q[i]))));
      return h("div", { ...coloured(report.style.get(codec), "box"), "aria-hidden": "true" },
        h("i", { class: "most", style: { left: `${from}%`, width: `${to - from}%` } }), h("i", { class: "half", style: { left: `${first}%`, width: `${third - first}%` } }), h("i", { class: "median", style: { left: `${middle}%` } }));
    };
    const better = metric?.better ?? SIZES.find((one) => one.name === this.name)?.better;
    let before = null;
    const lines = rows.map(([codec, rate, n], i) => {
      const again = codec === before;
      before = codec;
      const name = again ? h("span", { class: "again" }, codec) : h("span", { class: "codec" }, swatch(report.style.get(codec)), codec);
      return [name, rate, count(n), box(quantiles[i], codec), ...quantiles[i].map(show)];
    });
    const head = report.quantiles.map((q) => q === 0 ? "least" : q === 1 ? "most" : q === 0.5 ? "median" : `${100 * q} %`);
    this.place.replaceChildren(
      h("p", { class: "hint" }, metric ? `${metric.label}: ${metric.definition}. ` : "", better ? `${better === "higher" ? "More" : "Less"} is better. ` : "", log ? "Boxes are on a log axis, which ends where the lines end." : "", " Meshes that failed have no value."),
      plainTable(`Spread of ${metric?.label ?? this.name}`, ["codec", "rate", "codings", "", ...head], lines));
  }
}
