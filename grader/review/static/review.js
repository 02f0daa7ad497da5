"use strict";
// Keys: an element with data-key is clicked, or focused if it takes text, when its key is pressed alone. The page is
// complete without this script. It makes no markup out of any value.
const remembered = "review-keys-off";

function isTyping(target) {
  return target.matches("textarea, select, input:not([type=checkbox])");
}

function goToProblem() {
  const found = [...document.querySelectorAll(".check.v-failed, .check.v-error, .check.v-blocked")];
  const next = found[found.indexOf(document.activeElement) + 1] || found[0];
  if (next) next.focus();
}

document.addEventListener("keydown", event => {
  const box = document.getElementById("keys-on");
  if (!box || !box.checked || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && isTyping(event.target)) return event.target.blur();
  if (isTyping(event.target)) return;
  if (event.key === "p") return goToProblem();
  const element = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!element) return;
  event.preventDefault();
  if (isTyping(element)) element.focus();
  else element.click();
});

const box = document.getElementById("keys-on");
if (box) {
  box.checked = localStorage.getItem(remembered) !== "1";
  box.addEventListener("change", () => localStorage.setItem(remembered, box.checked ? "0" : "1"));
}
