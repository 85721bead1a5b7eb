// "Hear it": a voice says a sentence at the chosen pace and temper.

let playing = null;

export function hearVoices() {
  for (const button of document.querySelectorAll("[data-hear]:not([data-awake])")) {
    button.dataset.awake = "";
    button.addEventListener("click", () => hear(button));
  }
}

async function hear(button) {
  playing?.pause();
  const form = button.form;
  const query = new URLSearchParams({
    voice_id: button.dataset.hear,
    speed: form?.elements.speed?.value ?? "1.0",
    stability: form?.elements.stability?.value ?? "0.5",
  });
  playing = new Audio(`/voices/sample.wav?${query}`);
  button.setAttribute("aria-busy", "true");
  try {
    await playing.play();
  } catch {
    document.getElementById("announce").textContent = "This voice can't be heard right now.";
  } finally {
    button.removeAttribute("aria-busy");
  }
}
