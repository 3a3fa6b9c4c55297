// Times that run out. The server says when; this clock says how far it is from the server's.
const ahead = Date.now() / 1000 - Number(document.body.dataset.now || Date.now() / 1000);

export function now() {
  return Date.now() / 1000 - ahead;
}

function spoken(seconds) {
  const left = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
  if (h >= 48) return `${Math.floor(h / 24)} d`;
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

function show(clock) {
  const left = Number(clock.dataset.until) - now();
  const share = left / Math.max(1, Number(clock.dataset.total));
  clock.textContent = left > 0 ? spoken(left) : clock.dataset.over || "over";
  clock.classList.toggle("red", share < 0.1);
  clock.classList.toggle("amber", share >= 0.1 && share <= 0.5);
}

export function clocks() {
  const tick = () => document.querySelectorAll("[data-until]").forEach(show);
  tick();
  setInterval(tick, 1000);
}

/** What is there for a while only, such as the chance to undo. */
export function lapse() {
  for (const element of document.querySelectorAll("[data-gone]")) {
    setTimeout(() => element.remove(), Math.max(0, Number(element.dataset.gone) - now()) * 1000);
  }
}
