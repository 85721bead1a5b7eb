// The simulated phone: it shows the person's numbers, rings, and is talked on. Its socket is described in
// callmeback/simulator/page_phone.py; texts are asked for every few seconds while the page is looked at.

import { Voice, mute, ring, stopRinging } from "./sound.js";
import { canDictate, dictate } from "./speech.js";

const RETRY_MS = [500, 1000, 2000, 4000, 8000, 15000];
const TEXTS_EVERY_MS = 2500;
const TEXTS_SHOWN_MAX = 4;
const CAPTIONS_MAX = 200;
const NUMBERS_MAX = 4;
const SHUT_AFTER_MS = 4000;
const REST_AFTER_MS = 30_000;
const STRANGE_AFTER_TRIES = 3;
const TOO_MANY_PAGES = 1013;
const LOST_AFTER_MS = 5000; // longer than the other side waits for a page that is loaded anew

const WHY = {
  hangup: "You hung up.",
  remote: "The other side hung up.",
  time_limit: "The time for this call was up.",
  declined: "You declined the call.",
  canceled: "They stopped calling.",
  no_answer: "You missed this call.",
  answered_elsewhere: "Answered in another window.",
  lost: "The line was lost.",
};
const CANNOT = {
  nothing_rings: "Nothing is ringing any more.",
  no_call: "There is no call to speak into.",
  too_long: "That was too much at once. Try a shorter sentence.",
};

const lines = new Map();
let dom = null;
let active = null; // the line that rings or is talked on
let call = null; // who calls: {id, name, avatar, hue}
let lostTimer = null; // runs while nobody knows whether what rang or was talked on still does
let meeting = null; // the question of who calls that was asked last
let isReading = false;
let readsAgain = false;
let voice = null;
let clockStart = 0;
let clockTimer = null;
let stopDictation = null;
let seenTexts = null; // what was there when the page came is no news
let shutTimer = null;
let restTimer = null;
let ringTitle = ""; // of the tab while it rings
let pageTitle = "";
let cost = "";
let endedHere = false;

const byId = (id) => document.getElementById(id);

export function startHandset() {
  if (!byId("handset")) return;
  dom = Object.fromEntries(
    ["handset", "handset-bar", "handset-title", "handset-badge", "handset-number", "handset-line", "handset-clock",
      "handset-idle", "inbox", "screen-idle", "screen-ringing", "screen-talking", "screen-over", "ring-face", "ring-name",
      "talk-face", "talk-name", "talk-clock", "captions", "say", "say-text", "say-note", "dictate", "mute", "over-title",
      "over-why", "over-link", "announce"].map((id) => [id, byId(id)]));
  dom["handset-bar"].addEventListener("click", () => open(dom.handset.dataset.open !== "true"));
  byId("answer").addEventListener("click", () => active?.send({ type: "answer" }));
  byId("decline").addEventListener("click", () => active?.send({ type: "decline" }));
  byId("hangup").addEventListener("click", () => active?.send({ type: "hangup" }));
  byId("over-close").addEventListener("click", () => show("idle"));
  dom.say.addEventListener("submit", (event) => {
    event.preventDefault();
    if (say(dom["say-text"].value)) dom["say-text"].value = "";
    dom["say-text"].focus();
  });
  dom.mute.addEventListener("click", () => {
    const quiet = dom.mute.getAttribute("aria-pressed") !== "true";
    dom.mute.setAttribute("aria-pressed", String(quiet));
    mute(quiet);
  });
  if (canDictate()) {
    dom.dictate.hidden = false;
    dom["say-note"].textContent = "What you type or dictate is spoken into the call. Your browser may send dictation to its maker.";
    dom.dictate.addEventListener("click", toggleDictation);
  }
  document.addEventListener("submit", (event) => (endedHere ||= event.target.matches("[data-hangup]")));
  document.body.addEventListener("htmx:afterSettle", followNumbers);
  followNumbers();
  tellTime();
  setInterval(tellTime, 10_000);
  setInterval(() => document.visibilityState === "visible" && readTexts(), TEXTS_EVERY_MS);
}

