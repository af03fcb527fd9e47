// Unpacks the report, and shows the page that the address names.

const PAGES = [
  ["curves", "Curves", (report, viewing) => new CurvesPage(report, viewing)],
  ["changes", "Changes", (report, viewing) => new ChangesPage(report, viewing), (report) => report.paired],
  ["spread", "Spread", (report) => new SpreadPage(report)],
  ["codings", "Codings", (report, viewing) => new CodingsPage(report, viewing)],
  ["timing", "Time and memory", (report) => new TimingPage(report)],
  ["coverage", "Coverage", (report) => new CoveragePage(report)],
  ["provenance", "Provenance", (report) => new ProvenancePage(report)],
];

async function start() {
  const main = document.getElementById("main"), masthead = document.getElementById("masthead");
  if (!("DecompressionStream" in window)) {
    main.replaceChildren(h("p", { class: "trouble" }, "This browser cannot unpack the report. Firefox 113, Chrome 80, Safari 16.4 and newer ones can."));
    return;
  }
  const report = await loadReport(), viewing = new Viewing(report);
  const pages = PAGES.filter(([, , , wanted]) => !wanted || wanted(report));
  const links = pages.map(([name, title]) => h("a", { href: `#${name}` }, title));
  const { meshes, records, failed } = report.totals;
  masthead.append(
    h("div", { class: "inner" },
      h("div", { class: "title" }, h("p", { class: "brand" }, "gcbench report"), h("h1", {}, report.paired ? `${report.runName(0)}  ·  ${report.runName(1)}` : report.run)),
      h("p", { class: "summary" }, [plural(meshes, "mesh", "meshes"), plural(new Set(Object.values(report.styles).map((style) => style.address)).size, "codec"), plural(records, "record"), failed ? `${count(failed)} failed` : null].filter(Boolean).join(" · ")),
      h("nav", { "aria-label": "Pages" }, links)));
  const made = new Map();
  const go = (focus) => {
    const wanted = location.hash.slice(1), index = Math.max(0, pages.findIndex(([name]) => name === wanted));
    const [name, title, make] = pages[index];
    if (wanted === "main") return; // the link that skips the head
    if (!made.has(name)) made.set(name, make(report, viewing));
    main.replaceChildren(made.get(name).element);
    links.forEach((link, i) => i === index ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current"));
    const bar = links[index].parentNode; // on a narrow screen it scrolls
    bar.scrollLeft = links[index].offsetLeft + links[index].offsetWidth / 2 - bar.clientWidth / 2 - bar.offsetLeft;
    document.title = `${title} · ${report.run} · gcbench report`;
    if (focus) window.scrollTo(0, 0);
  };
  window.addEventListener("hashchange", () => go(true));
  go(false);
  requestAnimationFrame(() => requestAnimationFrame(() => { document.documentElement.dataset.ready = "true"; })); // drawn
}

start().catch((error) => {
  document.getElementById("main").replaceChildren(h("p", { class: "trouble" }, `This report cannot be shown: ${error.message}`));
  throw error;
});
