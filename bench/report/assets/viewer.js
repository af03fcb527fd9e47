// Original, decoded mesh and error side by side or under a wipe, in one WebGL2 canvas with one camera.

const VERTEX_SHADER = `#version 300 es
in vec3 position; in vec3 normal; in float code;
uniform mat4 view; uniform mat4 projection;
out vec3 at; out vec3 facing; out float error; out vec3 corner;
void main() {
  vec4 p = view * vec4(position, 1.0);
  at = p.xyz; facing = mat3(view) * normal; error = code;
  int i = gl_VertexID % 3;
  corner = vec3(i == 0, i == 1, i == 2);
  gl_Position = projection * p;
}`;
const FRAGMENT_SHADER = `#version 300 es
precision highp float;
in vec3 at; in vec3 facing; in float error; in vec3 corner;
uniform bool smoothly, wires, mapped; uniform float gain; uniform vec3 clay; uniform sampler2D colours;
out vec4 colour;
void main() {
  vec3 flatly = normalize(cross(dFdx(at), dFdy(at)));
  vec3 n = smoothly && dot(facing, facing) > 1e-8 ? normalize(facing) : flatly;
  if (dot(n, at) > 0.0) n = -n;
  float light = 0.34 + 0.5 * max(0.0, dot(n, normalize(vec3(-0.35, 0.55, 0.75)))) + 0.22 * max(0.0, dot(n, normalize(vec3(0.7, 0.1, 0.45))));
  vec3 base = clay;
  if (mapped) { base = texture(colours, vec2(clamp(error * error * gain, 0.0, 1.0) * 0.998 + 0.001, 0.5)).rgb; light = 0.45 + 0.62 * light; }
  else if (!gl_FrontFacing) base = mix(clay, vec3(0.75, 0.42, 0.25), 0.65);
  vec3 shown = base * light;
  if (wires) {
    vec3 pixel = fwidth(corner), near = smoothstep(vec3(0.0), pixel * 0.9, corner);
    float tiny = smoothstep(0.12, 0.7, max(pixel.x, max(pixel.y, pixel.z))); // faces of a few pixels would all be edge
    shown = mix(shown * mix(0.35, 0.85, tiny), shown, min(near.x, min(near.y, near.z)));
  }
  colour = vec4(shown, 1.0);
}`;
// Viridis at nine places: even steps of lightness, so that it also reads in grey.
const COLOUR_MAP = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"];
const FIELD_OF_VIEW = 0.5; // radians
const PANES = ["original", "decoded", "error"];

