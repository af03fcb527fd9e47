// The page of what changed from the first of two runs to the second: in sum, and coding by coding.

class ChangesPage {
  constructor(report, viewing) {
    this.report = report;
    const { pairs, same, only, groups } = report.changes;
    const alone = only.map((n, run) => n ? `${count(n)} only in ${"AB"[run]}` : null).filter(Boolean);
    const title = h("h2", {}, "Changes", h("small", {}, `from ${report.runName(0)} to ${report.runName(1)}`));
    const numbers = h("p", { class: "hint" }, [`${plural(pairs, "coding")} in both runs`, `${count(same)} of them with the same size and quality`, ...alone].join(" · "));
    this.element = h("div", {}, title, numbers, groups.length ? [this.summary(), this.codings(viewing)] : h("p", {}, "The runs have no coding in common: other meshes, codecs, rates, seeds or devices."));
  }

  /** Label, way to show, and better direction of a quantity. */
  quantity(name) {
    const { report } = this, metric = report.metric.get(name);
    if (metric) return { label: metric.label, show: (v) => showMetric(metric, v), better: metric.better };
    if (name === "stream_bytes") return { label: "bytes", show: count, better: "lower" };
    return { label: name === "encode_s" ? "enc ms" : "dec ms", show: milliseconds, better: "lower" };
  }

  summary() {
    const { report } = this, { groups, quantities } = report.changes;
    const block = (group) => report.blockName(report.blocks.find((one) => BLOCK.every((name) => one[name] === group[name])));
    const many = report.blocks.length > 1;
    let before = null;
    const rows = groups.map((group) => {
      const name = JSON.stringify([...BLOCK, "address"].map((column) => group[column])), again = name === before;
      before = name;
      const codec = h("span", { class: again ? "codec again" : "codec" }, swatch({ ...this.style(group.address), dash: "", run: 0 }), group.address);
      return [codec, ...(many ? [block(group)] : []), group.rate, count(group.n), group.same === group.n ? "all" : count(group.same), ...quantities.map((q) => showRatio(group[q], this.quantity(q).better))];
    });
    return h("section", {}, h("h3", {}, "For each codec and rate", h("small", {}, "B / A, geometric means over codings that are ok in both")),
      plainTable("Changes of each codec and rate", ["codec", ...(many ? ["dataset"] : []), "rate", "codings", "same stream", ...quantities.map((q) => this.quantity(q).label)], rows));
  }

  style(address) {
    return Object.values(this.report.styles).find((style) => style.address === address);
  }

  /** The codings that changed most, in a table. */
  codings(viewing) {
    const { report } = this, { rows, quantities } = report.changes, all = [...Array(rows.mesh.length).keys()];
    const ratio = (i, q) => ratioOf(rows[`${q}_a`][i], rows[`${q}_b`][i]);
    const size = (i, q) => { const r = ratio(i, q); return r === null ? null : Math.abs(Math.log(r)); };
    const scene = (i) => [rows.row_b[i], rows.row_a[i]].map((row) => report.sceneOfRow.get(row)).find(Boolean);
    const turned = (i) => rows.status_a[i] !== rows.status_b[i];
    const text = (name, show = (i) => rows[name][i]) => ({ name, heading: name === "address" ? "codec" : name, text: true, value: (i) => rows[name][i], show });
    const look = (i) => {
      const found = scene(i), name = `${rows.address[i]} ${rows.rate[i]} on ${rows.mesh[i]}`;
      if (!found) return h("span", { class: "none" }, NONE);
      return h("button", { type: "button", class: "look", "aria-label": `Show ${name} in 3-D`, on: { click: () => viewing.browse(this.grid.order.map(scene).filter(Boolean), found) } }, report.partnerOf(found) ? "A | B" : "look");
    };
    const columns = quantities.flatMap((q) => {
      const { label, show, better } = this.quantity(q);
      return [
        { name: `${q}_a`, heading: `${label} A`, value: (i) => rows[`${q}_a`][i], show: (i) => show(rows[`${q}_a`][i]) },
        { name: `${q}_b`, heading: "B", value: (i) => rows[`${q}_b`][i], show: (i) => show(rows[`${q}_b`][i]) },
        { name: q, heading: "B / A", title: `${label}: sorts by how much changed, up or down`, value: (i) => size(i, q), show: (i) => showRatio(ratio(i, q), better) },
      ];
    });
    this.grid = new Grid("Codings that changed most", [
      text("mesh"), { name: "show", heading: "3-D", text: true, show: look }, ...(report.blocks.length > 1 ? [text("dataset")] : []), text("address"), { ...text("rate"), value: (i) => `${rows.address[i]} ${String(rows.rate_index[i]).padStart(4, "0")}` },
      { name: "status", heading: "status", text: true, value: (i) => turned(i) ? "0" : "1", show: (i) => h("span", { class: `status ${rows.status_b[i] === "ok" ? "ok" : "bad"}` }, turned(i) ? `${rows.status_a[i]} → ${rows.status_b[i]}` : rows.status_b[i]) },
      ...columns,
    ], { name: "most", down: false });
    const place = h("div", {}, this.grid.element);
    const orders = [["most", "anything: status, size, quality"], ...quantities.map((q) => [q, this.quantity(q).label])];
    const sort = (name) => { this.grid.sort = { name, down: name !== "most" }; this.grid.setRows(all); };
    this.grid.setRows(all);
    return h("section", {}, h("h3", {}, "Coding by coding", h("small", {}, `${plural(all.length, "coding")} that changed most`)),
      h("div", { class: "toolbar fields" }, choice("Changed most in", orders, "most", sort)), all.length ? place : h("p", {}, "Nothing changed."));
  }
}
