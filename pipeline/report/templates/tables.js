// Tables of class "sortable": a click on a column's head sorts by it, a search field above keeps the rows that hold a text.
"use strict";
const value = (row, column) => {
  const text = row.cells[column].textContent.trim();
  const number = Number(text.replace(/[,%\s]/g, "").replace("\u2212", "-"));
  return text !== "" && !Number.isNaN(number) ? number : text;
};
const compare = (a, b) => typeof a === typeof b
  ? (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }))
  : (typeof a === "number" ? -1 : 1);
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      body.append(...rows.toSorted((a, b) => sign * compare(value(a, column), value(b, column))));
    });
  });
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = "Filter";
  search.setAttribute("aria-label", `Filter ${table.closest("[aria-label]").getAttribute("aria-label")}`);
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
  });
  table.closest(".scroll").before(search);
}
