// Numbers as people read them.

const NONE = "–";

/** Up to `digits` significant digits, without an exponent where it can be helped. */
function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return NONE;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e7 || size < 1e-5) return value.toExponential(Math.max(0, digits - 2)).replace("-", "−").replace("e+", "e");
  const decimals = Math.max(0, Math.min(7, digits - 1 - Math.floor(Math.log10(size))));
  return grouped(value.toFixed(decimals));
}

/** A fixed number of decimals, for columns. */
function fixed(value, decimals) {
  return value === null || value === undefined ? NONE : grouped(value.toFixed(decimals));
}

function count(value) {
  return value === null || value === undefined ? NONE : grouped(String(Math.round(value)));
}

function bytes(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 1000) return `${count(value)} B`;
  const [unit, size] = [["kB", 1e3], ["MB", 1e6], ["GB", 1e9]].findLast(([, least]) => value >= least);
  return `${number(value / size, 3)} ${unit}`;
}

function milliseconds(seconds) {
  return seconds === null || seconds === undefined ? NONE : number(seconds * 1e3, 3);
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 60) return `${number(seconds, 3)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Thin spaces between groups of three digits, from five digits on. */
function grouped(text) {
  const [whole, fraction] = text.replace("-", "−").split(".");
  const spaced = whole.replace("−", "").length > 4 ? whole.replace(/\B(?=(\d{3})+(?!\d))/g, "\u2009") : whole;
  return fraction === undefined ? spaced : `${spaced}.${fraction}`;
}

function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}
