// Original, decoded mesh and error side by side or under a wipe, or a wipe between two runs, with one camera.

const FIELD_OF_VIEW = 0.5; // radians
const PANES = ["original", "decoded", "error"];

class Viewer {
  constructor() {
    this.canvas = h("canvas", {
      tabindex: "0", role: "img",
      "aria-label": "3-D view. Arrow keys turn, plus and minus zoom, Home resets, W shows edges.",
    });
    this.painter = new Painter(this.canvas);
    this.labels = PANES.map(() => h("span", { class: "pane-label" }));
    this.handle = h("div", { class: "wipe-line", hidden: true }, h("span", { "aria-hidden": "true" }, "◂▸"));
    this.stage = h("div", { class: "stage" }, this.canvas, this.labels, this.handle);
    this.mode = window.matchMedia("(max-width: 640px)").matches ? "wipe" : "side";
    this.right = "error"; // what the wipe shows on its right
    this.both = "decoded"; // what the wipe between runs shows on both sides
    this.where = "decoded"; // whose error: of the decoded mesh's vertices, or of the original's
    this.wipe = 0.5;
    this.smooth = this.wires = false;
    this.scale = "most"; // what the colours end at
    this.up = "y";
    this.element = h("div", { class: "viewer" });
    if (!this.painter.gl) {
      this.element.append(h("p", { class: "trouble" }, "This browser has no WebGL 2, which the 3-D view needs. Everything else works."));
      return;
    }
    this.build();
    this.painter.prepare();
    this.resetCamera();
    this.listen();
    new ResizeObserver(() => this.request()).observe(this.stage);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.request());
  }

  build() {
    this.slider = h("input", {
      type: "range", min: "0", max: "1000", value: "500", "aria-label": "Wipe",
      on: { input: () => { this.wipe = this.slider.value / 1000; this.request(); } },
    });
    this.slot = h("div", { class: "wipe-slot", hidden: true }, this.slider);
    this.layouts = segments("Layout", [["runs", "A | B"], ["side", "side by side"], ["wipe", "wipe"]], this.mode, (v) => { this.mode = v; this.request(); });
    this.runsChoice = segments("Both sides of the wipe", [["decoded", "decoded"], ["error", "error maps"]], this.both, (v) => { this.both = v; this.request(); });
    this.rightChoice = segments("Right of the wipe", [["decoded", "decoded"], ["error", "error map"]], this.right, (v) => { this.right = v; this.request(); });
    this.bar = h("canvas", { class: "colour-bar", width: "256", height: "1", "aria-hidden": "true" });
    this.barHigh = h("span", { class: "bar-high" });
    this.barTitle = h("span", { class: "bar-title" });
    const scales = [["most", "99 % of the vertices"], ["own", "this coding's largest"], ["quarter", "¼ of its largest"], ["0.02", "20 ×10⁻³"], ["0.005", "5 ×10⁻³"], ["0.001", "1 ×10⁻³"]];
    this.caption = h("div", { class: "caption" });
    this.element.append(
      h("div", { class: "toolbar" },
        this.layouts, this.runsChoice, this.rightChoice,
        segments("Shading", [["flat", "flat"], ["smooth", "smooth"]], "flat", (v) => { this.smooth = v === "smooth"; this.request(); }),
        this.wiresTick = tick("edges", false, (v) => { this.wires = v; this.request(); }),
        h("button", { type: "button", on: { click: () => { this.up = this.up === "y" ? "z" : "y"; this.resetCamera(); } }, title: "Which axis of the mesh points up" }, "y / z up"),
        h("button", { type: "button", on: { click: () => this.resetCamera() } }, "Reset view")),
      this.stage, this.slot,
      h("div", { class: "scale-row" },
        h("div", { class: "bar-box" }, this.barTitle, h("div", { class: "bar-line" }, h("span", {}, "0"), this.bar, this.barHigh)),
        choice("Error of", [["decoded", "decoded → original"], ["original", "original → decoded"]], this.where, (v) => { this.where = v; this.request(); }),
        choice("Colours up to", scales, this.scale, (v) => { this.scale = v; this.request(); })),
      this.caption);
    const context = this.bar.getContext("2d"), image = context.createImageData(256, 1);
    image.data.set(colourTable());
    context.putImageData(image, 0, 0);
  }

  /**
   * Show one scene, or the same coding of two runs.
   * @param sides {scene, name}: one, or two, of which the first is on the left of the wipe between runs
   * @param chosen the place of the one that was asked for
   * @param caption nodes to put under it
   */
  async show(sides, chosen, caption) {
    if (!this.painter.gl) return;
    const turn = this.turn = (this.turn ?? 0) + 1;
    this.stage.classList.add("busy");
    const data = await Promise.all(sides.map(({ scene }) => Promise.all([scene.original, scene.decoded, scene.error, scene.missed].map(unpackBlob))));
    if (turn !== this.turn) return; // another was asked for meanwhile
    for (const side of this.sides ?? []) for (const mesh of Object.values(side.meshes)) this.painter.release(mesh);
    this.sides = data.map(([original, decoded, error, missed], i) => {
      const codes = { original: unpackErrors(missed), decoded: unpackErrors(error) };
      return {
        ...sides[i], most: { original: mostErrors(codes.original), decoded: mostErrors(codes.decoded) },
        meshes: { original: this.painter.upload(unpackMesh(original), codes.original), decoded: this.painter.upload(unpackMesh(decoded), codes.decoded) },
      };
    });
    if (sides.length > 1 && !this.compared) { // at first, two runs are compared
      this.compared = true;
      press(this.layouts, this.mode = "runs");
    }
    this.chosen = chosen;
    this.caption.replaceChildren(...caption);
    this.frameBox();
    this.stage.classList.remove("busy");
    this.request();
  }

  frameBox() {
    const p = this.sides[this.chosen].meshes.original.positions, low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
    for (let i = 0; i < p.length; i++) {
      low[i % 3] = Math.min(low[i % 3], p[i]);
      high[i % 3] = Math.max(high[i % 3], p[i]);
    }
    this.centre = low.map((v, i) => (v + high[i]) / 2);
    this.size = low.map((v, i) => high[i] - v);
    this.radius = Math.hypot(...this.size) / 2 || 1;
  }

  /** How far away the camera sees the whole box of the original, the way it stands before it is turned. */
  fit(f, aspect) {
    const r = this.standing;
    let away = 0;
    for (let corner = 0; corner < 8; corner++) {
      const half = this.size.map((v, i) => corner >> i & 1 ? v / 2 : -v / 2);
      const [x, y, z] = [0, 1, 2].map((i) => r[i] * half[0] + r[3 + i] * half[1] + r[6 + i] * half[2]);
      away = Math.max(away, z + f * Math.max(Math.abs(x) / aspect, Math.abs(y)));
    }
    return 1.1 * away || 1;
  }

  resetCamera() {
    const stand = this.up === "z" ? rotation([1, 0, 0], -Math.PI / 2) : rotation([1, 0, 0], 0);
    this.rotation = this.standing = multiply3(rotation([1, 0, 0], 0.28), multiply3(rotation([0, 1, 0], -0.55), stand));
    this.distance = 1;
    this.pan = [0, 0];
    this.request();
  }

  request() {
    if (this.pending || !this.painter.gl) return;
    this.pending = true;
    requestAnimationFrame(() => { this.pending = false; this.render(); });
  }

  /** The layout that can be shown: a wipe between runs needs two. */
  get layout() {
    return this.mode === "runs" && this.sides?.length !== 2 ? "wipe" : this.mode;
  }

  /** Parts of the stage, in CSS pixels: their common height, and {pane, side, text} for each. */
  parts(width) {
    const { layout, chosen, sides } = this;
    const error = width < 480 ? "error" : this.where === "decoded" ? "error, on the decoded mesh" : "error, on the original";
    const text = { original: "original", decoded: "decoded", error };
    const of = (pane) => ({ pane, side: sides[chosen], text: text[pane] });
    if (layout === "side") {
      const stacked = width < 640;
      return { stacked, height: stacked ? 3 * Math.min(width * 0.7, 260) : Math.min(Math.max(width / 3 * 1.3, 240), 480), list: PANES.map(of) };
    }
    const list = layout === "runs" ? sides.map((side) => ({ pane: this.both, side, text: side.name })) : [of("original"), of(this.right)];
    return { wiped: true, height: Math.min(width * 0.8, 520, window.innerHeight * 0.75), list };
  }

  render() {
    const width = this.stage.clientWidth, { layout } = this;
    this.slot.hidden = this.handle.hidden = layout === "side";
    this.rightChoice.hidden = layout !== "wipe";
    this.runsChoice.hidden = layout !== "runs";
    this.layouts.firstElementChild.hidden = this.sides?.length !== 2;
    if (!this.sides || !width) return;
    const parts = this.parts(width), [w, hgt] = this.painter.begin(width, parts.height);
    this.showScale();
    parts.list.forEach((part, i) => {
      if (parts.wiped) {
        const cut = Math.round(this.wipe * w);
        this.draw(part, [0, 0, w, hgt], i ? [cut, 0, w - cut, hgt] : [0, 0, cut, hgt]);
        return;
      }
      const box = parts.stacked ? [0, Math.round(hgt * (2 - i) / 3), w, Math.round(hgt / 3)] : [Math.round(w * i / 3), 0, Math.round(w / 3), hgt];
      this.draw(part, box, box);
    });
    if (parts.wiped) this.handle.style.left = `${this.wipe * 100}%`;
    this.placeLabels(parts, width);
  }

  placeLabels({ list, wiped, stacked, height }, width) {
    this.labels.forEach((label, i) => {
      label.hidden = i >= list.length;
      if (label.hidden) return;
      label.textContent = list[i].text;
      label.style.left = wiped ? (i ? "auto" : "0") : stacked ? "0" : `${width * i / 3}px`;
      label.style.right = wiped && i ? "0" : "auto";
      label.style.top = stacked ? `${height * i / 3}px` : "0";
    });
  }

  largest({ scene }) {
    return this.where === "decoded" ? scene.error_max : scene.missed_max;
  }

  /** The sides that are on screen. */
  get seen() {
    return this.layout === "runs" ? this.sides : [this.sides[this.chosen]];
  }

  /** The distance at the end of the colours, the same for all that is on screen. */
  get top() {
    const largest = Math.max(...this.seen.map((side) => this.largest(side)));
    // A few far vertices would turn all others the same dark colour: the 99th percentile is what the colours start with.
    if (this.scale === "most") return Math.max(...this.seen.map((side) => this.largest(side) * (side.most[this.where] || 1)));
    return this.scale === "own" ? largest : this.scale === "quarter" ? largest / 4 : Number(this.scale);
  }

  showScale() {
    const largest = Math.max(...this.seen.map((side) => this.largest(side)));
    this.barTitle.textContent = largest > 0 ? `distance to the other surface ×10⁻³, largest ${number(largest * 1e3, 3)}` : "no distance at all";
    this.barHigh.textContent = `${this.top < largest ? "≥ " : ""}${number(this.top * 1e3, 3)}`;
  }

  draw({ pane, side }, box, cut) {
    const near = this.radius * 0.02, far = this.radius * 40, aspect = box[2] / box[3];
    const f = 1 / Math.tan(FIELD_OF_VIEW / 2), away = this.fit(f, aspect) * this.distance;
    const projection = [f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, (far + near) / (near - far), -1, 0, 0, 2 * far * near / (near - far), 0];
    const r = this.rotation, c = this.centre;
    const moved = [0, 1, 2].map((i) => -(r[i] * c[0] + r[3 + i] * c[1] + r[6 + i] * c[2]));
    const view = [r[0], r[1], r[2], 0, r[3], r[4], r[5], 0, r[6], r[7], r[8], 0, moved[0] + this.pan[0] * this.radius, moved[1] + this.pan[1] * this.radius, moved[2] - away, 1];
    const gain = pane === "error" ? (this.top > 0 ? this.largest(side) / this.top : 0) : null;
    this.painter.draw(side.meshes[pane === "error" ? this.where : pane], box, cut, { view, projection }, { smooth: this.smooth, wires: this.wires, gain });
  }

  turnBy(dx, dy) {
    this.rotation = multiply3(multiply3(rotation([1, 0, 0], dy), rotation([0, 1, 0], dx)), this.rotation);
    this.request();
  }

  zoomBy(factor) {
    this.distance = Math.max(0.08, Math.min(8, this.distance * factor));
    this.request();
  }

  panBy(dx, dy) {
    const reach = 2 * this.distance / this.stage.clientHeight;
    this.pan = [this.pan[0] + dx * reach, this.pan[1] - dy * reach];
    this.request();
  }

  setWipe(fraction) {
    this.wipe = Math.max(0, Math.min(1, fraction));
    this.slider.value = Math.round(this.wipe * 1000);
    this.request();
  }

  listen() {
    const pointers = new Map();
    const spread = () => { const [a, b] = [...pointers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    });
    this.canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
      const apart = pointers.size === 2 ? spread() : 0;
      pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (pointers.size === 2) {
        this.zoomBy(apart / Math.max(1, spread()));
        this.panBy(dx / 2, dy / 2);
      } else if (event.shiftKey || event.buttons === 2 || event.buttons === 4) this.panBy(dx, dy);
      else this.turnBy(dx * 0.008, dy * 0.008);
    });
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
    this.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); this.lost = this.sides; this.sides = null; }); // a GPU that slept
    this.canvas.addEventListener("webglcontextrestored", () => {
      this.painter.prepare();
      if (this.lost) this.show(this.lost, this.chosen, [...this.caption.childNodes]);
    });
    this.canvas.addEventListener("dblclick", () => this.resetCamera());
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(event.deltaY * 0.0015));
    }, { passive: false });
    this.canvas.addEventListener("keydown", (event) => {
      const turn = 0.12, act = {
        ArrowLeft: () => this.turnBy(-turn, 0), ArrowRight: () => this.turnBy(turn, 0), ArrowUp: () => this.turnBy(0, -turn), ArrowDown: () => this.turnBy(0, turn),
        "+": () => this.zoomBy(0.88), "=": () => this.zoomBy(0.88), "-": () => this.zoomBy(1 / 0.88), Home: () => this.resetCamera(),
        w: () => this.wiresTick.querySelector("input").click(),
      }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
    this.handle.addEventListener("pointerdown", (event) => { this.handle.setPointerCapture(event.pointerId); event.preventDefault(); });
    this.handle.addEventListener("pointermove", (event) => {
      if (!this.handle.hasPointerCapture(event.pointerId)) return;
      const box = this.stage.getBoundingClientRect();
      this.setWipe((event.clientX - box.left) / box.width);
    });
  }
}

/** Rotation about a coordinate axis, 3 × 3 by columns. */
function rotation(axis, angle) {
  const c = Math.cos(angle), sn = Math.sin(angle);
  if (axis[0]) return [1, 0, 0, 0, c, sn, 0, -sn, c];
  return [c, 0, -sn, 0, 1, 0, sn, 0, c];
}

function multiply3(a, b) {
  return [0, 1, 2].flatMap((column) => [0, 1, 2].map((row) => a[row] * b[3 * column] + a[3 + row] * b[3 * column + 1] + a[6 + row] * b[3 * column + 2]));
}
