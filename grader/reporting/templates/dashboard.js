"use strict";
// Sorts tables by their columns and filters the students. The page is complete without it. Reads text and data-*
// attributes, moves rows and hides them; it makes no markup out of any value.
const compare = new Intl.Collator(undefined, { numeric: true }).compare;

function valueOf(row, column, kind) {
  const cell = row.cells[column];
  if (kind === "text") return cell.textContent.trim();
  return cell.dataset.value === "" ? null : Number(cell.dataset.value);
}

function sort(table, head, descending) {
  const column = head.cellIndex, kind = head.dataset.sort, sign = descending ? -1 : 1;
  const rows = [...table.tBodies[0].rows].map(row => [valueOf(row, column, kind), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null); // what is not known comes last, either way
    return sign * (kind === "text" ? compare(a, b) : a - b);
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
  for (const other of table.tHead.rows[0].cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

for (const table of document.querySelectorAll("table.sortable")) {
  table.classList.add("live");
  for (const head of table.tHead.rows[0].cells) {
    if (!head.dataset.sort) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sort(table, head, head.getAttribute("aria-sort") === "ascending"));
  }
}

const controls = document.getElementById("controls");
if (controls) {
  const find = document.getElementById("find"), standing = document.getElementById("standing");
  const shown = document.getElementById("shown"), rows = [...document.getElementById("table").tBodies[0].rows];
  const filter = () => {
    const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const row of rows) {
      const fits = (!standing.value || row.dataset.standing === standing.value) && wanted.every(word => row.dataset.search.includes(word));
      row.hidden = !fits;
      left += fits;
    }
    shown.textContent = left === rows.length ? `${left} students` : `${left} of ${rows.length} students`;
  };
  find.addEventListener("input", filter);
  standing.addEventListener("change", filter);
  controls.hidden = false;
  filter();
}
