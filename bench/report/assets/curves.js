// The page of rate-distortion curves: choices, chart, legend, the codings at a point, BD-rates.

const SIZES = [
  { name: "ratio", label: "compression ratio (OBJ bytes / stream bytes)", short: "compression ratio", better: "higher", of: (report, row) => report.ratio(row) },
  { name: "kilobytes", label: "kB per mesh", short: "kB per mesh", better: "lower", of: (report, row) => scaleOrNull(report.at(row, "stream_bytes"), 1e-3) },
  { name: "bits_per_vertex", label: "bits per vertex of the input", short: "bits per vertex", better: "lower", of: (report, row) => report.at(row, "bits_per_vertex") },
  { name: "decode_ms", label: "decode ms per mesh", short: "decode time", better: "lower", of: (report, row) => perMesh(report, row, "decode_s") },
  { name: "encode_ms", label: "encode ms per mesh", short: "encode time", better: "lower", of: (report, row) => perMesh(report, row, "encode_s") },
  { name: "decode_added_mib", label: "memory that decoding adds, MiB", short: "decode memory", better: "lower", of: (report, row) => scaleOrNull(report.at(row, "decode_added_bytes"), 2 ** -20) },
];

function scaleOrNull(value, factor) {
  return value === null ? null : value * factor;
}

/** Milliseconds; of a set codec its share for one mesh. */
function perMesh(report, row, column) {
  return scaleOrNull(report.at(row, column), 1e3 / (report.at(row, "set_size") || 1));
}

class CurvesPage {
  constructor(report, viewing) {
    this.report = report;
    this.viewing = viewing;
    this.block = 0;
    this.metric = report.mainMetric;
    this.size = SIZES[0];
    this.mesh = ""; // all
    this.logX = true;
    this.logY = true;
    this.hull = this.spread = false;
    this.hidden = new Set();
    this.chart = new Chart((point) => this.pick(point));
    this.controls = h("div", { class: "toolbar fields" });
    this.legend = h("div", { class: "legend", role: "group", "aria-label": "Codecs" });
    this.notes = h("p", { class: "hint" });
    this.title = h("h2");
    this.codings = h("section", { class: "codings", "aria-live": "polite" });
    this.bd = h("section", { class: "bd" });
    this.element = h("div", {}, this.controls,
      h("section", { class: "curves" }, this.title, h("div", { class: "curves-body" }, this.chart.element, h("aside", {}, this.legend, this.notes))),
      this.codings, this.bd);
    this.drawControls();
    this.drawCodings(null);
    this.update();
  }

  /** Those that a curve can be drawn of. */
  get meshes() {
    return this.report.meshesOfBlock(this.block);
  }

  /** Over which meshes means are. */
  get meanOf() {
    const compared = this.report.blocks[this.block]?.meshes ?? 0, all = this.report.blocks[this.block]?.all_meshes ?? 0;
    return `mean of ${compared === all ? "" : `${compared} of `}${plural(all, "mesh", "meshes")}`;
  }

  drawControls() {
    const { report } = this, change = (name, map = (v) => v, redraw = false) => (value) => {
      this[name] = map(value);
      if (redraw) this.drawControls();
      this.update();
    };
    const blocks = report.blocks.map((block, i) => [i, report.blockName(block)]);
    const ranked = report.otherMetrics.filter((m) => m.better !== null);
    this.controls.replaceChildren(
      choice("Dataset", blocks, this.block, (v) => { this.block = Number(v); this.mesh = ""; this.chart.picked = null; this.drawControls(); this.drawCodings(null); this.update(); }),
      choice("Mesh", [["", this.meanOf], ["one mesh", this.meshes.map((m) => [`=${m}`, m])]],
        this.mesh, change("mesh")),
      choice("Quality", [...report.headlines.map((m) => [m.name, m.label]), ...(ranked.length ? [["others", ranked.map((m) => [m.name, m.label])]] : [])], this.metric?.name, change("metric", (v) => report.metric.get(v))),
      choice("Against", SIZES.map((one) => [one.name, one.short]), this.size.name, change("size", (v) => SIZES.find((one) => one.name === v))),
      h("div", { class: "ticks" },
        tick("log x", this.logX, change("logX")), tick("log y", this.logY, change("logY")), tick("convex hull", this.hull, change("hull")), tick("spread", this.spread, change("spread"))));
    this.drawLegend();
  }

