// Meshes and distances as packed by packing.py, back to arrays.

async function unpackBlob(index) {
  return inflate(document.getElementById(`blob-${index}`).textContent);
}

/** Positions (3 V floats) and triangles (3 F indices) of a packed mesh. */
function unpackMesh(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const vertices = view.getUint32(0, true), faces = view.getUint32(4, true);
  const low = [8, 12, 16].map((at) => view.getFloat32(at, true)), step = view.getFloat32(20, true);
  let at = 24;
  const varint = () => {
    let value = 0, factor = 1, byte;
    do {
      byte = data[at++];
      value += (byte & 127) * factor;
      factor *= 128;
    } while (byte & 128);
    return value;
  };
  const varints = (n, into) => { for (let i = 0; i < n; i++) into[i] = varint(); return into; };

  const hops = varints(faces, new Uint32Array(faces));
  const roots = hops.reduce((n, hop) => n + (hop === 0), 0);
  const edges = data.subarray(at, at += faces - roots);
  const corners = varints(faces + 2 * roots, new Uint32Array(faces + 2 * roots));
  const residuals = [0, 1, 2].map(() => varints(vertices, new Uint32Array(vertices)));

  const grid = new Int32Array(3 * vertices), triangles = new Uint32Array(3 * faces);
  let known = 0, corner = 0, edge = 0;
  /** The next corner; a new vertex is put where `predict` says for each axis, plus what was stored. */
  const next = (predict) => {
    const code = corners[corner++];
    if (code !== 0) return known - code;
    for (let axis = 0; axis < 3; axis++) {
      const zigzag = residuals[axis][known];
      grid[3 * known + axis] = predict(axis) + (zigzag & 1 ? -(zigzag + 1) / 2 : zigzag / 2);
    }
    return known++;
  };
  const asBefore = (axis) => known ? grid[3 * (known - 1) + axis] : 0;
  for (let face = 0; face < faces; face++) {
    if (hops[face] === 0) {
      for (let i = 0; i < 3; i++) triangles[3 * face + i] = next(asBefore);
      continue;
    }
    const parent = 3 * (face - hops[face]), code = edges[edge++], out = code >> 1;
    const opposite = triangles[parent + out];
    const head = triangles[parent + (out + 1) % 3], tail = triangles[parent + (out + 2) % 3];
    const third = next((axis) => grid[3 * head + axis] + grid[3 * tail + axis] - grid[3 * opposite + axis]);
    const [one, two] = code & 1 ? [head, tail] : [tail, head];
    triangles.set([third, one, two], 3 * face);
  }
  const positions = new Float32Array(3 * vertices);
  for (let i = 0; i < positions.length; i++) positions[i] = low[i % 3] + step * grid[i];
  return { positions, triangles };
}

/** Codes 0 to 255 for each vertex: 255 √(distance / largest). */
function unpackErrors(data) {
  const codes = new Uint8Array(data.length);
  let sum = 0;
  for (let i = 0; i < data.length; i++) codes[i] = sum = (sum + data[i]) & 255;
  return codes;
}

/** The part of the largest distance that 99 % of the vertices keep; codes are 255 times its root. */
function mostErrors(codes) {
  const counts = new Uint32Array(256);
  for (const code of codes) counts[code]++;
  let code = 0;
  for (let seen = counts[0]; seen < 0.99 * codes.length;) seen += counts[++code];
  return (code / 255) ** 2;
}
