// A table of any length that sorts by any column. Only the rows on screen, and a few around them, exist.

const ROWS_AROUND = 12, ROWS_AT_FIRST = 40;

class Grid {
  /**
   * @param columns {name, heading, title, value(row), show(row), text}: `value` sorts, `show` is text or a node;
   *   `text` columns align left and sort up first
   * @param sort {name, down}
   */
  constructor(caption, columns, sort) {
    this.columns = columns;
    this.sort = sort;
    this.rows = this.order = [];
    this.heads = columns.map((column) => {
      const label = column.heading;
      const inside = column.value
        ? h("button", { type: "button", on: { click: () => this.sortBy(column) } }, h("span", {}, label), h("span", { class: "arrow", "aria-hidden": "true" }))
        : label;
      return h("th", { scope: "col", class: column.text ? "text" : null, title: column.title }, inside);
    });
    this.widths = columns.map(() => 0);
    this.body = h("tbody");
    this.above = this.gap();
    this.below = this.gap();
    this.table = h("table", { class: "grid" }, h("thead", {}, h("tr", { "aria-rowindex": 1 }, this.heads)), this.above, this.body, this.below);
    this.element = h("div", { class: "scroll rows", tabindex: "0", role: "region", "aria-label": caption, on: { scroll: () => this.request() } }, this.table);
    new ResizeObserver(() => this.request()).observe(this.element);
  }

  /** Room for the rows that do not exist; a body of its own, so that rows are counted right. */
  gap() {
    return h("tbody", { class: "gap", "aria-hidden": "true", hidden: true }, h("tr", {}, h("td", { colspan: this.columns.length })));
  }

  setRows(rows) {
    this.rows = rows;
    this.reorder();
  }

  sortBy(column) {
    const same = this.sort.name === column.name;
    this.sort = { name: column.name, down: same ? !this.sort.down : !column.text };
    this.reorder();
  }

  reorder() {
    this.columns.forEach((column, i) => {
      const on = this.sort.name === column.name;
      this.heads[i].setAttribute("aria-sort", on ? (this.sort.down ? "descending" : "ascending") : "none");
      const mark = this.heads[i].querySelector(".arrow");
      if (mark) mark.textContent = on ? (this.sort.down ? "▾" : "▴") : "";
    });
    this.order = this.sorted();
    this.table.setAttribute("aria-rowcount", this.order.length + 1);
    this.element.scrollTop = 0;
    this.draw();
  }

  sorted() {
    const column = this.columns.find((one) => one.name === this.sort.name);
    if (!column) return this.rows; // in the order in which they came
    const sign = this.sort.down ? -1 : 1;
    const values = new Map(this.rows.map((row) => [row, column.value(row)]));
    const missing = (value) => value === null || value === undefined || Number.isNaN(value);
    return [...this.rows].sort((a, b) => {
      const [x, y] = [values.get(a), values.get(b)];
      if (missing(x) || missing(y)) return missing(x) - missing(y); // nothing comes last, whichever way
      return sign * (typeof x === "string" ? NATURAL.compare(x, y) : x - y);
    });
  }

  request() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => { this.pending = false; this.draw(); });
  }

  /** Make the rows on screen. Rows have one height, which the first one tells. Long names keep their ends. */
  draw() {
    const { order } = this, height = this.rowHeight || 30;
    const seen = this.element.clientHeight ? Math.ceil(this.element.clientHeight / height) : ROWS_AT_FIRST;
    const first = Math.max(0, Math.min(Math.floor(this.element.scrollTop / height) - ROWS_AROUND, order.length - seen));
    const last = Math.min(order.length, first + seen + 2 * ROWS_AROUND);
    const shown = order.slice(first, last);
    if (shown.length === this.shown?.length && shown.every((row, i) => row === this.shown[i])) return;
    this.shown = shown;
    const focused = this.body.contains(document.activeElement) ? document.activeElement.closest("tr").ariaRowIndex : null;
    this.body.replaceChildren(...shown.map((row, at) => h("tr", { "aria-rowindex": first + at + 2 }, this.columns.map((column, i) =>
      h(i ? "td" : "th", { scope: i ? null : "row", class: column.text ? "text" : null, title: i ? null : column.value?.(row) }, i ? column.show(row) : h("bdi", { dir: "ltr" }, column.show(row)))))));
    if (focused) this.body.querySelector(`tr[aria-rowindex="${focused}"] button`)?.focus({ preventScroll: true });
    this.leaveRoom(this.above, first * height);
    this.leaveRoom(this.below, (order.length - last) * height);
    this.keepWidths();
    const real = this.body.firstElementChild?.getBoundingClientRect().height;
    if (real && Math.abs(real - height) > 0.01) {
      this.rowHeight = real;
      this.shown = null;
      this.request();
    }
  }

  leaveRoom(gap, height) {
    gap.hidden = height <= 0;
    gap.firstElementChild.firstElementChild.style.height = `${height}px`;
  }

  /** Columns only become wider, so that they do not jump while one scrolls. */
  keepWidths() {
    if (this.order.length === this.shown.length) return;
    const now = this.heads.map((head) => head.getBoundingClientRect().width);
    this.heads.forEach((head, i) => {
      if (now[i] > this.widths[i] + 0.5) head.style.minWidth = `${this.widths[i] = now[i]}px`;
    });
  }
}

const NATURAL = new Intl.Collator("en", { numeric: true });