  /** What is hidden: addresses of codecs, and of two runs their numbers. */
  isHidden(codec) {
    const { address, run } = this.report.style.get(codec);
    return this.hidden.has(address) || this.hidden.has(run);
  }

  drawLegend() {
    const { report } = this, failed = new Map(), styleOf = new Map();
    for (const point of report.blocks[this.block]?.points ?? []) {
      const style = report.style.get(point.codec);
      failed.set(style.address, (failed.get(style.address) ?? 0) + point.failed);
      if (!styleOf.has(style.address)) styleOf.set(style.address, report.paired ? { ...style, dash: "", run: 0 } : style);
    }
    const key = (what, name, style, n = 0) => {
      const button = h("button", {
        type: "button", class: "key", "aria-pressed": String(!this.hidden.has(what)),
        on: { click: () => {
          if (!this.hidden.delete(what)) this.hidden.add(what);
          button.setAttribute("aria-pressed", String(!this.hidden.has(what)));
          this.update(true);
        } },
      }, swatch(style), h("span", { class: "key-name" }, name), n ? h("span", { class: "failed" }, `${count(n)} failed`) : null);
      return button;
    };
    const dashes = Object.fromEntries(Object.values(report.styles).map(({ run, dash }) => [run, dash]));
    const runs = report.paired ? report.runs.map((_, run) => key(run, report.runName(run), { colour: "var(--muted)", dark: "var(--muted)", marker: 0, dash: dashes[run], run })) : [];
    this.legend.replaceChildren(...(runs.length ? [h("h3", {}, "Runs"), h("div", { class: "keys" }, runs)] : []),
      h("h3", {}, "Codecs"), h("div", { class: "keys" }, [...failed].map(([address, n]) => key(address, address, styleOf.get(address), n))));
  }

  /** Points of the chart: means, or one mesh. */
  points() {
    const { report, metric } = this, block = report.blocks[this.block];
    if (!metric || !block) return [];
    const made = this.mesh
      ? report.rowsOfBlock(this.block).filter((row) => `=${report.at(row, "mesh")}` === this.mesh && report.at(row, "status") === "ok" && !report.at(row, "timing"))
        .map((row) => ({
          codec: report.at(row, "codec"), rate: report.at(row, "rate"), x: this.size.of(report, row), value: report.at(row, metric.name),
          hollow: report.at(row, `${metric.name}_inside`) === true, note: [],
        }))
      : block.points.map((p) => ({
        range: this.range(block, p), codec: p.codec, rate: p.rate, x: p[this.size.name], value: p[metric.name], hollow: p.inside.includes(metric.name), beside: p.beside,
        note: [`${p.ok} of ${plural(p.codings, "coding")} ok`, ...(p.beside ? ["a mean over other meshes: not compared"] : [])],
      }));
    return made.filter((p) => p.x !== null && p.x !== undefined && p.value !== null && p.value !== undefined && !(this.logX && p.x <= 0));
  }