// The page may have learned of another number: the phone follows, unless it is being talked on.
function followNumbers() {
  const given = byId("main").dataset.numbers;
  if (given === undefined) return; // a page that only says a word
  const numbers = given.split(" ").filter(Boolean).slice(0, NUMBERS_MAX);
  for (const [number, line] of lines) {
    if (!numbers.includes(number) && line !== active) {
      line.close();
      lines.delete(number);
    }
  }
  for (const number of numbers) if (!lines.has(number)) lines.set(number, new Line(number));
  const shown = (byId("main").dataset.shown || "").split("|");
  dom["handset-number"].textContent = numbers.length > 1 ? `${shown[0]} and ${numbers.length - 1} more` : shown[0] || "No number yet";
  dom["handset-idle"].textContent = numbers.length ? "This phone rings here, in the page." : "Give a number, and its phone appears here.";
  if (!active) dom["handset-title"].textContent = numbers.length ? `Simulated phone, ${shown[0]}` : "Simulated phone";
  if (!numbers.length) lineState("");
  readTexts();
}

class Line {
  #socket = null;
  #tries = 0;
  #timer = null;
  #closed = false;
  #wasOpen = false;

  constructor(number) {
    this.number = number;
    this.#connect();
  }

  #connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/simulator/phones/${encodeURIComponent(this.number)}/socket`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#tries = 0;
      this.#wasOpen = true;
      lineState("open");
    };
    socket.onmessage = (event) => take(this, event.data);
    socket.onclose = (event) => this.#lost(event.code);
    this.#socket = socket;
  }

  #lost(code) {
    if (this.#closed) return;
    if (this === active) {
      clearTimeout(lostTimer);
      lostTimer = setTimeout(() => ended(this, "lost"), LOST_AFTER_MS);
    }
    if (code === TOO_MANY_PAGES) {
      lineState("crowded");
      return;
    }
    lineState(this.#wasOpen || this.#tries < STRANGE_AFTER_TRIES ? "lost" : "strange");
    this.#timer = setTimeout(() => this.#connect(), RETRY_MS[Math.min(this.#tries, RETRY_MS.length - 1)]);
    this.#tries += 1;
  }

  send(message) {
    const isOpen = this.#socket.readyState === WebSocket.OPEN;
    if (isOpen) this.#socket.send(JSON.stringify(message));
    else note("The line is being restored. Try again in a moment.");
    return isOpen;
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket.close();
  }
}

function lineState(state) {
  dom.handset.dataset.line = state;
  dom["handset-line"].textContent = { open: "ready", lost: "reconnecting…", crowded: "open in too many windows", strange: "only on the server's own machine" }[state] ?? "";
}

function take(line, data) {
  if (data instanceof ArrayBuffer) {
    if (line === active) voice?.play(new Uint8Array(data));
    return;
  }
  const message = JSON.parse(data);
  switch (message.type) {
    case "ringing": return rings(line);
    case "answered": return answered(line, message.seconds ?? 0);
    case "ended": return ended(line, message.reason);
    case "caption": return caption(message.text);
    case "clear": return cut();
    case "error": return note(CANNOT[message.code] ?? "That didn't work. Try again.");
  }
}

async function whoCalls() {
  try {
    const answer = await fetch("/handset/caller", { headers: { Accept: "application/json" } });
    return answer.status === 200 ? await answer.json() : null;
  } catch {
    return null; // without a name the phone still rings
  }
}

// The name may come late, and after the answer: the phone neither waits for it nor believes one of another call.
async function meet(line, told) {
  const mine = (meeting = {});
  const found = await whoCalls();
  if (active !== line || meeting !== mine) return;
  call = found;
  told(call?.name ?? "Somebody");
}

function drawCaller(name) {
  for (const place of ["ring", "talk"]) {
    dom[`${place}-name`].textContent = name;
    drawFace(dom[`${place}-face`], call);
  }
}

function rings(line) {
  if (active && active !== line) return;
  clearTimeout(lostTimer);
  endedHere = false;
  active = line;
  call = null;
  drawCaller("Somebody");
  ring();
  show("ringing");
  open(true);
  meet(line, (name) => {
    drawCaller(name);
    if (!isRinging()) return;
    ringTitle = `☎ ${name} is calling`;
    keepTitle();
    dom.announce.textContent = `${name} is calling. Answer or decline.`;
    if (!typing()) byId("answer").focus();
  });
}

