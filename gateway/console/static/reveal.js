// Severe text stays blurred until somebody asks to see it, which is written down.
import { ask } from "./lease.js";

export function reveals() {
  const judged = document.querySelector(".said-pane .judged:last-of-type") || document.querySelector(".said-pane .judged");
  const pane = document.querySelector(".said-pane");
  if (judged && pane && pane.scrollHeight > pane.clientHeight) {
    pane.scrollTop = judged.offsetTop - pane.offsetTop - 16;
  }
  for (const button of document.querySelectorAll("[data-reveal]")) {
    button.addEventListener("click", async () => {
      const told = await ask(button.dataset.reveal).catch(() => null);
      if (!told?.ok) { button.textContent = "Could not be revealed: reload the page"; return; }
      for (const hidden of document.querySelectorAll(".severe")) {
        hidden.classList.remove("severe");
        hidden.querySelectorAll("[aria-hidden]").forEach((one) => one.removeAttribute("aria-hidden"));
        hidden.querySelectorAll("[inert]").forEach((one) => one.removeAttribute("inert"));
      }
      document.querySelectorAll(".strip").forEach((strip) => strip.remove());
      document.querySelector(".judged")?.focus({ preventScroll: true });
    });
  }
}