  update(keepZoom = false) {
    const { report, metric, size } = this, block = report.blocks[this.block];
    if (!metric || !block) {
      this.title.textContent = "Nothing was measured";
      this.notes.textContent = "No coding succeeded, or this run is a timing pass. The pages of timing and coverage say more.";
      return;
    }
    const log = this.logY && metric.least !== null;
    let clipped = false;
    const shown = (value) => {
      const clip = log && value < metric.least;
      clipped ||= clip;
      return scaled(metric, clip ? metric.least : value);
    };
    const all = this.points();
    const series = [...new Set(block.points.map((p) => p.codec))].filter((codec) => !this.isHidden(codec)).map((codec) => ({
      name: codec, style: report.style.get(codec),
      points: all.filter((p) => p.codec === codec).sort((a, b) => a.x - b.x).map((p) => ({
        id: JSON.stringify([p.codec, p.rate]), codec: p.codec, rate: p.rate, x: p.x, y: shown(p.value), range: this.spread && p.range ? p.range.map(shown) : null, hollow: p.hollow, beside: p.beside, label: `${p.codec} ${p.rate}`,
        lines: [`${metric.label} ${showMetric(metric, p.value)}`, `${size.short} ${number(p.x, 4)}`, ...p.note, ...(p.hollow ? ["at the noise floor: does not rank"] : [])],
      })),
    }));
    const band = this.floor(block);
    const where = this.mesh ? this.mesh.slice(1) : this.meanOf;
    this.title.replaceChildren(`${metric.label.replace(/ ×.*/, "")} against ${size.short}`, h("small", {}, `${report.blockName(block)} · ${where}`));
    this.chart.show({
      series, band: band === null ? null : scaled(metric, band), hull: this.hull,
      x: { label: size.label, short: size.short, log: this.logX, better: size.better }, y: { label: metric.label, log, better: metric.better },
      description: `${metric.label} against ${size.label}, ${report.blockName(block)}, ${where}`,
    }, keepZoom);
    this.notes.replaceChildren(`${metric.label}: ${metric.definition}.`,
      band === null ? "" : " The band is what sampling noise hides; hollow points are in it and do not rank codecs.",
      block.unmeasured.length ? ` ${block.unmeasured.join("; ")}.` : "",
      all.some((p) => p.beside) ? " Small points are means over other meshes: no curve goes through them. A BD-rate over fewer meshes has †." : "",
      clipped ? ` Points at ${tickText(metric.least * metric.scale)} are at or below it.` : "",
      this.spread && !this.mesh ? " Bars hold 90 % of the meshes." : "",
      this.hull ? " The hull is that of the axes as drawn." : "");
    this.drawBd(block);
  }

  /** Between which values 90 % of the meshes of a point are. */
  range(block, { codec, rate }) {
    const at = block.spread.rows.findIndex(([name, label]) => name === codec && label === rate);
    const quantiles = block.spread.of[this.metric.name]?.[at];
    return quantiles && quantiles[1] !== null ? [quantiles[1], quantiles[5]] : null;
  }

  floor(block) {
    const { report, metric } = this;
    if (!metric.floor) return null;
    const values = this.mesh
      ? report.rowsOfBlock(this.block).filter((row) => `=${report.at(row, "mesh")}` === this.mesh).map((row) => report.at(row, metric.floor))
      : block.points.map((p) => p[metric.floor]);
    const known = values.filter((v) => v !== null && v !== undefined);
    return known.length ? known.reduce((a, b) => a + b) / known.length : null;
  }

  pick(point) {
    this.drawCodings(point);
  }

  /** The meshes at a point: a list, and the viewer with one of them. */
  drawCodings(point) {
    const { report } = this;
    if (!point) {
      this.codings.replaceChildren(h("p", { class: "invite" }, "Choose a point of the chart to see its meshes."));
      return;
    }
    const metric = report.mainMetric;
    const rows = report.rowsOfBlock(this.block).filter((row) =>
      report.at(row, "codec") === point.codec && report.at(row, "rate") === point.rate && !report.at(row, "timing"));
    const wanted = this.mesh && rows.find((row) => `=${report.at(row, "mesh")}` === this.mesh && report.sceneOfRow.has(row));
    const scenes = rows.map((row) => report.sceneOfRow.get(row)).filter(Boolean);
    const first = report.sceneOfRow.get(wanted) ?? scenes.find((scene) => scene.role === "median") ?? scenes[0];
    const place = h("div", { class: "viewer-place" });
    const columns = [
      { name: "mesh", heading: "mesh", text: true, value: (row) => report.at(row, "mesh"), show: (row) => report.at(row, "mesh") },
      { name: "show", heading: "3-D", text: true, show: (row) => sceneButton(report, row, (scene) => this.viewing.open(scene, place)) },
      ...(rows.some((row) => report.at(row, "status") !== "ok")
        ? [{ name: "status", heading: "status", text: true, value: (row) => report.at(row, "status"), show: (row) => statusCell(report, row) }] : []),
      ...(metric ? [{ name: metric.name, heading: metric.label, value: (row) => report.at(row, metric.name), show: (row) => showMetric(metric, report.at(row, metric.name)) }] : []),
      { name: "bytes", heading: "bytes", value: (row) => report.at(row, "stream_bytes"), show: (row) => count(report.at(row, "stream_bytes")) },
    ];
    const grid = new Grid(`Codings of ${point.label}`, columns, { name: metric?.name ?? "bytes", down: metric?.better === "lower" });
    grid.setRows(rows);
    this.codings.replaceChildren(
      h("h2", {}, point.label, h("small", {}, `${report.blockName(report.blocks[this.block])} · ${this.howMany(point, rows)}, ${scenes.length} to look at`)),
      h("div", { class: "codings-body" }, grid.element, place));
    if (first) this.viewing.open(first, place);
    else place.append(h("p", { class: "invite" }, `No 3-D view: ${report.reasonOfRow.get(rows.find((row) => report.reasonOfRow.has(row))) ?? "nothing was coded"}.`));
  }

