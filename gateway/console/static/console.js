// What every page does: keys, clocks, live updates, the undo toast.
import { clocks, lapse } from "./clocks.js";
import { diffs } from "./diff.js";
import { keep } from "./lease.js";
import { reveals } from "./reveal.js";

const EDITABLE = "input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]";
const body = document.body;
let leaving = false;

/** A key does what it says only when nobody types, no dialog is open, and the next page is not on its way. */
function busy(event) {
  const typing = event.target instanceof Element && event.target.closest(EDITABLE);
  return leaving || typing || document.querySelector("dialog[open]") || event.altKey || event.metaKey;
}

/** The first element that says it wants this key, and can be seen. */
function wanting(key) {
  return [...document.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)].find(
    (one) => !one.disabled && one.checkVisibility(),
  );
}

function press(target) {
  if (target.matches("input[type=radio]")) {
    target.checked = true;
    target.dispatchEvent(new Event("change", { bubbles: true }));
    target.focus();
  } else if (target.matches("select, textarea, input")) target.focus();
  else if (target.matches("details")) { target.open = !target.open; target.querySelector("summary").focus(); }
  else target.click();
}

function rows(step) {
  const links = [...document.querySelectorAll("[data-row]")];
  const at = links.indexOf(document.activeElement);
  links[Math.max(0, Math.min(links.length - 1, at + step))]?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.ctrlKey && !leaving && !document.querySelector("dialog[open]")) {
    const send = document.querySelector("[data-key='ctrl+enter']");
    if (send) { event.preventDefault(); send.click(); }
    return;
  }
  if (event.key === "Escape" && event.target.matches?.(EDITABLE)) { event.target.blur(); return; }
  if (busy(event) || event.ctrlKey) return;
  const key = event.key === " " ? "space" : event.key.toLowerCase();
  if (key === "space" && event.target.matches?.("button, summary, a")) return;
  if (key === "j" || key === "k") { rows(key === "j" ? 1 : -1); return; }
  const target = wanting(key);
  if (target) { event.preventDefault(); press(target); }
});

// One press, one request: a second one would decide the next case.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post" || form.hasAttribute("hx-post")) return;
  if (leaving) { event.preventDefault(); return; }
  leaving = true;
  body.setAttribute("aria-busy", "true");
});
window.addEventListener("pageshow", () => { leaving = false; body.removeAttribute("aria-busy"); });

for (const button of document.querySelectorAll("[data-opens]")) {
  const dialog = document.getElementById(button.dataset.opens);
  button.addEventListener("click", () => dialog.showModal());
}
for (const button of document.querySelectorAll("[data-closes]")) {
  button.addEventListener("click", () => document.getElementById(button.dataset.closes).close());
}
for (const filter of document.querySelectorAll("form[data-live]")) {
  filter.addEventListener("change", () => filter.requestSubmit());
}

// A decision that brings a text shows where to write it.
document.getElementById("decide")?.addEventListener("change", (event) => {
  if (event.target.name !== "choice") return;
  const editor = [...document.querySelectorAll(".editor")].find((one) => one.checkVisibility());
  editor?.scrollIntoView({ block: "nearest" });
});

document.querySelector("nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

/** Tells this page what changed, and fetches anew what shows it. */
function listen() {
  const events = new EventSource(body.dataset.events);
  let waiting = 0;
  events.addEventListener("changed", (event) => {
    const change = JSON.parse(event.data);
    clearTimeout(waiting);
    waiting = setTimeout(() => window.htmx?.trigger(body, "changed"), 400);
    document.dispatchEvent(new CustomEvent("case-changed", { detail: change }));
  });
  window.addEventListener("pagehide", () => events.close());
}

if (body.dataset.events) listen();
clocks();
lapse();
diffs();
reveals();
keep();
body.dataset.ready = "";
