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
  openAround(form);
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

// Every field of the panel begins empty: a text in one is not saved yet, or could not be.
function listUnsaved() {
  return [...document.querySelectorAll("#panel input:not([type=hidden]), #panel textarea")].filter(field => field.value.trim());
}

window.addEventListener("beforeunload", event => {
  if (listUnsaved().length) event.preventDefault(); // the browser asks, whether a link, a key or a button leads away
});

function openAround(element) {
  for (let around = element.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
}

// The panel is replaced by what the server says. What was typed in it stays, except for what has just been saved.
let replaced = null;

function remember(panel, request, isSaved) {
  const sent = request.parameters, gone = new Map();
  const takesPoints = ["points", "manual", "total"].includes(sent.act);
  for (const field of isSaved ? request.elt.elements : []) {
    if (field.name === "words" || (field.name === "points" && takesPoints)) gone.set(field.id, sent[field.name]);
  }
  const texts = listUnsaved().filter(field => field.value !== gone.get(field.id)).map(field => [field.id, field.value]);
  return { form: request.elt, scrolled: panel.scrollTop, texts };
}

document.addEventListener("htmx:afterSwap", () => {
  if (!replaced) return;
  const panel = document.getElementById("panel");
  for (const [id, text] of replaced.texts) {
    const field = document.getElementById(id);
    if (field) {
      field.value = text;
      openAround(field);
    } else if (!panel.textContent.includes(text.trim())) warn(`Not saved, and its field is gone: ${text}`);
  }
  panel.scrollTop = replaced.scrolled;
  replaced.texts = [];
});

// Whoever goes by keys stays where they were: at the check, in a form that was refused, or in the field of another one.
document.addEventListener("htmx:afterSettle", () => {
  if (!replaced) return;
  const { form } = replaced, here = document.activeElement;
  replaced = null;
  if (isTyping(here) && ![...form.elements].some(field => field.id === here.id)) return;
  const problem = document.querySelector("#panel form [role=alert]");
  if (problem) return problem.closest("form").querySelector("input:not([type=hidden]), textarea").focus();
  const place = document.getElementById(`check-${form.elements.about.value}`) || document.getElementById("panel");
  openAround(place);
  place.focus();
});

// A refused form comes back with the reason and what was typed; anything else than our own fragment is not shown.
document.addEventListener("htmx:beforeSwap", event => {
  const { xhr, target, requestConfig } = event.detail;
  if (xhr.status === 409 || xhr.status === 422) event.detail.shouldSwap = true;
  else if (xhr.status >= 400) return warn("Nothing was saved: the server refused it. Open the page again.");
  if (target.id === "panel") replaced = remember(target, requestConfig, xhr.status < 400);
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
