// "Hear it": a voice says a sentence at the chosen pace and temper.

import { say } from "./arrivals.js";

let playing = null;
let pressed = null;

export function hearVoices() {
  if (pressed && !pressed.isConnected) playing.pause();
  for (const button of document.querySelectorAll("[data-hear]:not([data-awake])")) {
    button.dataset.awake = "";
    button.addEventListener("click", () => hear(button));
  }
}

async function hear(button) {
  playing?.pause();
  say("");
  const form = button.form;
  const query = new URLSearchParams({
    voice_id: button.dataset.hear,
    speed: form?.elements.speed?.value ?? "1.0",
    stability: form?.elements.stability?.value ?? "0.5",
  });
  const sample = new Audio(`/voices/sample.wav?${query}`);
  playing = sample;
  pressed = button;
  button.setAttribute("aria-busy", "true");
  try {
    await sample.play();
  } catch {
    // One that was cut by the next, or by leaving, isn't missed.
    if (playing === sample && button.isConnected) say("This voice can't be heard right now. Try again in a moment.");
  } finally {
    button.removeAttribute("aria-busy");
  }
}
