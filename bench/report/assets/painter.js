// Draws meshes, plain or coloured by error, into parts of one WebGL2 canvas.

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

class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { antialias: true, alpha: true, premultipliedAlpha: true });
  }

  /** Compile the program: at first, and after a graphics card came back. */
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

  /** Put a mesh on the graphics card; `codes` are its errors, a number of 0 to 255 for each vertex. */
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

  /** Empty the canvas, which is made `width` × `height` CSS pixels large; returns its size in real pixels. */
  begin(width, height) {
    const gl = this.gl, density = Math.min(window.devicePixelRatio || 1, 2);
    const pixels = [Math.round(width * density), Math.round(height * density)];
    if (this.canvas.width !== pixels[0] || this.canvas.height !== pixels[1]) [this.canvas.width, this.canvas.height] = pixels;
    this.canvas.style.height = `${height}px`;
    gl.disable(gl.SCISSOR_TEST);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.SCISSOR_TEST);
    gl.useProgram(this.program);
    return pixels;
  }

  /**
   * Draw a mesh into `box` (x, y, width, height from the bottom left), but only what is inside of `cut`.
   * `look` is {smooth, wires, gain}: a gain colours by error, null leaves the mesh plain.
   */
  draw(mesh, box, cut, { view, projection }, { smooth, wires, gain }) {
    if (cut[2] <= 0) return;
    const gl = this.gl, u = this.uniform, dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    gl.viewport(...box);
    gl.scissor(...cut);
    gl.uniformMatrix4fv(u.projection, false, projection);
    gl.uniformMatrix4fv(u.view, false, view);
    gl.uniform1i(u.smoothly, smooth);
    gl.uniform1i(u.wires, wires);
    gl.uniform1i(u.mapped, gain !== null);
    gl.uniform1f(u.gain, gain ?? 0);
    gl.uniform3fv(u.clay, dark ? [0.78, 0.8, 0.84] : [0.8, 0.82, 0.86]);
    gl.bindVertexArray(mesh.array);
    gl.drawArrays(gl.TRIANGLES, 0, mesh.corners);
    gl.bindVertexArray(null);
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
