// What the report is about, unpacked: blocks (what can be compared), metrics, records, codec styles, scenes.

const BLOCK = ["dataset", "split", "effort", "device"]; // what makes records comparable

/** Inflate base64 of a zlib stream. */
async function inflate(base64) {
  const packed = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function loadReport() {
  const text = new TextDecoder().decode(await inflate(document.getElementById("content").textContent));
  return new Report(JSON.parse(text));
}

class Report {
  constructor(content) {
    Object.assign(this, content);
    this.metric = new Map(this.metrics.map((metric) => [metric.name, metric]));
    this.columns = Object.fromEntries(Object.entries(content.records).map(([name, column]) =>
      [name, column.codes ? column.codes.map((code) => code === null ? null : column.values[code]) : column]));
    this.rows = this.columns.dataset.length;
    this.codecs = Object.keys(this.styles).sort();
    this.style = new Map(Object.entries(this.styles));
    this.sceneOfRow = new Map(this.scenes.map((scene) => [scene.row, scene]));
    this.sceneOfKey = new Map(this.scenes.map((scene) => [this.keyOf(scene.row), scene]));
    this.reasonOfRow = new Map(this.without_scene.rows.map(([row, reason]) => [row, this.without_scene.reasons[reason][0]]));
    const blockName = (of) => JSON.stringify(BLOCK.map(of)), known = new Map(this.blocks.map((block, i) => [blockName((name) => block[name]), i]));
    this.blockOfRow = Array.from({ length: this.rows }, (_, row) => known.get(blockName((name) => this.at(row, name))) ?? -1);
    this.allRowsOf = this.blocks.map(() => []);
    this.blockOfRow.forEach((block, row) => { if (block >= 0) this.allRowsOf[block].push(row); });
  }

  /** Whether the report is of two runs; `run` of a record is then 0 (A) or 1 (B). */
  get paired() {
    return this.runs.length === 2;
  }

  runName(run) {
    return `${"AB"[run]}: ${this.runs[run]}`;
  }

  /** What tells a coding from all others; `other` gives the key of the same coding in the other run. */
  keyOf(row, other = false) {
    const run = this.at(row, "run") ?? 0;
    return JSON.stringify([...BLOCK, "mesh", this.paired ? "address" : "codec", "rate", "seed"].map((name) => this.at(row, name)).concat(other ? 1 - run : run));
  }

  /** The scene of the same coding in the other run. */
  partnerOf(scene) {
    return this.paired ? this.sceneOfKey.get(this.keyOf(scene.row, true)) ?? null : null;
  }

  /** Whether the page carries only some of the records. */
  get partial() {
    return this.whole !== null;
  }

  /** Meshes of a block of which the page carries every record that could be used. */
  meshesOfBlock(index) {
    const block = this.blocks[index];
    if (this.partial) return this.whole.filter((name) => BLOCK.every((column, i) => name[i] === block[column])).map((name) => name[BLOCK.length]).sort();
    return [...new Set(this.rowsOfBlock(index).filter((row) => this.at(row, "status") !== "bad-input").map((row) => this.at(row, "mesh")))].sort();
  }

  /** Value of a record. */
  at(row, column) {
    const values = this.columns[column];
    return values ? values[row] ?? null : null;
  }

  /** What to call a block: its dataset, and what tells it from others of the same dataset. */
  blockName(block) {
    const differ = (name) => new Set(this.blocks.map((other) => other[name])).size > 1;
    const rest = ["split", "effort", "device"].filter((name) => differ(name)).map((name) => block[name]);
    return [block.dataset, ...rest].join(", ");
  }

  rowsOfBlock(index) {
    return this.allRowsOf[index] ?? [];
  }

  /** The metric that ranks; where none does, the first that could. */
  get mainMetric() {
    return this.metric.get(this.ranking) ?? this.metrics.find((m) => m.better !== null) ?? null;
  }

  /** Those that suites put forward, and the others; the one that ranks comes first. */
  get headlines() {
    const first = this.mainMetric;
    return this.metrics.filter((m) => m.headline || m === first).sort((a, b) => (b === first) - (a === first));
  }

  get otherMetrics() {
    return this.metrics.filter((m) => !this.headlines.includes(m));
  }

  ratio(row) {
    const obj = this.at(row, "obj_bytes"), stream = this.at(row, "stream_bytes");
    return obj && stream ? obj / stream : null;
  }
}

function ratioOf(old, now) {
  return old > 0 && now > 0 ? now / old : null;
}

/** A ratio of new to old, as it says how much changed; `better` is the direction in which a value is better. */
function showRatio(ratio, better) {
  if (ratio === null) return NONE;
  if (ratio === 1) return h("span", { class: "none" }, "same");
  const good = better === "lower" ? ratio < 1 : ratio > 1;
  return h("span", { class: better ? (good ? "saves" : "costs") : null }, `× ${number(ratio, ratio > 0.1 && ratio < 10 ? 4 : 3)}`);
}

/** A value under its label's scale. */
function scaled(metric, value) {
  return value === null || value === undefined ? null : value * metric.scale;
}

function showMetric(metric, value) {
  if (value === null || value === undefined) return NONE;
  if (metric.unit === "flag") return value ? "yes" : "no";
  if (metric.unit === "count") return count(value);
  if (metric.least !== null) return number(value * metric.scale, 4);
  return fixed(value * metric.scale, metric.digits);
}
