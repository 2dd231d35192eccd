// The requests of this page, each with its curl command. Secrets are shell variables in it.

/** The maximum number of recorded requests. */
const MAX_RECORDED = 60;
/** The secret members of a body, and their shell variables. */
const SECRETS = { password: "$PASSWORD", refreshToken: "$REFRESH_TOKEN" };

const all = [];
const listeners = new Set();
let number = 0;

/** Records a request, and returns a function that takes its outcome. */
export function record({ method, path, body, etag, withToken, streams = false }) {
  const started = performance.now();
  const entry = {
    number: (number += 1),
    method,
    path,
    at: Date.now(),
    outcome: null,
    milliseconds: null,
    curl: curl({ method, path, body, etag, withToken, streams }),
  };
  all.push(entry);
  all.splice(0, all.length - MAX_RECORDED);
  tell();
  return (outcome) => {
    entry.outcome = outcome;
    entry.milliseconds = Math.round(performance.now() - started);
    tell();
  };
}

/** The requests, oldest first. */
export function requests() {
  return all;
}

/** Calls `listener` on each change. */
export function onRequests(listener) {
  listeners.add(listener);
}

function tell() {
  listeners.forEach((listener) => listener());
}

/** The line for a POSIX shell. */
function curl({ method, path, body, etag, withToken, streams }) {
  const parts = ["curl"];
  if (streams) parts.push("-N");
  if (withToken) parts.push('-H "Authorization: Bearer $TOKEN"');
  if (etag) parts.push(`-H ${quoted(`If-None-Match: ${etag}`)}`);
  if (body) parts.push("-H 'Content-Type: application/json'", `-d ${json(body)}`);
  else if (method !== "GET") parts.push(`-X ${method}`);
  parts.push(quoted(`${location.origin}${path}`));
  return parts.join(" ");
}

/** A word in which nothing means anything to the shell. */
function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The body as one word, closed and opened again around each variable. */
function json(body) {
  const shown = { ...body };
  for (const name of Object.keys(SECRETS).filter((name) => name in shown)) {
    shown[name] = SECRETS[name];
  }
  let word = quoted(JSON.stringify(shown));
  for (const [name, variable] of Object.entries(SECRETS)) {
    word = word.replace(`"${name}":"${variable}"`, `"${name}":"'"${variable}"'"`);
  }
  return word;
}
