// What the report is about, unpacked: blocks (what can be compared), metrics, records, codec styles, scenes.

// 10, 13 and 7 of them: no two of 910 codecs look alike, and each of the first 13 has a marker of its own.
const COLOURS = 10, MARKERS = 13;
const DASHES = ["", "7 4", "9 3 2 3", "2 3", "14 4", "6 3 2 3 2 3", "4 2"];

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
    this.codecs = [...new Set(this.blocks.flatMap((block) => block.points.map((point) => point.codec)))].sort();
    this.style = new Map(this.codecs.map((codec, i) =>
      [codec, { colour: `var(--codec-${i % COLOURS})`, marker: i % MARKERS, dash: DASHES[i % DASHES.length] }]));
    this.sceneOfRow = new Map(this.scenes.map((scene) => [scene.row, scene]));
    this.reasonOfRow = new Map(this.without_scene.map((without) => [without.row, without.reason]));
    this.blockOfRow = Array.from({ length: this.rows }, (_, row) => this.blocks.findIndex((block) => this.inBlock(row, block)));
  }

  /** Value of a record. */
  at(row, column) {
    const values = this.columns[column];
    return values ? values[row] ?? null : null;
  }

  inBlock(row, block) {
    return ["dataset", "split", "effort", "device"].every((name) => this.at(row, name) === block[name]);
  }

  /** What to call a block: its dataset, and what tells it from others of the same dataset. */
  blockName(block) {
    const differ = (name) => new Set(this.blocks.map((other) => other[name])).size > 1;
    const rest = ["split", "effort", "device"].filter((name) => differ(name)).map((name) => block[name]);
    return [block.dataset, ...rest].join(", ");
  }

  rowsOfBlock(index) {
    return [...Array(this.rows).keys()].filter((row) => this.blockOfRow[row] === index);
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
