// A scatter of curves in SVG: axes, a band, hover, zoom by dragging, and a walk over the points by keyboard.

const MARKER_PATHS = [
  "M0,-5A5,5 0 1 1 -0.01,-5Z", "M-4.3,-4.3H4.3V4.3H-4.3Z", "M0,-5.8L5.8,0L0,5.8L-5.8,0Z", "M0,-5.6L5.3,4.2H-5.3Z",
  "M0,5.6L5.3,-4.2H-5.3Z", "M-1.8,-5.4H1.8V-1.8H5.4V1.8H1.8V5.4H-1.8V1.8H-5.4V-1.8H-1.8Z",
  "M-5.2,-2.6L-2.6,-5.2L0,-2.6L2.6,-5.2L5.2,-2.6L2.6,0L5.2,2.6L2.6,5.2L0,2.6L-2.6,5.2L-5.2,2.6L-2.6,0Z",
  "M-5.6,0L4.2,-5.3V5.3Z", "M5.6,0L-4.2,-5.3V5.3Z",
  "M0,-6L1.6,-1.9L5.8,-1.9L2.4,0.8L3.6,5L0,2.5L-3.6,5L-2.4,0.8L-5.8,-1.9L-1.6,-1.9Z",
  "M0,-5.4L4.7,-2.7V2.7L0,5.4L-4.7,2.7V-2.7Z", "M0,-5.6L5.3,-1.7L3.3,4.5H-3.3L-5.3,-1.7Z", "M0,-6.4L3.4,0L0,6.4L-3.4,0Z",
];

/** The line and marker of a codec, for legends. */
function swatch(style) {
  return s("svg", { ...coloured(style, "swatch"), viewBox: "-16 -8 32 16", width: 32, height: 16, "aria-hidden": "true" },
    s("line", { class: "curve", x1: -16, x2: 16, "stroke-dasharray": style.dash || null }),
    markerOf(style));
}

/** The marker of a codec; in the second of two runs it has a dot. */
function markerOf(style) {
  return [s("path", { class: "mark", d: MARKER_PATHS[style.marker] }), style.run ? s("circle", { class: "dot", r: 1.9 }) : null];
}

