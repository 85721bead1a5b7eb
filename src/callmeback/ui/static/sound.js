// The phone's sound: its ring, and a voice that arrives in frames of µ-law (G.711, 8000 Hz, mono).

const RATE_HZ = 8000;
const CUSHION_S = 0.08; // held back after a pause, so that frames may arrive unevenly
const AHEAD_S_MAX = 1.5; // beyond this the sender's clock runs away; the newest frame is dropped
const RING_ON_S = 1.6;
const RING_EVERY_MS = 3600;

const SAMPLES = new Float32Array(256);
for (let code = 0; code < 256; code += 1) {
  const inverted = ~code & 0xff;
  const magnitude = ((((inverted & 0x0f) << 3) + 0x84) << ((inverted & 0x70) >> 4)) - 0x84;
  SAMPLES[code] = (inverted & 0x80 ? -magnitude : magnitude) / 32768;
}

let context = null;
let volume = null;

// Browsers let a page sound only after a click or a key; until then there is no context, and the ring is silent.
function wake() {
  if (!context && window.AudioContext) {
    context = new AudioContext({ sampleRate: RATE_HZ, latencyHint: "interactive" });
    volume = context.createGain();
    volume.connect(context.destination);
  }
  if (context && context.state === "suspended") context.resume();
}
for (const kind of ["pointerdown", "keydown"]) document.addEventListener(kind, wake, { capture: true, passive: true });

function ready() {
  return context !== null && context.state === "running";
}

export class Voice {
  #until = 0;
  #playing = new Set();
  heardFrames = 0;

  play(codes) {
    if (!ready()) return;
    const now = context.currentTime;
    if (this.#until < now + 0.005) this.#until = now + CUSHION_S;
    if (this.#until - now > AHEAD_S_MAX) return;
    const sound = context.createBuffer(1, codes.length, RATE_HZ);
    const samples = sound.getChannelData(0);
    for (let at = 0; at < codes.length; at += 1) samples[at] = SAMPLES[codes[at]];
    const source = context.createBufferSource();
    source.buffer = sound;
    source.connect(volume);
    source.onended = () => this.#playing.delete(source);
    source.start(this.#until);
    this.#until += codes.length / RATE_HZ;
    this.#playing.add(source);
    this.heardFrames += 1;
  }

  clear() {
    for (const source of this.#playing) source.stop();
    this.#playing.clear();
    this.#until = 0;
  }
}

export function mute(on) {
  if (volume) volume.gain.value = on ? 0 : 1;
}

let ringing = null;

export function ring() {
  if (ringing) return;
  ringOnce();
  ringing = setInterval(ringOnce, RING_EVERY_MS);
}

export function stopRinging() {
  clearInterval(ringing);
  ringing = null;
  if (navigator.vibrate && navigator.userActivation?.hasBeenActive) navigator.vibrate(0);
}

// Two soft struck notes rather than a bell: it has to be heard, not feared.
function ringOnce() {
  if (navigator.vibrate && navigator.userActivation?.hasBeenActive) navigator.vibrate([300, 150, 300]);
  if (!ready()) return;
  const begin = context.currentTime + 0.02;
  for (const [hertz, after] of [[523.25, 0], [659.25, 0.18], [783.99, 0.36], [659.25, 0.72], [783.99, 0.9]]) {
    const tone = context.createOscillator();
    const shape = context.createGain();
    tone.type = "triangle";
    tone.frequency.value = hertz;
    shape.gain.setValueAtTime(0, begin + after);
    shape.gain.linearRampToValueAtTime(0.16, begin + after + 0.015);
    shape.gain.exponentialRampToValueAtTime(0.001, begin + after + 0.6);
    tone.connect(shape).connect(volume);
    tone.start(begin + after);
    tone.stop(begin + RING_ON_S);
  }
}
