// The meter of a live call: it follows the call's events, counts the seconds between them, and turns into the receipt
// when the call is over.

import { clock, showCost } from "./handset.js";

const TICK_MS = 250;
const RETRY_MS = 2000;
const RELOAD_AFTER_MS = 600;

const WORDS = {
  initiating: "Placing the call…",
  calling: "Ringing…",
  connected: "Connecting…",
  in_progress: "You are talking",
};
const OVER = new Set(["completed", "failed", "no_answer", "busy", "canceled"]);

let watched = null;

export function watchCall() {
  const place = document.getElementById("live");
  if (watched?.place === place) return;
  watched?.stop();
  watched = place ? new Watch(place) : null;
}

class Watch {
  #events = null;
  #retry = null;
  #ticker = null;
  #seconds = 0;
  #since = 0;
  #talking = false;
  #lines = 0;

  constructor(place) {
    this.place = place;
    this.id = place.dataset.call;
    this.granted = Number(place.dataset.granted);
    this.most = Number(place.dataset.most);
    this.warn = Number(place.dataset.warn);
    this.part = Object.fromEntries(
      ["state", "clock", "cents", "credits", "cord", "mark", "talk", "stop", "head", "nothing"].map((name) => [
        name, document.getElementById(`live-${name}`)]));
    // The mark stands where the persona warns; where it would leave the edge, its words hang on the left of it.
    this.part.mark.style.left = `${this.warn}%`;
    if (this.warn > 70) this.part.mark.classList.add("late");
    this.#listen();
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
  }

  stop() {
    this.#events?.close();
    clearTimeout(this.#retry);
    clearInterval(this.#ticker);
    showCost(""); // nobody counts it any more
  }

  #listen() {
    this.#events = new EventSource(`/api/calls/${encodeURIComponent(this.id)}/events`);
    for (const kind of ["status", "meter"]) {
      this.#events.addEventListener(kind, (event) => this.#draw(JSON.parse(event.data)));
    }
    this.#events.addEventListener("turn", (event) => this.#say(JSON.parse(event.data)));
    this.#events.onerror = () => {
      if (this.#events.readyState !== EventSource.CLOSED) return;
      this.#retry = setTimeout(() => this.#listenAgain(), RETRY_MS);
    };
  }

  // The events were refused, and don't say why: whoever is logged out meanwhile is led to the door.
  async #listenAgain() {
    const answer = await fetch(`/calls/${encodeURIComponent(this.id)}`, { method: "HEAD" }).catch(() => null);
    if (!this.place.isConnected) return;
    if (answer?.redirected) location.reload();
    else this.#listen();
  }

  #draw(call) {
    if (OVER.has(call.status)) return this.#over();
    const talking = call.status === "in_progress" || call.status === "connected";
    this.part.state.textContent = WORDS[call.status] ?? call.status;
    this.part.state.classList.toggle("on", talking);
    this.part.head.classList.toggle("calling", !talking);
    this.part.stop.textContent = talking ? "Hang up" : "Cancel";
    if (call.duration_seconds !== this.#seconds || !this.#talking) this.#since = performance.now();
    this.#seconds = call.duration_seconds;
    this.#talking = talking && Boolean(call.started_at);
    this.part.cents.textContent = Number(call.cost_cents).toFixed(2);
    this.cents = Number(call.cost_cents);
    showCost(this.part.cents.textContent);
    this.part.credits.textContent = String(call.credits_used);
    this.#tick();
  }

  #tick() {
    if (!this.place.isConnected) return this.stop();
    if (!this.#talking) return;
    // Never more than a second and a half ahead of what was counted: the server's seconds are the ones that are paid.
    const ahead = Math.min(1.5, (performance.now() - this.#since) / 1000);
    const seconds = Math.min(this.granted, Math.floor(this.#seconds + ahead));
    this.part.clock.textContent = clock(seconds);
    const share = Math.max(seconds / this.granted, this.most ? this.cents / this.most : 0);
    this.part.cord.value = Math.min(1000, Math.round(share * 1000));
    this.part.cord.classList.toggle("warned", share * 100 >= this.warn);
  }

  // After a break the stream tells all turns again; each is shown once.
  #say(turn) {
    if (turn.seq < this.#lines) return;
    this.#lines = turn.seq + 1;
    this.part.nothing?.remove();
    const said = document.createElement("p");
    said.className = `said ${turn.speaker === "persona" ? "them" : "me"}`;
    const who = document.createElement("span");
    who.className = "away";
    who.textContent = turn.speaker === "persona" ? `${this.place.dataset.name}: ` : "You: ";
    said.append(who, turn.text);
    this.part.talk.append(said);
  }

  #over() {
    this.stop();
    this.part.state.textContent = "Over. Here is the receipt…";
    this.#retry = setTimeout(() => this.#showReceipt(), RELOAD_AFTER_MS);
  }

  async #showReceipt() {
    if (!this.place.isConnected) return;
    const page = { target: "#main", select: "#main", swap: "outerHTML" };
    await htmx.ajax("GET", `/calls/${encodeURIComponent(this.id)}`, page).catch(() => {}); // the page says it
    if (this.place.isConnected) this.#retry = setTimeout(() => this.#showReceipt(), RETRY_MS);
  }
}