  /** Codings of a point, of which a large run's page carries some. */
  howMany(point, rows) {
    const all = this.report.blocks[this.block].points.find((p) => p.codec === point.codec && p.rate === point.rate).codings;
    return rows.length < all ? `${count(rows.length)} of ${plural(all, "coding")}` : plural(rows.length, "coding");
  }

  drawBd(block) {
    const matrix = block.bd[this.metric.name];
    if (!matrix || matrix.codecs.length < 2) {
      this.bd.replaceChildren();
      return;
    }
    const letters = new Map(); // of reasons, which would fill the table
    const letter = (reason) => {
      if (!letters.has(reason)) letters.set(reason, `(${String.fromCharCode(97 + letters.size)})`);
      return letters.get(reason);
    };
    const cell = (entry) => {
      if (!entry) return "·";
      const dropped = entry.dropped.length ? `\nleft out: ${entry.dropped.join("; ")}` : "";
      if (entry.percent === null) return h("span", { class: "refusal", title: `${entry.refusal}${dropped}` }, letter(entry.refusal));
      const title = `over ${plural(entry.meshes, "mesh", "meshes")}; pchip; by Akima ${signed(entry.akima)}; common range of quality ${Math.round(entry.overlap * 100)} %${dropped}`;
      return h("span", { class: entry.percent < 0 ? "saves" : "costs", title }, `${signed(entry.percent)}${entry.mark}`);
    };
    const rows = matrix.codecs.map((codec, i) => [codec, ...matrix.cells[i].map(cell)]);
    const place = new Map(matrix.codecs.map((codec, i) => [codec, i])), styles = this.report.styles;
    const inBoth = this.report.paired ? matrix.codecs.filter((codec) => styles[codec].run === 0).map((codec) => [codec, Object.keys(styles).find((one) => styles[one].address === styles[codec].address && styles[one].run === 1)]).filter(([, b]) => place.has(b)) : [];
    const against = inBoth.map(([a, b]) => [styles[a].address, cell(matrix.cells[place.get(b)][place.get(a)])]);
    this.bd.replaceChildren(
      ...(against.length ? [h("h2", {}, "B against A", h("small", {}, "BD-rate of the same codec: − saves bytes in B")), plainTable("BD-rate of B against A", ["codec", "BD-rate"], against)] : []),
      h("h2", {}, "BD-rate", h("small", {}, `${this.metric.label}, of the mean curves · ${this.report.blockName(block)}`)),
      h("p", { class: "hint" }, "Bytes of the row's codec against the column's at equal quality: −50 % is half the bytes. A letter stands for the reason where there is no honest number."),
      plainTable("BD-rate, codec by codec", ["", ...matrix.codecs], rows),
      h("p", { class: "hint reasons" }, [...letters].map(([reason, mark]) => `${mark} ${reason}`).concat(matrix.fewer || [], block.coverage).join(" · ")));
  }
}

function signed(percent) {
  if (percent === null) return NONE;
  return `${percent > 0 ? "+" : "−"}${Math.abs(percent).toFixed(1)} %`;
}

/** A button that shows a record's meshes, or the reason why there is none. */
function sceneButton(report, row, open) {
  const scene = report.sceneOfRow.get(row);
  if (scene) {
    const name = `${report.at(row, "codec")} ${report.at(row, "rate")} on ${report.at(row, "mesh")}`;
    return h("button", { type: "button", class: "look", "aria-label": `Show ${name} in 3-D`, on: { click: () => open(scene) } }, scene.role === "other" ? "look" : scene.role);
  }
  return h("span", { class: "none", title: report.reasonOfRow.get(row) }, NONE);
}

function statusCell(report, row) {
  const status = report.at(row, "status");
  return h("span", { class: `status ${status === "ok" ? "ok" : "bad"}`, title: report.at(row, "error") }, status);
}