/** Values for ticks in [low, high]: round ones, about `wanted` of them. */
function ticks(low, high, log, wanted) {
  if (log && high / low > 4) {
    const found = [];
    for (const steps of [[1, 2, 5], [1, 3], [1]]) {
      found.length = 0;
      for (let k = Math.floor(Math.log10(low)); k <= Math.ceil(Math.log10(high)); k++)
        for (const step of steps) {
          const value = step * 10 ** k;
          if (value >= low * 0.9999 && value <= high * 1.0001) found.push(value);
        }
      if (found.length <= wanted + 1) break;
    }
    const every = Math.ceil(found.length / (wanted + 1));
    if (found.length > 2) return found.filter((_, i) => i % every === 0);
  }
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((candidate) => candidate >= rough * 0.9999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

/** The lower left convex chain of points: none is both cheaper and better. */
function lowerHull(points) {
  const sorted = [...points].sort((a, b) => a.u - b.u || a.v - b.v);
  const hull = [];
  for (const p of sorted) {
    while (hull.length > 1) {
      const [a, b] = hull.slice(-2);
      if ((b.u - a.u) * (p.v - a.v) - (b.v - a.v) * (p.u - a.u) > 0) break;
      hull.pop();
    }
    hull.push(p);
  }
  const best = hull.reduce((at, p, i) => p.v < hull[at].v ? i : at, 0);
  return hull.slice(0, best + 1);
}

class Chart {
  /**
   * @param onPick called with a point that was clicked, or chosen with Enter
   * Points are {x, y, hollow, label, lines: [text], ...}; series {name, style, points}.
   */
  constructor(onPick) {
    this.onPick = onPick;
    this.zoom = null;
    this.focused = null;
    this.picked = null;
    this.svg = s("svg", { class: "chart", role: "group" });
    this.tip = h("div", { class: "tip", role: "status", hidden: true });
    this.help = h("p", { class: "hint" }, "Drag a rectangle to zoom in. Tab to the points, then arrow keys and Enter.");
    const button = (text, label, act) => h("button", { type: "button", "aria-label": label, title: label, on: { click: act } }, text);
    this.tools = h("div", { class: "tools" },
      button("+", "Zoom in", () => this.zoomBy(0.6)), button("−", "Zoom out", () => this.zoomBy(1 / 0.6)),
      button("Reset", "Show everything", () => this.setZoom(null)));
    this.frame = h("div", { class: "chart-frame" }, this.svg, this.tip);
    this.element = h("div", { class: "chart-box" }, this.frame, h("div", { class: "chart-foot" }, this.help, this.tools));
    new ResizeObserver(() => this.draw()).observe(this.frame);
    this.listen();
  }

  /** Show other series or axes: {series, x, y, band, hull, description}; an axis is {label, log, better}, x has a short label too. */
  show(what, keepZoom = false) {
    this.what = what;
    if (!keepZoom) this.zoom = null;
    this.draw();
  }

  /** Everything there is, with some air. */
  extent() {
    const { series, x, y, band } = this.what;
    const points = series.flatMap((one) => one.points);
    const range = (values, axis) => {
      let low = least(values), high = most(values);
      if (axis.log) {
        const air = high > low ? (high / low) ** 0.06 : 1.5;
        return [low / air, high * air];
      }
      const air = high > low ? (high - low) * 0.06 : Math.abs(high) * 0.1 || 1;
      return [low - air, high + air];
    };
    const ys = points.flatMap((p) => [p.y, ...(p.range ?? [])]);
    if (band !== null && band !== undefined) ys.push(band);
    return { x: range(points.map((p) => p.x), x), y: range(ys, y) };
  }

  draw() {
    const width = Math.round(this.frame.clientWidth);
    if (!this.what || width < 50) return;
    const height = Math.round(Math.max(280, Math.min(520, width * 0.62)));
    const { series, x, y } = this.what;
    const hadFocus = this.svg.contains(document.activeElement);
    this.svg.replaceChildren();
    this.hideTip();
    furnish(this.svg, { viewBox: `0 0 ${width} ${height}`, width, height, "aria-label": this.what.description }, []);
    if (!series.some((one) => one.points.length)) {
      this.svg.append(s("text", { class: "empty", x: width / 2, y: height / 2, "text-anchor": "middle" }, "Nothing to draw for this choice."));
      return;
    }
    const domain = this.zoom ?? this.extent();
    const left = width < 520 ? 54 : 62, right = 14, top = 14, bottom = 50;
    const scale = (axis, [low, high], from, to) => {
      const t = axis.log ? Math.log : (value) => value;
      return (value) => from + (t(value) - t(low)) / (t(high) - t(low)) * (to - from);
    };
    this.box = { left, right: width - right, top, bottom: height - bottom, domain };
    this.sx = scale(x, domain.x, left, width - right);
    this.sy = scale(y, domain.y, height - bottom, top);
    const clip = `clip-${Chart.clips = (Chart.clips ?? 0) + 1}`;
    this.svg.append(s("clipPath", { id: clip }, s("rect", { x: left - 1, y: top - 1, width: width - left - right + 2, height: height - top - bottom + 2 })));
    this.axes(width, height);
    const inside = s("g", { "clip-path": `url(#${clip})` });
    this.svg.append(inside);
    this.drawBand(inside);
    this.marks = [];
    for (const one of series) inside.append(this.drawSeries(one));
    this.svg.append(this.rubber = s("rect", { class: "rubber", visibility: "hidden" }));
    const current = this.marks.find((mark) => mark.point.id === this.focused) ?? this.marks.find((mark) => mark.visible);
    if (current) current.element.setAttribute("tabindex", "0");
    if (hadFocus && current) current.element.focus();
  }

  axes(width, height) {
    const { x, y } = this.what, { left, right, top, bottom, domain } = this.box;
    for (const value of ticks(...domain.x, x.log, Math.max(2, Math.floor((right - left) / 70)))) {
      const at = this.sx(value);
      if (at < left - 0.5 || at > right + 0.5) continue;
      this.svg.append(s("line", { class: "grid", x1: at, x2: at, y1: top, y2: bottom }),
        s("text", { class: "tick-label", x: at, y: bottom + 17, "text-anchor": "middle" }, tickText(value)));
    }
    for (const value of ticks(...domain.y, y.log, Math.max(2, Math.floor((bottom - top) / 46)))) {
      const at = this.sy(value);
      if (at < top - 0.5 || at > bottom + 0.5) continue;
      this.svg.append(s("line", { class: "grid", x1: left, x2: right, y1: at, y2: at }),
        s("text", { class: "tick-label", x: left - 8, y: at + 4, "text-anchor": "end" }, tickText(value)));
    }
    this.svg.append(s("path", { class: "axis", d: `M${left},${top}V${bottom}H${right}` }),
      s("text", { class: "axis-label", x: (left + right) / 2, y: height - 10, "text-anchor": "middle" }, (width < 520 ? x.short : x.label) + arrow(x, "→", "←")),
      s("text", { class: "axis-label", transform: `translate(14,${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, y.label + arrow(y, "→", "←")));
  }

  drawBand(inside) {
    const { band, y } = this.what, { left, right, top, bottom } = this.box;
    if (band === null || band === undefined) return;
    const edge = Math.max(top, Math.min(bottom, this.sy(band)));
    const [from, to] = y.better === "higher" ? [top, edge] : [edge, bottom];
    inside.append(s("rect", { class: "band", x: left, width: right - left, y: from, height: Math.max(0, to - from) }));
    const above = y.better === "higher" ? edge - top > 16 : bottom - edge < 16;
    inside.append(s("text", { class: "band-label", x: right - 6, y: above ? edge - 5 : edge + 13, "text-anchor": "end" }, "noise floor of sampling"));
  }

  drawSeries(one) {
    const group = s("g", { ...coloured(one.style, "series"), "data-codec": one.name });
    const path = (points) => points.map((p, i) => `${i ? "L" : "M"}${this.sx(p.x).toFixed(1)},${this.sy(p.y).toFixed(1)}`).join("");
    const compared = one.points.filter((p) => !p.beside);
    if (compared.length > 1)
      group.append(s("path", { class: "curve", d: path(compared), "stroke-dasharray": one.style.dash || null }));
    if (this.what.hull && compared.length > 2) {
      const flip = (axis) => axis.better === "higher" ? -1 : 1;
      const { x, y } = this.what;
      const hull = lowerHull(compared.map((p) => ({ ...p, u: flip(x) * this.sx(p.x), v: -flip(y) * this.sy(p.y) })));
      group.append(s("path", { class: "hull", d: path(hull) }));
    }
    for (const { x, range } of one.points) {
      if (range) group.append(s("path", { class: "range", d: `M${this.sx(x).toFixed(1)},${this.sy(range[0]).toFixed(1)}V${this.sy(range[1]).toFixed(1)}` }));
    }
    for (const point of one.points) {
      const at = [this.sx(point.x), this.sy(point.y)];
      const element = s("g", {
        class: `point${point.hollow ? " hollow" : ""}${point.beside ? " beside" : ""}${point.id === this.picked ? " picked" : ""}`, role: "button", tabindex: "-1",
        transform: `translate(${at[0].toFixed(1)},${at[1].toFixed(1)})`, "aria-label": [point.label, ...point.lines].join(", "),
        on: {
          click: () => this.pick(point), pointerenter: () => this.showTip(point, at), pointerleave: () => this.hideTip(),
          focus: () => this.showTip(point, at), blur: () => this.hideTip(),
        },
      }, s("circle", { class: "halo", r: 12 }), markerOf(one.style));
      const { left, right, top, bottom } = this.box;
      const visible = at[0] >= left - 1 && at[0] <= right + 1 && at[1] >= top - 1 && at[1] <= bottom + 1;
      this.marks.push({ point, element, series: one.name, at, visible });
      group.append(element);
    }
    return group;
  }

  pick(point) {
    this.picked = this.focused = point.id;
    for (const mark of this.marks) mark.element.classList.toggle("picked", mark.point.id === point.id);
    this.onPick(point);
  }

  showTip(point, [x, y]) {
    this.tip.replaceChildren(h("strong", {}, point.label), ...point.lines.map((line) => h("span", {}, line)));
    this.tip.hidden = false;
    const width = this.tip.offsetWidth, height = this.tip.offsetHeight, frame = this.frame.clientWidth;
    const left = x + 16 + width > frame ? Math.max(0, x - 16 - width) : x + 16;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${Math.max(0, y - height - 10)}px`;
  }

  hideTip() {
    this.tip.hidden = true;
  }

  /** Arrow keys: left and right along the curve, up and down to the nearest point of the next one. */
  step(key) {
    const marks = this.marks.filter((mark) => mark.visible);
    const current = marks.find((mark) => mark.element === document.activeElement) ?? marks[0];
    if (!current) return;
    const along = marks.filter((mark) => mark.series === current.series).sort((a, b) => a.at[0] - b.at[0]);
    const names = [...new Set(marks.map((mark) => mark.series))];
    let to;
    if (key === "ArrowLeft" || key === "ArrowRight") to = along[along.indexOf(current) + (key === "ArrowRight" ? 1 : -1)];
    else {
      const name = names[(names.indexOf(current.series) + (key === "ArrowDown" ? 1 : names.length - 1)) % names.length];
      const others = marks.filter((mark) => mark.series === name);
      to = others.sort((a, b) => Math.abs(a.at[0] - current.at[0]) - Math.abs(b.at[0] - current.at[0]))[0];
    }
    if (!to) return;
    current.element.setAttribute("tabindex", "-1");
    to.element.setAttribute("tabindex", "0");
    this.focused = to.point.id;
    to.element.focus();
  }

  setZoom(zoom) {
    this.zoom = zoom;
    this.draw();
  }

  zoomBy(factor, centre = null) {
    if (!this.box) return;
    const { x, y } = this.what, { domain } = this.box;
    const shrink = (axis, [low, high], at) => {
      const [t, back] = axis.log ? [Math.log, Math.exp] : [(v) => v, (v) => v];
      const middle = at === undefined ? (t(low) + t(high)) / 2 : t(at);
      return [back(middle + (t(low) - middle) * factor), back(middle + (t(high) - middle) * factor)];
    };
    this.setZoom({ x: shrink(x, domain.x, centre?.x), y: shrink(y, domain.y, centre?.y) });
  }

  /** The value of an axis at a place on screen. */
  invert(axis, [low, high], fraction) {
    return axis.log ? low * (high / low) ** fraction : low + (high - low) * fraction;
  }

  listen() {
    let from = null;
    const place = (event) => {
      const frame = this.svg.getBoundingClientRect(), { left, right, top, bottom } = this.box;
      return [Math.max(left, Math.min(right, event.clientX - frame.left)), Math.max(top, Math.min(bottom, event.clientY - frame.top))];
    };
    const value = ([px, py]) => {
      const { left, right, top, bottom, domain } = this.box;
      return [this.invert(this.what.x, domain.x, (px - left) / (right - left)), this.invert(this.what.y, domain.y, (bottom - py) / (bottom - top))];
    };
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" || event.button !== 0 || !this.box || event.target.closest(".point")) return;
      from = place(event);
      event.preventDefault();
    });
    window.addEventListener("pointermove", (event) => {
      if (!from) return;
      const to = place(event);
      furnish(this.rubber, {
        visibility: "visible", x: Math.min(from[0], to[0]), y: Math.min(from[1], to[1]),
        width: Math.abs(to[0] - from[0]), height: Math.abs(to[1] - from[1]),
      }, []);
    });
    window.addEventListener("pointerup", (event) => {
      if (!from) return;
      const to = place(event), [x0, y0] = value(from), [x1, y1] = value(to);
      const large = Math.abs(to[0] - from[0]) > 8 && Math.abs(to[1] - from[1]) > 8;
      from = null;
      this.rubber.setAttribute("visibility", "hidden");
      if (large) this.setZoom({ x: [Math.min(x0, x1), Math.max(x0, x1)], y: [Math.min(y0, y1), Math.max(y0, y1)] });
    });
    this.svg.addEventListener("dblclick", () => this.setZoom(null));
    this.svg.addEventListener("wheel", (event) => {
      if (!(event.ctrlKey || event.metaKey) || !this.box) return; // a plain wheel scrolls the page
      event.preventDefault();
      const [x, y] = value(place(event));
      this.zoomBy(event.deltaY > 0 ? 1.25 : 0.8, { x, y });
    }, { passive: false });
    this.svg.addEventListener("keydown", (event) => {
      if (event.key.startsWith("Arrow")) {
        event.preventDefault();
        this.step(event.key);
      } else if (event.key === "Enter" || event.key === " ") {
        const mark = this.marks.find((one) => one.element === document.activeElement);
        if (!mark) return;
        event.preventDefault();
        this.pick(mark.point);
      } else if (event.key === "Escape") this.setZoom(null);
      else if (event.key === "+") this.zoomBy(0.6);
      else if (event.key === "-") this.zoomBy(1 / 0.6);
    });
  }
}

/** The extremes of any number of values: Math.min takes some ten thousand arguments only. */
function least(values) {
  return values.reduce((a, b) => Math.min(a, b), Infinity);
}

function most(values) {
  return values.reduce((a, b) => Math.max(a, b), -Infinity);
}

function tickText(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(0).replace("e+", "e").replace("-", "−");
  return grouped(String(Number(value.toPrecision(6))));
}

function arrow(axis, up, down) {
  return axis.better ? `   ${axis.better === "higher" ? up : down} better` : "";
}
