// The pages of timing, coverage and provenance.

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
      return h("div", { class: "bar", style: { "--colour": report.style.get(p.codec).colour, "--part": `${(100 * part).toFixed(1)}%` } },
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

class CoveragePage {
  constructor(report) {
    this.element = h("div", {}, h("h2", {}, "Coverage", h("small", {}, "what ran, what failed, what could not run")),
      this.counts(report), this.unavailable(report), this.failures(report), this.scenes(report));
  }

  counts(report) {
    const of = (block, codec) => {
      const points = block.points.filter((p) => p.codec === codec), sum = (name) => points.reduce((n, p) => n + (p[name] ?? 0), 0);
      if (!points.length) return h("span", { class: "none" }, "not run");
      const [ok, codings, failed] = [sum("ok"), sum("codings"), sum("failed")], bad = codings - ok - failed;
      const beside = points.filter((p) => p.beside).length;
      return h("span", {}, h("span", { class: failed ? "status bad" : "status ok" }, `${count(ok)} of ${count(codings)} ok`),
        failed ? `, ${count(failed)} failed` : "", bad ? `, ${count(bad)} bad input` : "",
        beside ? h("small", { class: "aside" }, `${plural(beside, "rate")} of ${points.length} not on all of ${plural(block.meshes, "mesh", "meshes")}`) : "");
    };
    return h("section", {}, h("h3", {}, "Codings"),
      plainTable("Codings by codec and dataset", ["codec", ...report.blocks.map((block) => report.blockName(block))],
        report.codecs.map((codec) => [codec, ...report.blocks.map((block) => of(block, codec))])),
      report.blocks.flatMap((block) => [...block.coverage, ...block.unmeasured].map((note) => h("p", { class: "hint" }, `${report.blockName(block)}: ${note}.`))),
      report.leftovers.map((note) => h("p", { class: "hint" }, `${note}.`)));
  }

  unavailable(report) {
    const missing = report.sessions.reduce((most, session) => Math.max(most, session.missing ?? 0), 0);
    return h("section", {}, h("h3", {}, "Codecs that could not run"),
      report.unavailable.length ? plainTable("Codecs that could not run", ["codec", "reason, and how to get it"], report.unavailable.map((one) => [one.codec, h("span", { class: "error" }, one.reason)]))
        : h("p", {}, "None: every codec that was asked for could run."),
      missing ? h("p", {}, `${plural(missing, "mesh", "meshes")} that a split names were not on the machine.`) : null);
  }

  failures(report) {
    const rates = (list) => list.length < 4 ? list.join(", ") : `${list[0]} … ${list[list.length - 1]} (${list.length})`;
    const alike = new Map(); // a set codec fails at all meshes of the set at once
    for (const f of report.failures) {
      const key = JSON.stringify([f.dataset, f.codec, f.rates, f.status, f.stage, f.error]);
      alike.set(key, [...(alike.get(key) ?? []), f]);
    }
    const names = (list) => `${list[0].dataset}/${list[0].mesh}${list.length > 1 ? ` and ${plural(list.length - 1, "other")}` : ""}`;
    const rows = [...alike.values()].map((list) => [h("span", { class: "name", title: list.map((f) => f.mesh).join("\n") }, names(list)), list[0].codec, rates(list[0].rates),
      h("span", { class: "status bad" }, list[0].status), list[0].stage ?? "", h("span", { class: "error" }, list[0].error ?? "")]);
    return h("section", {}, h("h3", {}, "Failures and bad input"),
      rows.length ? plainTable("Failures and bad input", ["mesh", "codec", "rates", "status", "at", "error"], rows) : h("p", {}, "None."));
  }

  scenes(report) {
    const reasons = new Map();
    for (const { reason } of report.without_scene) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    const all = report.scenes.length + report.without_scene.length;
    return h("section", {}, h("h3", {}, "3-D views"),
      h("p", {}, `${count(report.scenes.length)} of ${plural(all, "measured coding")} can be looked at: first the worst mesh of every codec and rate, then the median, the best, the rest.`),
      reasons.size ? plainTable("Why there is no 3-D view", ["codings", "reason"], [...reasons].map(([reason, n]) => [count(n), h("span", { class: "error" }, reason)])) : null);
  }
}

class ProvenancePage {
  constructor(report) {
    const sessions = [...report.sessions].reverse();
    this.element = h("div", {}, h("h2", {}, "Provenance", h("small", {}, `where the numbers come from · ${plural(sessions.length, "invocation")}, newest first`)),
      sessions.map((session, i) => h("details", { open: i === 0 }, h("summary", {}, this.headline(session)), this.facts(session))),
      h("section", {}, h("h3", {}, "Metrics"), plainTable("Metrics", ["metric", "better", "definition"], report.metrics.map((m) => [m.label, m.better ?? NONE, h("span", { class: "error" }, m.definition)])),
        h("p", { class: "hint" }, "Meshes are normalised: the longest side of the bounding box spans 2.")));
  }

  headline(session) {
    const when = String(session.started ?? "unknown time").replace("T", " ").replace("+00:00", " UTC");
    return [h("span", {}, when), h("code", {}, (session.argv ?? []).map((arg, i) => i ? arg : String(arg).split("/").pop()).join(" "))];
  }

  facts(session) {
    const machine = session.machine ?? {}, commit = session.commit;
    const pairs = (object) => Object.entries(object ?? {}).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`);
    const facts = [
      ["finished", session.finished ? `${String(session.finished).replace("T", " ").replace("+00:00", " UTC")}, after ${duration(session.wall_s)}` : "no: it was interrupted"],
      ["cells", `${count(session.cells)} planned, ${count(session.cells_to_run)} to run; ${session.jobs ?? NONE} at a time, ${session.threads ?? NONE} threads each`],
      ["gcbench", [session.gcbench, commit ? `commit ${String(commit.commit).slice(0, 12)}${commit.dirty ? ", changed since" : ""}` : "no commit known", `sources ${String(session.source_sha256 ?? NONE).slice(0, 12)}`].join(" · ")],
      ["settings", `effort ${session.effort}, seed ${session.seed}, ${session.device}${session.timing ? ", timing pass" : ""}`],
      ["limits", `${session.deadline_s ? duration(session.deadline_s) : "no deadline"}, ${session.memory_bytes ? bytes(session.memory_bytes) : "no limit of memory"}`],
      ["codecs", pairs(session.codecs)], ["programs", pairs(session.programs)], ["datasets", Object.entries(session.datasets ?? {}).map(([name, hash]) => `${name} ${String(hash).slice(0, 12)}`)],
      ["machine", [machine.processor, `${machine.cores} cores`, machine.memory_bytes ? bytes(machine.memory_bytes) : null, machine.system].filter(Boolean)],
      ["Python", [session.python, ...pairs(session.packages)]],
    ];
    return h("dl", { class: "provenance" }, facts.filter(([, value]) => value.length).map(([name, value]) => h("div", {}, h("dt", {}, name),
      h("dd", {}, Array.isArray(value) ? h("ul", {}, value.map((one) => h("li", {}, one))) : value))));
  }
}