function answered(line, heldFor) {
  clearTimeout(lostTimer);
  const isNew = active !== line; // the page was reloaded, and got its call back
  active = line;
  stopRinging();
  voice?.clear();
  voice = new Voice();
  dom.captions.replaceChildren();
  cost = "";
  // Its clock goes on with it.
  clockStart = performance.now() - heldFor * 1000;
  drawClock();
  clearInterval(clockTimer);
  clockTimer = setInterval(drawClock, 250);
  if (isNew) meet(line, drawCaller);
  show("talking");
  restoreTitle();
  open(true);
  dom["say-text"].focus({ preventScroll: true });
  dom.announce.textContent = "You are connected.";
}

function ended(line, reason) {
  if (line !== active) return;
  clearTimeout(lostTimer);
  const talked = dom.handset.dataset.state === "talking";
  stopRinging();
  restoreTitle();
  stopDictation?.();
  if (reason !== "hangup") voice = reason === "remote" || reason === "time_limit" ? voice : null;
  else voice?.clear();
  clearInterval(clockTimer);
  dom["over-title"].textContent = talked ? `Call ended after ${clock(seconds())}` : "No call";
  dom["over-why"].textContent = endedHere ? WHY.hangup : WHY[reason] ?? "The call is over.";
  dom["over-link"].href = call ? `/calls/${encodeURIComponent(call.id)}` : "/calls";
  htmx.process(dom["over-link"]); // it follows the address that it was last shown
  dom["over-link"].parentElement.hidden = !talked;
  dom.announce.textContent = `${dom["over-title"].textContent}. ${dom["over-why"].textContent}`;
  show("over");
  // On a small screen the receipt lies under the phone: it goes down by itself.
  shutTimer = setTimeout(() => open(false), SHUT_AFTER_MS);
  restTimer = setTimeout(() => show("idle"), REST_AFTER_MS);
  active = null;
  call = null;
  followNumbers();
}

function say(text) {
  const words = text.trim();
  if (!words || !active?.send({ type: "say", text: words.slice(0, 1000) })) return false;
  put("me", words);
  return true;
}

function caption(text) {
  put("them", text);
}

function cut() {
  voice?.clear();
  const spoken = dom.captions.querySelectorAll("li.them");
  spoken[spoken.length - 1]?.classList.add("cut");
}

function note(text) {
  if (dom.handset.dataset.state === "talking") put("quiet", text);
  else dom.announce.textContent = text;
}

function put(kind, text) {
  const item = document.createElement("li");
  item.className = kind;
  item.textContent = text;
  dom.captions.append(item);
  while (dom.captions.children.length > CAPTIONS_MAX) dom.captions.firstElementChild.remove();
  dom.captions.scrollTop = dom.captions.scrollHeight;
}

function toggleDictation() {
  if (stopDictation) {
    stopDictation();
    return;
  }
  stopDictation = dictate(say, (reason) => {
    stopDictation = null;
    dom.dictate.setAttribute("aria-pressed", "false");
    if (reason === "not-allowed") note("The browser doesn't let this page use the microphone. Type instead.");
    else if (reason && reason !== "aborted" && reason !== "no-speech") note("Dictation stopped. Type instead, or try again.");
  });
  dom.dictate.setAttribute("aria-pressed", "true");
}

function show(state) {
  clearTimeout(restTimer);
  const hadFocus = dom.handset.contains(document.activeElement);
  dom.handset.dataset.state = state;
  for (const name of ["idle", "ringing", "talking", "over"]) dom[`screen-${name}`].hidden = name !== state;
  if (hadFocus && state === "over") byId("over-close").focus({ preventScroll: true });
  dom["handset-title"].textContent =
    { ringing: "Ringing…", talking: "On the phone", over: "Call ended" }[state] ?? dom["handset-title"].textContent;
  dom["handset-badge"].textContent = "";
}

function open(on) {
  clearTimeout(shutTimer);
  dom.handset.dataset.open = String(on);
  dom["handset-bar"].setAttribute("aria-expanded", String(on));
  if (on) dom["handset-badge"].textContent = "";
}

