// The pages of coverage and provenance.

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
    const { lines, left_out: leftOut } = report.failures;
    const name = (f) => h("span", { class: "name", title: [...f.meshes, f.count > f.meshes.length ? "…" : ""].join("\n") },
      `${f.dataset}/${f.meshes[0]}${f.count > 1 ? " …" : ""}`);
    const rows = lines.map((f) => [name(f), count(f.count), f.codec, rates(f.rates), h("span", { class: "status bad" }, f.status), [f.stage, f.pass === "timing" ? "timing pass" : null].filter(Boolean).join(", "), h("span", { class: "error" }, f.error ?? "")]);
    return h("section", {}, h("h3", {}, "Failures and bad input"),
      rows.length ? plainTable("Failures and bad input", ["mesh", "meshes", "codec", "rates", "status", "at", "error"], rows) : h("p", {}, "None."),
      leftOut ? h("p", { class: "hint" }, `${plural(leftOut, "line")} more: bench table --failures`) : null);
  }

  scenes(report) {
    const { reasons } = report.without_scene, shown = reasons.slice(0, 40), others = reasons.slice(40);
    if (others.length) shown.push([`${count(others.length)} other reasons`, others.reduce((sum, [, n]) => sum + n, 0)]);
    const all = report.scenes.length + reasons.reduce((sum, [, n]) => sum + n, 0);
    return h("section", {}, h("h3", {}, "3-D views"),
      h("p", {}, `${count(report.scenes.length)} of ${plural(all, "measured coding")} can be looked at: first the worst, median and best mesh of every codec and rate, then the rest; codecs take turns.`),
      shown.length ? plainTable("Why there is no 3-D view", ["codings", "reason"], shown.map(([reason, n]) => [count(n), h("span", { class: "error" }, reason)])) : null);
  }
}

class ProvenancePage {
  constructor(report) {
    const sessions = [...report.sessions].reverse();
    this.element = h("div", {}, h("h2", {}, "Provenance", h("small", {}, `where the numbers come from · ${plural(sessions.length, "invocation")}, newest first`)),
      report.experiments.map((one) => h("details", {}, h("summary", {}, h("span", {}, report.paired ? `${one.run}: ` : "", "The file that makes this run again"), h("code", {}, one.file)), h("pre", {}, one.text))),
      sessions.map((session, i) => h("details", { open: i === 0 }, h("summary", {}, this.headline(session)), this.facts(session))),
      h("section", {}, h("h3", {}, "Metrics"), plainTable("Metrics", ["metric", "better", "definition"], report.metrics.map((m) => [m.label, m.better ?? NONE, h("span", { class: "error" }, m.definition)])),
        h("p", { class: "hint" }, "Meshes are normalised: the longest side of the bounding box spans 2.")));
  }

  headline(session) {
    const when = String(session.started ?? "unknown time").replace("T", " ").replace("+00:00", " UTC");
    return [session.run ? h("span", {}, session.run) : null, h("span", {}, when), h("code", {}, (session.argv ?? []).map((arg, i) => i ? arg : String(arg).split("/").pop()).join(" "))];
  }

  facts(session) {
    const machine = session.machine ?? {}, commit = session.commit;
    const pairs = (object) => Object.entries(object ?? {}).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`);
    const facts = [
      ["finished", session.finished ? `${String(session.finished).replace("T", " ").replace("+00:00", " UTC")}, after ${duration(session.wall_s)}` : "not yet, or it was interrupted"],
      ["codings", [`${count(session.codings)} planned`, `${count(session.codings_to_run)} to run`, session.jobs ? `${session.jobs} at a time` : null, session.threads ? `${plural(session.threads, "thread")} each` : null].filter(Boolean).join(", ")],
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
