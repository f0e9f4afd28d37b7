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

// Sends a text and gives what was read, or throws an Error whose message can be shown.
export async function read(url, text) {
  let response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ text }),
    });
  } catch {
    throw new Error("Lexiscope does not answer. Is it still running in the terminal?");
  }
  const answer = await response.json().catch(() => ({ error: `It answered with status ${response.status}.` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}
