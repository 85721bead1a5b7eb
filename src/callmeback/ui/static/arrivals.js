// Which answer becomes the page: the one to what was asked for last. A late one changes nothing, an answer that is no
// page of ours doesn't empty the screen, and one that only says a sentence doesn't take away what was typed.

const notice = document.getElementById("offline");
const GONE = notice.textContent;
const ASKED = new Set(["click", "submit"]);

let awaited = null; // the request whose answer becomes the page
let restored = null; // the one that the browser's own back and forward began
const minded = new WeakSet();

export function followArrivals() {
  const on = (name, act) => document.body.addEventListener(`htmx:${name}`, act);
  on("beforeRequest", ask);
  on("beforeSwap", receive);
  on("sendError", (event) => isLate(event.detail) || say(GONE));
  on("timeout", (event) => isLate(event.detail) || say(GONE));
  on("historyCacheMiss", (event) => restore(event.detail.xhr));
  on("historyCacheMissLoad", (event) => surround(event.detail.response));
  // The address is that of the other page already: the browser shows whatever is to be seen there.
  on("historyCacheMissLoadError", () => location.reload());
}

// Said over the page until something is asked for again; nothing is said by an empty sentence.
export function say(sentence) {
  notice.textContent = sentence;
  notice.hidden = !sentence;
}

function ask(event) {
  const { elt, target, xhr, requestConfig } = event.detail;
  const isAsked = ASKED.has(requestConfig.triggeringEvent?.type);
  if (isAsked) say("");
  if (target.id !== "main") return;
  if (!isAsked && isUnderWay(awaited)) {
    event.preventDefault(); // what a page does by itself gives way to what a person asked for
    return;
  }
  restored?.abort();
  restored = null;
  awaited = xhr;
  // By now the element may be out of the page when its answer comes, so that nothing reaches the body.
  if (!minded.has(elt)) elt.addEventListener("htmx:beforeOnLoad", (loaded) => isLate(loaded.detail) && loaded.preventDefault());
  minded.add(elt);
}

function isUnderWay(request) {
  return request !== null && request.readyState !== XMLHttpRequest.UNSENT && request.readyState !== XMLHttpRequest.DONE;
}

function isLate({ target, xhr }) {
  return target?.id === "main" && xhr !== awaited;
}

function receive(event) {
  const { target, xhr, requestConfig } = event.detail;
  const sentence = xhr.status < 400 ? "" : sentenceOf(xhr.response);
  const isPart = xhr.response.includes(`id="${target.id}"`);
  if (isPart && !(sentence && isTypedInto(requestConfig.elt))) {
    say("");
    return;
  }
  event.preventDefault();
  say(sentence ? `${sentence} What you typed is still here.` : GONE);
}

function sentenceOf(html) {
  return new DOMParser().parseFromString(html, "text/html").querySelector("#main .lede[role='alert']")?.textContent ?? "";
}

function isTypedInto(form) {
  return form.matches("form") && form.querySelector("input:not([type='hidden']), select, textarea") !== null;
}

function restore(xhr) {
  restored?.abort();
  restored = awaited = xhr;
  xhr.onerror = () => say(GONE);
}

// Back and forward bring only what is in the page: what is around it follows.
function surround(html) {
  say("");
  const page = new DOMParser().parseFromString(html, "text/html");
  const top = page.getElementById("top");
  const main = page.getElementById("main");
  if (top) {
    document.getElementById("top").replaceWith(top);
    htmx.process(top);
  }
  if (main) Object.assign(document.getElementById("main").dataset, main.dataset);
}
