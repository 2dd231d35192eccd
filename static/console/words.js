// Times and names as people say them.

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** `14:32:05`, of milliseconds since 1970. */
export function clockTime(at) {
  return time.format(at);
}

/** Milliseconds since 1970, of an RFC 3339 text; `NaN` for any other value. */
export function instant(value) {
  return typeof value === "string" ? Date.parse(value) : NaN;
}

/** `20 Jun 2024, 08:10`, of an RFC 3339 text; `null` for any other value. */
export function dateTime(value) {
  const at = instant(value);
  return Number.isNaN(at) ? null : dayAndTime.format(at);
}

/** `1 minute`, `40 seconds`, `2 hours`, of seconds. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 90) {
    return count(whole, "second");
  }
  const minutes = Math.round(whole / 60);
  return minutes < 90 ? count(minutes, "minute") : count(Math.round(minutes / 60), "hour");
}

/** `just now`, `12 seconds ago`. */
export function ago(seconds) {
  return seconds < 3 ? "just now" : `${duration(seconds)} ago`;
}

/** `1 room`, `3 rooms`. */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** `Audio call`, of `audio_call`. */
export function featureName(key) {
  const words = key.replaceAll("_", " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
