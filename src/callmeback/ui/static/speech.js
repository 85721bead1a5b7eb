// Dictation by the browser's own speech recognition, where it has one. The words become typed words.

const Recognition = window.SpeechRecognition || window.webkitSpeechRecognition;

export function canDictate() {
  return Boolean(Recognition);
}

// onWords(text) is called for each finished utterance; onEnd(reason) once, with "" when it was stopped on purpose.
export function dictate(onWords, onEnd) {
  const ear = new Recognition();
  let reason = "";
  ear.lang = document.documentElement.lang || "en";
  ear.continuous = true;
  ear.interimResults = false;
  ear.onresult = (event) => {
    for (let at = event.resultIndex; at < event.results.length; at += 1) {
      const words = event.results[at][0].transcript.trim();
      if (event.results[at].isFinal && words) onWords(words);
    }
  };
  ear.onerror = (event) => (reason = event.error);
  ear.onend = () => onEnd(reason);
  ear.start();
  return () => ear.stop();
}
