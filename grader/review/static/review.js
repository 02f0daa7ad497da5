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

function decide() {
  const here = document.activeElement.closest(".check")
    || document.querySelector(".check.v-failed, .check.v-error, .check.v-blocked") || document.querySelector(".check");
  const form = here && here.querySelector("details.decide");
  if (!form) return;
  for (let around = form; around; around = around.parentElement.closest("details")) around.open = true;
  form.querySelector("input[name=points]").focus();
}

function warn(text) {
  const place = document.getElementById("content");
  const notice = document.createElement("p");
  notice.className = "notice loud";
  notice.setAttribute("role", "alert");
  notice.textContent = text;
  place.prepend(notice);
}

// The panel is replaced by what the server says: whoever goes by keys stays where they were.
let decidedOn = null;
document.addEventListener("htmx:beforeRequest", event => {
  const about = event.detail.elt.querySelector("input[name=about]");
  decidedOn = about ? about.value : null;
});
document.addEventListener("htmx:afterSettle", () => {
  if (decidedOn === null) return;
  const check = document.getElementById(`check-${decidedOn}`) || document.getElementById("panel");
  for (let around = check.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
  check.focus();
  decidedOn = null;
});

// A refused form comes back with the reason and what was typed; anything else than our own fragment is not shown.
document.addEventListener("htmx:beforeSwap", event => {
  const status = event.detail.xhr.status;
  if (status === 409 || status === 422) event.detail.shouldSwap = true;
  else if (status >= 400) warn("Nothing was saved: the server refused it. Open the page again.");
});
document.addEventListener("htmx:sendError", () => warn("Nothing was saved: the server does not answer. Is `make review` still running?"));

document.addEventListener("keydown", event => {
  const box = document.getElementById("keys-on");
  if (!box || !box.checked || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && isTyping(event.target)) return event.target.blur();
  if (isTyping(event.target)) return;
  if (event.key === "p") return goToProblem();
  if (event.key === "e") {
    event.preventDefault();
    return decide();
  }
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