function drawFace(place, who) {
  place.className = place.className.replace(/\bhue-\d\b/g, "").trim();
  place.classList.add(`hue-${who?.hue ?? 1}`);
  if (who?.avatar) {
    const picture = new Image();
    picture.src = who.avatar;
    picture.alt = "";
    place.replaceChildren(picture);
  } else {
    place.textContent = (who?.name ?? "?").slice(0, 1).toUpperCase();
  }
}

// One round at a time: on a slow network an older answer must not come after a newer one.
async function readTexts() {
  if (isReading) {
    readsAgain = true;
    return;
  }
  isReading = true;
  readsAgain = false;
  const found = [];
  try {
    for (const number of [...lines.keys()]) {
      const answer = await fetch(`/simulator/messages?to=${encodeURIComponent(number)}`);
      if (answer.ok) found.push(...(await answer.json()).items);
    }
    found.sort((one, other) => other.sent_at.localeCompare(one.sent_at));
    drawTexts(found.slice(0, TEXTS_SHOWN_MAX));
  } catch {
    // They are asked for again soon.
  } finally {
    isReading = false;
  }
  if (readsAgain) readTexts();
}

function drawTexts(letters) {
  const keys = letters.map((letter) => `${letter.to} ${letter.sent_at}`);
  const field = byId("code");
  const state = `${keys.join()} ${Boolean(field)}`;
  if (state === dom.inbox.dataset.state) return;
  dom.inbox.dataset.state = state;
  let fresh = 0;
  dom.inbox.replaceChildren(...letters.map((letter, at) => {
    const isNew = seenTexts ? !seenTexts.has(keys[at]) : Boolean(field) && at === 0;
    fresh += isNew ? 1 : 0;
    return drawText(letter, isNew, at === 0 && field);
  }));
  seenTexts = new Set([...(seenTexts ?? []), ...keys].slice(-100));
  if (fresh && field && dom.handset.dataset.state === "idle") open(true);
  else if (fresh && dom.handset.dataset.open !== "true") dom["handset-badge"].textContent = fresh === 1 ? "1 text" : `${fresh} texts`;
}

function drawText(letter, isNew, usable) {
  const item = document.createElement("li");
  item.className = isNew ? "letter fresh" : "letter";
  const from = document.createElement("span");
  from.className = "from";
  from.append("Call Me Back");
  const at = document.createElement("span");
  at.className = "end nums";
  at.textContent = new Date(letter.sent_at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  from.append(at);
  const body = document.createElement("span");
  body.textContent = letter.body;
  item.append(from, body);
  const digits = letter.body.match(/\b\d{6}\b/)?.[0];
  if (digits && usable) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button tiny";
    button.textContent = `Use ${digits}`;
    button.addEventListener("click", () => {
      const field = byId("code");
      if (!field) return;
      field.value = digits;
      open(false);
      field.form.querySelector("button:not([formaction])").focus();
    });
    item.append(button);
  }
  return item;
}

function tellTime() {
  dom["handset-clock"].textContent = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}

function typing() {
  return document.activeElement?.matches("input:not([type=radio], [type=checkbox]), textarea, select") ?? false;
}

// The meter of the page knows what the call costs; the phone shows it beside the time.
export function showCost(cents) {
  cost = cents;
}

function drawClock() {
  dom["talk-clock"].textContent = cost ? `${clock(seconds())} · ${cost} ¢` : clock(seconds());
}

function seconds() {
  return Math.max(0, Math.floor((performance.now() - clockStart) / 1000));
}

export function clock(total) {
  return `${Math.floor(total / 60)}:${String(total % 60).padStart(2, "0")}`;
}

export function isRinging() {
  return dom?.handset.dataset.state === "ringing";
}

// The tab says who calls, even if a page with a title of its own comes meanwhile.
export function keepTitle() {
  if (!ringTitle || document.title === ringTitle) return;
  pageTitle = document.title;
  document.title = ringTitle;
}

function restoreTitle() {
  if (ringTitle) document.title = pageTitle;
  ringTitle = "";
}
