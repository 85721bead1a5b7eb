// What happens on every page: focus after a swap, the list of things that come alive, the word when the server is gone.

import { isRinging, keepTitle, startHandset } from "./handset.js";
import { watchCall } from "./live.js";
import { hearVoices } from "./voices.js";

const announce = document.getElementById("announce");
const offline = document.getElementById("offline");

// A button that copies shows itself only where there is a clipboard to copy to.
function offerCopies() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.onclick = async () => {
      const field = document.getElementById(button.dataset.copy);
      field.select();
      await navigator.clipboard.writeText(field.value);
      button.textContent = "Copied";
      announce.textContent = "Copied";
    };
  }
}

function awaken() {
  watchCall();
  hearVoices();
  offerCopies();
  for (const field of document.querySelectorAll("[data-zone]")) {
    if (!field.value) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "";
  }
}

function settleFocus() {
  const wrong = document.querySelector("#main [aria-invalid='true'], #main [role='alert']");
  const main = document.getElementById("main");
  if (wrong) {
    if (!wrong.matches("input, select, textarea")) wrong.tabIndex = -1;
    wrong.focus();
  } else if (!isRinging() && !main.contains(document.activeElement)) {
    main.focus({ preventScroll: true });
  }
  announce.textContent = document.title;
}

document.body.addEventListener("htmx:afterSettle", (event) => {
  awaken();
  keepTitle();
  if (event.detail.target?.id === "main" || event.detail.elt?.id === "main") settleFocus();
});
document.body.addEventListener("htmx:sendError", () => (offline.hidden = false));
document.body.addEventListener("htmx:timeout", () => (offline.hidden = false));
document.body.addEventListener("htmx:beforeSwap", () => (offline.hidden = true));

// A menu closes when something else is chosen.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target) || event.target.closest("a")) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

awaken();
startHandset();
