"use strict";
// In the head: the kept choice holds before anything is painted.
(() => {
  const key = "ablate-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  // A browser may forbid a file its storage: the switch then works until the page is closed.
  const kept = () => { try { return localStorage.getItem(key); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem(key, theme); } catch { /* not kept */ } };
  const shown = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const choice = kept();
  if (choice === "dark" || choice === "light") root.dataset.theme = choice;

  document.addEventListener("DOMContentLoaded", () => {
    const switches = document.querySelectorAll("[data-theme-switch]");
    const label = () => switches.forEach((one) => {
      one.textContent = shown() === "dark" ? "Light" : "Dark";
      one.setAttribute("aria-label", `Switch to the ${one.textContent.toLowerCase()} theme`);
    });
    switches.forEach((one) => {
      one.hidden = false;
      one.addEventListener("click", () => {
        root.dataset.theme = shown() === "dark" ? "light" : "dark";
        keep(root.dataset.theme);
        label();
      });
    });
    system.addEventListener("change", label);
    label();
  });
})();
