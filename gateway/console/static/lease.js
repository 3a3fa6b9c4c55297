// Whoever has a case before him keeps it: the lease is renewed while the page can be seen.
import { now } from "./clocks.js";

const EVERY = 60_000;

export function ask(url, fields = {}) {
  const data = new URLSearchParams({ csrf: document.body.dataset.csrf, ...fields });
  return fetch(url, { method: "POST", body: data, credentials: "same-origin", redirect: "error" });
}

export function keep() {
  const form = document.getElementById("decide");
  if (!form) return;
  const clock = document.getElementById("lease");
  const lost = document.getElementById("lost");
  const started = Number(form.dataset.started) || now();
  let seen = Number(form.elements.seconds.value) || 0; // what was spent on a draft before
  let since = document.hidden ? null : now();

  async function renew() {
    if (document.hidden || !form.dataset.token) return;
    try {
      const answer = await ask(form.dataset.renew, { token: form.dataset.token });
      if (answer.ok) clock.dataset.until = (await answer.json()).expires;
      else if (answer.status === 409 || answer.status === 401) lost.hidden = false;
    } catch { /* offline for a moment: the next try will tell */ }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { seen += since ? now() - since : 0; since = null; return; }
    since = now();
    renew();
  });
  form.addEventListener("submit", () => {
    form.elements.seconds.value = (seen + (since ? now() - since : 0)).toFixed(1);
  });
  document.addEventListener("case-changed", ({ detail }) => {
    if (detail.case === form.dataset.case && detail.state === "closed") lost.hidden = false;
  });
  setInterval(renew, EVERY);
  if (now() - started > EVERY / 1000) renew();
}
