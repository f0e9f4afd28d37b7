// Tokens: the same highlight as on the pages that the server draws. Text is set, never parsed as HTML.

const LEVELS = 20;

export const level = (share) => (share > 0 ? Math.min(LEVELS, Math.ceil(share * LEVELS)) : 0);

export const short = (number) => Number(number.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 });

export function element(name, classes = "", text = "") {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  if (text) made.textContent = text;
  return made;
}

// Sends JSON and gives the answer, or throws an Error whose message can be shown. A signal can call it off.
export async function post(url, body, signal) {
  let response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("Lexiscope does not answer. Is it still running in the terminal?");
  }
  const answer = await response.json().catch(() => ({ error: `It answered with status ${response.status}.` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

export const read = (url, text, signal) => post(url, { text }, signal);
