// The requests of this page, each with its curl command. Secrets are shell variables in it.

/** The maximum number of recorded requests. */
const MAX_RECORDED = 60;
/** The secret members of a body, and their shell variables. */
const SECRETS = { password: "$PASSWORD", refreshToken: "$REFRESH_TOKEN" };
/** The secret in a query. */
const INVITATION = /(?<=[?&]invitation=)[^&]+/;

const recorded = [];
const listeners = new Set();
let number = 0;

/** Records a request, and returns a function that takes its outcome. */
export function record({ method, path: sentPath, body, etag, withToken, streams = false }) {
  const path = sentPath.replace(INVITATION, "$INVITATION");
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
  recorded.push(entry);
  recorded.splice(0, recorded.length - MAX_RECORDED);
  notifyListeners();
  return (outcome) => {
    entry.outcome = outcome;
    entry.milliseconds = Math.round(performance.now() - started);
    notifyListeners();
  };
}

/** Removes all requests. */
export function clearRequests() {
  recorded.length = 0;
  notifyListeners();
}

/** Returns the requests, oldest first. */
export function requests() {
  return recorded;
}

/** Calls `listener` on each change. */
export function onRequests(listener) {
  listeners.add(listener);
}

function notifyListeners() {
  listeners.forEach((listener) => listener());
}

/** Returns the command for a POSIX shell. */
function curl({ method, path, body, etag, withToken, streams }) {
  const parts = ["curl"];
  if (streams) parts.push("-N");
  if (withToken) parts.push('-H "Authorization: Bearer $TOKEN"');
  if (etag) parts.push(`-H ${shellQuote(`If-None-Match: ${etag}`)}`);
  if (body) parts.push("-H 'Content-Type: application/json'", `-d ${quoteBody(body)}`);
  else if (method !== "GET") parts.push(`-X ${method}`);
  parts.push(shellQuote(`${location.origin}${path}`).replace("=$INVITATION", `='"$INVITATION"'`));
  return parts.join(" ");
}

/** Quotes a text for the shell. */
function shellQuote(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Quotes the body. Variables are outside the single quotes. */
function quoteBody(body) {
  const redacted = { ...body };
  for (const name of Object.keys(SECRETS).filter((name) => name in redacted)) {
    redacted[name] = SECRETS[name];
  }
  let word = shellQuote(JSON.stringify(redacted));
  for (const [name, variable] of Object.entries(SECRETS)) {
    word = word.replace(`"${name}":"${variable}"`, `"${name}":"'"${variable}"'"`);
  }
  return word;
}
