// A table that sorts by any column and shows as many rows as asked for.

const ROWS_AT_A_TIME = 100;

class Grid {
  /**
   * @param columns {name, heading, title, value(row), show(row), text}: `value` sorts, `show` is text or a node;
   *   `text` columns align left and sort up first
   * @param sort {name, down}
   */
  constructor(caption, columns, sort) {
    this.columns = columns;
    this.sort = sort;
    this.rows = [];
    this.limit = ROWS_AT_A_TIME;
    this.heads = columns.map((column) => {
      const label = column.heading;
      const inside = column.value
        ? h("button", { type: "button", on: { click: () => this.sortBy(column) } }, h("span", {}, label), h("span", { class: "arrow", "aria-hidden": "true" }))
        : label;
      return h("th", { scope: "col", class: column.text ? "text" : null, title: column.title }, inside);
    });
    this.body = h("tbody");
    this.more = h("button", { type: "button", class: "more", on: { click: () => { this.limit *= 4; this.draw(); } } });
    this.scroll = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      h("table", { class: "grid" }, h("thead", {}, h("tr", {}, this.heads)), this.body));
    this.element = h("div", {}, this.scroll, this.more);
  }

  setRows(rows) {
    this.rows = rows;
    this.limit = ROWS_AT_A_TIME;
    this.draw();
  }

  sortBy(column) {
    const same = this.sort.name === column.name;
    this.sort = { name: column.name, down: same ? !this.sort.down : !column.text };
    this.draw();
  }

  sorted() {
    const column = this.columns.find((one) => one.name === this.sort.name);
    const sign = this.sort.down ? -1 : 1;
    const values = new Map(this.rows.map((row) => [row, column.value(row)]));
    const missing = (value) => value === null || value === undefined || Number.isNaN(value);
    return [...this.rows].sort((a, b) => {
      const [x, y] = [values.get(a), values.get(b)];
      if (missing(x) || missing(y)) return missing(x) - missing(y); // nothing comes last, whichever way
      return sign * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y);
    });
  }

  draw() {
    this.columns.forEach((column, i) => {
      const on = this.sort.name === column.name;
      this.heads[i].setAttribute("aria-sort", on ? (this.sort.down ? "descending" : "ascending") : "none");
      const mark = this.heads[i].querySelector(".arrow");
      if (mark) mark.textContent = on ? (this.sort.down ? "▾" : "▴") : "";
    });
    const rows = this.sorted();
    this.body.replaceChildren(...rows.slice(0, this.limit).map((row) => h("tr", {}, this.columns.map((column, i) =>
      h(i ? "td" : "th", { scope: i ? null : "row", class: column.text ? "text" : null, title: i ? null : column.value?.(row) }, column.show(row))))));
    this.more.hidden = rows.length <= this.limit;
    this.more.textContent = `Show more (${count(Math.min(this.limit, rows.length))} of ${count(rows.length)})`;
  }
}