class Viewer {
  constructor() {
    this.canvas = h("canvas", {
      tabindex: "0", role: "img",
      "aria-label": "3-D view. Arrow keys turn, plus and minus zoom, Home resets, W shows edges.",
    });
    this.gl = this.canvas.getContext("webgl2", { antialias: true, alpha: true, premultipliedAlpha: true });
    this.labels = Object.fromEntries(PANES.map((pane) => [pane, h("span", { class: "pane-label" })]));
    this.handle = h("div", { class: "wipe-line", hidden: true }, h("span", { "aria-hidden": "true" }, "◂▸"));
    this.stage = h("div", { class: "stage" }, this.canvas, Object.values(this.labels), this.handle);
    this.mode = window.matchMedia("(max-width: 640px)").matches ? "wipe" : "side";
    this.right = "error"; // what the wipe shows on its right
    this.where = "decoded"; // whose error: of the decoded mesh's vertices, or of the original's
    this.wipe = 0.5;
    this.smooth = this.wires = false;
    this.scale = "most"; // what the colours end at
    this.up = "y";
    this.element = h("div", { class: "viewer" });
    if (!this.gl) {
      this.element.append(h("p", { class: "trouble" }, "This browser has no WebGL 2, which the 3-D view needs. Everything else works."));
      return;
    }
    this.build();
    this.prepare();
    this.resetCamera();
    this.listen();
    new ResizeObserver(() => this.request()).observe(this.stage);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.request());
  }

  build() {
    this.slider = h("input", {
      type: "range", min: "0", max: "1000", value: "500", "aria-label": "Wipe between original and decoded",
      on: { input: () => { this.wipe = this.slider.value / 1000; this.request(); } },
    });
    this.slot = h("div", { class: "wipe-slot", hidden: true }, this.slider);
    this.rightChoice = segments("Right of the wipe", [["decoded", "decoded"], ["error", "error map"]], this.right, (v) => { this.right = v; this.request(); });
    this.bar = h("canvas", { class: "colour-bar", width: "256", height: "1", "aria-hidden": "true" });
    this.barHigh = h("span", { class: "bar-high" });
    this.barTitle = h("span", { class: "bar-title" });
    const scales = [["most", "99 % of the vertices"], ["own", "this coding's largest"], ["quarter", "¼ of its largest"], ["0.02", "20 ×10⁻³"], ["0.005", "5 ×10⁻³"], ["0.001", "1 ×10⁻³"]];
    this.caption = h("div", { class: "caption" });
    this.element.append(
      h("div", { class: "toolbar" },
        segments("Layout", [["side", "side by side"], ["wipe", "wipe"]], this.mode, (v) => { this.mode = v; this.request(); }),
        this.rightChoice,
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

  prepare() {
    const gl = this.gl;
    const shader = (type, text) => {
      const made = gl.createShader(type);
      gl.shaderSource(made, text);
      gl.compileShader(made);
      if (!gl.getShaderParameter(made, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(made));
      return made;
    };
    const program = this.program = gl.createProgram();
    gl.attachShader(program, shader(gl.VERTEX_SHADER, VERTEX_SHADER));
    gl.attachShader(program, shader(gl.FRAGMENT_SHADER, FRAGMENT_SHADER));
    ["position", "normal", "code"].forEach((name, at) => gl.bindAttribLocation(program, at, name));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    this.uniform = new Proxy({}, { get: (known, name) => known[name] ??= gl.getUniformLocation(program, name) });
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(colourTable()));
    for (const [name, value] of [[gl.TEXTURE_MIN_FILTER, gl.LINEAR], [gl.TEXTURE_MAG_FILTER, gl.LINEAR], [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]])
      gl.texParameteri(gl.TEXTURE_2D, name, value);
  }

  /** Show a scene; `caption` is nodes to put under it. */
  async show(scene, caption) {
    if (!this.gl) return;
    const turn = this.turn = (this.turn ?? 0) + 1;
    this.stage.classList.add("busy");
    const [original, decoded, error, missed] = await Promise.all([scene.original, scene.decoded, scene.error, scene.missed].map(unpackBlob));
    if (turn !== this.turn) return; // another was asked for meanwhile
    for (const mesh of Object.values(this.meshes ?? {})) this.release(mesh);
    const codes = { original: unpackErrors(missed), decoded: unpackErrors(error) };
    this.meshes = { original: this.upload(unpackMesh(original), codes.original), decoded: this.upload(unpackMesh(decoded), codes.decoded) };
    this.most = { original: mostErrors(codes.original), decoded: mostErrors(codes.decoded) };
    this.scene = scene;
    this.caption.replaceChildren(...caption);
    this.frameBox();
    this.stage.classList.remove("busy");
    this.request();
  }

  upload({ positions, triangles }, codes) {
    const gl = this.gl, corners = triangles.length;
    const normals = new Float32Array(positions.length), p = positions;
    for (let t = 0; t < corners; t += 3) {
      const [a, b, c] = [3 * triangles[t], 3 * triangles[t + 1], 3 * triangles[t + 2]];
      const ux = p[b] - p[a], uy = p[b + 1] - p[a + 1], uz = p[b + 2] - p[a + 2];
      const vx = p[c] - p[a], vy = p[c + 1] - p[a + 1], vz = p[c + 2] - p[a + 2];
      const n = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
      for (const at of [a, b, c]) for (let i = 0; i < 3; i++) normals[at + i] += n[i];
    }
    const at = new Float32Array(3 * corners), facing = new Float32Array(3 * corners), code = new Uint8Array(corners);
    for (let i = 0; i < corners; i++) {
      const v = 3 * triangles[i];
      for (let j = 0; j < 3; j++) { at[3 * i + j] = p[v + j]; facing[3 * i + j] = normals[v + j]; }
      code[i] = codes[triangles[i]];
    }
    const array = gl.createVertexArray(), buffers = [];
    gl.bindVertexArray(array);
    [[at, 3, gl.FLOAT, false], [facing, 3, gl.FLOAT, false], [code, 1, gl.UNSIGNED_BYTE, true]].forEach(([data, size, type, unit], location) => {
      const buffer = gl.createBuffer();
      buffers.push(buffer);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(location);
      gl.vertexAttribPointer(location, size, type, unit, 0, 0);
    });
    gl.bindVertexArray(null);
    return { array, buffers, corners, positions };
  }

  release(mesh) {
    this.gl.deleteVertexArray(mesh.array);
    mesh.buffers.forEach((buffer) => this.gl.deleteBuffer(buffer));
  }

  frameBox() {
    const p = this.meshes.original.positions, low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
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
    if (this.pending || !this.gl) return;
    this.pending = true;
    requestAnimationFrame(() => { this.pending = false; this.render(); });
  }

  /** Where the panes are, in CSS pixels from the top left. */
  panes(width) {
    if (this.mode === "wipe") return { height: Math.min(width * 0.8, 520, window.innerHeight * 0.75), stacked: false, count: 1 };
    const stacked = width < 640;
    return { height: stacked ? 3 * Math.min(width * 0.7, 260) : Math.min(Math.max(width / 3 * 1.3, 240), 480), stacked, count: 3 };
  }

  render() {
    const width = this.stage.clientWidth;
    this.slot.hidden = this.handle.hidden = this.rightChoice.hidden = this.mode !== "wipe";
    this.rightChoice.style.display = this.mode === "wipe" ? "" : "none";
    if (!this.meshes || !width) return;
    const gl = this.gl, layout = this.panes(width), density = Math.min(window.devicePixelRatio || 1, 2);
    const pixels = [Math.round(width * density), Math.round(layout.height * density)];
    if (this.canvas.width !== pixels[0] || this.canvas.height !== pixels[1]) [this.canvas.width, this.canvas.height] = pixels;
    this.canvas.style.height = `${layout.height}px`;
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.SCISSOR_TEST);
    gl.useProgram(this.program);
    this.showScale();
    const [w, hgt] = pixels;
    if (layout.count === 1) {
      const cut = Math.round(this.wipe * w);
      this.draw("original", [0, 0, w, hgt], [0, 0, cut, hgt]);
      this.draw(this.right, [0, 0, w, hgt], [cut, 0, w - cut, hgt]);
      this.handle.style.left = `${this.wipe * 100}%`;
    } else PANES.forEach((pane, i) => {
      const box = layout.stacked ? [0, Math.round(hgt * (2 - i) / 3), w, Math.round(hgt / 3)] : [Math.round(w * i / 3), 0, Math.round(w / 3), hgt];
      this.draw(pane, box, box);
    });
    this.placeLabels(layout, width);
  }

  placeLabels(layout, width) {
    const text = { original: "original", decoded: "decoded", error: width < 480 ? "error" : this.where === "decoded" ? "error, on the decoded mesh" : "error, on the original" };
    PANES.forEach((pane, i) => {
      const label = this.labels[pane];
      label.textContent = text[pane];
      const wiped = layout.count === 1;
      label.hidden = wiped && pane !== "original" && pane !== this.right;
      label.style.left = wiped ? (pane === "original" ? "0" : "auto") : layout.stacked ? "0" : `${width * i / 3}px`;
      label.style.right = wiped && pane !== "original" ? "0" : "auto";
      label.style.top = layout.stacked ? `${layout.height * i / 3}px` : "0";
    });
  }

  get largest() {
    return this.where === "decoded" ? this.scene.error_max : this.scene.missed_max;
  }

  /** The distance at the end of the colours. */
  get top() {
    // A few far vertices would turn all others the same dark colour: the 99th percentile is what the colours start with.
    if (this.scale === "most") return this.largest * (this.most[this.where] || 1);
    return this.scale === "own" ? this.largest : this.scale === "quarter" ? this.largest / 4 : Number(this.scale);
  }

  showScale() {
    this.barTitle.textContent = this.largest > 0 ? `distance to the other surface ×10⁻³, largest ${number(this.largest * 1e3, 3)}` : "no distance at all";
    this.barHigh.textContent = `${this.top < this.largest ? "≥ " : ""}${number(this.top * 1e3, 3)}`;
  }

  draw(pane, box, cut) {
    if (cut[2] <= 0) return;
    const gl = this.gl, u = this.uniform;
    const mesh = pane === "error" ? this.meshes[this.where] : this.meshes[pane];
    const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    gl.viewport(...box);
    gl.scissor(...cut);
    const near = this.radius * 0.02, far = this.radius * 40, aspect = box[2] / box[3];
    const f = 1 / Math.tan(FIELD_OF_VIEW / 2), away = this.fit(f, aspect) * this.distance;
    const projection = [f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, (far + near) / (near - far), -1, 0, 0, 2 * far * near / (near - far), 0];
    const r = this.rotation, c = this.centre;
    const moved = [0, 1, 2].map((i) => -(r[i] * c[0] + r[3 + i] * c[1] + r[6 + i] * c[2]));
    const view = [r[0], r[1], r[2], 0, r[3], r[4], r[5], 0, r[6], r[7], r[8], 0, moved[0] + this.pan[0] * this.radius, moved[1] + this.pan[1] * this.radius, moved[2] - away, 1];
    gl.uniformMatrix4fv(u.projection, false, projection);
    gl.uniformMatrix4fv(u.view, false, view);
    gl.uniform1i(u.smoothly, this.smooth);
    gl.uniform1i(u.wires, this.wires);
    gl.uniform1i(u.mapped, pane === "error");
    gl.uniform1f(u.gain, this.top > 0 ? this.largest / this.top : 0);
    gl.uniform3fv(u.clay, dark ? [0.78, 0.8, 0.84] : [0.8, 0.82, 0.86]);
    gl.bindVertexArray(mesh.array);
    gl.drawArrays(gl.TRIANGLES, 0, mesh.corners);
    gl.bindVertexArray(null);
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
    this.canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); this.meshes = null; }); // a GPU that slept
    this.canvas.addEventListener("webglcontextrestored", () => {
      this.prepare();
      if (this.scene) this.show(this.scene, [...this.caption.childNodes]);
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

/** 256 colours as RGBA bytes. */
function colourTable() {
  const stops = COLOUR_MAP.map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const table = new Uint8ClampedArray(1024);
  for (let i = 0; i < 256; i++) {
    const at = i / 255 * (stops.length - 1), k = Math.min(stops.length - 2, Math.floor(at));
    for (let j = 0; j < 3; j++) table[4 * i + j] = stops[k][j] + (at - k) * (stops[k + 1][j] - stops[k][j]);
    table[4 * i + 3] = 255;
  }
  return table;
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
