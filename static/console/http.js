// One request to this server: sends it with a time-out, opens the envelope, and classifies failures.

import { record } from "./requests.js";

/** The time-out in milliseconds. The server's own is 30 seconds. */
const TIMEOUT = 40_000;

/** A failed request: its `kind`, and a sentence for the user. */
export class Problem extends Error {
  constructor(kind, message, { status = 0, retryAfter = null, reason = null } = {}) {
    super(message);
    Object.assign(this, { kind, status, retryAfter, reason });
  }

  /** Whether the same request may succeed later. */
  get passes() {
    return ["away", "throttled", "busy", "failed"].includes(this.kind);
  }
}

/** The problem of a response that breaks the contract. */
export function malformed() {
  return new Problem("failed", "The server sent an unexpected response.");
}

/** `/route/room`. Dots alone would be taken as steps by the browser, so that they travel in the query. */
export function ofRoom(route, room) {
  let name;
  try {
    name = encodeURIComponent(room);
  } catch {
    // JSON may hold half of a surrogate pair; UTF-8 may not.
    throw new Problem("wrong", "Room name is not valid.");
  }
  return /^\.{1,2}$/.test(room) ? `${route}?roomName=${name}` : `${route}/${name}`;
}

/**
 * Asks, and answers with `{status, data, raw, etag, age, stale, reason}`: `raw` is `data` as it was sent, for what is no text; on
 * a 304 there is no data. Throws a [Problem].
 */
export async function ask({ method = "GET", path, body, token, etag }) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (etag) headers["If-None-Match"] = etag;
  if (body) headers["Content-Type"] = "application/json";
  const done = record({ method, path, body, etag, withToken: Boolean(token) });
  let response;
  let text;
  try {
    // `no-store`: a 304 must reach this page. Redirects are not followed.
    response = await fetch(path, {
      method,
      headers,
      body: body && JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT),
    });
    text = await response.text();
  } catch {
    done("no response");
    throw new Problem("away", "The server can’t be reached.");
  }
  done(response.status);
  return answer(response, text);
}

function answer(response, text) {
  const header = (name) => response.headers.get(name);
  const about = {
    status: response.status,
    etag: header("ETag"),
    age: seconds(header("Age")) ?? 0,
    reason: header("X-Catch-Up-Reason"),
  };
  if (response.status === 304) {
    return about;
  }
  const envelope = parsed(text);
  if (response.ok) {
    // A proxy or a portal may answer with a page of its own.
    if (envelope?.error !== null || envelope.data === undefined) throw malformed();
    const start = '{"error":null,"data":';
    const raw = text.startsWith(start) ? text.slice(start.length, -1) : printed(envelope.data);
    return { ...about, data: envelope.data, raw };
  }
  const message = envelope?.error?.message;
  const sentence = typeof message === "string" ? message : undefined;
  throw problem(response.status, sentence, retryAfter(header("Retry-After")), about.reason);
}

/** The value of a JSON text; `null` if it is none. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** A value as JSON text; `…` if it is nested too deeply. */
export function printed(value) {
  try {
    return JSON.stringify(value);
  } catch {
    return "…";
  }
}

function problem(status, message, wait, reason) {
  const details = { status, retryAfter: wait, reason };
  switch (status) {
    case 400:
      return new Problem("wrong", message ?? "The request is not valid.", details);
    case 401:
      return new Problem("unauthorized", "You are not signed in.", details);
    case 403:
      return new Problem("forbidden", "You do not have access.", details);
    case 404:
      return new Problem("missing", "Not found.", details);
    case 429:
      return new Problem("throttled", "Too many attempts.", details);
    case 502:
    case 504:
      return new Problem("away", "The server can’t be reached.", details);
    case 503:
      return new Problem("busy", "The server is busy.", details);
    default:
      return new Problem("failed", "Something went wrong on the server.", details);
  }
}

/** Seconds, of a number or of a date. */
function retryAfter(value) {
  if (!value) {
    return null;
  }
  const wait = seconds(value) ?? (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(wait) ? Math.max(0, wait) : null;
}

/** Seconds, of up to nine digits; `null` for anything else. */
function seconds(value) {
  return /^\d{1,9}$/.test(value) ? Number(value) : null;
}
