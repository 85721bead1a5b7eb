// What happens on every page: focus after a swap, and the list of things that come alive.

import { followArrivals } from "./arrivals.js";
import { isRinging, keepTitle, startHandset } from "./handset.js";
import { watchCall } from "./live.js";
import { hearVoices } from "./voices.js";

const announce = document.getElementById("announce");

// A button that copies shows itself only where there is a clipboard to copy to.
function offerCopies() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.onclick = async () => {
      const field = document.getElementById(button.dataset.copy);
      field.select();
      const word = await navigator.clipboard.writeText(field.value).then(() => "Copied", () => "Selected: copy it now");
      button.textContent = word;
      announce.textContent = word;
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
followArrivals();
startHandset();
