// The page of times and memory.

class TimingPage {
  constructor(report) {
    const parts = report.blocks.map((block) => this.block(report, block));
    this.element = h("div", {}, h("h2", {}, "Time and memory", h("small", {}, "means over meshes; of a set codec its share for one mesh")),
      h("p", { class: "hint" }, "Bars are on a log axis. MiB: the most memory that a call added to what its process held before it."), parts);
  }

  block(report, block) {
    const points = block.points.filter((p) => p.encode_ms !== null && p.encode_ms !== undefined);
    if (!points.length) return null;
    const range = (names) => {
      const values = points.flatMap((p) => names.map((name) => p[name])).filter((v) => v > 0);
      return [Math.min(...values) / 2, Math.max(...values)];
    };
    const times = range(["encode_ms", "decode_ms"]), memory = range(["encode_added_mib", "decode_added_mib"]);
    const bar = (p, name, [low, high], digits) => {
      const value = p[name], part = value > 0 ? Math.log(value / low) / Math.log(high / low) : 0;
      return h("div", coloured(report.style.get(p.codec), "bar", { "--part": `${(100 * part).toFixed(1)}%` }),
        h("span", {}, number(value, digits)), h("small", {}, this.stages(p, name.split("_")[0], name.endsWith("_ms"))));
    };
    let before = null;
    const rows = points.map((p) => {
      const name = p.codec === before ? h("span", { class: "again" }, p.codec) : h("span", { class: "codec" }, swatch(report.style.get(p.codec)), p.codec);
      before = p.codec;
      return [name, p.rate, bar(p, "encode_ms", times, 3), bar(p, "decode_ms", times, 3), bar(p, "encode_added_mib", memory, 3), bar(p, "decode_added_mib", memory, 3), number(p.kilobytes, 3)];
    });
    return h("section", { class: "timing" }, h("h3", {}, report.blockName(block), h("small", {}, block.timed.join("; "))),
      plainTable(`Time and memory, ${report.blockName(block)}`, ["codec", "rate", "encode ms", "decode ms", "encode +MiB", "decode +MiB", "kB/mesh"], rows));
  }

  /** The parts that a codec told apart, in milliseconds. */
  stages(point, call, isTime) {
    const prefix = `${call}_stage_`;
    const parts = Object.entries(point).filter(([name, value]) => isTime && name.startsWith(prefix) && value !== null);
    return parts.map(([name, value]) => `${name.slice(prefix.length, -"_ms".length)} ${number(value, 3)}`).join(", ");
  }
}
